"""Rows that belong together, brought into one order by DuckDB, which spills to disk where they do not fit memory."""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from selfimprove.errors import StoreError
from selfimprove.records import Rationale, Record, Verdict
from selfimprove.store.database import connect
from selfimprove.store.rows import Rows, pick_records, schema_of_kind

AnyRecord = TypeVar("AnyRecord", bound=Record)


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

    def pick(self, of_rationale: Sequence[str], of_verdict: Sequence[str]) -> "Judged":
        """The same with other columns."""
        made = Judged(
            self.rationales,
            self.verdicts,
            of_rationale=of_rationale,
            of_verdict=of_verdict,
            all_judged=self.all_judged,
        )
        made._side_by_side = self._side_by_side
        return made

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
                raise StoreError(f"no stage of this round has a verdict on the rationale {rationale.id}")

    def _in_order(self) -> Iterator[tuple[int, Verdict]]:
        """The verdicts, each with the place of its rationale."""
        if self._side_by_side is None:
            self._side_by_side = self._lie_side_by_side()
        if self._side_by_side:
            yield from enumerate(self.verdicts.pick(*self._of_verdict))
            return
        columns = [*dict.fromkeys(("id", *self._of_verdict))]
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

    def _lie_side_by_side(self) -> bool:
        """Whether each rationale has one verdict, in the same order, as a verifier writes them."""
        if len(self.rationales) != len(self.verdicts):
            return False
        ids = pa.chunked_array([one.column(0) for one in self.rationales.batches(["id"])], pa.string())
        parents = [pc.list_element(one.column(0), 0) for one in self.verdicts.batches(["parents"])]
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


def _numbered(rows: Rows[AnyRecord], columns: Sequence[str], names: Sequence[str]) -> pa.RecordBatchReader:
    """Columns with the place of each row; of parents the first one."""
    known = schema_of_kind(rows.kind)
    fields = [
        pa.field(name, pa.string() if name == "rationale" else known.field(column).type)
        for column, name in zip(columns, names, strict=True)
    ]
    schema = pa.schema([pa.field("place", pa.int64()), *fields])

    def read() -> Iterator[pa.RecordBatch]:
        place = 0
        for batch in rows.batches(columns):
            arrays = [
                pc.list_element(one, 0) if name == "rationale" else one
                for one, name in zip(batch.columns, names, strict=True)
            ]
            places = pa.array(range(place, place + batch.num_rows), pa.int64())
            place += batch.num_rows
            yield pa.RecordBatch.from_arrays([places, *arrays], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, read())
