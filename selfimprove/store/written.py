"""What one stage of a round wrote, with all that is known of each text, some rows at a time."""

from collections.abc import Iterator
from typing import Any

from selfimprove.records import Evaluation, Rationale
from selfimprove.store.query import Query

Written = dict[str, Any]
# Of a text that another one of the stage goes on with, such as zero-shot CoT's before the second prompt, only the
# longer one counts. One part is read at a time, with what hangs on it: no more than that is held in memory.
WRITTEN = """
    WITH mine AS (SELECT id, parents, sample, origin FROM rationale WHERE round = $round AND stage = $stage),
    chosen AS (
        SELECT m.id, m.parents[1] AS problem, n.principle,
               row_number() OVER (PARTITION BY m.parents[1] ORDER BY m.sample, n.step, m.id) AS epoch
        FROM mine m LEFT JOIN (SELECT * FROM revision WHERE round = $round) n ON n.parents[1] = m.id
        WHERE m.origin = $origin
          AND (m.origin <> 'sampled'
               OR NOT EXISTS (SELECT 1 FROM mine o WHERE o.origin = 'sampled' AND o.parents[3] = m.id))
    ), part AS MATERIALIZED (SELECT id, parents[1] AS problem FROM read_parquet($part, hive_partitioning = false))
    SELECT r.id, $round AS round, $stage AS stage, r.origin, r.sample, r.prompt, r.text, r.answer, r.tokens,
           r.logprob, r.finish, r.temperature, r.seed, c.epoch, c.principle, c.problem, r.parents[2] AS checkpoint,
           p.question, p.answer AS expected, p.task, p.level, p."group",
           v.id AS verdict, v.outcome, v.reason, v.steps, v.coverage, v.verifier, v.version,
           reasoning_of(v.steps) AS reasoning,
           d.kept, d.reason AS decision,
           CASE WHEN (SELECT count(*) FROM vote WHERE round = $round AND stage = $stage) > 0 THEN w.id IS NOT NULL END
               AS counted,
           k.path AS weights_path
    FROM read_parquet($part, hive_partitioning = false) r
    JOIN chosen c ON c.id = r.id
    LEFT JOIN (SELECT DISTINCT ON (id) * FROM problem SEMI JOIN part ON part.problem = problem.id) p ON p.id = c.problem
    LEFT JOIN (SELECT * FROM verdict SEMI JOIN part ON part.id = parents[1] WHERE round = $round) v
      ON v.parents[1] = r.id
    LEFT JOIN (SELECT * FROM decided SEMI JOIN part ON part.id = parents[1] WHERE round = $round) d
      ON d.parents[1] = r.id
    LEFT JOIN (SELECT parents[2] AS id FROM vote WHERE round = $round AND stage = $stage) w ON w.id = r.id
    LEFT JOIN (SELECT DISTINCT ON (id) id, path FROM checkpoint) k ON k.id = r.parents[2]
"""


def read_written(query: Query, round_: int, stage: str, origin: str) -> Iterator[Written]:
    """The texts of one origin that a stage wrote; `epoch` numbers those of one problem from 1."""
    for part in query.folder.stage(round_, stage).files_of(Rationale):
        asked = {"round": round_, "stage": stage, "origin": origin, "part": str(part)}
        yield from query.stream(WRITTEN, asked)


def read_evaluations(query: Query, round_: int, stage: str) -> list[Evaluation]:
    """The evaluations that a stage wrote in a round."""
    names = [name for name in Evaluation.model_fields if name != "parents"]
    columns = ", ".join(f'"{name}"' for name in names)
    sql = f'SELECT {columns} FROM evaluation WHERE round = ? AND stage = ? ORDER BY task, level, "group"'
    rows = query.rows(sql, round_, stage)
    return [Evaluation(**row) for row in rows]
