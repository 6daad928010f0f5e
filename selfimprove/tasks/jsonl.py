"""A user's own problems: a JSON object a line."""

import json
from collections.abc import Iterator
from pathlib import Path

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import JsonlTask
from selfimprove.records import Problem, replace_surrogates
from selfimprove.tasks.base import PoolTask, compare_as, question_key, read_text, split_pool, take
from selfimprove.tasks.expected import read_expected

MAX_LEVEL = 1_000_000
SHOWN = 3  # lines that a remark names
Asked = tuple[str, tuple[str, ...]]  # a question, as question_key has it, and its options


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
        answer=read_expected(answer),
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


def _read(path: Path, settings: JsonlTask) -> tuple[list[Problem], list[str]]:
    """The problems of a file, of a question that stands in it more than once the first, and what is remarkable."""
    lines: dict[Asked, int] = {}
    problems: dict[Asked, Problem] = {}
    others: list[str] = []
    for number, row in _rows(path):
        problem = _problem(row, settings, f"{path}:{number}")
        key = question_key(problem.question), problem.options
        first = problems.setdefault(key, problem)
        if first.answer != problem.answer:
            others.append(
                f"lines {lines[key]} and {number}: {show_answer(first.answer)} and {show_answer(problem.answer)}"
            )
        lines.setdefault(key, number)
    if not problems:
        raise TaskError(f"{path}: holds no problem")
    return list(problems.values()), list(_remarks(path, problems, lines, others))


def _rows(path: Path) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TaskError(f"{path}:{number}: not JSON ({error})") from None


def _remarks(path: Path, problems: dict[Asked, Problem], lines: dict[Asked, int], others: list[str]) -> Iterator[str]:
    empty = [lines[key] for key, one in problems.items() if one.answer is None]
    if empty:
        named = ", ".join(map(str, empty[:SHOWN])) + (" …" if len(empty) > SHOWN else "")
        yield f"{path}: {len(empty)} of {len(problems)} problems have no answer (lines {named}) and stay undecided"
    if others:
        named = "; ".join(others[:SHOWN]) + (" …" if len(others) > SHOWN else "")
        yield f"{path}: the same question has different answers ({named}); the first one counts"


def show_answer(answer: str | None) -> str:
    return "no answer" if answer is None else repr(answer if len(answer) <= 40 else answer[:39] + "…")


def load_jsonl(settings: JsonlTask) -> PoolTask:
    """Load problems from a file; raises TaskError with the file and the line."""
    if settings.path is None:
        raise TaskError("task 'jsonl': set 'path' to your file of questions and answers")
    problems, remarks = _read(Path(settings.path), settings)
    if settings.evaluate_path:
        held_out, more = _read(Path(settings.evaluate_path), settings)
        train, test = problems, held_out[: settings.held_out]
        remarks += more
    else:
        train, test = split_pool(problems, settings.held_out)
    if not train or not test:
        raise TaskError(f"{settings.path}: {len(problems)} problems are too few to train on some and hold others out")
    verifier = compare_as(settings.compare, settings)
    return PoolTask("jsonl", take(train, settings.limit), test, verifier=verifier, remarks=remarks)
