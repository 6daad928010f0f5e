"""Rewards: functions that say how good a text is, in the form that TRL's trainers take."""

from collections.abc import Sequence
from typing import Any, Protocol

from selfimprove.errors import RecipeError, not_known
from selfimprove.recipe.catalog import find, known, register
from selfimprove.tasks.rising import grade_rising


class Reward(Protocol):
    """Gives each completion a value, higher being better, or None where it has nothing to say.

    `prompts` and `completions` are as many texts; `columns` hold as many further values of the rows, such as `answer`.
    """

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: object
    ) -> Sequence[float | None]: ...


def declare_reward(name: str, reward: Reward) -> None:
    """Make a reward known to the stages and trainers that name one; raises RecipeError where the name is taken."""
    register("reward", name, reward, reward)


def rising(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
    """The points of the task `rising`: what a reward model of it is to learn."""
    return [grade_rising(one, text) for one, text in zip(columns["question"], completions, strict=True)]


def find_reward(name: str) -> Reward:
    """The reward of a name; raises RecipeError with the nearest one."""
    found: Reward | None = find("reward", name)
    if found is None:
        raise RecipeError(not_known("reward", name, known("reward")))
    return found


declare_reward("rising", rising)
