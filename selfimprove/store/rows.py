"""Records of a kind as they lie in files: counted by the footers, and read some at a time."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import cached_property
from itertools import accumulate, repeat
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from selfimprove.records import Record
from selfimprove.store.columns import decode, first_items
from selfimprove.store.light import read_in_part
from selfimprove.store.parts import count_rows, named_damage, schema_of, to_records

AnyRecord = TypeVar("AnyRecord", bound=Record)
AT_ONCE = 2048  # rows in memory
Places: TypeAlias = npt.NDArray[np.int64]
"""Places of rows, which ascend."""


class Rows(Sequence[AnyRecord], Generic[AnyRecord]):
    """Records of a kind that lie in files, in the order of the files; a part of them is read when it is looked at.

    Raises StoreError that names a damaged file.
    """

    def __init__(self, kind: type[AnyRecord], files: Sequence[Path], *, at_once: int = AT_ONCE) -> None:
        """At most `at_once` rows are in memory at a time."""
        self.kind, self.files, self.at_once = kind, files, at_once
        self._start = 0
        self._stop: int | None = None
        self._places: Places | None = None  # in the files, where only some rows are meant

    @cached_property
    def _ends(self) -> list[int]:
        """Rows up to the end of each file."""
        return list(accumulate(map(count_rows, self.files)))

    @property
    def _span(self) -> tuple[int, int]:
        total = self._ends[-1] if self.files else 0
        return self._start, total if self._stop is None else min(self._stop, total)

    def __len__(self) -> int:
        if self._places is not None:
            return len(self._places)
        start, stop = self._span
        return max(0, stop - start)

    def __iter__(self) -> Iterator[AnyRecord]:
        for path, batch in self._batches(None):
            with named_damage(path):
                records = to_records(batch, self.kind)
            yield from records

    @overload
    def __getitem__(self, at: int) -> AnyRecord: ...
    @overload
    def __getitem__(self, at: slice) -> "Rows[AnyRecord]": ...
    def __getitem__(self, at: int | slice) -> "AnyRecord | Rows[AnyRecord]":
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step != 1:
                raise ValueError("rows are taken one after the other")
            return self._cut(start, max(start, stop))
        place = range(len(self))[at]
        return next(iter(self._cut(place, place + 1)))

    def _cut(self, start: int, stop: int) -> "Rows[AnyRecord]":
        cut = Rows(self.kind, self.files, at_once=self.at_once)
        cut._start, cut._stop, cut._ends = self._start + start, self._start + stop, self._ends
        if self._places is not None:
            cut._places = self._places[start:stop]
        return cut

    def at(self, places: Places | Sequence[int]) -> "Rows[AnyRecord]":
        """The rows at these places alone, which ascend: no others are decoded, and what holds none is not read."""
        chosen, wanted = self._cut(0, len(self)), np.asarray(places, np.int64)
        chosen._places = self._start + wanted if self._places is None else self._places[wanted]
        return chosen

    # --- some columns

    def values(self, column: str) -> Iterator[Any]:
        """The values of a column."""
        annotation = self._annotation(column)
        for path, batch in self._batches([column]):
            with named_damage(path):
                found = decode(batch.column(0), annotation, read_in_part)
            yield from found

    def pick(self, *columns: str) -> Iterator[AnyRecord]:
        """Records that have their id, these fields and what follows from them, unchecked."""
        names = [*dict.fromkeys(("id", *columns))]
        for path, batch in self._batches(names):
            with named_damage(path):
                found = pick_records(batch, self.kind)
            yield from found

    def find(self, ids: Set[str], column: str = "id") -> Iterator[AnyRecord]:
        """The whole records whose id, or first parent, is one of these."""
        for path, batch in self._matching(ids, column, None):
            with named_damage(path):
                records = to_records(batch, self.kind)
            yield from records

    def pick_of(self, ids: Set[str], *columns: str) -> Iterator[AnyRecord]:
        """As `pick`, of the records of these ids."""
        for path, batch in self._matching(ids, "id", [*dict.fromkeys(("id", *columns))]):
            with named_damage(path):
                found = pick_records(batch, self.kind)
            yield from found

    def _matching(
        self, ids: Set[str], column: str, columns: Sequence[str] | None
    ) -> Iterator[tuple[Path, pa.RecordBatch]]:
        """The rows whose id, or first parent, is one of these."""
        import pyarrow.compute as pc  # takes a while, and most rows are read without it

        wanted = pa.array(sorted(ids), pa.string())
        for path, batch in self._batches(columns) if ids else ():
            with named_damage(path):
                names = batch.column("id") if column == "id" else first_items(batch.column(column))
                found = batch.filter(pc.is_in(names, wanted))
            yield path, found

    def _annotation(self, name: str) -> object:
        return str if name == "id" else self.kind.model_fields[name].annotation

    # --- as they lie there

    def ids(self) -> Iterator[str]:
        return self.values("id")

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Columns in the schema of the kind, by default all of them."""
        for _, batch in self._batches(columns or schema_of(self.kind).names):
            yield batch

    def _batches(self, columns: Sequence[str] | None) -> Iterator[tuple[Path, pa.RecordBatch]]:
        """Some rows at a time, with their file; named columns that a file lacks have their default."""
        for path, batches in self._read_files(columns):
            while True:
                with named_damage(path):  # around the reading alone: what the user of a row meets is not the file's
                    batch = next(batches, None)
                    if batch is None:
                        break
                    found = self._complete(batch, columns) if columns else batch
                yield path, found

    def _read_files(self, columns: Sequence[str] | None) -> Iterator[tuple[Path, Iterator[pa.RecordBatch]]]:
        start, stop = self._span
        if self._places is not None:
            start, stop = (int(self._places[0]), int(self._places[-1]) + 1) if len(self._places) else (0, 0)
        at = bisect_right(self._ends, start)
        while at < len(self.files) and (before := self._ends[at - 1] if at else 0) < stop:
            path, end = self.files[at], self._ends[at]
            if self._places is None:
                yield path, _read(path, columns, max(0, start - before), min(stop, end) - before, self.at_once)
            else:
                first, last = np.searchsorted(self._places, [before, end])
                if first < last:
                    yield path, _read_at(path, columns, self._places[first:last] - before, self.at_once)
            at += 1

    def _complete(self, batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
        schema = pa.schema([schema_of_kind(self.kind).field(name) for name in columns])
        if batch.schema.names == schema.names:
            return batch.cast(schema)
        known = self.kind.model_fields
        arrays = []
        for field in schema:
            if field.name in batch.schema.names:
                arrays.append(batch.column(field.name).cast(field.type))
            elif field.name == "id" or known[field.name].is_required():
                raise KeyError(field.name)
            else:
                arrays.append(pa.array([known[field.name].default] * batch.num_rows, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


_SCHEMAS: dict[type[Record], pa.Schema] = {}


def schema_of_kind(kind: type[Record]) -> pa.Schema:
    """The schema of a kind, made once."""
    if kind not in _SCHEMAS:
        _SCHEMAS[kind] = schema_of(kind)
    return _SCHEMAS[kind]


def pick_records(batch: pa.RecordBatch, kind: type[AnyRecord]) -> Iterator[AnyRecord]:
    """Rows as records that have these columns alone; each is made when it is asked for, so that none outlives its use
    and makes work for the garbage collector."""
    names = batch.schema.names
    annotations = [str if name == "id" else kind.model_fields[name].annotation for name in names]
    columns = [decode(one, of, read_in_part) for one, of in zip(batch.columns, annotations, strict=True)]
    fields = map(dict, map(zip, repeat(names), zip(*columns, strict=True)))
    return (read_in_part(kind, one) for one in fields)


def _read(path: Path, columns: Sequence[str] | None, start: int, stop: int, at_once: int) -> Iterator[pa.RecordBatch]:
    """The rows of a file from `start` to before `stop`; row groups before them are not read."""
    with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        there = file.schema_arrow.names
        wanted = None if columns is None else [name for name in columns if name in there]
        sizes = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
        ends = list(accumulate(sizes))
        groups = [at for at, end in enumerate(ends) if end > start and end - sizes[at] < stop]
        place = ends[groups[0]] - sizes[groups[0]] if groups else 0
        for batch in file.iter_batches(at_once, row_groups=groups, columns=wanted, use_threads=False):
            cut = batch.slice(max(0, start - place), max(0, min(stop - place, batch.num_rows) - max(0, start - place)))
            place += batch.num_rows
            if cut.num_rows:
                yield cut.select(wanted) if wanted else cut


def _read_at(path: Path, columns: Sequence[str] | None, places: Places, at_once: int) -> Iterator[pa.RecordBatch]:
    """The rows at places of a file; row groups without any are not read."""
    with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        there = file.schema_arrow.names
        wanted = None if columns is None else [name for name in columns if name in there]
        start = 0
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            first, last = np.searchsorted(places, [start, start + size])
            if first < last:
                for batch in file.iter_batches(at_once, row_groups=[group], columns=wanted, use_threads=False):
                    last = np.searchsorted(places, start + batch.num_rows)
                    if first < last:
                        cut = batch.take(pa.array(places[first:last] - start))
                        yield cut.select(wanted) if wanted else cut
                    first, start = last, start + batch.num_rows
            else:
                start += size


def join_rows(kind: type[AnyRecord], parts: Iterable[Rows[AnyRecord]]) -> Rows[AnyRecord]:
    """The rows of several, one after the other."""
    return Rows(kind, [file for one in parts for file in one.files])
