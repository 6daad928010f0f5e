"""Questions to an index: which traces pass the filters, how many there are of each kind, what stands in one of them."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from selfimprove.errors import StoreError
from selfimprove.records import hash_text
from selfimprove.store.index import Index, key_of, keys_of
from selfimprove.store.index_tables import COMBO, FACETS, MAX_SEARCHED, ROUND
from selfimprove.store.patterns import matches

MAX_PATTERN = 200  # characters of a searched text or regular expression
MAX_VALUES = 50  # chosen values of one filter
KEPT_SEARCHES = 3  # tables of what a text was found in, at most 40 bytes a trace each
NUMBERS = ("round", "level")
UNKNOWN = {"question": None, "expected": None}  # of a problem whose part is torn or missing
ALIKE = "hash(translate(lower(text), '0123456789 \n\t', ''))"
"""The same for texts that differ in numbers, spaces and capitals alone."""
SORTS = {
    "order": "seq",
    "newest": f"seq // {ROUND} DESC, seq",
    "longest": "tokens DESC, seq",
    "shortest": "tokens, seq",
    "unlikely": "logprob, seq",
    "wrong steps": "wrong DESC, seq",
}
COLUMNS = (
    'seq, id, round, stage, task, level, "group", problem, origin, sample, outcome, reasoning, reason, kept, decision, '
    "trained, principle, disputed, answer, finish, tokens, logprob, steps, wrong, cause, step_text, step_reason, "
    "step_shape"
)


@dataclass(frozen=True)
class Filters:
    """Which traces are asked for: the chosen values of each facet, a problem, and a text or regular expression."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str = ""
    text: str = ""
    regex: bool = False
    ids: tuple[str, ...] | None = None
    """Only these traces, such as those that people marked."""
    step: str = ""
    """The form of the reason why their first wrong step is wrong."""
    answer: str = ""
    """The answer that they give."""
    like: str = ""
    """A trace whose text they have but for numbers, spaces and capitals."""

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

    @property
    def counted(self) -> bool:
        """Whether the cube alone can count them."""
        return not (self.problem or self.text or self.step or self.answer or self.like) and self.ids is None


class Search:
    """Filtered, sorted and counted traces of one index."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._searches: OrderedDict[tuple[int, str, bool], str] = OrderedDict()
        self._lock = threading.Lock()

    def page(self, filters: Filters, *, sort: str = "order", limit: int = 50, offset: int = 0) -> list[dict[str, Any]]:
        """Traces with the beginning of their text and of their question."""
        return self._fill(self._places(filters, sort, limit, offset), filters)

    def ids(self, filters: Filters, *, sort: str = "order", limit: int = 200, offset: int = 0) -> list[str]:
        """The ids of traces in the filtered, sorted list."""
        places = self._places(filters, sort, limit, offset)
        listed = ", ".join(map(str, places)) or "NULL"
        rows = self.index.rows(f"SELECT seq, id FROM trace WHERE seq IN ({listed})")
        by_place = {row["seq"]: row["id"] for row in rows}
        return [by_place[place] for place in places if place in by_place]

    def _places(self, filters: Filters, sort: str, limit: int, offset: int) -> list[int]:
        table, where, values = self._source(filters)
        order = SORTS.get(sort, SORTS["order"])
        rows = self.index.rows(f"SELECT seq FROM {table} WHERE {where} ORDER BY {order} LIMIT {int(limit)} "
                               f"OFFSET {int(offset)}", *values)  # fmt: skip
        return [row["seq"] for row in rows]

    def _fill(self, places: Sequence[int], filters: Filters) -> list[dict[str, Any]]:
        """The rows of a page: only they are looked up in the wide columns. Where a text was searched for they have
        `found`: the place of the text where it stands."""
        if not places:
            return []
        listed = ", ".join(map(str, places))
        hit = "regexp_extract(text, $1, 0, 'i')" if filters.regex else "$1"
        found = (
            f", strpos(lower(text), lower({hit})) AS place, "
            "CASE WHEN place > 200 THEN text[greatest(1, place - 80):][:400] END AS found"
        )
        # The range leaves most of the table unread; the list alone would not. Without a step of its own for the rows,
        # what was searched for would be looked for in all texts once more.
        rows = self.index.rows(
            f"WITH page AS MATERIALIZED (SELECT {COLUMNS}, text FROM trace WHERE seq BETWEEN {min(places)} AND "
            f"{max(places)} AND seq IN ({listed})) SELECT {COLUMNS}, text[:400] AS text, length(text) AS length"
            f"{found if filters.text else ''} FROM page",
            *([filters.text] if filters.text else []),
        )
        questions = _questions(self.index.rows, {row["problem"] for row in rows})
        by_place = {row["seq"]: {**row, **questions.get(row["problem"], UNKNOWN)} for row in rows}
        return [by_place[place] for place in places if place in by_place]

    def with_questions(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows that name a problem, with its question and the expected answer."""
        known = _questions(self.index.rows, {row["problem"] for row in rows})
        return [{**row, **known.get(row["problem"], UNKNOWN)} for row in rows]

    def words(self, filters: Filters, texts: Sequence[str | None]) -> list[str]:
        """What of some texts is searched for: the text itself, or what its regular expression finds in them."""
        if not filters.regex or not filters.text:
            return [filters.text] if filters.text else []
        rows = self.index.rows(
            "SELECT DISTINCT unnest(regexp_extract_all(one, ?, 0, 'i')[:20]) AS word "
            "FROM (SELECT unnest(?::VARCHAR[]) AS one)", filters.text, [one[:MAX_SEARCHED] for one in texts if one],
        )  # fmt: skip
        return sorted({row["word"] for row in rows if 0 < len(row["word"]) <= MAX_PATTERN})[:100]

    def count(self, filters: Filters) -> int:
        """How many traces pass the filters."""
        if filters.counted:
            where, values = _chosen(filters)
            rows = self.index.rows(f"SELECT sum(traces)::BIGINT AS n FROM cube WHERE {where}", *values)
        else:
            table, where, values = self._source(filters)
            rows = self.index.rows(f"SELECT count(*) AS n FROM {table} WHERE {where}", *values)
        return int(rows[0]["n"] or 0)

    def facets(self, filters: Filters) -> dict[str, list[tuple[Any, int]]]:
        """The values of each facet with their counts, most first; those of a chosen facet as if it were not chosen."""
        counted, values = "FROM cube", list[Any]()
        if not filters.counted:
            table, where, values = self._source(replace(filters, values={}))
            combo = "combo" if filters.text else f"{COMBO} AS combo"
            counted = (
                "SELECT cube.* REPLACE (n AS traces) FROM cube JOIN (SELECT combo, count(*) AS n FROM "
                f"(SELECT {combo} FROM {table} WHERE {where}) GROUP BY combo) USING (combo)"
            )
        parts = []
        for name in FACETS:
            where, chosen = _chosen(filters, without=name)
            parts.append(f"SELECT '{name}' AS facet, \"{name}\"::VARCHAR AS value, sum(traces)::BIGINT AS n "
                         f"FROM counted WHERE {where} GROUP BY 2")  # fmt: skip
            values += chosen
        found: dict[str, list[tuple[Any, int]]] = {name: [] for name in FACETS}
        how = "" if filters.counted else "MATERIALIZED"
        for row in self.index.rows(f"WITH counted AS {how} ({counted}) {' UNION ALL '.join(parts)}", *values):
            value = int(row["value"]) if row["facet"] in NUMBERS else row["value"]
            found[row["facet"]].append((value, row["n"]))
        for name, rows in found.items():
            rows.sort(key=lambda one: one[0] if name in NUMBERS else (-one[1], str(one[0])))
        return found

    def export(self, filters: Filters, *, batch: int = 500) -> Iterator[list[dict[str, Any]]]:
        """All traces that pass as they are now, with their whole searched text; of `batch` at a time those that do.

        A run that goes on meanwhile neither repeats a row nor takes one away.
        """
        where, values = _chosen(filters)
        named, more = _named(filters)
        where, values = f"{where} AND {named}", values + more
        if filters.text:
            test, matched = _match(filters.text, filters.regex)
            where, values = f"{where} AND {test}", values + matched
        with self.index.snapshot() as rows:
            for part in rows("SELECT min(seq) AS first, max(seq) AS last FROM trace GROUP BY round ORDER BY 1"):
                for first in range(part["first"], part["last"] + 1, batch):
                    found = rows(
                        f"SELECT {COLUMNS}, verdict_id AS verdict, decision_id, text FROM trace "
                        f"WHERE {where} AND seq BETWEEN ? AND ? ORDER BY seq", *values, first, first + batch - 1,
                    )  # fmt: skip
                    if found:
                        questions = _questions(rows, {row["problem"] for row in found})
                        yield [{**row, **questions.get(row["problem"], UNKNOWN)} for row in found]

    def neighbours(self, filters: Filters, sort: str, offset: int) -> tuple[str | None, str | None]:
        """The ids before and after a place in the filtered, sorted list."""
        first = max(0, offset - 1)
        places = self._places(filters, sort, 3, first)
        listed = ", ".join(map(str, places)) or "NULL"
        by_place = {row["seq"]: row["id"] for row in
                    self.index.rows(f"SELECT seq, id FROM trace WHERE seq IN ({listed})")}  # fmt: skip
        ids = [by_place.get(place) for place in places]
        before = ids[0] if offset > 0 and ids else None
        at = offset - first
        return before, ids[at + 1] if len(ids) > at + 1 else None

    def _source(self, filters: Filters) -> tuple[str, str, list[Any]]:
        """The table of the traces that hold the text, or all of them, and the other conditions on it."""
        where, values = _chosen(filters)
        only, more = _named(filters)
        if not filters.text:
            return "trace", f"{where} AND {only}", values + more
        found = self._found(filters.text, filters.regex)
        parts = [f"combo IN (SELECT combo FROM cube WHERE {where})"] if values else ["TRUE"]
        parts += [f"seq IN (SELECT seq FROM trace WHERE {only})"] if only != "TRUE" else []
        return found, " AND ".join(parts), values + more

    def select(self, filters: Filters) -> tuple[str, list[Any]]:
        """The condition on the table of traces that those pass which are asked for, with its values."""
        table, where, values = self._source(filters)
        return (where, values) if table == "trace" else (f"seq IN (SELECT seq FROM {table} WHERE {where})", values)

    def _found(self, text: str, regex: bool) -> str:
        """The table of the traces whose text matches; kept for the next page and the facets of the same search."""
        key = (self.index.generation, text, regex)
        with self._lock:
            if key in self._searches:
                self._searches.move_to_end(key)
                return self._searches[key]
            table = f"scratch.found_{hash_text(repr(key))}"
            (in_text, first), (in_question, second) = _tests(text, regex)
            try:
                # Either test alone is made while the table is read; one or the other is not, and reads all columns.
                self.index.rows(
                    f"CREATE OR REPLACE TABLE {table} AS SELECT seq, {COMBO} AS combo, tokens, logprob, wrong "
                    f"FROM trace WHERE seq IN (SELECT seq FROM trace WHERE {in_text} UNION "
                    f"SELECT seq FROM trace WHERE {in_question})", *first, *second,
                )  # fmt: skip
            except StoreError as error:
                if regex and "took longer" not in str(error):
                    raise StoreError(f"'{text}' is no regular expression that can be searched for") from None
                raise
            self._searches[key] = table
            while len(self._searches) > KEPT_SEARCHES:
                self.index.rows(f"DROP TABLE IF EXISTS {self._searches.popitem(last=False)[1]}")
            return table


def _chosen(filters: Filters, without: str = "") -> tuple[str, list[Any]]:
    """The conditions on facets, on the traces or on the cube."""
    parts, values = ["TRUE"], list[Any]()
    for name, chosen in filters.values.items():
        if chosen and name != without:
            parts.append(f'"{name}" IN ({", ".join("?" * len(chosen))})')
            values += [int(one) if name in NUMBERS else one for one in chosen]
    return " AND ".join(parts), values


def _named(filters: Filters) -> tuple[str, list[Any]]:
    """The conditions that the cube does not know."""
    parts, values = [f"problem_key = {key_of(filters.problem)}"] if filters.problem else [], list[Any]()
    parts += [f"key IN ({keys_of(filters.ids)})"] if filters.ids is not None else []
    if filters.like:
        parts.append(f"{ALIKE} = (SELECT any_value({ALIKE}) FROM trace WHERE key = {key_of(filters.like)})")
    for column, value in (("step_shape", filters.step), ("answer", filters.answer)):
        if value:
            parts.append(f"{column} = ?")
            values.append(value)
    return " AND ".join(parts) or "TRUE", values


def _match(text: str, regex: bool) -> tuple[str, list[Any]]:
    """The condition that a trace's text or its question holds a text or matches a regular expression."""
    (in_text, first), (in_question, second) = _tests(text, regex)
    return f"({in_text} OR {in_question})", [*first, *second]


def _tests(text: str, regex: bool) -> tuple[tuple[str, list[str]], tuple[str, list[str]]]:
    """The conditions that a trace's text, and that its question, holds a text or matches an expression."""
    pattern = text if regex else re.escape(text)  # ILIKE would take longer
    test, values = matches("question", pattern)
    asked = f"problem_key IN (SELECT key FROM problem WHERE {test})"
    return matches("text", pattern), (asked, values)


def _questions(rows: Callable[..., list[dict[str, Any]]], problems: set[str]) -> dict[str, dict[str, Any]]:
    """The question and the expected answer of each problem."""
    if not problems:
        return {}
    found = rows(
        "SELECT id, question, answer AS expected FROM problem WHERE rowid IN "
        f"(SELECT min(rowid) FROM problem WHERE key IN ({keys_of(problems)}) GROUP BY key)"
    )
    return {row.pop("id"): row for row in found}
