"""What a round reached, as plain numbers: the funnel from sampled to trained, and all that a tracker is told."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from selfimprove.catalog import known_stages
from selfimprove.flow import last_of_round
from selfimprove.records import Evaluation, Promotion, digest
from selfimprove.stats import wilson
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.query import Query

PASS = """
    SELECT avg(c / n) AS pass_at_1, avg((c > 0)::INTEGER) AS pass_at_k
    FROM (SELECT count(*) AS n, count(*) FILTER (v.outcome = 'correct') AS c
          FROM (SELECT * FROM rationale WHERE round = $1 AND stage = 'generate') r
          JOIN (SELECT * FROM verdict WHERE round = $1) v ON v.parents[1] = r.id GROUP BY r.parents[1])
"""


@dataclass(frozen=True)
class Funnel:
    """How many rationales of a round came how far."""

    sampled: int
    correct: int
    steps_valid: int
    wrong_reason: int
    repaired: int
    repaired_correct: int
    revised: int
    revised_correct: int
    rationalized: int
    rationalized_correct: int
    kept: int
    kept_repaired: int
    kept_revised: int
    kept_rationalized: int
    kept_vote: int
    undecided: int


def read_funnels(query: Query, round_: int | None = None) -> dict[int, Funnel]:
    """The funnel of each round, or of one."""
    where = "TRUE" if round_ is None else f"round = {int(round_)}"
    rows = query.rows(
        f"""
        SELECT r.round,
               count(*) FILTER (r.origin = 'sampled') AS sampled,
               count(*) FILTER (r.origin = 'sampled' AND v.outcome = 'correct') AS correct,
               count(*) FILTER (r.origin = 'sampled' AND v.outcome = 'correct' AND NOT w.wrong) AS steps_valid,
               count(*) FILTER (r.origin = 'sampled' AND v.outcome = 'correct' AND w.wrong) AS wrong_reason,
               count(*) FILTER (r.stage = 'repair') AS repaired,
               count(*) FILTER (r.stage = 'repair' AND v.outcome = 'correct') AS repaired_correct,
               count(*) FILTER (r.stage = 'revise') AS revised,
               count(*) FILTER (r.stage = 'revise' AND v.outcome = 'correct') AS revised_correct,
               count(*) FILTER (r.origin = 'rationalized') AS rationalized,
               count(*) FILTER (r.origin = 'rationalized' AND v.outcome = 'correct') AS rationalized_correct,
               count(*) FILTER (d.kept) AS kept,
               count(*) FILTER (d.kept AND r.stage = 'repair') AS kept_repaired,
               count(*) FILTER (d.kept AND r.stage = 'revise') AS kept_revised,
               count(*) FILTER (d.kept AND r.origin = 'rationalized') AS kept_rationalized,
               count(*) FILTER (d.kept AND starts_with(d.reason, 'kept by vote')) AS kept_vote,
               count(*) FILTER (v.outcome = 'undecided') AS undecided
        FROM (SELECT * FROM rationale WHERE {where}) r
        JOIN (SELECT * FROM verdict WHERE {where}) v ON v.parents[1] = r.id
        JOIN (SELECT id, len(list_filter(steps, lambda s: s.outcome = 'incorrect')) > 0 AS wrong
              FROM verdict WHERE {where}) w ON w.id = v.id
        LEFT JOIN (SELECT * FROM decision WHERE {where}) d ON d.parents[1] = r.id
        WHERE r.stage <> 'evaluate'
        GROUP BY r.round ORDER BY r.round
        """
    )
    return {row.pop("round"): Funnel(**row) for row in rows}


def closed_rounds(folder: RunFolder) -> dict[int, str]:
    """The rounds that are closed to the end, each with a hash of what it came to."""
    found, recipe = {}, folder.recipe()
    for stage in folder.stages():
        round_, name = stage.key
        if name == last_of_round(recipe, round_) and (manifest := stage.manifest()):
            found[round_] = digest(sorted(manifest.files.items()))
    return found


def round_figures(folder: RunFolder, round_: int) -> dict[str, float]:
    """All numbers of a closed round, named as trackers do, with a slash between a group and its members."""
    stages = [stage for stage in folder.stages() if stage.key[0] == round_]
    manifests = [one for stage in stages if (one := stage.manifest())]
    query, known = Query(folder), known_stages()
    values: dict[str, float | None] = {}
    if evaluations := [one for stage in stages for one in stage.read(Evaluation)]:
        values |= _accuracies(evaluations)
    values |= _costs(manifests)
    for one in manifests:
        if declared := known.get(one.declared or one.stage):
            values |= declared.figures(one)
    for promotion in (one for stage in stages for one in stage.read(Promotion)):
        names = ("promoted", "won", "lost", "p_value")
        values |= {f"promotion/{name}": float(getattr(promotion, name)) for name in names}
    if round_:
        if funnel := read_funnels(query, round_).get(round_):
            values |= {f"funnel/{name}": float(count) for name, count in vars(funnel).items()}
        values |= {f"generate/{name}": value for name, value in query.rows(PASS, round_)[0].items()}
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


def _accuracies(evaluations: list[Evaluation]) -> dict[str, float | None]:
    """The held-out accuracy with its Wilson interval: of all problems, of each task and of each level."""
    groups: dict[str, list[Evaluation]] = {"eval": evaluations}
    for one in evaluations:
        groups.setdefault(f"eval/{one.task}", []).append(one)
        groups.setdefault(f"eval/{one.task}/level_{one.level}", []).append(one)
    values: dict[str, float | None] = {}
    for name, found in groups.items():
        n, correct, undecided = (sum(getattr(one, key) for one in found) for key in ("n", "correct", "undecided"))
        values[f"{name}/undecided"] = undecided
        if n:
            low, high = wilson(correct, n)
            values |= {f"{name}/accuracy": correct / n, f"{name}/accuracy_low": low, f"{name}/accuracy_high": high}
    return values


def _costs(manifests: Iterable[Manifest]) -> dict[str, float | None]:
    """Seconds and tokens of each stage."""
    values: dict[str, float | None] = {}
    for one in manifests:
        values[f"seconds/{one.stage}"] = one.seconds.wall
        values |= {f"tokens/{one.stage}_{name}": float(count) for name, count in one.tokens.items()}
    return values
