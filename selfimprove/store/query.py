"""Questions to a run's Parquet files, answered by DuckDB without loading them whole."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from selfimprove.errors import StoreError
from selfimprove.lineage import Node
from selfimprove.records import KINDS
from selfimprove.store.database import connect
from selfimprove.store.parts import schema_of
from selfimprove.store.rules import macros
from selfimprove.store.run import ROUND_NAME, RunFolder

TRACES = """
    SELECT r.id, r.round, r.stage, p.task, p.level, p."group", r.origin, r.sample, p.question,
           p.answer AS expected, r.answer, v.outcome, v.reason,
           reasoning_of(v.steps) AS reasoning, is_held_out(r.stage) AS held_out,
           d.kept, d.reason AS decision, r.tokens, r.logprob, r.finish, r.temperature, r.seed,
           r.parents[1] AS problem, r.parents[2] AS checkpoint, r.parents[3] AS continues, v.id AS verdict,
           r.prompt, r.text, v.steps, v.coverage,
           c.second, c.reason AS second_reason, c.verifier AS second_verifier, c.first <> c.second AS disputed
    FROM rationale r
    LEFT JOIN verdict v ON v.parents[1] = r.id
    LEFT JOIN decision d ON d.parents[1] = r.id
    LEFT JOIN (SELECT DISTINCT ON (parents[1]) * FROM crosscheck ORDER BY parents[1], first = second, verifier) c
      ON c.parents[1] = r.id
    LEFT JOIN (SELECT DISTINCT ON (id) * FROM problem) p ON p.id = r.parents[1]
"""
FILTERS = {
    "round": "round = ?",
    "stage": "stage = ?",
    "task": "task = ?",
    "level": "level = ?",
    "group": '"group" = ?',
    "outcome": "outcome = ?",
    "reasoning": "reasoning = ?",
    "origin": "origin = ?",
    "kept": "kept = ?",
    "disputed": "disputed = ?",
    "problem": "problem = ?",
    "text": "contains(lower(text), lower(?))",
}


class Query:
    """A run's records as tables, one for each kind, with the round and the stage that wrote them."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.connection = connect(memory="2GB", threads=min(8, os.cpu_count() or 1))
        for statement in macros(folder):
            self._run(statement)
        for kind, record in KINDS.items():
            named = sorted(folder.path.glob(f"round-[0-9]*/*/{kind}-[0-9]*.parquet"))
            files = [str(file) for file in named if ROUND_NAME.fullmatch(file.parts[-3])]
            if files:
                self._run(
                    f"CREATE VIEW {kind} AS SELECT * EXCLUDE (filename{self._own_round(kind)}), "
                    f"split_part(filename, '/', -2) AS stage, "
                    f"CAST(replace(split_part(filename, '/', -3), 'round-', '') AS BIGINT) AS round "
                    f"FROM read_parquet({_literals(files)}, filename = true, union_by_name = true)"
                )
            else:
                extra = [pa.field("stage", pa.string()), pa.field("round", pa.int64())]
                fields = [field for field in schema_of(record) if field.name != "round"]
                self.connection.register(f"no_{kind}", pa.schema([*fields, *extra]).empty_table())
                self._run(f"CREATE VIEW {kind} AS SELECT * FROM no_{kind}")

    def _own_round(self, kind: str) -> str:
        return ", round" if "round" in KINDS[kind].model_fields else ""

    def _run(self, sql: str, values: list[Any] | dict[str, Any] | None = None) -> Any:
        try:
            return self.connection.execute(sql, values)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise StoreError(f"{self.folder.path}: a file cannot be read ({reason[:200]})") from None

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries."""
        cursor = self._run(sql, list(values))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def traces(self, limit: int | None = None, **filters: Any) -> Iterator[dict[str, Any]]:
        """Rationales with their problem, verdict and decision, by round, stage and problem."""
        chosen = {name: value for name, value in filters.items() if value is not None}
        where = " AND ".join(FILTERS[name] for name in chosen) or "TRUE"
        order = "round, stage, level, problem, origin, sample, id"
        tail = "" if limit is None else f" LIMIT {int(limit)}"
        sql = f"SELECT * FROM ({TRACES}) WHERE {where} ORDER BY {order}{tail}"
        yield from self.stream(sql, list(chosen.values()), batch=1000)

    def stream(self, sql: str, values: list[Any] | dict[str, Any], *, batch: int = 100) -> Iterator[dict[str, Any]]:
        """The rows of a query, `batch` of them in memory at a time; no other query may be asked meanwhile."""
        cursor = self._run(sql, values)
        names = [column[0] for column in cursor.description]
        while rows := cursor.fetchmany(batch):
            for row in rows:
                yield dict(zip(names, row, strict=True))

    def count(self, **filters: Any) -> int:
        """How many traces pass the filters."""
        chosen = {name: value for name, value in filters.items() if value is not None}
        where = " AND ".join(FILTERS[name] for name in chosen) or "TRUE"
        return int(self._run(f"SELECT count(*) FROM ({TRACES}) WHERE {where}", list(chosen.values())).fetchone()[0])

    def find(self, prefix: str) -> tuple[str, str]:
        """The id and the kind of the record that a prefix names; raises StoreError where it is none or several."""
        plain = prefix.strip().lower()
        union = " UNION ".join(f"SELECT id, '{kind}' AS kind FROM {kind} WHERE starts_with(id, ?)" for kind in KINDS)
        rows = self.rows(f"SELECT * FROM ({union}) ORDER BY id LIMIT 6", *[plain] * len(KINDS))
        if not plain or not rows:
            raise StoreError(f"{self.folder.path}: no record's id begins with '{prefix}'")
        if len(rows) > 1:
            shown = ", ".join(f"{row['id']} ({row['kind']})" for row in rows[:5])
            raise StoreError(f"{self.folder.path}: '{prefix}' begins several ids: {shown}; give more of it")
        return rows[0]["id"], rows[0]["kind"]

    def record(self, kind: str, identity: str) -> dict[str, Any]:
        """One record with the round and the stage that wrote it."""
        return self.rows(f"SELECT * FROM {kind} WHERE id = ? LIMIT 1", identity)[0]

    def nodes(self) -> Iterator[Node]:
        """All records as nodes of the lineage graph."""
        for kind in KINDS:
            for row in self._run(f"SELECT id, parents FROM {kind}").fetchall():
                yield row[0], kind, tuple(row[1])

    def copy(self, sql: str, path: Path) -> int:
        """Write a query's rows to a Parquet or JSONL file; gives their number."""
        options = "FORMAT parquet, COMPRESSION zstd" if path.suffix == ".parquet" else "FORMAT json"
        partial = path.with_name(path.name + ".partial")
        count = self._run(f"COPY ({sql}) TO {_literals([str(partial)])[1:-1]} ({options})").fetchone()[0]
        partial.rename(path)
        return int(count)


def _literals(values: list[str]) -> str:
    quoted = ["'" + value.replace("'", "''") + "'" for value in values]
    return f"[{', '.join(quoted)}]"
