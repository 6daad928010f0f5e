"""The tables of the index, and how a round's records get into them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from selfimprove.records import KINDS, Record
from selfimprove.store.files import PLAIN, File
from selfimprove.store.parts import schema_of

MAX_SEARCHED = 100_000  # characters of one text that a search looks at
MAX_VALUE = 300  # characters of a value that traces are filtered by, such as a task's name
# What a trace is counted by; the cube holds the number of traces for each combination that occurs.
FACETS = (
    "round", "stage", "task", "level", "group", "outcome", "reasoning", "origin", "kept", "trained", "principle",
    "disputed", "finish", "cause",
)  # fmt: skip
COMBO = "hash(" + ", ".join(f'"{name}"' for name in FACETS) + ")"
"""A trace's combination of facets as a number, by which it finds its row of the cube."""
ROUND = 1 << 40  # the first trace of a round, in the order of all
APART = ("problem", "rationale", "verdict", "decision")  # kinds with a table or columns of their own
UNLINKED = ("evaluation", "frontier")  # their parents are all verdicts of a group
# Beside an id stands its key, its first 16 digits as a number: it is many times as fast to look for as a text.
TABLES = """
    CREATE TABLE meta (version INTEGER);
    CREATE MACRO key(id) AS coalesce(try_cast('0x' || id[:16] AS UBIGINT), 0);
    CREATE TABLE part (number INTEGER, path VARCHAR, kind VARCHAR, round INTEGER, stage VARCHAR, size BIGINT,
                       modified BIGINT, rows BIGINT, error VARCHAR);
    CREATE TABLE trace (seq BIGINT, key UBIGINT, id VARCHAR, round INTEGER, stage VARCHAR, task VARCHAR,
                        level INTEGER, "group" VARCHAR, problem_key UBIGINT, problem VARCHAR, checkpoint VARCHAR,
                        origin VARCHAR, sample INTEGER,
                        outcome VARCHAR, reasoning VARCHAR, reason VARCHAR, kept VARCHAR, decision VARCHAR,
                        trained VARCHAR, principle VARCHAR, disputed VARCHAR, answer VARCHAR, finish VARCHAR,
                        tokens INTEGER, logprob DOUBLE, steps INTEGER, wrong INTEGER, cause VARCHAR,
                        step_text VARCHAR, step_reason VARCHAR, step_shape VARCHAR,
                        verdict_key UBIGINT, verdict_id VARCHAR, decision_key UBIGINT, decision_id VARCHAR,
                        part INTEGER, verdict_part INTEGER, decision_part INTEGER, text VARCHAR);
    CREATE TABLE problem (key UBIGINT, id VARCHAR, round INTEGER, question VARCHAR, answer VARCHAR, task VARCHAR,
                          level INTEGER, "group" VARCHAR, part INTEGER);
    CREATE TABLE record (key UBIGINT, id VARCHAR, kind VARCHAR, round INTEGER, part INTEGER);
    CREATE TABLE link (parent_key UBIGINT, parent VARCHAR, child_key UBIGINT, child VARCHAR, kind VARCHAR,
                       place INTEGER, round INTEGER);
    CREATE TABLE apart (key UBIGINT, id VARCHAR, role VARCHAR, round INTEGER);
    CREATE TABLE cube (round INTEGER, stage VARCHAR, task VARCHAR, level INTEGER, "group" VARCHAR, outcome VARCHAR,
                       reasoning VARCHAR, origin VARCHAR, kept VARCHAR, trained VARCHAR, principle VARCHAR,
                       disputed VARCHAR, finish VARCHAR, cause VARCHAR, traces BIGINT, combo UBIGINT);
    CREATE TABLE health (round INTEGER, problems BIGINT, samples BIGINT, most BIGINT, pass_1 DOUBLE, pass_k DOUBLE,
                         different DOUBLE, tokens DOUBLE, nats DOUBLE, different_valid BIGINT);
"""
# What is joined holds no more than it gives: a round of a million samples has to fit the index's small memory.
INSERT_TRACES = """
    INSERT INTO trace
    SELECT {round}::BIGINT * {apart}
               + row_number() OVER (ORDER BY r.stage, p.level, r.parents[1], r.origin, r.sample, r.id),
           key(r.id), r.id, {round}, r.stage, coalesce(p.task, 'unknown'), coalesce(p.level, 0),
           coalesce(p."group", ''), key(r.parents[1]), coalesce(r.parents[1], '') AS problem,
           coalesce(r.parents[2], ''), r.origin, r.sample,
           coalesce(v.outcome, 'none'),
           coalesce(v.reasoning, 'none'), v.reason,
           CASE d.kept WHEN true THEN 'kept' WHEN false THEN 'turned away' ELSE 'none' END, d.reason,
           'no', coalesce(n.principle, ''),
           CASE WHEN c.id IS NULL THEN 'none' WHEN c.first <> c.second THEN 'yes' ELSE 'no' END,
           r.answer[:400], r.finish, r.tokens, CASE WHEN isfinite(r.logprob) THEN r.logprob END, v.steps, v.wrong,
           cause_of(d.kept, d.reason)[:{value}], r.text[v.first_start + 1:v.first_end][:200],
           v.first_reason, shape_of(v.first_reason),
           key(v.id), v.id, key(d.id), d.id,
           r.part, v.part, d.part, r.text[:{searched}]
    FROM ({rationale}) r
    LEFT JOIN (SELECT DISTINCT ON (parent) * FROM (
        SELECT parents[1] AS parent, id, outcome, reason[:400] AS reason, part,
               reasoning_of(steps) AS reasoning, len(steps) AS steps,
               len(list_filter(steps, lambda s: s.outcome = 'incorrect')) AS wrong,
               first_wrong(steps)."start" AS first_start, first_wrong(steps)."end" AS first_end,
               first_wrong(steps).reason[:{value}] AS first_reason
        FROM ({verdict}))) v ON v.parent = r.id
    LEFT JOIN (SELECT DISTINCT ON (parent) * FROM (
        SELECT parents[1] AS parent, id, kept, reason[:400] AS reason, stage, part FROM ({decision}))
        ORDER BY parent, NOT kept, stage) d ON d.parent = r.id
    LEFT JOIN (SELECT DISTINCT ON (parent) * FROM (
        SELECT parents[1] AS parent, id, first, second FROM ({crosscheck}))
        ORDER BY parent, first = second) c ON c.parent = r.id
    LEFT JOIN (SELECT DISTINCT ON (parent) * FROM (
        SELECT parents[1] AS parent, principle[:{value}] AS principle FROM ({revision}))) n ON n.parent = r.id
    LEFT JOIN (SELECT DISTINCT ON (id) id, task, level, "group" FROM problem) p ON p.id = r.parents[1]
    ORDER BY 1
"""
# Before a round is indexed anew: what only its checkpoints of before trained is not trained any more.
UNMARK_TRAINED = """
    UPDATE trace SET trained = 'no' WHERE round <> $1 AND trained <> 'no' AND key IN (
        SELECT made.parent_key FROM link made JOIN link used
            ON used.parent_key = made.child_key AND used.parent = made.child AND used.kind = 'checkpoint'
        WHERE used.round = $1 AND made.kind IN ('example', 'preference')
    )
"""
# What a policy's checkpoint names among its parents was trained: an example, or a preference of the chosen over the
# rejected. What a reward model or a judge was trained on is no part of the policy.
MARK_TRAINED = """
    UPDATE trace SET trained = how FROM (
        SELECT made.parent_key, made.parent, ['example', 'chosen', 'rejected'][min(
               CASE WHEN made.kind = 'example' THEN 1 WHEN made.place = 1 THEN 2 ELSE 3 END)] AS how
        FROM link made JOIN link used
            ON used.parent_key = made.child_key AND used.parent = made.child AND used.kind = 'checkpoint'
            AND used.child_key NOT IN (SELECT key FROM apart)
        WHERE ((made.kind = 'example' AND made.place = 1) OR (made.kind = 'preference' AND made.place <= 2)) AND {which}
        GROUP BY ALL
    ) WHERE parent_key = key AND parent = id
        AND list_position(['example', 'chosen', 'rejected', 'no'], how)
          < list_position(['example', 'chosen', 'rejected', 'no'], trained)
"""
COUNT_CUBE = f"""
    INSERT INTO cube SELECT {", ".join(f'"{name}"' for name in FACETS)}, count(*), {COMBO}
    FROM trace WHERE round = ? OR ? GROUP BY ALL
"""
# Of what was sampled for training problems: pass@1, pass@k with k the samples of a problem (of what is judged
# so far; undecided counts as not solved), different texts a
# problem, and the mean negative log-probability of a token, an estimate of the policy's entropy at temperature 1.
# Means of fractions are rounded: threads add them up in any order.
COUNT_HEALTH = """
    INSERT INTO health
    SELECT ?, count(*), sum(n), max(n), round(avg(c / judged) FILTER (judged > 0), 12),
           avg((c > 0)::INTEGER) FILTER (judged > 0), avg(different), sum(tokens) / sum(n),
           round(-sum(logprob) / nullif(sum(tokens), 0), 12), sum(valid)
    FROM (SELECT problem, count(*) AS n, count(*) FILTER (outcome = 'correct') AS c,
                 count(*) FILTER (outcome <> 'none') AS judged,
                 count(DISTINCT hash(text)) AS different, sum(tokens) AS tokens, sum(logprob) AS logprob,
                 count(DISTINCT hash(text)) FILTER (outcome = 'correct' AND reasoning <> 'incorrect') AS valid
          FROM trace WHERE round = ? AND origin = 'sampled' AND NOT is_held_out(stage) GROUP BY problem)
    HAVING count(*) > 0
"""


def write_round(
    cursor: duckdb.DuckDBPyConnection, round_: int, files: Sequence[File], errors: Mapping[Path, str]
) -> None:
    """Write the rows of a round anew, without the files that cannot be read; raises duckdb.Error."""
    unmarked = bool(cursor.execute(UNMARK_TRAINED, [round_]).fetchall()[0][0])
    for table in ("part", "trace", "problem", "record", "link", "health", "apart"):
        cursor.execute(f"DELETE FROM {table} WHERE round = ?", [round_])
    _insert_parts(cursor, round_, files, errors)
    sources = {
        kind: _source(cursor, kind, [file for file in files if file.kind == kind and file.path not in errors])
        for kind in (*KINDS, *sorted({file.kind for file in files} - KINDS.keys()))
    }
    _insert_records(cursor, round_, sources)
    limits = {"apart": ROUND, "searched": MAX_SEARCHED, "value": MAX_VALUE}
    cursor.execute(INSERT_TRACES.format(round=round_, **limits, **sources))
    cursor.execute(MARK_TRAINED.format(which=f"made.round = {round_}"))
    # A cumulative pool trains on what earlier rounds wrote.
    cursor.execute(MARK_TRAINED.format(which=f"used.round = {round_} AND made.round <> {round_}"))
    others = bool(cursor.fetchall()[0][0])
    if unmarked:
        cursor.execute(MARK_TRAINED.format(which="TRUE"))
        others = True
    cursor.execute("DELETE FROM cube WHERE round = ? OR ?", [round_, others])
    cursor.execute(COUNT_CUBE, [round_, others])
    cursor.execute(COUNT_HEALTH, [round_, round_])


def _insert_parts(
    cursor: duckdb.DuckDBPyConnection, round_: int, files: Sequence[File], errors: Mapping[Path, str]
) -> None:
    # All of it: a cursor with more to fetch takes no table, and a round that is gone has no rows to insert.
    number = cursor.execute("SELECT coalesce(max(number), 0) FROM part").fetchall()[0][0]
    rows = [
        (number + at, str(file.path), file.kind, round_, file.stage, file.size, file.modified,
         None if file.path in errors else pq.read_metadata(file.path).num_rows, errors.get(file.path))
        for at, file in enumerate(files, start=1)
    ]  # fmt: skip
    if rows:
        cursor.executemany("INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _insert_records(cursor: duckdb.DuckDBPyConnection, round_: int, sources: Mapping[str, str]) -> None:
    """The problems, and of all other records their ids and their parents; `sources` are SELECTs by kind."""
    cursor.execute(
        f"INSERT INTO problem SELECT key(id), id, {round_}, question[:2000], answer[:400], "
        f'task[:{MAX_VALUE}], level, "group"[:{MAX_VALUE}], part FROM ({sources["problem"]})'
    )
    for kind in (kind for kind in sources if kind not in APART):
        cursor.execute(f"INSERT INTO record SELECT key(id), id, '{kind}', {round_}, part FROM ({sources[kind]})")
        if kind not in UNLINKED:
            cursor.execute(
                f"INSERT INTO link SELECT key(parent), parent, key(id), id, '{kind}', place, {round_} "
                f"FROM (SELECT id, unnest(parents) AS parent, generate_subscripts(parents, 1) AS place "
                f"FROM ({sources[kind]}))"
            )
    cursor.execute(
        f"INSERT INTO link SELECT key(parents[3]), parents[3], key(id), id, 'rationale', 3, {round_} "
        f"FROM ({sources['rationale']}) WHERE len(parents) > 2"
    )
    cursor.execute(
        f"INSERT INTO apart SELECT key(id), id, role, {round_} FROM ({sources['checkpoint']}) "
        "WHERE role IS NOT NULL AND role <> 'policy'"
    )


def _source(cursor: duckdb.DuckDBPyConnection, kind: str, files: Sequence[File]) -> str:
    """A SELECT of a kind's records with their stage and their part's number; of none where there are no files."""
    empty = f"no_{kind}"
    extra = [pa.field("part", pa.int32()), pa.field("stage", pa.string())]
    cursor.register(empty, pa.schema([*schema_of(KINDS.get(kind, Record)), *extra]).empty_table())
    if not files:
        return f"SELECT * FROM {empty}"
    listed = ", ".join("'" + str(file.path).replace("'", "''") + "'" for file in files)
    return (
        f"SELECT * FROM {empty} UNION ALL BY NAME "
        f"SELECT f.* EXCLUDE (filename), part.number AS part, part.stage AS stage "
        f"FROM read_parquet([{listed}], filename = true, union_by_name = true, {PLAIN}) f "
        f"JOIN part ON part.path = filename"
    )
