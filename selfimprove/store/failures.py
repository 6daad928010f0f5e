"""What went wrong in a run, in groups: why texts were turned away, first wrong steps, wrong answers and texts that
recur."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from selfimprove.store.index import Index
from selfimprove.store.made_from import Family
from selfimprove.store.search import ALIKE, Filters, Search

GROUPS = 10  # that are listed, the largest first
EXAMPLES = 3
ENDS = """
    CASE WHEN finish = 'length' THEN 'cut off at the length limit' WHEN answer IS NULL THEN 'no answer found'
         WHEN reasoning = 'incorrect' THEN 'another answer, after a wrong step'
         ELSE 'another answer, and no step was found wrong' END
"""


def read_causes(search: Search, filters: Filters) -> list[dict[str, Any]]:
    """Why texts were turned away, most often first: the reason, how many in all, and by round.

    Reasons that differ in their numbers alone are one; it has its numbers where all of them are the same.
    """
    where, values = search.select(filters)
    rows = search.index.rows(
        "SELECT cause, round, count(*) AS n, min(decision) AS lowest, max(decision) AS highest FROM trace "
        f"WHERE cause <> '' AND {where} GROUP BY ALL ORDER BY round", *values,
    )  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(row["cause"], {"cause": row["cause"], "n": 0, "rounds": {}, "texts": set()})
        one["n"] += row["n"]
        one["rounds"][row["round"]] = row["n"]
        one["texts"] |= {row["lowest"], row["highest"]}
    for one in found.values():
        texts = one.pop("texts")
        one["text"] = texts.pop() if len(texts) == 1 else one["cause"]
    return sorted(found.values(), key=lambda one: (-one["n"], one["cause"]))


def read_family_fates(search: Search, filters: Filters) -> list[dict[str, Any]]:
    """How many texts of each family came how far, and the commonest reason why others were turned away."""
    where, values = search.select(filters)
    rows = search.index.rows(
        'SELECT task, level, "group", cause, count(*) AS n, count(*) FILTER (outcome = \'correct\') AS correct, '
        "count(*) FILTER (kept = 'kept') AS kept, count(*) FILTER (trained = 'example') AS trained "
        f"FROM trace WHERE NOT is_held_out(stage) AND {where} GROUP BY ALL ORDER BY n DESC, cause", *values,
    )  # fmt: skip
    found: dict[Family, dict[str, Any]] = {}
    for row in rows:
        family = row["task"], row["level"], row["group"]
        one = found.setdefault(family, {"family": family, "cause": "", "most": 0, "away": 0, "n": 0, "correct": 0,
                                        "kept": 0, "trained": 0})  # fmt: skip
        for name in ("n", "correct", "kept", "trained"):
            one[name] += row[name]
        if row["cause"]:
            one["away"] += row["n"]
            if not one["cause"]:
                one["cause"], one["most"] = row["cause"], row["n"]
    return [found[family] for family in sorted(found)]


def read_wrong_steps(search: Search, filters: Filters) -> list[dict[str, Any]]:
    """Texts with the same first wrong step: how many, in which rounds and families, with the commonest examples."""
    where, values = search.select(filters)
    rows = search.index.rows(
        "SELECT step_shape AS shape, count(*) AS n, count(DISTINCT problem) AS problems, "
        "count(*) FILTER (outcome = 'correct') AS correct FROM trace "
        f"WHERE step_shape <> '' AND {where} GROUP BY 1 ORDER BY n DESC, shape LIMIT {GROUPS}", *values,
    )  # fmt: skip
    shapes = [row["shape"] for row in rows]
    rounds = _split(search.index, "round", shapes, where, values)
    families = _split(search.index, 'task, level, "group"', shapes, where, values)
    examples: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _ask(
        search.index,
        "SELECT step_shape AS shape, step_reason AS reason, count(*) AS n, arg_max(id, seq) AS id, "
        "arg_max(step_text, seq) AS step, arg_max(problem, seq) AS problem, max(round) AS round",
        "2", shapes, where, values, f"QUALIFY row_number() OVER (PARTITION BY step_shape ORDER BY count(*) DESC, "
        f"step_reason) <= {EXAMPLES}",
    ):  # fmt: skip
        examples[row["shape"]].append(row)
    return [{**row, "rounds": sorted(rounds[row["shape"]], key=lambda one: one[0]),
             "families": families[row["shape"]], "examples": examples[row["shape"]]} for row in rows]  # fmt: skip


def _ask(
    index: Index, select: str, by: str, shapes: Sequence[str], where: str, values: Sequence[object], last: str = ""
) -> list[dict[str, Any]]:
    if not shapes:
        return []
    named = f"step_shape IN ({', '.join('?' * len(shapes))})"
    return index.rows(
        f"{select} FROM trace WHERE {named} AND {where} GROUP BY step_shape, {by} {last} ORDER BY n DESC, 2",
        *shapes, *values,
    )  # fmt: skip


def _split(
    index: Index, columns: str, shapes: Sequence[str], where: str, values: Sequence[object]
) -> Mapping[str, list[tuple[Any, ...]]]:
    """How many of each group have which values of some columns, most first."""
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in _ask(index, f"SELECT step_shape AS shape, {columns}, count(*) AS n", columns, shapes, where, values):
        found[row.pop("shape")].append(tuple(row.values()))
    return found


def read_wrong_answers(search: Search, filters: Filters) -> list[dict[str, object]]:
    """Wrong answers that several texts give to one problem: how many do, and in which rounds."""
    where, values = search.select(filters)
    rows = search.index.rows(
        "SELECT problem, answer, count(*) AS n, list_sort(list(DISTINCT round)) AS rounds, arg_max(id, seq) AS id "
        f"FROM trace WHERE outcome = 'incorrect' AND answer <> '' AND {where} GROUP BY ALL HAVING count(*) > 1 "
        f"ORDER BY n DESC, problem, answer LIMIT {GROUPS}", *values,
    )  # fmt: skip
    return search.with_questions(rows)


def read_alike(search: Search, filters: Filters) -> list[dict[str, object]]:
    """Wrong texts that differ in numbers, spaces and capitals alone: how many, in which rounds, and one of them."""
    where, values = search.select(filters)
    return search.index.rows(
        "SELECT count(*) AS n, count(DISTINCT problem) AS problems, list_sort(list(DISTINCT round)) AS rounds, "
        "arg_max(id, seq) AS id, arg_max(text[:300], seq) AS text "
        f"FROM trace WHERE outcome = 'incorrect' AND {where} GROUP BY {ALIKE} HAVING count(*) > 1 "
        f"ORDER BY n DESC, id LIMIT {GROUPS}", *values,
    )  # fmt: skip


def read_ends(search: Search, filters: Filters) -> list[dict[str, Any]]:
    """How wrong texts ended, most often first."""
    where, values = search.select(filters)
    return search.index.rows(
        f"SELECT {ENDS} AS ended, count(*) AS n FROM trace WHERE outcome = 'incorrect' AND {where} "
        "GROUP BY ALL ORDER BY n DESC, ended", *values,
    )  # fmt: skip


def read_lost(search: Search, limit: int = 50) -> dict[str, Any]:
    """Held-out problems that an earlier round solved and the last one does not, and how many were never solved."""
    rows = search.index.rows(
        "WITH seen AS (SELECT problem, round, bool_or(outcome = 'correct') AS solved FROM trace "
        "WHERE is_held_out(stage) AND origin = 'sampled' AND outcome IN ('correct', 'incorrect') GROUP BY ALL) "
        "SELECT problem, max(round) FILTER (solved) AS round, arg_max(solved, round) AS now, count(*) AS times "
        "FROM seen GROUP BY problem HAVING count(*) > 1"
    )
    lost = sorted((row for row in rows if row["round"] is not None and not row["now"]),
                  key=lambda row: (-row["round"], row["problem"]))  # fmt: skip
    return {"of": len(rows), "never": sum(row["round"] is None for row in rows), "lost": len(lost),
            "problems": search.with_questions(lost[:limit])}  # fmt: skip
