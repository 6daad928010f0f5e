"""A reward: short is good; and a stage that notes for each text what a reward gives it."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

from selfimprove.recipe.catalog import Named
from selfimprove.records import Rationale, Record
from selfimprove.settings import Settings
from selfimprove.stages.base import Desk, Stage, chunks, declare
from selfimprove.trainers.rewards import declare_reward, find_reward


def brevity(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
    return [1.0 / len(one) if one else None for one in completions]


class Grade(Record):
    """What a reward gives a text, None where it has nothing to say; parents: the rationale."""

    kind: ClassVar[str] = "grade"
    value: float | None


class Grades(Settings):
    """Note what a reward gives each text."""

    reward: Annotated[str, Named("reward", ())] = "brevity"
    """A reward that is declared."""


def grade(texts: Sequence[Rationale], desk: Desk[Grades]) -> Iterator[Grade]:
    values = find_reward(desk.settings.reward)([one.prompt for one in texts], [one.text for one in texts])
    yield from (Grade(parents=(one.id,), value=value) for one, value in zip(texts, values, strict=True))


declare_reward("brevity", brevity)
declare(Stage(name="grade", version=1, settings=Grades, writes=Grade, run=grade, needs=(Rationale,),
              reads=lambda round: round.every(Rationale), parts=lambda desk: chunks(desk.read(Rationale), 64),
              say=lambda desk: f"{len(desk.written(Grade))} texts"))  # fmt: skip
