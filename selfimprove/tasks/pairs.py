"""Pairs that people, or judges of others, chose between, from a file."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from selfimprove.errors import TaskError
from selfimprove.records import FILE, PAIRS, PEOPLE, Problem, replace_surrogates
from selfimprove.tasks.base import read_rows
from selfimprove.tasks.scored import compare_dialogues, make_choice

SCORES = ("score_chosen", "score_rejected")
NUMBERS = {"margin": 1.0, "weight": 1000.0}
"""What a pair may say of itself, with the most that it may be; 1 by default."""
TURNS = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: "}  # hh-rlhf's, for conversations of several turns


@dataclass(frozen=True)
class HumanPair:
    """A problem whose answer is preferred to its other option, by a margin between 0 and 1; a pair of weight 2 counts
    in a reward model as often as two. With the source `people` its question is one of a run's, and asked as those are;
    else it is a prompt as it stands."""

    problem: Problem
    margin: float = 1.0
    weight: float = 1.0
    source: str = FILE


def load_pairs(path: Path) -> list[HumanPair]:
    """Pairs of a JSONL file, packed by gzip or not: hh-rlhf's `chosen` and `rejected` as whole dialogues, or `prompt`
    with `chosen` and `rejected` as texts or as lists of messages. With `score_chosen` and `score_rejected` the margin
    is the difference of the two as a share of the largest one in the file; a pair whose scores say otherwise, or are
    equal, is left out. In place of scores `margin`, from 0 to 1, may say it itself, and `weight` how much a pair
    counts, as those of K ranked responses do with 1/(K - 1) each; `source: people` says that people ranked or rated
    them. Raises TaskError with the file and the line."""
    found: list[tuple[Problem, float | None, float, float, str]] = []
    left_out = 0
    for where, row in read_rows(path):
        if not isinstance(row, dict) or not {"chosen", "rejected"} <= row.keys():
            raise TaskError(f"{where}: expected an object with 'chosen' and 'rejected'")
        problem, ahead = _read_pair(row, where), _read_scores(row, where)
        if problem is None or (ahead is not None and ahead <= 0):
            left_out += 1
        else:
            margin, weight = (_read_number(row, name, most, where) for name, most in NUMBERS.items())
            source = PEOPLE if row.get("source") == PEOPLE else FILE
            found.append((problem, ahead, margin, weight, source))
    if not found:
        why = f"; its {left_out} pairs do not answer one prompt differently, or are ties" if left_out else ""
        raise TaskError(f"{path}: holds no pair{why}")
    most = max((ahead for _, ahead, *_ in found if ahead is not None), default=1.0)
    pairs = [
        HumanPair(problem, margin if ahead is None else ahead / most, weight, source)
        for problem, ahead, margin, weight, source in found
    ]
    return list({one.problem.id: one for one in pairs}.values())


def _read_pair(row: Mapping[str, object], where: str) -> Problem | None:
    """The problem of a row; None where the two texts do not answer one prompt in different words."""
    if "prompt" not in row and isinstance(row["chosen"], str):
        return compare_dialogues(row, PAIRS, where)
    prompt = row.get("prompt")
    (before, chosen), (others, rejected) = (_read_response(row[name], where, name) for name in ("chosen", "rejected"))
    if before != others:
        return None
    if prompt is None:
        prompt = before
    if not isinstance(prompt, str) or not prompt.strip():
        raise TaskError(f"{where}: 'prompt' is not a text")
    prompt, chosen, rejected = map(replace_surrogates, (prompt, chosen, rejected))
    if not chosen.strip() or not rejected.strip() or chosen == rejected:
        return None
    return make_choice(prompt, chosen, [rejected], PAIRS)


def _read_response(given: object, where: str, name: str) -> tuple[str, str]:
    """What is before the response as a prompt, and the response: of a list of messages the last one."""
    if isinstance(given, str):
        return "", given
    messages = given if isinstance(given, list) else []
    if not messages or not all(isinstance(one, dict) and isinstance(one.get("content"), str) for one in messages):
        raise TaskError(f"{where}: '{name}' is neither a text nor a list of messages")
    *before, last = messages
    if len(before) == 1:
        return before[0]["content"], last["content"]
    turns = "".join(f"{TURNS.get(str(one.get('role')), TURNS['user'])}{one['content']}" for one in before)
    return turns + TURNS["assistant"].rstrip() if turns else "", last["content"]


def _read_scores(row: Mapping[str, object], where: str) -> float | None:
    """By how much the chosen text is ahead, None where the file has no scores."""
    scores = [row.get(name) for name in SCORES]
    if scores == [None, None]:
        return None
    try:
        numbers = [float(one) for one in scores if isinstance(one, int | float) and not isinstance(one, bool)]
    except OverflowError:
        numbers = []
    if len(numbers) < len(scores) or not all(map(math.isfinite, numbers)):
        raise TaskError(f"{where}: 'score_chosen' and 'score_rejected' must be two numbers")
    return numbers[0] - numbers[1]


def _read_number(row: Mapping[str, object], name: str, most: float, where: str) -> float:
    """A number above 0 that a row may have; 1 by default."""
    value = row.get(name, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise TaskError(f"{where}: '{name}' must be a number above 0, at most {most:g}")
    return float(value)
