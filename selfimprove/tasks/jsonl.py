"""A user's own problems: a JSON object a line."""

import json
from pathlib import Path

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import JsonlTask
from selfimprove.records import Problem, replace_surrogates
from selfimprove.tasks.base import PoolTask, compare_as, read_text, split_pool, take

MAX_LEVEL = 1_000_000


def _problem(row: object, settings: JsonlTask, where: str) -> Problem:
    if not isinstance(row, dict):
        raise TaskError(f'{where}: expected an object such as {{"question": …, "answer": …}}')
    for key in (settings.question, settings.answer):
        if key not in row:
            names = ", ".join(map(repr, row)) or "none"
            raise TaskError(
                f"{where}: no key '{key}' (keys: {names}); name yours with 'train.question' and 'train.answer'"
            )
    question, answer = row[settings.question], row[settings.answer]
    if not isinstance(question, str) or not question.strip():
        raise TaskError(f"{where}: '{settings.question}' is not a text")
    if isinstance(answer, (list, dict)):
        raise TaskError(f"{where}: '{settings.answer}' is neither a text nor a number")
    level = row.get(settings.level, 0) if settings.level else 0
    if not isinstance(level, int) or isinstance(level, bool) or abs(level) > MAX_LEVEL:
        raise TaskError(f"{where}: '{settings.level}' is not a whole number")
    options = _options(row, settings, where)
    return Problem(
        question=replace_surrogates(question.strip()),
        answer=None if answer is None else replace_surrogates(str(answer).strip()),
        task="jsonl",
        level=level,
        group=f"level {level}",
        options=options,
    )


def _options(row: dict[str, object], settings: JsonlTask, where: str) -> tuple[str, ...]:
    if settings.options is None:
        return ()
    options = row.get(settings.options)
    if not isinstance(options, list) or not options or not all(isinstance(one, (str, int, float)) for one in options):
        raise TaskError(f"{where}: '{settings.options}' is not a list of options")
    return tuple(replace_surrogates(str(one).strip()) for one in options)


def _read(path: Path, settings: JsonlTask) -> list[Problem]:
    problems = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TaskError(f"{path}:{number}: not JSON ({error})") from None
        problems.append(_problem(row, settings, f"{path}:{number}"))
    if not problems:
        raise TaskError(f"{path}: holds no problem")
    return problems


def load_jsonl(settings: JsonlTask) -> PoolTask:
    """Load problems from a file; raises TaskError with the file and the line."""
    if settings.path is None:
        raise TaskError("task 'jsonl': set 'path' to your file of questions and answers")
    problems = _read(Path(settings.path), settings)
    if settings.evaluate_path:
        train, test = problems, _read(Path(settings.evaluate_path), settings)[: settings.held_out]
    else:
        train, test = split_pool(problems, settings.held_out)
    if not train or not test:
        raise TaskError(f"{settings.path}: {len(problems)} problems are too few to train on some and hold others out")
    return PoolTask("jsonl", take(train, settings.limit), test, verifier=compare_as(settings.compare, settings))
