"""Multiple choice by log-probability, from a file of prompts and the texts that may follow them."""

import json
from collections.abc import Mapping
from pathlib import Path

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import Answers, ScoredTask, VerifierSettings
from selfimprove.records import Problem, replace_surrogates
from selfimprove.tasks.base import PoolTask, read_text, take

TURN = "\n\nAssistant:"  # the beginning of an answer in hh-rlhf's dialogues


def load_scored(settings: ScoredTask) -> PoolTask:
    """Load the problems of a file; raises TaskError with the file and the line."""
    path = Path(settings.path)
    problems: list[Problem] = []
    left_out = 0
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        problem = _read(line, settings.name, f"{path}:{number}")
        if problem:
            problems.append(problem)
        else:
            left_out += 1
    if not problems:
        why = f"; its {left_out} pairs of dialogues share no beginning with two different answers" if left_out else ""
        raise TaskError(f"{path}: holds no problem{why}")
    exact = VerifierSettings(name="text", answers=Answers(strict=True))
    test = take(problems, settings.held_out)
    return PoolTask(settings.name, (), test, verifier=exact, scored=True, left_out=left_out)


def _read(line: str, task: str, where: str) -> Problem | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where}: not JSON ({error})") from None
    if isinstance(row, dict) and ("chosen" in row or "rejected" in row):
        return compare_dialogues(row, task, where)
    if not isinstance(row, dict) or "prompt" not in row:
        raise TaskError(
            f"{where}: expected an object with 'prompt', 'corrects' and 'incorrects', or with 'chosen' and 'rejected'"
        )
    return _choose(row, task, where)


def _choose(row: Mapping[str, object], task: str, where: str) -> Problem:
    """The problem of a row in BIG-bench's format."""
    prompt, right, wrong = row["prompt"], row.get("corrects"), row.get("incorrects")
    if not isinstance(prompt, str) or not prompt.strip():
        raise TaskError(f"{where}: 'prompt' is not a text")
    if not isinstance(right, list) or not isinstance(wrong, list) or len(right) != 1 or not wrong:
        raise TaskError(f"{where}: 'corrects' needs one text, and 'incorrects' one or more")
    if not all(isinstance(one, str) and one.strip() for one in (*right, *wrong)):
        raise TaskError(f"{where}: an option is not a text")
    prompt, answer, *others = map(replace_surrogates, (prompt, *right, *wrong))
    if len({answer, *others}) <= len(others):
        raise TaskError(f"{where}: two options are the same text")
    return make_choice(prompt, answer, others, task)


def compare_dialogues(row: Mapping[str, object], task: str, where: str) -> Problem | None:
    """The problem of a row in hh-rlhf's format, or None where the two dialogues do not answer the same prompt."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        raise TaskError(f"{where}: 'chosen' and 'rejected' must be two texts")
    chosen, rejected = replace_surrogates(chosen), replace_surrogates(rejected)
    equal = next((at for at, (one, two) in enumerate(zip(chosen, rejected, strict=False)) if one != two), len(chosen))
    before, turn, _ = chosen[:equal].rpartition(TURN)
    prompt = before + turn
    answer, other = chosen.removeprefix(prompt), rejected.removeprefix(prompt)
    # A blank answer is a fault of the data: it has next to no tokens, and would win by that alone.
    if not turn or answer == other or not answer.strip() or not other.strip():
        return None
    return make_choice(prompt, answer, [other], task)


def make_choice(prompt: str, answer: str, others: list[str], task: str) -> Problem:
    """A problem whose answer is a text among others."""
    # Sorted, so that the place of an option says nothing.
    return Problem(question=prompt, answer=answer, task=task, options=tuple(sorted((answer, *others))))
