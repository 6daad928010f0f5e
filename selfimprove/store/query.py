"""Questions to a run's Parquet files, answered by DuckDB without loading them whole."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from selfimprove.errors import StoreError
from selfimprove.recipe.catalog import known_stages
from selfimprove.records import KINDS
from selfimprove.store.database import connect
from selfimprove.store.files import PLAIN, File, find_fault, is_readable, list_files
from selfimprove.store.links import ROUND_NAME
from selfimprove.store.parts import named_errors, named_full_disk, partial_of, schema_of
from selfimprove.store.rules import macros
from selfimprove.store.run import RunFolder

if TYPE_CHECKING:  # networkx takes a while to import, and graphs are drawn elsewhere
    from selfimprove.records.lineage import Node

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
    LEFT JOIN decided d ON d.parents[1] = r.id
    LEFT JOIN (SELECT DISTINCT ON (parents[1]) * FROM crosscheck ORDER BY parents[1], first = second, verifier) c
      ON c.parents[1] = r.id
    LEFT JOIN (SELECT DISTINCT ON (id) * FROM problem) p ON p.id = r.parents[1]
"""
# Where several stages decide on texts, such as `select` and `best`, a text counts once: as kept where one kept it.
DECIDED = "SELECT DISTINCT ON (parents[1]) * FROM decision ORDER BY parents[1], NOT kept, stage"
SMALL = 64 << 20  # bytes of Parquet; below, several threads wait for each other longer than they work
TEXTS = ("question", "expected", "answer", "reason", "decision", "prompt", "text", "second_reason")
TRACE_ORDER = "round, stage, level, problem, origin, sample, id"
PLACE = (
    "split_part(filename, '/', -2) AS stage, "
    "CAST(replace(split_part(filename, '/', -3), 'round-', '') AS BIGINT) AS round"
)
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


MEMORY = "2GB"  # of a query; what can be put on disk meanwhile is
TO_SHOW = "512MB"  # of one that shows a few texts
PART_NAME = re.compile(r"([a-z][a-z0-9_]*)-[0-9]+\.parquet")
WORD = re.compile(r"[a-z][a-z0-9_]*")


def select_traces(filters: Mapping[str, object]) -> tuple[str, list[Any]]:
    """The SQL of the traces that pass filters, unordered, and its values; a filter that is None is left out."""
    chosen = {name: value for name, value in filters.items() if value is not None}
    where = " AND ".join(FILTERS[name] for name in chosen) or "TRUE"
    return f"SELECT * FROM ({TRACES}) WHERE {where}", list(chosen.values())


def cut_texts(sql: str, columns: Iterable[str], length: int) -> str:
    """The SQL of rows of whose texts only the beginning is given, with how much more there is of longer ones.

    It is to stand around what sorts and limits them, so that only the texts of the rows that are shown are held.
    """

    def cut(name: str) -> str:
        more = f"' … (' || (length({name}) - {length}) || ' more characters)'"
        return f"CASE WHEN length({name}) > {length} THEN {name}[:{length}] || {more} ELSE {name} END AS {name}"

    return f"SELECT * REPLACE ({', '.join(map(cut, columns))}) FROM ({sql})"


class Query:
    """A run's records as tables, one for each kind, with the round and the stage that wrote them.

    Raises StoreError where a part of a closed stage is not what was written.
    """

    def __init__(self, folder: RunFolder, *, memory: str = MEMORY) -> None:
        self.folder, self.memory = folder, memory
        listed = list(list_files(folder))
        small = sum(file.size for file in listed) < SMALL
        self.connection = connect(memory=memory, threads=1 if small else min(8, os.cpu_count() or 1))
        self._files: dict[str, list[File]] = {kind: [] for kind in KINDS}
        for file in listed:
            self._files.get(file.kind, []).append(file)
        self._undeclared = {*KINDS}
        for kind in (one for one, files in self._files.items() if not files):
            extra = [pa.field("stage", pa.string()), pa.field("round", pa.int64())]
            fields = [field for field in schema_of(KINDS[kind]) if field.name != "round"]
            self.connection.register(kind, pa.Table.from_batches([], pa.schema([*fields, *extra])))
        for statement in macros(folder):
            self._run(statement)
        for stage in folder.stages():
            try:
                stage.check_parts()
            except StoreError:
                if stage.path.name in known_stages():
                    raise  # of a stage that only others know the manifest may have another form

    def _declare(self, sql: str) -> None:
        """Make the kinds that a query names known: most ask for a few, and reading the footers of all takes a while."""
        named = set(WORD.findall(sql))
        for kind in sorted(self._undeclared & (named | {"decision"} if "decided" in named else named)):
            self._undeclared.discard(kind)
            if files := [str(file.path) for file in self._files[kind]]:
                self.connection.execute(
                    f'CREATE VIEW "{kind}" AS SELECT * EXCLUDE (filename{self._own_round(kind)}), {PLACE} '
                    f"FROM read_parquet({_literals(files)}, filename = true, union_by_name = true, {PLAIN})"
                )
            if kind == "decision":
                several = len({file.stage for file in self._files[kind]}) > 1
                self.connection.execute(f"CREATE VIEW decided AS {DECIDED if several else 'SELECT * FROM decision'}")

    def _own_round(self, kind: str) -> str:
        return ", round" if "round" in KINDS[kind].model_fields else ""

    def _run(self, sql: str, values: list[Any] | dict[str, Any] | None = None) -> Any:
        try:
            self._declare(sql)
            return self.connection.execute(sql, values)
        except duckdb.Error as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: duckdb.Error) -> StoreError:
        if isinstance(error, duckdb.OutOfMemoryException):
            return StoreError(
                f"{self.folder.path}: holds more than {self.memory} of memory can show; are texts enormous?"
            )
        for file in list_files(self.folder):
            if fault := find_fault(file) or (None if is_readable(file) else "damaged"):
                return StoreError(f"{file.path}: {fault}; move it away to see the rest")
        return StoreError(f"{self.folder.path}: a file cannot be read ({str(error).splitlines()[0][:200]})")

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries."""
        cursor = self._run(sql, list(values))
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def traces(
        self, limit: int | None = None, *, cut: int | None = None, **filters: object
    ) -> Iterator[dict[str, Any]]:
        """Rationales with their problem, verdict and decision, by round, stage and problem.

        `cut`: of each text only so many characters, and how many more there are.
        """
        sql, values = select_traces(filters)
        sql += f" ORDER BY {TRACE_ORDER}" + ("" if limit is None else f" LIMIT {int(limit)}")
        yield from self.stream(sql if cut is None else cut_texts(sql, TEXTS, cut), values, batch=1000)

    def stream(self, sql: str, values: list[Any] | dict[str, Any], *, batch: int = 100) -> Iterator[dict[str, Any]]:
        """The rows of a query, `batch` of them in memory at a time; no other query may be asked meanwhile."""
        cursor = self._run(sql, values)
        names = [column[0] for column in cursor.description]
        while rows := cursor.fetchmany(batch):
            for row in rows:
                yield dict(zip(names, row, strict=True))

    def count(self, **filters: object) -> int:
        """How many traces pass the filters."""
        return self.number(*select_traces(filters))

    def number(self, sql: str, values: list[Any]) -> int:
        """How many rows a query has."""
        return int(self._run(f"SELECT count(*) FROM ({sql})", values).fetchone()[0])

    def arrow(self, sql: str, values: Sequence[object]) -> pa.Table:
        """The rows of a query as an Arrow table."""
        try:
            self._declare(sql)
            return self.connection.sql(sql, params=values).to_arrow_table()
        except duckdb.Error as error:
            raise self._unreadable(error) from None

    def kinds(self) -> list[str]:
        """The kinds of record that lie on disk, those among them that only another version or an extension knows."""
        return sorted(self._parts())

    def select_kind(self, kind: str) -> str:
        """The SQL of all records of a kind on disk with the round and the stage that wrote them, known or not."""
        if kind in KINDS:
            return f'SELECT * FROM "{kind}"'
        files = _literals(self._parts()[kind])
        read = f"read_parquet({files}, filename = true, union_by_name = true, {PLAIN})"
        # What an unknown record says of its round or stage gives way to where it lies, as with the known ones.
        own = {row[0] for row in self._run(f"DESCRIBE SELECT * FROM {read}").fetchall()} & {"round", "stage"}
        return f"SELECT * EXCLUDE ({', '.join(['filename', *sorted(own)])}), {PLACE} FROM {read}"

    def _others(self) -> list[str]:
        """The kinds on disk that are not known here and whose rows have an id and parents, as all records do."""
        found = []
        for kind in self._parts().keys() - KINDS.keys():
            columns = {row[0]: row[1] for row in self._run(f"DESCRIBE {self.select_kind(kind)}").fetchall()}
            if (columns.get("id"), columns.get("parents")) == ("VARCHAR", "VARCHAR[]"):
                found.append(kind)
        return sorted(found)

    def _parts(self) -> dict[str, list[str]]:
        parts: dict[str, list[str]] = {}
        for file in sorted(self.folder.path.glob("round-[0-9]*/*/*.parquet")):
            named = PART_NAME.fullmatch(file.name)
            if named and ROUND_NAME.fullmatch(file.parts[-3]):
                parts.setdefault(named[1], []).append(str(file))
        return parts

    def find(self, prefix: str) -> tuple[str, str]:
        """The id and the kind of the record that a prefix names; raises StoreError where it is none or several."""
        plain = prefix.strip().lower()
        kinds = [*KINDS, *self._others()]
        union = " UNION ".join(
            f"SELECT id, '{kind}' AS kind FROM ({self.select_kind(kind)}) WHERE starts_with(id, ?)" for kind in kinds
        )
        rows = self.rows(f"SELECT * FROM ({union}) ORDER BY id LIMIT 6", *[plain] * len(kinds))
        if not plain or not rows:
            raise StoreError(f"{self.folder.path}: no record's id begins with '{prefix}'")
        if len(rows) > 1:
            shown = ", ".join(f"{row['id']} ({row['kind']})" for row in rows[:5])
            raise StoreError(f"{self.folder.path}: '{prefix}' begins several ids: {shown}; give more of it")
        return rows[0]["id"], rows[0]["kind"]

    def record(self, kind: str, identity: str, *, cut: int | None = None) -> dict[str, Any]:
        """One record with the round and the stage that wrote it, and of its texts at most `cut` characters."""
        sql = f"SELECT * FROM ({self.select_kind(kind)}) WHERE id = ? LIMIT 1"
        if cut is None:
            return self.rows(sql, identity)[0]
        columns = self._run(f"DESCRIBE {self.select_kind(kind)}").fetchall()
        texts = [f'"{name}"' for name, of, *_ in columns if of == "VARCHAR" and name not in ("id", "stage")]
        return self.rows(cut_texts(sql, texts, cut) if texts else sql, identity)[0]

    def nodes(self) -> "Iterator[Node]":
        """All records as nodes of the lineage graph."""
        for kind in (*KINDS, *self._others()):
            for row in self._run(f"SELECT id, parents FROM ({self.select_kind(kind)})").fetchall():
                yield row[0], kind, tuple(row[1])

    def copy(self, sql: str, path: Path) -> int:
        """Write a query's rows to a Parquet or JSONL file; gives their number."""
        options = "FORMAT parquet, COMPRESSION zstd" if path.suffix == ".parquet" else "FORMAT json"
        partial = partial_of(path)
        copying = f"COPY ({sql}) TO {_literals([str(partial)])[1:-1]} ({options})"
        try:
            self._declare(sql)
            with named_full_disk(path), named_errors(path):
                partial.touch()  # where it cannot be written, the run is not at fault
                row = self.connection.execute(copying).fetchone()
                partial.rename(path)
        except duckdb.Error as error:
            raise self._unreadable(error) from None
        finally:
            with suppress(OSError):
                partial.unlink()
        assert row is not None
        return int(row[0])


def _literals(values: list[str]) -> str:
    quoted = ["'" + value.replace("'", "''") + "'" for value in values]
    return f"[{', '.join(quoted)}]"
