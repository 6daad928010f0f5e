"""Whole records, each read from its own Parquet file, and what was made from them."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from selfimprove.errors import StoreError
from selfimprove.records.files import is_regular
from selfimprove.store.files import PLAIN
from selfimprove.store.index import Index, key_of, keys_of


class Records:
    """Whole records, each read from its own Parquet file."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._parts: tuple[int, dict[int, dict[str, Any]]] = (-1, {})

    def find(self, prefix: str) -> tuple[str, str]:
        """The id and the kind of the record that a prefix names; raises StoreError where it is none or several."""
        if not re.fullmatch(r"[0-9a-f]{4,40}", prefix):
            raise StoreError("an id is at least its first 4 digits, of 0 to 9 and a to f")
        # The ids that begin so have their keys between these two.
        low, high = key_of(prefix[:16].ljust(16, "0")), key_of(prefix[:16].ljust(16, "f"))
        within = f"BETWEEN {low} AND {high} AND starts_with"
        rows = self.index.rows(
            f"SELECT id, 'rationale' AS kind FROM trace WHERE key {within}(id, $1) "
            f"UNION SELECT id, 'problem' FROM problem WHERE key {within}(id, $1) "
            f"UNION SELECT id, kind FROM record WHERE key {within}(id, $1) "
            f"UNION SELECT verdict_id, 'verdict' FROM trace WHERE verdict_key {within}(verdict_id, $1) "
            f"UNION SELECT decision_id, 'decision' FROM trace WHERE decision_key {within}(decision_id, $1) "
            "ORDER BY 1 LIMIT 2", prefix,
        )  # fmt: skip
        if not rows:
            raise StoreError(f"no record's id begins with '{prefix}'")
        if len(rows) > 1:
            raise StoreError(f"'{prefix}' begins several ids; give more of it")
        return rows[0]["id"], rows[0]["kind"]

    def kinds(self, ids: Sequence[str]) -> dict[str, str]:
        """The kind of each id that is a record of the run."""
        if not ids:
            return {}
        keys = keys_of(ids)
        rows = self.index.rows(
            f"SELECT id, kind FROM record WHERE key IN ({keys}) "
            f"UNION SELECT id, 'rationale' FROM trace WHERE key IN ({keys}) "
            f"UNION SELECT id, 'problem' FROM problem WHERE key IN ({keys}) "
            f"UNION SELECT verdict_id, 'verdict' FROM trace WHERE verdict_key IN ({keys})"
        )
        return {row["id"]: row["kind"] for row in rows}

    def read(self, identity: str, part: int | None, columns: str = "*") -> dict[str, Any] | None:
        """A record from its file; None where the file is gone or damaged since it was indexed."""
        place = self.parts().get(-1 if part is None else part)
        if place is None or not is_regular(Path(place["path"])):
            return None
        sql = f"SELECT {columns} FROM read_parquet(?, {PLAIN}) WHERE id = ? LIMIT 1"
        try:
            found = self.index.rows(sql, place["path"], identity)
        except (StoreError, duckdb.Error):
            return None
        if not found:
            return None
        row: dict[str, Any] = {**found[0], "round": place["round"], "stage": place["stage"]}
        if row.get("parents", ()) is None:  # in an edited file
            row["parents"] = []
        return {name: _finite(value) for name, value in row.items()}

    def parts(self) -> dict[int, dict[str, Any]]:
        """The path, round and stage of each part, by its number."""
        generation, parts = self._parts
        if generation != self.index.generation:
            generation = self.index.generation
            rows = self.index.rows("SELECT number, path, round, stage FROM part")
            parts = {row["number"]: row for row in rows}
            self._parts = generation, parts
        return parts

    def place(self, identity: str, kind: str) -> int | None:
        """The number of the part that holds a record."""
        column, table, key, name = {
            "rationale": ("part", "trace", "key", "id"),
            "verdict": ("verdict_part", "trace", "verdict_key", "verdict_id"),
            "decision": ("decision_part", "trace", "decision_key", "decision_id"),
            "problem": ("part", "problem", "key", "id"),
        }.get(kind, ("part", "record", "key", "id"))
        rows = self.index.rows(
            f"SELECT {column} AS part FROM {table} WHERE {key} = {key_of(identity)} AND {name} = ? LIMIT 1", identity
        )
        return rows[0]["part"] if rows else None

    def record(self, identity: str, kind: str) -> dict[str, Any] | None:
        """A record of any kind."""
        return self.read(identity, self.place(identity, kind))

    def checkpoint(self, identity: str) -> dict[str, Any]:
        """Where a checkpoint lies and what it was trained by; of its parents, thousands of them, the number alone and
        whether the first one is the checkpoint that it continues, and not a row already."""
        columns = "path, method, weights, len(parents) AS parents, parents[1] AS first"
        found = self.read(identity, self.place(identity, "checkpoint"), columns)
        if not found:
            return {"path": "", "method": "", "weights": "", "parents": 0, "continues": True}
        first = found.pop("first")
        known = self.kinds([first]).get(first, "checkpoint") if first else ""
        return {**found, "continues": known == "checkpoint"}

    def trace(self, identity: str) -> dict[str, Any] | None:
        """A trace as the index holds it."""
        # Its place first: looking for it in all columns at once would read them all.
        places = self.index.rows(f"SELECT seq FROM trace WHERE key = {key_of(identity)} AND id = ?", identity)
        if not places:
            return None
        rows = self.index.rows("SELECT * FROM trace WHERE seq = ?", places[0]["seq"])
        return rows[0] if rows else None

    def children(self, identity: str, limit: int = 50) -> list[dict[str, Any]]:
        """What was made from a record, its verdict and decision aside: child, kind, place among its parents, round."""
        return self.children_of([identity], limit)

    def children_of(self, ids: Sequence[str], limit: int = 200) -> list[dict[str, Any]]:
        """The same of several records, each with its `parent`."""
        if not ids:
            return []
        # Their places first, as for a trace.
        return self.index.rows(
            "SELECT DISTINCT ON (parent, child) parent, child, kind, place, round FROM link WHERE rowid IN "
            f"(SELECT rowid FROM link WHERE parent_key IN ({keys_of(ids)})) "
            f"ORDER BY parent, child, round, place LIMIT {int(limit)}"
        )


def _finite(value: object) -> object:
    """A value without the numbers that JSON has no word for; no record of ours holds one, an edited file may."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value
