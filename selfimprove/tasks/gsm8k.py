"""GSM8K (Cobbe et al., 2021): grade-school word problems, whose gold answer follows `####`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import Gsm8kTask
from selfimprove.records import Problem
from selfimprove.tasks.base import PoolTask, compare_as, load_hub, read_text, take
from selfimprove.tasks.expected import read_expected
from selfimprove.tasks.standard import gsm8k_standards

MAX_LEVEL = 8


def _problems(rows: Iterable[Mapping[str, Any]]) -> list[Problem]:
    """Levels are the number of steps of the gold solution, 8 and more together."""
    problems = []
    for row in rows:
        solution = row["answer"].rpartition("####")[0]
        answer = read_expected(row["answer"])
        level = min(len(solution.strip().splitlines()), MAX_LEVEL)
        problems.append(
            Problem(
                question=row["question"].strip(),
                answer=answer and answer.replace(",", ""),
                task="gsm8k",
                level=level,
                group=f"{level} steps" if level < MAX_LEVEL else f"{level}+ steps",
            )
        )
    return problems


def load_gsm8k(settings: Gsm8kTask) -> PoolTask:
    """Load GSM8K from a folder with train.jsonl and test.jsonl, or from the hub."""

    def split(name: str) -> tuple[list[Problem], list[tuple[str, str]]]:
        """The problems of a split, and its questions with their whole solutions."""
        if settings.path is None:
            rows = list(load_hub("openai/gsm8k", name, "main"))
            return _problems(rows), [(row["question"], row["answer"]) for row in rows]
        path = Path(settings.path) / f"{name}.jsonl"
        try:
            rows = [json.loads(line) for line in read_text(path).split("\n") if line.strip()]
            return _problems(rows), [(row["question"], row["answer"]) for row in rows]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise TaskError(f"{path}: not GSM8K's format ({type(error).__name__}: {error})") from None

    (train, solutions), (test, _) = split("train"), split("test")
    return PoolTask(
        "gsm8k",
        take(train, settings.limit),
        take(test, settings.held_out),
        verifier=compare_as("math", settings),
        standards=gsm8k_standards(solutions, [one.question for one in test]),
    )
