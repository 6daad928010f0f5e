"""What a round reached, as plain numbers: the funnel from sampled to trained, and all that a tracker is told."""

import math
from collections.abc import Iterable

from selfimprove.recipe.catalog import known_stages
from selfimprove.recipe.flow import last_of_round
from selfimprove.records import Evaluation, Promotion, digest
from selfimprove.records.stats import wilson
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.evaluated import find_evaluating, places_in_round
from selfimprove.store.query import Query
from selfimprove.store.rules import Funnel, count_funnels

PASS = """
    SELECT avg(c / n) AS pass_at_1, avg((c > 0)::INTEGER) AS pass_at_k
    FROM (SELECT count(*) AS n, count(*) FILTER (v.outcome = 'correct') AS c
          FROM (SELECT * FROM rationale WHERE round = $1 AND origin = 'sampled' AND NOT is_held_out(stage)) r
          JOIN (SELECT * FROM verdict WHERE round = $1) v ON v.parents[1] = r.id GROUP BY r.parents[1])
"""


# Traces with verdicts, as the rules of counting want them.
JUDGED = """(
    SELECT r.round, r.stage, r.origin, v.outcome, reasoning_of(v.steps) AS reasoning, coalesce(d.kept, FALSE) AS kept,
           t.problem IS NOT NULL AND v.outcome = 'undecided' AND r.origin = 'sampled' AS voted
    FROM (SELECT * FROM rationale WHERE {where}) r
    JOIN (SELECT * FROM verdict WHERE {where}) v ON v.parents[1] = r.id
    LEFT JOIN (SELECT * FROM decided WHERE {where}) d ON d.parents[1] = r.id
    LEFT JOIN (SELECT DISTINCT parents[1] AS problem FROM vote WHERE {where}) t ON t.problem = r.parents[1]
)"""


def read_funnels(query: Query, round_: int | None = None) -> dict[int, Funnel]:
    """The funnel of each round, or of one."""
    where = "TRUE" if round_ is None else f"round = {int(round_)}"
    return count_funnels(query.rows, JUDGED.format(where=where))


def read_manifests(folder: RunFolder) -> list[Manifest]:
    """The manifests of closed stages, in the order of the run."""
    found, place = [manifest for stage in folder.stages() if (manifest := stage.manifest())], places_in_round(folder)
    return sorted(found, key=lambda one: (one.round, place.get(one.stage, len(place))))


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
    evaluating = find_evaluating(folder, round_).get(round_, [])
    for stage in evaluating:
        found = folder.stage(round_, stage).read(Evaluation)
        values |= _accuracies(found, "eval" if stage == evaluating[-1] else f"eval_{stage}")
    values |= _costs(manifests)
    for one in manifests:
        if declared := known.get(one.declared or one.stage):
            values |= declared.figures(one)
    for promotion in (one for stage in stages for one in stage.read(Promotion)):
        names = ("promoted", "won", "lost", "p_value")
        values |= {f"promotion/{name}": float(getattr(promotion, name)) for name in names}
    if round_:
        if funnel := read_funnels(query, round_).get(round_):
            values |= {f"funnel/{name}": float(count) for name, count in funnel.numbers().items()}
        values |= {f"samples/{name}": value for name, value in query.rows(PASS, round_)[0].items()}
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


def _accuracies(evaluations: list[Evaluation], called: str) -> dict[str, float | None]:
    """The held-out accuracy with its Wilson interval: of all problems, of each task and of each level."""
    groups: dict[str, list[Evaluation]] = {called: evaluations}
    for one in evaluations:
        groups.setdefault(f"{called}/{one.task}", []).append(one)
        groups.setdefault(f"{called}/{one.task}/level_{one.level}", []).append(one)
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
