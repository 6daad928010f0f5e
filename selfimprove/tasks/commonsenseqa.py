"""CommonsenseQA (Talmor et al., 2019): questions with five options."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import CommonsenseqaTask, VerifierSettings
from selfimprove.records import Problem
from selfimprove.tasks.base import PoolTask, load_hub, read_text, take

LETTERS = "ABCDE"


def _problem(stem: str, labels: Iterable[str], texts: Iterable[str], answer: str) -> Problem:
    options = tuple(texts)
    if tuple(labels) != tuple(LETTERS) or len(options) != len(LETTERS) or answer not in LETTERS:
        raise ValueError(f"the options are not A to E: {stem[:60]!r}")
    lines = [f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=True)]
    return Problem(
        question="\n".join([stem.strip(), "Options:", *lines]),
        answer=answer,
        task="commonsenseqa",
        group="all questions",
        options=options,
    )


def _local(rows: Iterable[Mapping[str, Any]]) -> list[Problem]:
    problems = []
    for row in rows:
        choices = row["question"]["choices"]
        labels, texts = (one["label"] for one in choices), (one["text"] for one in choices)
        problems.append(_problem(row["question"]["stem"], labels, texts, row["answerKey"]))
    return problems


def load_commonsenseqa(settings: CommonsenseqaTask) -> PoolTask:
    """Load CommonsenseQA from a folder with train_rand_split.jsonl and dev_rand_split.jsonl, or from the hub."""

    def split(local: str, hub: str) -> list[Problem]:
        if settings.path is None:
            rows = load_hub("tau/commonsense_qa", hub)
            return [
                _problem(row["question"], row["choices"]["label"], row["choices"]["text"], row["answerKey"])
                for row in rows
            ]
        path = Path(settings.path) / f"{local}_rand_split.jsonl"
        try:
            return _local(json.loads(line) for line in read_text(path).split("\n") if line.strip())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise TaskError(f"{path}: not CommonsenseQA's format ({type(error).__name__}: {error})") from None

    return PoolTask(
        "commonsenseqa",
        take(split("train", "train"), settings.limit),
        take(split("dev", "validation"), settings.held_out),
        verifier=VerifierSettings(name="choice", answers=settings.answers),
    )
