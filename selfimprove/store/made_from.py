"""What a run's index says of rounds as wholes: the funnel, the loop's health, and which stage made what from which."""

from collections.abc import Iterable
from typing import Any

from selfimprove.store.evaluated import find_evaluating
from selfimprove.store.index import Index, key_of, keys_of
from selfimprove.store.rules import COUNTS, count_funnels

Family = tuple[str, int, str]  # task, level, group
# The cube's traces as the rules of counting want them, with what the index alone knows.
CUBE = """(SELECT * EXCLUDE (kept), kept = 'kept' AS kept,
               outcome = 'undecided' AND origin = 'sampled' AND kept = 'kept' AS voted FROM cube)"""
MORE = """
    SELECT round, sum(traces) FILTER (kept = 'kept' AND origin = 'rationalized') AS kept_rationalized,
           sum(traces) FILTER (trained = 'example') AS trained,
           sum(traces) FILTER (trained IN ('chosen', 'rejected')) AS preferred,
           sum(traces) FILTER (outcome = 'none') AS unjudged
    FROM cube WHERE NOT is_held_out(stage) GROUP BY round
"""
FLOW = """
    WITH made AS (
        SELECT p.stage AS child_stage, t.problem AS parent FROM trace t JOIN part p ON p.number = t.part
            WHERE t.round = $1
        UNION ALL SELECT p.stage, t.checkpoint FROM trace t JOIN part p ON p.number = t.part WHERE t.round = $1
        UNION ALL SELECT p.stage, l.parent FROM link l JOIN record r ON r.id = l.child AND r.round = l.round
            JOIN part p ON p.number = r.part WHERE l.round = $1 AND l.kind <> 'rationale'
    ), origin AS (
        SELECT q.id, p.stage, p.round FROM (SELECT DISTINCT ON (id) id, part FROM problem ORDER BY id, round) q
            JOIN part p ON p.number = q.part
        UNION ALL SELECT t.id, p.stage, p.round FROM trace t JOIN part p ON p.number = t.part WHERE t.round = $1
        UNION ALL SELECT r.id, p.stage, p.round FROM record r JOIN part p ON p.number = r.part
            WHERE r.round = $1 OR r.kind = 'checkpoint'
    )
    SELECT o.round AS parent_round, o.stage AS parent_stage, m.child_stage AS stage, count(*) AS records
    FROM made m JOIN origin o ON o.id = m.parent GROUP BY ALL
    UNION ALL SELECT $1, p.stage, v.stage, count(*) FROM trace t JOIN part p ON p.number = t.part
        JOIN part v ON v.number = t.verdict_part WHERE t.round = $1 GROUP BY ALL
    UNION ALL SELECT $1, v.stage, d.stage, count(*) FROM trace t JOIN part v ON v.number = t.verdict_part
        JOIN part d ON d.number = t.decision_part WHERE t.round = $1 GROUP BY ALL
"""


def read_funnel(index: Index) -> list[dict[str, Any]]:
    """How many rationales of each round came how far; held-out ones aside."""
    funnels, found = count_funnels(index.rows, CUBE, "traces"), []
    more = {row["round"]: row for row in index.rows(MORE)}
    for round_, funnel in funnels.items():
        if round_ not in more:  # taken out of the index between the two questions
            continue
        later = {
            "again": sum(one.written for one in funnel.again.values()),
            "again_correct": sum(one.correct for one in funnel.again.values()),
        }
        counts = {name: getattr(funnel, name) for name in COUNTS}
        found.append({name: int(value or 0) for name, value in {**counts, **more[round_], **later}.items()})
    return found


def read_samplers(index: Index) -> list[str]:
    """The stages that sampled texts for training problems."""
    sql = "SELECT DISTINCT stage FROM cube WHERE origin = 'sampled' AND NOT is_held_out(stage) ORDER BY stage"
    return [row["stage"] for row in index.rows(sql)]


def read_overlaps(index: Index, limit: int = 50) -> list[dict[str, Any]]:
    """Rows that share text with held-out problems: the id and the round of some of these records."""
    return index.rows(f"SELECT id, round FROM record WHERE kind = 'overlap' ORDER BY round, id LIMIT {int(limit)}")


def read_health(index: Index) -> list[dict[str, Any]]:
    """What was sampled in each round: pass@1, pass@k, different texts a problem, length, entropy."""
    return index.rows("SELECT * FROM health ORDER BY round")


def read_undecided(index: Index, limit: int = 20) -> list[dict[str, Any]]:
    """Why verdicts stayed undecided, most often first."""
    return index.rows(
        "SELECT round, stage, reason, count(*) AS traces FROM trace WHERE outcome = 'undecided' GROUP BY ALL "
        f"ORDER BY traces DESC, round, reason LIMIT {int(limit)}"
    )


def read_flow(index: Index, round_: int) -> list[dict[str, Any]]:
    """Which stage's records a round's stages made theirs from, by the records' parents; in one order each time."""
    rows = index.rows(f"SELECT * FROM ({FLOW}) ORDER BY ALL", round_)
    return [row for row in rows if (row["parent_round"], row["parent_stage"]) != (round_, row["stage"])]


def read_parts(index: Index) -> list[dict[str, object]]:
    """The files that could not be read, with the reason."""
    return index.rows("SELECT path, error FROM part WHERE error IS NOT NULL ORDER BY path LIMIT 100")


def read_changes(index: Index, problem: str) -> list[dict[str, Any]]:
    """A problem's traces over the rounds, in their order."""
    return index.rows(
        "SELECT id, round, stage, origin, sample, outcome, reasoning, reason, answer, kept, trained, tokens, "
        f"checkpoint, text[:300] AS text FROM trace WHERE problem_key = {key_of(problem)} AND problem = ? "
        "ORDER BY round, stage, origin, sample, id LIMIT 2000", problem,
    )  # fmt: skip


def read_beside(index: Index, problem: str, round_: int, limit: int = 60) -> list[dict[str, object]]:
    """A problem's traces of a round with their texts, the model's own samples first."""
    return index.rows(
        "SELECT id, stage, origin, sample, outcome, reasoning, answer, kept, trained, step_text, step_reason, "
        f"text[:20000] AS text FROM trace WHERE problem_key = {key_of(problem)} AND problem = ? AND round = ? "
        f"ORDER BY origin <> 'sampled', stage, origin, sample, id LIMIT {int(limit)}", problem, round_,
    )  # fmt: skip


def read_families(index: Index, traces: Iterable[str]) -> dict[str, Family]:
    """The task, the level and the group of each trace's problem."""
    rows = index.rows(f'SELECT id, task, level, "group" FROM trace WHERE key IN ({keys_of(traces)})')
    return {row["id"]: (row["task"], row["level"], row["group"]) for row in rows}


def read_texts(index: Index, traces: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What a page shows of each of a few traces: its text, its answer, its question, and its first wrong step."""
    rows = index.rows(
        "SELECT id, problem, origin, outcome, reason, answer, step_text, step_reason, verdict_id, verdict_part, "
        f"text[:8000] AS text FROM trace WHERE key IN ({keys_of(traces)})"
    )
    questions = index.rows(
        "SELECT id, any_value(question) AS question, any_value(answer) AS expected FROM problem "
        f"WHERE key IN ({keys_of(row['problem'] for row in rows)}) GROUP BY id"
    )
    known = {row.pop("id"): row for row in questions}
    return {row["id"]: {"question": None, "expected": None, **row, **known.get(row["problem"], {})} for row in rows}


def read_solved(index: Index, round_: int) -> dict[str, tuple[str, bool]]:
    """The held-out problems that were decided in a round: the trace and whether it is right.

    Of several samples of a problem the one counts that stands for the majority, and of a text with a second prompt
    (zero-shot CoT) what follows it. Where several stages of a round evaluate, the last one counts.
    """
    names = find_evaluating(index.folder, round_).get(round_, [])
    last = "stage = $2" if names else "is_held_out(stage)"
    rows = index.rows(
        f"WITH held AS (SELECT * FROM trace WHERE {last} AND origin = 'sampled' AND round = $1 "
        "AND id NOT IN (SELECT parent FROM link WHERE kind = 'rationale' AND place = 3 AND round = $1 "
        "AND child IN (SELECT id FROM trace WHERE origin = 'sampled' AND round = $1))), "
        "voted AS (SELECT held.problem, held.id AS winner FROM held "
        "JOIN link ON parent_key = key AND parent = id WHERE kind = 'vote' AND place = 2 AND link.round = $1) "
        "SELECT problem, id, outcome FROM held LEFT JOIN voted USING (problem) "
        "WHERE outcome IN ('correct', 'incorrect') AND (winner IS NULL OR winner = id) ORDER BY seq",
        round_, *names[-1:],
    )  # fmt: skip
    return {row["problem"]: (row["id"], row["outcome"] == "correct") for row in rows}
