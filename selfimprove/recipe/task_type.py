"""The type of a recipe's task: any of the tasks' settings, told apart by the family in its name."""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Union

from pydantic import ConfigDict, Discriminator, Tag

from selfimprove.recipe.task_settings import (
    ArithmeticTask,
    AsdivTask,
    BbhTask,
    CommonsenseqaTask,
    DatasetTask,
    Gsm8kTask,
    JsonlTask,
    LongAdditionTask,
    MixtureTask,
    MmluTask,
    PromptsTask,
    ReasoningGymTask,
    RisingTask,
    ScoredTask,
    SvampTask,
    TaskSettings,
)


class UnknownTask(TaskSettings):
    """A task of another's run that nothing here declares."""

    model_config = ConfigDict(extra="allow")


def _family(value: object) -> str | None:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return None if name is None else str(name).partition("/")[0]


Task = Annotated[
    Annotated[ArithmeticTask, Tag("arithmetic")]
    | Annotated[LongAdditionTask, Tag("long-addition")]
    | Annotated[RisingTask, Tag("rising")]
    | Annotated[Gsm8kTask, Tag("gsm8k")]
    | Annotated[SvampTask, Tag("svamp")]
    | Annotated[AsdivTask, Tag("asdiv")]
    | Annotated[CommonsenseqaTask, Tag("commonsenseqa")]
    | Annotated[MmluTask, Tag("mmlu")]
    | Annotated[BbhTask, Tag("bbh")]
    | Annotated[ReasoningGymTask, Tag("reasoning_gym")]
    | Annotated[JsonlTask, Tag("jsonl")]
    | Annotated[DatasetTask, Tag("dataset")]
    | Annotated[PromptsTask, Tag("prompts")]
    | Annotated[ScoredTask, Tag("scored")]
    | Annotated[MixtureTask, Tag("mixture")],
    Discriminator(_family),
]


def task_type(settings: Iterable[type[TaskSettings]], unknown: Iterable[str] = ()) -> Any:
    """The type of a recipe's task: any of these settings, told apart by their families.

    `unknown` are families that stand without being declared.
    """
    known = {one.family: one for one in settings}
    known |= {family: _unknown_task(family) for family in unknown if family not in known}
    return Annotated[Union[tuple(Annotated[one, Tag(family)] for family, one in known.items())], Discriminator(_family)]  # noqa: UP007


@cache
def _unknown_task(family: str) -> type[TaskSettings]:
    return type(
        "UnknownTask", (UnknownTask,), {"family": family, "__module__": __name__, "__doc__": UnknownTask.__doc__}
    )
