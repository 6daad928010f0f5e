"""Suites: sets of tasks in groups that models are evaluated on together, such as all subjects of MMLU."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from selfimprove.errors import RecipeError
from selfimprove.recipe.policies import find_policy
from selfimprove.recipe.task_settings import EVERY, OnePartTask, PoolTask, TaskSettings
from selfimprove.recipe.task_type import Task
from selfimprove.recipe.yaml import Document, read_document, validate
from selfimprove.settings import Settings

FILE = "suite.json"
"""The averages of models on a suite, in the folder of their runs."""


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Entry = Annotated[Task, BeforeValidator(_named)]
"""A task's settings, or its name alone."""


class Suite(Settings):
    """A YAML file of tasks in groups."""

    description: str = ""
    """A sentence for people."""
    recipe: str = "ask"
    """The recipe whose prompt, engine and lengths count."""
    settings: tuple[str, ...] = ()
    """Settings of the recipe that the suite asks by, such as evaluate.standard=lm-eval."""
    groups: dict[str, tuple[Entry, ...]]
    """The tasks of each group; averages are given of each one and of all."""

    @property
    def tasks(self) -> list[TaskSettings]:
        return [task for group in self.groups.values() for task in group]

    @property
    def group_of(self) -> dict[str, str]:
        """The group of each task, by its name."""
        return {task.name: name for name, group in self.groups.items() for task in group}


def load_suite(name: str) -> Suite:
    """Read a suite by path or by name; raises RecipeError with the file and the line."""
    path = find_policy("suites", name)
    document = read_document(path)
    suite = validate(Suite, document)
    empty = [name for name, tasks in suite.groups.items() if not tasks]
    if empty:
        raise RecipeError(f"{document.where(('groups', empty[0]))}: the group '{empty[0]}' has no tasks")
    if not suite.groups:
        raise RecipeError(f"{document.where(('groups',))}: the suite has no groups, such as 'ours: [gsm8k]'")
    twice = next((one for one, count in Counter(task.name for task in suite.tasks).items() if count > 1), None)
    if twice:
        raise RecipeError(f"{path}: the task '{twice}' stands in it twice; each one counts once")
    groups = {group: tuple(_located(one, path.parent) for one in tasks) for group, tasks in suite.groups.items()}
    return suite.model_copy(update={"groups": groups})


def one_task(name: str) -> Suite:
    """A suite of one task; raises RecipeError where there is no such task."""
    return validate(Suite, Document.from_data({"groups": {name: [name]}}, "the suite"))


def _located(task: TaskSettings, folder: Path) -> TaskSettings:
    """A task whose file is found from where the suite lies."""
    path = getattr(task, "path", None)
    beside = path and (folder / path).exists()
    return task.model_copy(update={"path": str((folder / path).resolve())}) if path and beside else task


def choose_problems(suite: Suite, *, data: str | None = None, limit: int | None = None) -> tuple[TaskSettings, ...]:
    """The tasks of a suite with all of their held-out problems, or at most `limit` of each where it says nothing else.

    `data` is a folder: of the one family that the suite has, or with a folder for each of several.
    """
    families = {task.family for task in suite.tasks}
    chosen = []
    for task in suite.tasks:
        changes: dict[str, Any] = {}
        if isinstance(task, PoolTask):
            if data and task.path is None:
                changes["path"] = str(Path(data) if len(families) == 1 else Path(data) / task.family)
            if limit or "held_out" not in task.model_fields_set:
                changes["held_out"] = limit or EVERY
            if isinstance(task, OnePartTask) and "whole" not in task.model_fields_set:
                changes["whole"] = True
        chosen.append(task.model_copy(update=changes))
    return tuple(chosen)
