"""What a run reached: accuracy with intervals, the funnel from sampled to trained, time and tokens."""

from collections import Counter
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

from rich.console import Console

from selfimprove.constitution.adherence import FIGURES
from selfimprove.recipe.flow import last_of_round
from selfimprove.records import INSTRUCTIONS, Audit, Evaluation, Portion, Promotion, Record
from selfimprove.records.collapse import find_collapse
from selfimprove.records.console import SafeConsole
from selfimprove.records.stats import sum_by_task
from selfimprove.results.budget import budget_json, budget_table
from selfimprove.results.decisions import decisions_json, decisions_table
from selfimprove.results.mixture_tables import groups_table, is_of_mixture, mixture_json, mixture_tables
from selfimprove.results.printed import print_and_keep
from selfimprove.results.status_tables import (
    again_table,
    constitution_table,
    cross_checks_table,
    funnel_table,
    instructions_table,
    levels_tables,
    open_table,
    preferences_table,
    revised_table,
    reward_models_table,
    rounds_table,
    tasks_table,
    texts_table,
    votes_table,
)
from selfimprove.results.steps import read_steps, steps_table, warn_of_held_out
from selfimprove.results.times import describe_times, seconds_to_json, stages_table
from selfimprove.running.figures import read_funnels, read_manifests
from selfimprove.stages.evaluate import describe_errors
from selfimprove.stages.taking import LEFT_OUT, describe_left_out
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.branches import describe_branches, read_branches
from selfimprove.store.collapse import COLLAPSE, read_texts
from selfimprove.store.evaluated import counts, places_in_round
from selfimprove.store.files import check_shown, missing_files
from selfimprove.store.instructions import read_proposals
from selfimprove.store.ledger import read_ledger, why_ended
from selfimprove.store.manifest import CUT_OFF
from selfimprove.store.overlaps import CLEAN, OVERLAPS, describe_overlaps
from selfimprove.store.query import Query
from selfimprove.store.reward_models import read_reward_models
from selfimprove.store.steered import read_decided
from selfimprove.trainers.tokens import describe_origins

AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_cross_checks(query: Query) -> list[dict[str, object]]:
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


def _read_others(folder: RunFolder, manifests: list[Manifest]) -> dict[str, dict[int, list[Evaluation]]]:
    """What stages evaluated that are not the last ones of their round to do so, by stage and round."""
    found: dict[str, dict[int, list[Evaluation]]] = {}
    for one in manifests:
        if "evaluation" in one.counts and not counts(folder, one.round, one.stage):
            evaluations = folder.stage(one.round, one.stage).read(Evaluation)
            found.setdefault(one.stage, {})[one.round] = evaluations
    return found


def to_json(folder: RunFolder) -> dict[str, object]:
    """The status as plain data; raises StoreError where a part is enormous."""
    check_shown(folder)
    manifests, query = read_manifests(folder), Query(folder)
    evaluations, promotions = _read_closed(folder, manifests, Evaluation), _read_closed(folder, manifests, Promotion)
    steps = read_steps(manifests)
    return {
        "run": folder.path.name,
        "working": folder.working(),
        "missing": _missing(folder),
        "evaluations": {
            round_: [one.model_dump(exclude={"parents"}) | _accuracy(one) for one in found]
            for round_, found in evaluations.items()
        },
        "other evaluations": {
            stage: {
                round_: [one.model_dump(exclude={"parents"}) | _accuracy(one) for one in each]
                for round_, each in found.items()
            }
            for stage, found in _read_others(folder, manifests).items()
        },
        "tasks": {
            round_: [one.to_json() for one in sum_by_task(found, round_)] for round_, found in evaluations.items()
        },
        "funnels": {round_: asdict(funnel) for round_, funnel in read_funnels(query).items()},
        "cross-checks": read_cross_checks(query),
        "votes": read_votes(query),
        **{name: _measured(manifests, name) for name in ("self-consistency", "verifier")},
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
        **{name: _measured(manifests, name) for name in ("revised", LEFT_OUT, CLEAN, "open prompts", FIGURES)},
        INSTRUCTIONS: {round_: one.model_dump() for round_, one in read_proposals(manifests).items()},
        OVERLAPS: [
            {"round": one.round, "stage": one.stage, "counts": one.metrics[OVERLAPS]}
            for one in manifests
            if one.metrics.get(OVERLAPS)
        ],
        "reward models": [
            {
                "round": one.round,
                "stage": one.stage,
                "trained pairs": one.trained,
                "held out": one.measured.model_dump(by_alias=True),
            }
            for one in read_reward_models(manifests)
        ],
        "steps": steps,
        "mixture": mixture_json(_read_closed(folder, manifests, Portion)),
        "audits": {
            round_: [one.model_dump(exclude={"parents"}) for one in found]
            for round_, found in _read_closed(folder, manifests, Audit).items()
        },
        "warnings": warn_of_held_out(steps, _last(promotions)),
        COLLAPSE: {round_: one.model_dump() for round_, one in read_texts(manifests).items()},
        "collapse": find_collapse(read_texts(manifests)),
        "promotions": [found[0].model_dump() for found in promotions.values()],
        "budget": budget_json(read_ledger(folder, folder.recipe())),
        "lineage": [asdict(one) for one in read_branches(folder)],
        "decisions": decisions_json(read_decided(folder)),
        "stages": [
            one.model_dump(include={"round", "stage", "seconds", "tokens", "counts"})
            | {CUT_OFF: one.metrics.get(CUT_OFF)}
            for one in manifests
        ],
        "seconds": seconds_to_json(manifests),
    }


def _missing(folder: RunFolder) -> dict[str, str]:
    """Parts of closed stages that are not there, with the reason."""
    return {name: reason for name, reason in missing_files(folder).items() if name.endswith(".parquet")}


def _accuracy(one: Evaluation) -> dict[str, float | None]:
    return {"accuracy": one.accuracy if one.n else None}


def _measured(manifests: list[Manifest], name: str) -> dict[int, Any]:
    """What stages measured under a name, by round."""
    return {one.round: one.metrics[name] for one in manifests if one.metrics.get(name)}


def _last(promotions: dict[int, list[Promotion]]) -> dict[int, Promotion]:
    return {round_: found[-1] for round_, found in promotions.items()}


def print_and_keep_status(folder: RunFolder) -> None:
    """Print the tables of a run, so that they are there the next time."""
    console = SafeConsole()
    print_and_keep(folder.path, console, partial(print_status, folder, console), folder.working)


def print_status(folder: RunFolder, console: Console | None = None) -> None:
    """Print the tables of a run; raises StoreError where a part is enormous."""
    check_shown(folder)
    console = console or SafeConsole()
    say = partial(console.print, highlight=False, markup=False)
    say(_state(folder))
    for name, reason in _missing(folder).items():
        say(f"WARNING: {name}: {reason}, and what follows is without it; the same command makes it again")
    manifests, query = read_manifests(folder), Query(folder)
    promotions = _read_closed(folder, manifests, Promotion)
    if measured := [one for one in manifests if one.metrics.get(FIGURES)]:
        console.print(constitution_table(measured))
    for table in mixture_tables(_read_closed(folder, manifests, Portion)):
        console.print(table)
    if evaluations := _read_closed(folder, manifests, Evaluation):
        _print_accuracy(console, evaluations, promotions)
        for stage, found in _read_others(folder, manifests).items():
            console.print(rounds_table(found, {}, f"Evaluated by {stage}"))
        _print_funnels(console, query)
    if proposals := read_proposals(manifests):
        console.print(instructions_table(proposals))
    if decided := read_decided(folder):
        console.print(decisions_table(decided))
    lineage = describe_branches(read_branches(folder))
    if decided or len(lineage) > 1:
        say("\n".join(["lineage of rounds:", *(f"  {line}" for line in lineage)]))
    if ledger := read_ledger(folder, folder.recipe()):
        console.print(budget_table(ledger))
    if errors := _measured(manifests, "verifier"):
        say(describe_errors(list(errors.values())[-1]))
    if votes := read_votes(query):
        console.print(votes_table(votes, manifests))
    if _measured(manifests, "revised"):
        console.print(revised_table(manifests))
    if _measured(manifests, "open prompts"):
        console.print(open_table(manifests))
    for models in read_reward_models(manifests):
        console.print(reward_models_table(models))
        say(models.measured.said or "no pair was held out, so nothing is known of how good it is")
    for steps in (curves := read_steps(manifests)):
        console.print(steps_table(steps))
    if len(texts := read_texts(manifests)) > 1:
        console.print(texts_table(texts))
        for warning in find_collapse(texts):
            say(f"WARNING: {warning['said']}")
    for round_, said in warn_of_held_out(curves, _last(promotions)).items():
        say(f"round {round_}: WARNING: {said}")
    for round_, audits in _read_closed(folder, manifests, Audit).items():
        for audit in audits:
            say(f"round {round_}: {'WARNING: ' if audit.warns else ''}{audit.said}")
    if any("pairs" in one.metrics for one in manifests):
        console.print(preferences_table(manifests))
    origins: Counter[str] = Counter()
    for one in manifests:
        origins.update(one.metrics.get("origins", {}))
    if said := describe_origins(origins):
        say(f"trained, over all stages: {said}")
    for one in manifests:
        if said := describe_left_out(one.metrics.get(LEFT_OUT)):
            say(f"round {one.round}: {said}")
        for said in describe_overlaps(one.metrics):
            say(f"round {one.round}, {one.stage}: {said}")
    if manifests:
        console.print(stages_table(manifests))
        for line in describe_times(manifests):
            say(line)


def _print_accuracy(
    console: Console, evaluations: dict[int, list[Evaluation]], promotions: dict[int, list[Promotion]]
) -> None:
    console.print(rounds_table(evaluations, promotions))
    if any(sum(one.n > 0 for one in sum_by_task(found, round_)) > 1 for round_, found in evaluations.items()):
        console.print(tasks_table(evaluations))
    if groups := groups_table(evaluations):
        console.print(groups)
    others = {round_: [one for one in found if not is_of_mixture(one)] for round_, found in evaluations.items()}
    for table in levels_tables(others, console.width):
        console.print(table)


def _print_funnels(console: Console, query: Query) -> None:
    console.print(funnel_table(funnels := read_funnels(query)))
    if any(one.again for one in funnels.values()):
        console.print(again_table(funnels))
    if checks := read_cross_checks(query):
        console.print(cross_checks_table(checks))


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
    elif ended := why_ended(folder):
        state = f"finished early {ended}"
    else:
        state = f"stopped{' in ' + last.name if last else ''}"
    return f"{folder.path}: {state}, {recipe.rounds} round{'s' * (recipe.rounds != 1)}, seed {recipe.seed}"
