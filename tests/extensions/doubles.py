"""A task: a number and itself, added."""

from typing import Literal

from pydantic import PositiveInt

from selfimprove.recipe.task_settings import TaskSettings, VerifierSettings
from selfimprove.records import Problem
from selfimprove.tasks import declare_task
from selfimprove.tasks.base import PoolTask, split_pool


class DoublesTask(TaskSettings):
    """A number and itself, added; a level is a number of digits."""

    family = "doubles"
    name: Literal["doubles"] = "doubles"
    """The task."""
    largest: PositiveInt = 99
    """The largest number."""
    held_out: PositiveInt = 10
    """Problems kept for evaluation."""


def load(settings: DoublesTask) -> PoolTask:
    problems = []
    for one in range(1, settings.largest + 1):
        size, question = len(str(one)), f"{one}+{one}="
        problems.append(Problem(question=question, answer=str(2 * one), task="doubles", level=size, group=str(size)))
    train, test = split_pool(problems, settings.held_out)
    return PoolTask("doubles", train, test, verifier=VerifierSettings(name="math"))


declare_task(DoublesTask, load)
