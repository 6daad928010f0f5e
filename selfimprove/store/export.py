"""Filtered traces as files, a batch at a time."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfimprove.store.index import Index
from selfimprove.store.index_tables import MAX_SEARCHED
from selfimprove.store.lookup import Records
from selfimprove.store.notes import Note
from selfimprove.store.parts import write_atomically
from selfimprove.store.search import Filters, Search

SCHEMA = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("id", "stage", "task", "group", "problem", "question", "expected", "origin")
        ),
        *((name, pa.int64()) for name in ("round", "level", "sample", "tokens", "steps", "wrong")),
        *(
            (name, pa.string())
            for name in ("outcome", "reasoning", "reason", "kept", "decision", "trained", "principle")
        ),
        *(
            (name, pa.string())
            for name in ("disputed", "answer", "finish", "cause", "step_text", "step_reason", "verdict", "text")
        ),
        ("logprob", pa.float64()),
    ]
)
NOTED = [
    pa.field("prompt", pa.string()),
    pa.field("notes", pa.list_(pa.struct([(name, pa.string()) for name in ("mark", "comment", "by", "at")]))),
]
"""The columns that a run with notes has more: the exact prompt of a trace with notes, and what people say of it."""
Noted = Mapping[str, Sequence[Note]]


def schema_of(noted: Noted | None) -> pa.Schema:
    return pa.schema([*SCHEMA, *NOTED]) if noted else SCHEMA


def export_rows(
    index: Index, filters: Filters, *, batch: int = 500, noted: Noted | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Filtered traces with their whole text, in the columns of SCHEMA and with notes in those of NOTED, some at a time;
    `noted` holds the notes of each trace that has any."""
    records = Records(index)
    for rows in Search(index).export(filters, batch=batch):
        ready: list[dict[str, Any]] = []
        for row in rows:
            if len(row["text"] or "") >= MAX_SEARCHED:  # the index holds the beginning alone
                whole = records.record(row["id"], "rationale")
                row["text"] = whole["text"] if whole else row["text"]
            ready.append({name: row.get(name) for name in SCHEMA.names})
            if noted:
                ready[-1] |= _notes(records, row["id"], noted.get(row["id"], ()))
            if len(row["text"] or "") >= MAX_SEARCHED:
                yield ready
                ready = []
        if ready:
            yield ready


def _notes(records: Records, identity: str, notes: Sequence[Note]) -> dict[str, object]:
    whole = records.record(identity, "rationale") if notes else None
    shown = [{"mark": one.mark, "comment": one.comment, "by": one.by, "at": one.at} for one in notes]
    return {"prompt": whole and whole["prompt"], "notes": shown}


def jsonl_lines(index: Index, filters: Filters, noted: Noted | None = None) -> Iterator[bytes]:
    """Filtered traces as JSON lines in ASCII, so that nothing in them can steer a terminal."""
    for rows in export_rows(index, filters, noted=noted):
        yield "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_rows(path: Path, rows: Iterable[dict[str, str]], names: Sequence[str]) -> int:
    """Write rows of texts to a JSONL or a Parquet file; gives their number."""
    table = pa.Table.from_pylist(list(rows), pa.schema([(name, pa.string()) for name in names]))
    if path.suffix == ".parquet":
        write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))
    else:
        lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
        write_atomically(path, lambda file: file.write(lines.encode()))
    return int(table.num_rows)


def write_parquet(index: Index, filters: Filters, file: IO[bytes], noted: Noted | None = None) -> None:
    """Write filtered traces to an open file."""
    schema = schema_of(noted)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for rows in export_rows(index, filters, noted=noted):
            writer.write_table(pa.Table.from_pylist(rows, schema))
