"""Questions to an index: which traces pass the filters, how many there are of each kind, what stands in one of them."""

import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from selfimprove.errors import StoreError
from selfimprove.records import hash_text
from selfimprove.store.index import FACETS, Index

MAX_PATTERN = 200  # characters of a searched text or regular expression
MAX_VALUES = 50  # chosen values of one filter
KEPT_SEARCHES = 4
NUMBERS = ("round", "level")
SORTS = {
    "order": "seq",
    "newest": "round DESC, seq",
    "longest": "tokens DESC, seq",
    "shortest": "tokens, seq",
    "unlikely": "logprob, seq",
    "wrong steps": "wrong DESC, seq",
}
COLUMNS = (
    'seq, id, round, stage, task, level, "group", problem, origin, sample, outcome, reasoning, reason, kept, decision, '
    "trained, principle, disputed, answer, finish, tokens, logprob, steps, wrong"
)

ASKED = "WITH asked AS (SELECT id, key(id) AS key FROM (SELECT unnest(?::VARCHAR[]) AS id))"


@dataclass(frozen=True)
class Filters:
    """Which traces are asked for: the chosen values of each facet, a problem, and a text or regular expression."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str = ""
    text: str = ""
    regex: bool = False
    ids: tuple[str, ...] | None = None
    """Only these traces, such as those that people marked."""

    def __post_init__(self) -> None:
        for name, chosen in self.values.items():
            if name not in FACETS:
                raise StoreError(f"no filter '{name}'; there are {', '.join(FACETS)}")
            if len(chosen) > MAX_VALUES:
                raise StoreError(f"{name}: at most {MAX_VALUES} values can be chosen")
            if name in NUMBERS and not all(re.fullmatch(r"-?\d{1,9}", one) for one in chosen):
                raise StoreError(f"{name}: expected a whole number")
        if len(self.text) > MAX_PATTERN:
            raise StoreError(f"a search is at most {MAX_PATTERN} characters long")

    def without(self, name: str) -> "Filters":
        values = {key: chosen for key, chosen in self.values.items() if key != name}
        return Filters(values, self.problem, self.text, self.regex, self.ids)

    @property
    def counted(self) -> bool:
        """Whether the cube alone can count them."""
        return not self.problem and not self.text and self.ids is None


class Search:
    """Filtered, sorted and counted traces of one index."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._searches: OrderedDict[tuple[int, str, bool], str] = OrderedDict()
        self._lock = threading.Lock()

    def page(self, filters: Filters, *, sort: str = "order", limit: int = 50, offset: int = 0) -> list[dict[str, Any]]:
        """Traces with the beginning of their text and of their question."""
        where, values = self._where(filters)
        order = SORTS.get(sort, SORTS["order"])
        rows = self.index.rows(f"SELECT seq FROM trace WHERE {where} ORDER BY {order} LIMIT {int(limit)} "
                               f"OFFSET {int(offset)}", *values)  # fmt: skip
        return self._fill([row["seq"] for row in rows])

    def _fill(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of a page: only they are looked up in the wide columns."""
        if not places:
            return []
        listed = ", ".join(map(str, places))
        # The range leaves most of the table unread; the list alone would not.
        rows = self.index.rows(
            f"SELECT {COLUMNS}, text[:400] AS text, length(text) AS length FROM trace "
            f"WHERE seq BETWEEN {min(places)} AND {max(places)} AND seq IN ({listed})"
        )
        questions = _questions(self.index.rows, {row["problem"] for row in rows})
        by_place = {row["seq"]: {**row, **questions.get(row["problem"], {})} for row in rows}
        return [by_place[place] for place in places if place in by_place]

    def count(self, filters: Filters) -> int:
        """How many traces pass the filters."""
        where, values = self._where(filters)
        source = "sum(traces)::BIGINT AS n FROM cube" if filters.counted else "count(*) AS n FROM trace"
        return int(self.index.rows(f"SELECT {source} WHERE {where}", *values)[0]["n"] or 0)

    def facets(self, filters: Filters) -> dict[str, list[tuple[Any, int]]]:
        """The values of each facet with their counts, most first; those of a chosen facet as if it were not chosen."""
        found = {}
        table, count = ("cube", "sum(traces)::BIGINT") if filters.counted else ("trace", "count(*)")
        open_ = [name for name in FACETS if not filters.values.get(name)]
        sets: list[tuple[Filters, list[str]]] = [(filters, open_)]
        sets += [(filters.without(name), [name]) for name in FACETS if name not in open_]
        for chosen, names in sets:
            if not names:
                continue
            where, values = self._where(chosen)
            columns = ", ".join(f'"{name}"' for name in names)
            grouping = ", ".join(f'("{name}")' for name in names)
            sql = f"SELECT {columns}, {count} AS n, GROUPING_ID({columns}) AS grouping FROM {table} WHERE {where} "
            rows = self.index.rows(f"{sql} GROUP BY GROUPING SETS ({grouping})", *values)
            for at, name in enumerate(names):
                # A bit is set for each column that a row is not grouped by, the first column's the highest.
                own = ((1 << len(names)) - 1) ^ (1 << (len(names) - 1 - at))
                mine = [(row[name], int(row["n"])) for row in rows if row["grouping"] == own]
                found[name] = sorted(mine, key=lambda one: one[0] if name in NUMBERS else (-one[1], str(one[0])))
        return {name: found[name] for name in FACETS}

    def export(self, filters: Filters, *, batch: int = 500) -> Iterator[list[dict[str, Any]]]:
        """All traces that pass as they are now, with their whole searched text; of `batch` at a time those that do.

        A run that goes on meanwhile neither repeats a row nor takes one away.
        """
        where, values = self._where(filters, kept=False)
        with self.index.snapshot() as rows:
            for part in rows("SELECT min(seq) AS first, max(seq) AS last FROM trace GROUP BY round ORDER BY 1"):
                for first in range(part["first"], part["last"] + 1, batch):
                    found = rows(
                        f"SELECT {COLUMNS}, verdict_id AS verdict, decision_id, text FROM trace "
                        f"WHERE {where} AND seq BETWEEN ? AND ? ORDER BY seq", *values, first, first + batch - 1,
                    )  # fmt: skip
                    if found:
                        questions = _questions(rows, {row["problem"] for row in found})
                        yield [{**row, **questions.get(row["problem"], {})} for row in found]

    def neighbours(self, filters: Filters, sort: str, offset: int) -> tuple[str | None, str | None]:
        """The ids before and after a place in the filtered, sorted list."""
        where, values = self._where(filters)
        order = SORTS.get(sort, SORTS["order"])
        first = max(0, offset - 1)
        rows = self.index.rows(
            f"SELECT id FROM trace WHERE {where} ORDER BY {order} LIMIT 3 OFFSET {int(first)}", *values
        )
        ids = [row["id"] for row in rows]
        before = ids[0] if offset > 0 and ids else None
        at = offset - first
        return before, ids[at + 1] if len(ids) > at + 1 else None

    def _where(self, filters: Filters, *, kept: bool = True) -> tuple[str, list[Any]]:
        """The conditions of a query; `kept` looks for a text once for several queries."""
        parts, values = ["TRUE"], list[Any]()
        for name, chosen in filters.values.items():
            if chosen:
                parts.append(f'"{name}" IN ({", ".join("?" * len(chosen))})')
                values += [int(one) if name in NUMBERS else one for one in chosen]
        if filters.problem:
            parts.append("problem_key = key(?) AND problem = ?")
            values += [filters.problem, filters.problem]
        if filters.ids is not None:
            parts.append("id IN (SELECT unnest(?::VARCHAR[]))")
            values.append(list(filters.ids))
        if filters.text and not kept:
            test, value = _match(filters.text, filters.regex)
            parts.append(test)
            values.append(value)
        elif filters.text:
            parts.append(f"seq IN (SELECT seq FROM {self._found(filters.text, filters.regex)})")
        return " AND ".join(parts), values

    def _found(self, text: str, regex: bool) -> str:
        """The table of the traces whose text matches; kept for the next page and the facets of the same search."""
        key = (self.index.generation, text, regex)
        with self._lock:
            if key in self._searches:
                self._searches.move_to_end(key)
                return self._searches[key]
            table = f"scratch.found_{hash_text(repr(key))}"
            test, value = _match(text, regex)
            try:
                self.index.rows(f"CREATE OR REPLACE TABLE {table} AS SELECT seq FROM trace WHERE {test}", value)
            except StoreError as error:
                if regex and "took longer" not in str(error):
                    raise StoreError(f"'{text}' is no regular expression that can be searched for") from None
                raise
            self._searches[key] = table
            while len(self._searches) > KEPT_SEARCHES:
                self.index.rows(f"DROP TABLE IF EXISTS {self._searches.popitem(last=False)[1]}")
            return table


def _match(text: str, regex: bool) -> tuple[str, str]:
    if regex:
        return "regexp_matches(text, ?, 'i')", text
    # ILIKE is the fastest test without case; its own signs are escaped.
    escaped = re.sub(r"([%_\\])", r"\\\1", text)
    return "text ILIKE ? ESCAPE '\\'", f"%{escaped}%"


def _questions(rows: Callable[..., list[dict[str, Any]]], problems: set[str]) -> dict[str, dict[str, Any]]:
    """The question and the expected answer of each problem."""
    if not problems:
        return {}
    found = rows(
        f"{ASKED} SELECT DISTINCT ON (id) id, question, answer AS expected "
        "FROM problem SEMI JOIN asked USING (key, id)",
        list(problems),
    )
    return {row.pop("id"): row for row in found}


class Records:
    """Whole records, each read from its own Parquet file."""

    def __init__(self, index: Index) -> None:
        self.index = index

    def find(self, prefix: str) -> tuple[str, str]:
        """The id and the kind of the record that a prefix names; raises StoreError where it is none or several."""
        if not re.fullmatch(r"[0-9a-f]{4,40}", prefix):
            raise StoreError("an id is at least its first 4 digits, of 0 to 9 and a to f")
        rows = self.index.rows(
            "SELECT id, 'rationale' AS kind FROM trace WHERE key BETWEEN $2 AND $3 AND starts_with(id, $1) "
            "UNION SELECT id, 'problem' FROM problem WHERE key BETWEEN $2 AND $3 AND starts_with(id, $1) "
            "UNION SELECT id, kind FROM record WHERE key BETWEEN $2 AND $3 AND starts_with(id, $1) "
            "UNION SELECT verdict_id, 'verdict' FROM trace "
            "WHERE verdict_key BETWEEN $2 AND $3 AND starts_with(verdict_id, $1) "
            "UNION SELECT decision_id, 'decision' FROM trace "
            "WHERE decision_key BETWEEN $2 AND $3 AND starts_with(decision_id, $1) ORDER BY 1 LIMIT 2",
            prefix, int(prefix[:16].ljust(16, "0"), 16), int(prefix[:16].ljust(16, "f"), 16),
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
        rows = self.index.rows(
            f"{ASKED} SELECT id, kind FROM record SEMI JOIN asked USING (key, id) "
            "UNION SELECT id, 'rationale' FROM trace SEMI JOIN asked USING (key, id) "
            "UNION SELECT id, 'problem' FROM problem SEMI JOIN asked USING (key, id) "
            "UNION SELECT verdict_id, 'verdict' FROM trace "
            "SEMI JOIN asked ON asked.key = verdict_key AND asked.id = verdict_id",
            list(ids),
        )
        return {row["id"]: row["kind"] for row in rows}

    def read(self, identity: str, part: int | None) -> dict[str, Any] | None:
        """A record from its file; None where the file is gone or damaged since it was indexed."""
        rows = self.index.rows("SELECT path, round, stage FROM part WHERE number = ?", -1 if part is None else part)
        if not rows:
            return None
        path = rows[0].pop("path")
        if not Path(path).is_file():
            return None
        try:
            found = self.index.rows("SELECT * FROM read_parquet(?) WHERE id = ? LIMIT 1", path, identity)
        except (StoreError, duckdb.Error):
            return None
        return _finite({**found[0], **rows[0]}) if found else None

    def place(self, identity: str, kind: str) -> int | None:
        """The number of the part that holds a record."""
        column, table, key, name = {
            "rationale": ("part", "trace", "key", "id"),
            "verdict": ("verdict_part", "trace", "verdict_key", "verdict_id"),
            "decision": ("decision_part", "trace", "decision_key", "decision_id"),
            "problem": ("part", "problem", "key", "id"),
        }.get(kind, ("part", "record", "key", "id"))
        rows = self.index.rows(
            f"SELECT {column} AS part FROM {table} WHERE {key} = key($1) AND {name} = $1 LIMIT 1", identity
        )
        return rows[0]["part"] if rows else None

    def record(self, identity: str, kind: str) -> dict[str, Any] | None:
        """A record of any kind."""
        return self.read(identity, self.place(identity, kind))

    def trace(self, identity: str) -> dict[str, Any] | None:
        """A trace as the index holds it."""
        # Its place first: looking for it in all columns at once would read them all.
        places = self.index.rows("SELECT seq FROM trace WHERE key = key($1) AND id = $1 LIMIT 1", identity)
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
        return self.index.rows(
            f"{ASKED} SELECT DISTINCT ON (parent, child) parent, child, kind, place, round FROM link "
            "SEMI JOIN asked ON asked.key = parent_key AND asked.id = parent "
            f"ORDER BY parent, child, place LIMIT {int(limit)}", list(ids),
        )  # fmt: skip


def _finite(value: Any) -> Any:
    """A value without the numbers that JSON has no word for; no record of ours holds one, an edited file may."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value
