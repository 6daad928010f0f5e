"""What a run has spent of its budget, by its records: the manifests of closed stages, the parts of open ones."""

from typing import TypeAlias

from selfimprove.recipe import Recipe
from selfimprove.recipe.budget import Ledger, Unit, parse_budget
from selfimprove.recipe.flow import last_of_round
from selfimprove.store.collapse import read_texts, why_collapsed
from selfimprove.store.run import RunFolder
from selfimprove.store.stage import StageFolder
from selfimprove.store.steered import ended_early

Costs: TypeAlias = dict[tuple[int, str], float]
"""By the round and the name of a closed stage."""


def read_ledger(folder: RunFolder, recipe: Recipe, known: Costs | None = None) -> Ledger | None:
    """What a run has spent so far, None where its recipe has no budget.

    `known` keeps what closed stages cost, which does not change. What a kill took with it, that of the part that was
    under way, stands in no record and is not counted. Raises StoreError where a record is damaged.
    """
    if recipe.budget is None:
        return None
    budget, known = parse_budget(recipe.budget), {} if known is None else known
    by_round: dict[int, float] = {}
    for stage in folder.stages():
        if stage.key not in known:
            cost, closed = _spent_on(stage, budget.unit, recipe)
            if closed:
                known[stage.key] = cost
        else:
            cost = known[stage.key]
        by_round[stage.key[0]] = by_round.get(stage.key[0], 0.0) + cost
    return Ledger(budget, dict(sorted(by_round.items())))


def _spent_on(stage: StageFolder, unit: Unit, recipe: Recipe) -> tuple[float, bool]:
    """What a stage cost so far, and whether it is closed."""
    manifest = stage.manifest()
    if unit == "rounds":
        ends = stage.key[0] > 0 and stage.key[1] == last_of_round(recipe, stage.key[0])
        return float(ends and manifest is not None), manifest is not None
    if manifest is not None:
        seconds = {"cpu": manifest.seconds.cpu, "gpu": manifest.seconds.model}
        return seconds.get(unit, float(sum(manifest.tokens.values()))), True
    rows = stage.usage()
    if unit == "tokens":
        return float(sum(sum(one.tokens.values()) for one in rows)), False
    return sum(one.cpu if unit == "cpu" else one.model for one in rows), False


def why_ended(folder: RunFolder) -> str:
    """Why a run that has not made all of its rounds is at its end; nothing where it is not."""
    if action := ended_early(folder):
        return f"in round {action.round} ({action.said})"
    recipe = folder.recipe()
    ledger = read_ledger(folder, recipe)
    if ledger is not None and not ledger.left:
        return f"in round {max(ledger.by_round, default=0)} ({describe_end(ledger)})"
    texts = (
        read_texts([one for stage in folder.stages() if (one := stage.manifest())]) if recipe.stop_at_collapse else {}
    )
    last = max(texts, default=0)
    if last and folder.stage(last, last_of_round(recipe, last)).closed and (said := why_collapsed(texts, recipe)):
        return f"after round {last} ({said})"
    return ""


def describe_end(ledger: Ledger) -> str:
    """That a budget is used up, and what to do."""
    return f"the budget of {ledger.budget} is used up, with {ledger.budget.show(ledger.spent)}; raise 'budget' to go on"
