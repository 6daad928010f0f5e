"""What a run reached: accuracy with intervals, the funnel from sampled to trained, time and tokens."""

from collections import Counter
from dataclasses import asdict
from typing import Any, TypeVar

from rich.console import Console

from selfimprove.constitution.adherence import FIGURES
from selfimprove.recipe.flow import last_of_round
from selfimprove.records import Audit, Evaluation, Promotion, Record
from selfimprove.records.console import SafeConsole
from selfimprove.records.stats import sum_by_task
from selfimprove.results.status_tables import (
    again_table,
    constitution_table,
    cross_checks_table,
    funnel_table,
    levels_tables,
    open_table,
    preferences_table,
    revised_table,
    rounds_table,
    tasks_table,
    votes_table,
)
from selfimprove.results.steps import read_steps, steps_table, warn_of_held_out
from selfimprove.results.times import elapsed, engine_time, outside_model, side_by_side, stages_table, verified_beside
from selfimprove.running.figures import places_in_round, read_funnels, read_manifests
from selfimprove.stages.evaluate import describe_errors
from selfimprove.stages.taking import LEFT_OUT, describe_left_out
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.files import check_shown
from selfimprove.store.manifest import CUT_OFF
from selfimprove.store.query import Query
from selfimprove.trainers.tokens import describe_origins

AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_cross_checks(query: Query) -> list[dict[str, Any]]:
    """How often a second verifier agreed, by round and pair of outcomes."""
    return query.rows(
        "SELECT round, verifier, first, second, count(*) AS count FROM crosscheck GROUP BY ALL ORDER BY ALL"
    )


def read_votes(query: Query) -> list[dict[str, Any]]:
    """How the samples of problems voted, by round and stage."""
    return query.rows(
        """
        SELECT round, stage, count(*) AS problems, max(samples) AS samples, avg(votes / samples) AS agreement,
               count(*) FILTER (tie) AS ties, count(*) FILTER (votes = 0) AS unanswered
        FROM vote GROUP BY ALL ORDER BY ALL
        """
    )


def _read_closed(folder: RunFolder, manifests: list[Manifest], kind: type[AnyRecord]) -> dict[int, list[AnyRecord]]:
    """The records of a kind that closed stages wrote, by round."""
    writers = [one for one in manifests if any(name.startswith(f"{kind.kind}-") for name in one.sizes)]
    read = ((one.round, folder.stage(one.round, one.stage).read(kind)) for one in writers)
    return {round_: found for round_, found in read if found}


def to_json(folder: RunFolder) -> dict[str, Any]:
    """The status as plain data; raises StoreError where a part is enormous."""
    check_shown(folder)
    manifests, query = read_manifests(folder), Query(folder)
    outside, wall = outside_model(manifests)
    evaluations, promotions = _read_closed(folder, manifests, Evaluation), _read_closed(folder, manifests, Promotion)
    return {
        "run": folder.path.name,
        "working": folder.working(),
        "evaluations": {
            round_: [
                {**one.model_dump(exclude={"parents"}), "accuracy": one.accuracy if one.n else None} for one in found
            ]
            for round_, found in evaluations.items()
        },
        "tasks": {
            round_: [{**vars(one), "accuracy": one.accuracy if one.n else None} for one in sum_by_task(found)]
            for round_, found in evaluations.items()
        },
        "funnels": {round_: asdict(funnel) for round_, funnel in read_funnels(query).items()},
        "cross-checks": read_cross_checks(query),
        "votes": read_votes(query),
        "self-consistency": {
            one.round: one.metrics["self-consistency"] for one in manifests if one.metrics.get("self-consistency")
        },
        "verifier": {one.round: one.metrics["verifier"] for one in manifests if one.metrics.get("verifier")},
        "preferences": [
            {"round": one.round, "pairs": one.metrics.get("pairs", 0), "measured": one.metrics.get("measured")}
            for one in manifests
            if "pairs" in one.metrics
        ],
        "token origins": [
            {"round": one.round, "stage": one.stage, **one.metrics["origins"]}
            for one in manifests
            if one.metrics.get("origins")
        ],
        "revised": {one.round: one.metrics["revised"] for one in manifests if one.metrics.get("revised")},
        LEFT_OUT: {one.round: one.metrics[LEFT_OUT] for one in manifests if one.metrics.get(LEFT_OUT)},
        "open prompts": {
            one.round: one.metrics["open prompts"] for one in manifests if one.metrics.get("open prompts")
        },
        "constitution": {one.round: one.metrics[FIGURES] for one in manifests if one.metrics.get(FIGURES)},
        "steps": read_steps(manifests),
        "audits": {
            round_: [one.model_dump(exclude={"parents"}) for one in found]
            for round_, found in _read_closed(folder, manifests, Audit).items()
        },
        "warnings": warn_of_held_out(read_steps(manifests), _last_promotions(folder, manifests)),
        "promotions": [found[0].model_dump() for found in promotions.values()],
        "stages": [
            {
                **one.model_dump(include={"round", "stage", "seconds", "tokens", "counts"}),
                CUT_OFF: one.metrics.get(CUT_OFF),
            }
            for one in manifests
        ],
        "seconds": {
            "wall": wall,
            "elapsed": elapsed(manifests),
            "outside the model": outside,
            "engine loaded": engine_time(manifests).loaded,
            "engine idle": engine_time(manifests).idle,
            "verified beside generation": verified_beside(manifests),
        },
    }


def _last_promotions(folder: RunFolder, manifests: list[Manifest]) -> dict[int, Promotion]:
    return {round_: found[-1] for round_, found in _read_closed(folder, manifests, Promotion).items()}


def print_status(folder: RunFolder, console: Console | None = None) -> None:
    """Print the tables of a run; raises StoreError where a part is enormous."""
    check_shown(folder)
    console = console or SafeConsole()
    console.print(_state(folder), highlight=False, markup=False)
    manifests, query = read_manifests(folder), Query(folder)
    if measured := [one for one in manifests if one.metrics.get(FIGURES)]:
        console.print(constitution_table(measured))
    if evaluations := _read_closed(folder, manifests, Evaluation):
        console.print(rounds_table(evaluations, _read_closed(folder, manifests, Promotion)))
        if any(sum(one.n > 0 for one in sum_by_task(found)) > 1 for found in evaluations.values()):
            console.print(tasks_table(evaluations))
        for table in levels_tables(evaluations, console.width):
            console.print(table)
        console.print(funnel_table(funnels := read_funnels(query)))
        if any(one.again for one in funnels.values()):
            console.print(again_table(funnels))
        if checks := read_cross_checks(query):
            console.print(cross_checks_table(checks))
    if errors := [one.metrics["verifier"] for one in manifests if one.metrics.get("verifier")]:
        console.print(describe_errors(errors[-1]), highlight=False, markup=False)
    if votes := read_votes(query):
        console.print(votes_table(votes, manifests))
    if any(one.metrics.get("revised") for one in manifests):
        console.print(revised_table(manifests))
    if any(one.metrics.get("open prompts") for one in manifests):
        console.print(open_table(manifests))
    for steps in read_steps(manifests):
        console.print(steps_table(steps))
    for round_, said in warn_of_held_out(read_steps(manifests), _last_promotions(folder, manifests)).items():
        console.print(f"round {round_}: WARNING: {said}", highlight=False, markup=False)
    for round_, audits in _read_closed(folder, manifests, Audit).items():
        for audit in audits:
            warning = "WARNING: " if audit.warns else ""
            console.print(f"round {round_}: {warning}{audit.said}", highlight=False, markup=False)
    if any("pairs" in one.metrics for one in manifests):
        console.print(preferences_table(manifests))
    origins: Counter[str] = Counter()
    for one in manifests:
        origins.update(one.metrics.get("origins", {}))
    if said := describe_origins(origins):
        console.print(f"trained, over all stages: {said}", highlight=False, markup=False)
    for one in manifests:
        if said := describe_left_out(one.metrics.get(LEFT_OUT)):
            console.print(f"round {one.round}: {said}", highlight=False, markup=False)
    if manifests:
        console.print(stages_table(manifests))
        outside, wall = outside_model(manifests)
        cpu = sum(one.seconds.cpu for one in manifests)
        console.print(
            f"{wall:.1f} s in all ({cpu:.1f} CPU s of this program), outside the model {outside:.1f} s "
            f"({outside / wall if wall else 0:.1%}: orchestration, store, verification), "
            f"imports {sum(one.seconds.imports for one in manifests):.1f} s beside",
            highlight=False,
        )
        for line in side_by_side(manifests):
            console.print(line, highlight=False)


def _state(folder: RunFolder) -> str:
    working = folder.working()
    # The first one: `verify` may have been begun while `generate` went on.
    place = places_in_round(folder)
    begun = sorted(folder.stages(), key=lambda one: (one.key[0], place.get(one.key[1], len(place))))
    last = next((one for one in begun if one.manifest() is None), None)
    recipe = folder.recipe()
    finished = folder.stage(recipe.rounds, last_of_round(recipe, recipe.rounds)).manifest() is not None
    if working:
        state = f"process {working} is at work"
    elif finished:
        state = "finished"
    else:
        state = f"stopped{' in ' + last.name if last else ''}"
    return f"{folder.path}: {state}, {recipe.rounds} round{'s' * (recipe.rounds != 1)}, seed {recipe.seed}"
