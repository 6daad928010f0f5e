"""What a run wrote, as typed objects or as a table of pandas, Arrow or datasets."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from pydantic import ValidationError

from selfimprove.errors import StoreError
from selfimprove.records import Decision, Outcome, Problem, Rationale, Record, Verdict
from selfimprove.store import RunFolder
from selfimprove.store.query import Query

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import pyarrow as pa

Row = TypeVar("Row")
AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True)
class Sql:
    """What rows are read by: `flat` is the table that is handed out, `nested` what the objects are made of."""

    flat: str
    nested: str
    order: str
    values: tuple[Any, ...] = ()


class Rows(Generic[Row]):
    """Rows of a run in a fixed order, read from its files whenever they are asked for, some at a time.

    Raises StoreError where a file cannot be read.
    """

    def __init__(self, folder: RunFolder, name: str, sql: Sql, make: Callable[[dict[str, Any]], Row]) -> None:
        self._folder, self._name, self._sql, self._make = folder, name, sql, make

    def __iter__(self) -> Iterator[Row]:
        return self._read("")

    def __len__(self) -> int:
        return Query(self._folder).number(self._sql.flat, list(self._sql.values))

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step < 0:
                return list(self)[at]
            return list(self._read(f" LIMIT {max(0, stop - start)} OFFSET {start}"))[::step]
        place = at + len(self) if at < 0 else at
        found = next(self._read(f" LIMIT 1 OFFSET {place}"), None) if place >= 0 else None
        if found is None:
            raise IndexError(f"{self._name} number {at}: there are {len(self)}")
        return found

    def _read(self, tail: str) -> Iterator[Row]:
        # A query of its own, so that other rows may be asked for while these are gone through.
        sql = f"{self._sql.nested} ORDER BY {self._sql.order}{tail}"
        for row in Query(self._folder).stream(sql, list(self._sql.values), batch=1000):
            yield self._make(row)

    def to_arrow(self) -> "pa.Table":
        """The rows as an Arrow table, all of them in memory."""
        return Query(self._folder).arrow(f"{self._sql.flat} ORDER BY {self._sql.order}", list(self._sql.values))

    def to_pandas(self) -> "pd.DataFrame":
        """The rows as a DataFrame."""
        return self.to_arrow().to_pandas()

    def to_datasets(self) -> "datasets.Dataset":
        """The rows as a data set of Hugging Face's `datasets`."""
        import datasets

        return datasets.Dataset(self.to_arrow())

    def __repr__(self) -> str:
        return f"<{len(self)} {self._name} of the run {self._folder.path.name!r}>"


@dataclass(frozen=True)
class Trace:
    """One text that a checkpoint wrote, with all that was said of it.

    `verdict` and `decision` are None where it was not judged, or not considered for training (held-out answers).
    """

    round: int
    stage: str
    rationale: Rationale
    verdict: Verdict | None
    decision: Decision | None
    _problem: Problem | None

    @cached_property
    def problem(self) -> Problem:
        """What it was written for; raises StoreError where that record is not on disk any more."""
        if self._problem is None:
            raise StoreError(f"{self.id}: its problem {self.rationale.problem} is not in the run's folder")
        return self._problem

    @property
    def id(self) -> str:
        return self.rationale.id

    @property
    def text(self) -> str:
        return self.rationale.text

    @property
    def outcome(self) -> Outcome | None:
        """Whether the answer is correct, incorrect or undecided; None where it was not judged."""
        return self.verdict.outcome if self.verdict else None

    @property
    def kept(self) -> bool | None:
        """Whether it became training data; None where that was not asked."""
        return self.decision.kept if self.decision else None

    @property
    def reason(self) -> str:
        """Why it was kept or turned away, otherwise why it was judged so."""
        return self.decision.reason if self.decision else self.verdict.reason if self.verdict else ""


# A record may lie in the run twice, as an equal one; each trace has one of each kind.
NESTED_TRACES = """
    SELECT t.round, t.stage, t.level, t.problem, t.origin, t.sample, t.id, t.verdict, t.kept,
           r AS rationale, p AS problem_record, v AS verdict_record, d AS decision_record
    FROM ({flat}) t
    JOIN rationale r ON r.id = t.id AND r.round = t.round AND r.stage = t.stage
    LEFT JOIN (SELECT DISTINCT ON (id) * FROM problem) p ON p.id = t.problem
    LEFT JOIN (SELECT DISTINCT ON (id) * FROM verdict) v ON v.id = t.verdict
    LEFT JOIN (SELECT DISTINCT ON (parents[1], kept, reason) * FROM decision) d
      ON d.parents[1] = t.id AND d.kept = t.kept AND d.reason = t.decision
"""


def make_trace(row: dict[str, Any]) -> Trace:
    """A trace of a row of `NESTED_TRACES`."""
    return Trace(
        row["round"],
        row["stage"],
        to_record(Rationale, row["rationale"]),
        to_record(Verdict, row["verdict_record"]) if row["verdict"] else None,
        to_record(Decision, row["decision_record"]) if row["kept"] is not None else None,
        to_record(Problem, row["problem_record"]) if (row["problem_record"] or {}).get("id") else None,
    )


def to_record(kind: type[AnyRecord], row: Mapping[str, object]) -> AnyRecord:
    """A record of a row, without the columns that another version gave it; raises StoreError."""
    try:
        # Where a part was written before a field was added, its default counts.
        record = kind.model_validate(
            {name: row.get(name) for name, required in _fields(kind) if required or row.get(name) is not None}
        )
    except ValidationError as error:
        reason = error.errors()[0]
        raise StoreError(
            f"{kind.kind} {row.get('id')}: this version cannot read it ({'.'.join(map(str, reason['loc']))}: "
            f"{reason['msg']}); its table can be had by to_arrow()"
        ) from None
    record.__dict__["id"] = row["id"]  # as it was written
    return record


@cache
def _fields(kind: type[Record]) -> list[tuple[str, bool]]:
    """The fields of a kind, and whether each has to be given."""
    return [(name, field.is_required()) for name, field in kind.model_fields.items()]
