"""A stage's work, cut into parts, and what several stages need for it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from selfimprove.context import Clock, Context, EngineOf
from selfimprove.plan import PlannedStage
from selfimprove.records import Checkpoint, Problem, Rationale, Record
from selfimprove.stages.generate import Writer
from selfimprove.store import StageFolder

Records = Iterable[Record]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Work:
    """A stage's parts: `run` makes the records of one part, of which `unit` is what progress counts."""

    parts: Sequence[Sequence[Any]]
    run: Callable[[Sequence[Any]], Records]
    unit: type[Record]
    per_item: int = 1
    follows: bool = False
    """Whether the last part follows from the records of all the others."""

    @property
    def total(self) -> int:
        return sum(map(self.units, range(len(self.parts))))

    def units(self, number: int) -> int:
        """What progress counts of a part."""
        return len(self.parts[number]) * self.per_item


@dataclass(frozen=True)
class Made:
    """A part that is on disk now: what it cost, and its records where this process made them."""

    number: int
    usage: dict[str, Any]
    records: Sequence[Record] | None = None


class Maker(Protocol):
    """Makes the parts of a stage that are missing, each of them once, in any order."""

    def make(
        self,
        stage: PlannedStage,
        work: Work,
        numbers: Sequence[int],
        disk: StageFolder,
        context: Context,
        advance: Advance,
    ) -> Iterator[Made]:
        """Yield each part once it is written; `advance` is told of units that are done."""
        ...


class InTurn:
    """Makes one part after the other in this process."""

    def make(
        self,
        stage: PlannedStage,
        work: Work,
        numbers: Sequence[int],
        disk: StageFolder,
        context: Context,
        advance: Advance,
    ) -> Iterator[Made]:
        for number in numbers:
            yield make_part(stage, work, number, disk, context.clock, advance)


def make_part(
    stage: PlannedStage,
    work: Work,
    number: int,
    disk: StageFolder,
    clock: Clock,
    advance: Advance,
    *,
    beside: bool = False,
) -> Made:
    """Make one part, note what it cost, and write it; what passes `beside` others on the clock is counted there."""
    records = []
    for record in work.run(work.parts[number]):
        records.append(record)
        if isinstance(record, work.unit):
            advance(1)
    arranged = arrange(work.parts[number], records)
    usage: dict[str, Any] = {}

    def note(counts: dict[str, int]) -> None:
        usage.update(clock.lap(), counts=counts)
        disk.add_usage(number, {**usage, "elapsed": 0.0} if beside else usage)

    disk.write_part(stage.main, number, arranged, note)
    return Made(number, usage, arranged)


def chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut into parts; no items make one empty part, so that a stage that ran is seen to have run."""
    return [items[start : start + size] for start in range(0, len(items), size)] or [[]]


def arrange(part: Sequence[Any], records: Sequence[Record]) -> list[Record]:
    """Put the rationales of a part, which come as they finish, in the order of its problems."""
    place = {item.id: at for at, item in enumerate(part) if isinstance(item, Problem)}

    def order(record: Record) -> tuple[int, int]:
        return (place[record.problem], record.sample) if isinstance(record, Rationale) else (len(place), 0)

    return sorted(records, key=order) if place else list(records)


def make_writer(round_: int, context: Context, checkpoint: Checkpoint) -> Writer:
    """Who writes in a round with a checkpoint."""
    return Writer(
        engine=EngineOf(checkpoint, context),  # a part without problems loads none
        checkpoint=checkpoint.id,
        extract_answer=context.judging.extract_answer,
        stop=context.prompts.stop,
        round=round_,
        seed=context.recipe.seed,
    )
