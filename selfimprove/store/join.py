"""Rows that belong together, brought into one order by DuckDB, which spills to disk where they do not fit memory."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfimprove.errors import StoreError
from selfimprove.records import Rationale, Record, Verdict
from selfimprove.store.columns import first_items
from selfimprove.store.database import connect
from selfimprove.store.parts import to_records, to_table
from selfimprove.store.rows import AT_ONCE, Places, Rows, pick_records, schema_of_kind

AnyRecord = TypeVar("AnyRecord", bound=Record)
OF_PARENT = ("problem", "rationale")


class Judged:
    """Rationales with the last verdict on each, in the order of the rationales; they may be gone over again.

    Both have the columns that were asked for. A rationale without a verdict is an error, or passed over.
    """

    def __init__(
        self,
        rationales: Rows[Rationale],
        verdicts: Rows[Verdict],
        *,
        of_rationale: Sequence[str] = (),
        of_verdict: Sequence[str] = (),
        all_judged: bool = True,
    ) -> None:
        self.rationales, self.verdicts, self.all_judged = rationales, verdicts, all_judged
        self._of_rationale, self._of_verdict = of_rationale, of_verdict
        self._side_by_side: bool | None = None
        self._last_verdicts: Places | None = None

    def pick(self, of_rationale: Sequence[str], of_verdict: Sequence[str]) -> "Judged":
        """The same with other columns."""
        made = Judged(
            self.rationales,
            self.verdicts,
            of_rationale=of_rationale,
            of_verdict=of_verdict,
            all_judged=self.all_judged,
        )
        made._side_by_side, made._last_verdicts = self._side_by_side, self._last_verdicts
        return made

    def at(self, places: Places) -> "Judged":
        """The rationales at these places alone, and their verdicts."""
        if self.side_by_side:
            made = Judged(self.rationales.at(places), self.verdicts.at(places), all_judged=self.all_judged)
            made._side_by_side = True
        else:
            last = self._find_last()[places]
            verdicts = self.verdicts.at(np.unique(last[last >= 0]))
            made = Judged(self.rationales.at(places), verdicts, all_judged=self.all_judged)
        return made.pick(self._of_rationale, self._of_verdict)

    def outcomes(self) -> pa.ChunkedArray:
        """The outcome of each rationale; those without a verdict have none."""
        found = pa.chunked_array([one.column(0) for one in self.verdicts.batches(["outcome"])], pa.string())
        if self.side_by_side:
            return found
        last = self._find_last()
        return found.take(pa.array(last, mask=last < 0))

    @property
    def side_by_side(self) -> bool:
        """Whether each rationale has one verdict, in the same order, as a verifier writes them."""
        if self._side_by_side is None:
            self._side_by_side = self._lie_side_by_side()
        return self._side_by_side

    def _find_last(self) -> Places:
        """By rationale: the place of the last verdict on it, -1 where there is none."""
        if self._last_verdicts is None:
            last = np.full(len(self.rationales), -1, np.int64)
            with connect() as database:
                database.register("r", _numbered(self.rationales, ["id"], ["id"]))
                database.register("v", _numbered(self.verdicts, ["parents"], ["rationale"]))
                found = database.sql(
                    "SELECT r.place AS at, max(v.place) AS last FROM r JOIN v ON v.rationale = r.id GROUP BY r.place"
                ).fetchnumpy()
            last[found["at"]] = found["last"]
            self._last_verdicts = last
        return self._last_verdicts

    def __len__(self) -> int:
        return len(self.rationales)

    def __iter__(self) -> Iterator[tuple[Rationale, Verdict]]:
        verdicts = self._in_order()
        waiting = next(verdicts, None)
        for place, rationale in enumerate(self.rationales.pick(*self._of_rationale)):
            found = None
            while waiting is not None and waiting[0] == place:
                found, waiting = waiting[1], next(verdicts, None)
            if found is not None:
                yield rationale, found
            elif self.all_judged:
                raise _not_judged(rationale.id)

    def _in_order(self) -> Iterator[tuple[int, Verdict]]:
        """The verdicts, each with the place of its rationale."""
        if self.side_by_side:
            yield from enumerate(self.verdicts.pick(*self._of_verdict))
            return
        columns = _with_id(self._of_verdict)
        shown = ", ".join(f'v."{name}"' for name in columns)
        with connect() as database:
            database.register("r", _numbered(self.rationales, ["id"], ["id"]))
            database.register("v", _numbered(self.verdicts, [*columns, "parents"], [*columns, "rationale"]))
            ordered = database.sql(
                f"SELECT r.place, {shown} FROM r JOIN v ON v.rationale = r.id ORDER BY r.place, v.place"
            )
            for batch in ordered.to_arrow_reader(self.rationales.at_once):
                places = batch.column(0).to_pylist()
                yield from zip(places, pick_records(batch.select(columns), Verdict), strict=True)

    def by_problem(self) -> Iterator[list[tuple[Rationale, Verdict]]]:
        """The same problem by problem, in the order of their ids: those of one problem, in their order."""
        texts, judged = _with_id(self._of_rationale), _with_id(self._of_verdict)
        shown = ", ".join([*(f'r."{name}"' for name in texts), *(f'v."{name}"' for name in judged)])
        with connect() as database:
            database.register("r", _numbered(self.rationales, [*texts, "parents"], [*texts, "problem"]))
            database.register("v", _numbered(self.verdicts, [*judged, "parents"], [*judged, "rationale"]))
            ordered = database.sql(
                f"SELECT r.place, r.problem, {shown} FROM r LEFT JOIN v ON v.rationale = r.id "
                "ORDER BY r.problem, r.place, v.place"
            )
            rows = chain.from_iterable(
                zip(
                    batch.column(0).to_pylist(),
                    batch.column(1).to_pylist(),
                    pick_records(_cut_columns(batch, 2, texts), Rationale),
                    pick_records(_cut_columns(batch, 2 + len(texts), judged), Verdict),
                    strict=True,
                )
                for batch in ordered.to_arrow_reader(self.rationales.at_once)
            )
            for _, found in groupby(rows, key=itemgetter(1)):
                last = {place: (rationale, verdict) for place, _, rationale, verdict in found}
                lacking = [rationale.id for rationale, verdict in last.values() if verdict.id is None]
                if lacking and self.all_judged:
                    raise _not_judged(lacking[0])
                yield [one for one in last.values() if one[1].id is not None]

    def _lie_side_by_side(self) -> bool:
        if len(self.rationales) != len(self.verdicts):
            return False
        ids = pa.chunked_array([one.column(0) for one in self.rationales.batches(["id"])], pa.string())
        parents = [first_items(one.column(0)) for one in self.verdicts.batches(["parents"])]
        return bool(ids.equals(pa.chunked_array(parents, pa.string())))


class Chosen(Generic[AnyRecord]):
    """Rows in an order of their own, some of them more than once."""

    def __init__(self, rows: Rows[AnyRecord], order: Sequence[str]) -> None:
        """`order` holds ids of rows."""
        self.rows, self.kind, self._order = rows, rows.kind, order

    def __len__(self) -> int:
        return len(self._order)

    def ids(self) -> Iterator[str]:
        return iter(self._order)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in the schema of their kind."""
        names = self.rows.kind.model_fields
        shown = ", ".join(f'e."{name}"' for name in ("id", *names))
        with connect() as database:
            places = pa.array(range(len(self._order)), pa.int64())
            database.register("o", pa.table({"place": places, "id": pa.array(self._order, pa.string())}))
            database.register("e", _numbered(self.rows, ["id", *names], ["id", *names]))
            ordered = database.sql(f"SELECT o.place, {shown} FROM o JOIN e ON e.id = o.id ORDER BY o.place, e.place")
            last = -1
            for batch in ordered.to_arrow_reader(self.rows.at_once):
                found = batch.column(0).to_pylist()
                first = [place != before for place, before in zip(found, [last, *found], strict=False)]
                last = found[-1] if found else last
                yield batch.select(["id", *names]).filter(pa.array(first))


def in_turn(
    groups: Iterable[Sequence[AnyRecord]], kind: type[AnyRecord], *, limit: int | None = None
) -> Iterator[AnyRecord]:
    """The first record of each group, then the second of each, and so on, at most `limit`: more than fit memory."""
    known = schema_of_kind(kind)
    schema = pa.schema([pa.field("turn", pa.int64()), pa.field("place", pa.int64()), *known])
    rows = ((turn, one) for group in groups for turn, one in enumerate(group))
    with tempfile.TemporaryDirectory() as folder, connect() as database:
        path, place = Path(folder) / "rows.parquet", 0
        with pq.ParquetWriter(path, schema, compression="zstd") as file:
            while some := list(islice(rows, AT_ONCE)):
                turns = pa.array([turn for turn, _ in some], pa.int64())
                places = pa.array(range(place, place + len(some)), pa.int64())
                columns = to_table([one for _, one in some], known).columns
                file.write_table(pa.Table.from_arrays([turns, places, *columns], schema=schema))
                place += len(some)
        with pq.ParquetFile(path) as file:
            database.register("t", pa.RecordBatchReader.from_batches(schema, file.iter_batches(AT_ONCE)))
            shown = ", ".join(f'"{name}"' for name in known.names)
            ordered = database.sql(
                f"SELECT {shown} FROM t ORDER BY turn, place LIMIT {place if limit is None else limit}"
            )
            for batch in ordered.to_arrow_reader(AT_ONCE):
                yield from to_records(batch, kind)


def _not_judged(rationale: str) -> StoreError:
    return StoreError(f"no stage of this round has a verdict on the rationale {rationale}")


def _cut_columns(batch: pa.RecordBatch, start: int, names: Sequence[str]) -> pa.RecordBatch:
    """Some columns by their place, with their names: those of two kinds may have the same ones."""
    return pa.RecordBatch.from_arrays(batch.columns[start : start + len(names)], names=list(names))


def _with_id(columns: Sequence[str]) -> list[str]:
    return [*dict.fromkeys(("id", *columns))]


def _numbered(rows: Rows[AnyRecord], columns: Sequence[str], names: Sequence[str]) -> pa.RecordBatchReader:
    """Columns with the place of each row; of parents the first one, as `problem` or `rationale`."""
    known = schema_of_kind(rows.kind)
    fields = [
        pa.field(name, pa.string() if name in OF_PARENT else known.field(column).type)
        for column, name in zip(columns, names, strict=True)
    ]
    schema = pa.schema([pa.field("place", pa.int64()), *fields])

    def read() -> Iterator[pa.RecordBatch]:
        place = 0
        for batch in rows.batches([*dict.fromkeys(columns)]):
            arrays = [
                first_items(batch.column(column)) if name in OF_PARENT else batch.column(column)
                for column, name in zip(columns, names, strict=True)
            ]
            places = pa.array(range(place, place + batch.num_rows), pa.int64())
            place += batch.num_rows
            yield pa.RecordBatch.from_arrays([places, *arrays], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, read())
