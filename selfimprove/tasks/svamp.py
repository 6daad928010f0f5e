"""SVAMP (Patel et al., 2021): one-step word problems with varied wording."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import SvampTask
from selfimprove.records import Problem
from selfimprove.tasks.base import PoolTask, compare_as, load_hub, read_text, split_pool, take


def _problems(rows: Iterable[Mapping[str, Any]]) -> list[Problem]:
    problems = []
    for row in rows:
        body = row["Body"].strip()
        joiner = " " if body.endswith((".", "?", "!")) else ". "
        answer = float(row["Answer"])
        problems.append(
            Problem(
                question=f"{body}{joiner}{row['Question'].strip()}",
                answer=str(int(answer)) if answer.is_integer() else str(answer),
                task="svamp",
                group=str(row["Type"]).replace("Divison", "Division"),  # a slip in the data
            )
        )
    return problems


def load_svamp(settings: SvampTask) -> PoolTask:
    """Load SVAMP from SVAMP.json (or its folder), or from the hub."""
    if settings.path is None:
        train = _problems(load_hub("ChilleD/SVAMP", "train"))
        test = take(_problems(load_hub("ChilleD/SVAMP", "test")), settings.held_out)
        return PoolTask("svamp", take(train, settings.limit), test, verifier=compare_as("math", settings))
    path = Path(settings.path)
    path = path / "SVAMP.json" if path.is_dir() else path
    try:
        problems = _problems(json.loads(read_text(path)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TaskError(f"{path}: not SVAMP's format ({type(error).__name__}: {error})") from None
    train, test = split_pool(problems, settings.held_out, whole=settings.whole)
    return PoolTask("svamp", take(train, settings.limit), test, verifier=compare_as("math", settings))
