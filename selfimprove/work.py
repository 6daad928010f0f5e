"""A stage's work, cut into parts, and what several stages need for it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from selfimprove.context import Context
from selfimprove.records import Checkpoint, Problem, Rationale, Record
from selfimprove.stages.generate import Writer

Records = Iterable[Record]


@dataclass(frozen=True)
class Work:
    """A stage's parts: `run` makes the records of one part, of which `unit` is what progress counts."""

    parts: Sequence[Sequence[Any]]
    run: Callable[[Sequence[Any]], Records]
    unit: type[Record]
    per_item: int = 1

    @property
    def total(self) -> int:
        return sum(map(len, self.parts)) * self.per_item


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
        engine=context.engine(checkpoint),
        checkpoint=checkpoint.id,
        extract_answer=context.judging.extract_answer,
        stop=context.prompts.stop,
        round=round_,
        seed=context.recipe.seed,
    )
