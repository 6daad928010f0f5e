"""The parts of a stage: what is to be made, and who makes it."""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from selfimprove.records import Problem, Record
from selfimprove.running.clock import Clock
from selfimprove.running.desk import StageDesk
from selfimprove.running.plan import PlannedStage
from selfimprove.running.session import Session
from selfimprove.stages.base import arrange
from selfimprove.store import StageFolder
from selfimprove.store.journal import Journal
from selfimprove.store.rows import Rows

Advance = Callable[[int], None]
RARELY = 50_000  # objects that are made and not let go of before cycles are looked for
KEPT = 20_000  # records of a stage that are kept in memory once they are written
LOOKED_OVER = 256  # records of a stage that asks no model, between two words on how far it is


@dataclass
class Job:
    """A stage at work: its plan, its desk, its folder."""

    stage: PlannedStage
    session: Session
    disk: StageFolder
    clock: Clock

    @cached_property
    def desk(self) -> StageDesk:
        return StageDesk(self.stage, self.session)

    @cached_property
    def parts(self) -> Sequence[Sequence[Any]]:
        return self.stage.declared.parts(self.desk)

    @cached_property
    def _per_item(self) -> int:
        return self.stage.declared.per_item(self.desk)

    def units(self, number: int) -> int:
        """What progress counts of a part."""
        return len(self.parts[number]) * self._per_item

    @cached_property
    def total(self) -> int:
        return sum(map(self.units, range(len(self.parts))))

    def make(self, number: int, advance: Advance) -> "FinishedPart":
        """Make one part and write it."""
        return make_part(self, self.parts[number], number, advance)


@dataclass(frozen=True)
class FinishedPart:
    """A part that is on disk now: what it cost, and its records where this process made them."""

    number: int
    usage: dict[str, Any]
    records: Sequence[Record] | None = None


class PartRunner(Protocol):
    """Makes the parts of a stage that are missing, each of them once, in any order."""

    def make(self, job: Job, numbers: Sequence[int], advance: Advance) -> Iterator[FinishedPart]:
        """Yield each part once it is written; `advance` is told of units that are done."""
        ...


class Sequential:
    """Makes one part after the other in this process."""

    def make(self, job: Job, numbers: Sequence[int], advance: Advance) -> Iterator[FinishedPart]:
        for number in numbers:
            yield job.make(number, advance)


def make_part(job: Job, part: Sequence[object], number: int, advance: Advance, *, beside: bool = False) -> FinishedPart:
    """Make one part, note what it cost, and write it; what passes `beside` others on the clock is counted there."""
    declared = job.stage.declared
    unit = declared.unit or declared.writes
    said_at_once = 1 if declared.asks or declared.trains else LOOKED_OVER

    def made() -> Iterator[Record]:
        waiting = 0
        for record in declared.run(part, job.desk):
            if record.kind == unit.kind:
                waiting += 1
                if waiting == said_at_once:
                    advance(waiting)
                    waiting = 0
            yield record
        if waiting:
            advance(waiting)

    journal = job.desk.journal = Journal(job.disk.path, number, job.disk.writer)
    kept = Kept()
    # Only what is written for problems comes in another order than theirs, and there is no more of it than of them.
    in_order = isinstance(part, Rows) or not any(isinstance(item, Problem) for item in part)
    records = made() if in_order else arrange(part, list(made()))
    usage: dict[str, Any] = {}

    def note(counts: dict[str, int]) -> None:
        usage.update(job.clock.lap(), counts=counts)
        job.disk.add_usage(number, {**usage, "elapsed": 0.0} if beside else usage)

    with nullcontext() if beside or declared.asks or declared.trains else collecting_rarely():
        job.disk.write_part(job.stage.main, number, kept.passing(records), note)
    journal.clear()
    return FinishedPart(number, usage, kept.records)


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Look for cycles less often: records are in none, and the search among a million takes a fifth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(RARELY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Kept:
    """What was made lately, as long as there is little of it: it need not be read back."""

    def __init__(self) -> None:
        self.records: list[Record] | None = []

    def passing(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            if self.records is not None:
                self.records.append(record)
                if len(self.records) > KEPT:
                    self.records = None
            yield record
