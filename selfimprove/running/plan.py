"""The plan of a run: what each stage reads, and the fingerprint that says whether it must be done again.

The plan is a matter of the recipe and of the actions that steering stages have taken so far: once such a stage is
closed, what follows it is planned anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from selfimprove.recipe import Recipe, Training
from selfimprove.recipe.file import change_recipe
from selfimprove.recipe.flow import Step, flow_of, own_settings
from selfimprove.records import Action, digest
from selfimprove.settings import hashed_settings
from selfimprove.stages.base import Key, Round, Stage

Plan: TypeAlias = "dict[Key, PlannedStage]"


@dataclass(frozen=True)
class PlannedStage:
    """One stage of one round; `recipe` is the run's, with what steering stages before it changed."""

    round: int
    name: str
    declared: Stage[Any] = field(compare=False)
    recipe: Recipe = field(compare=False)
    reads: tuple[Key, ...]
    settings: Mapping[str, Any] = field(compare=False)
    """What the fingerprint holds."""
    fingerprint: str = ""
    parent: int = field(default=-1, compare=False)
    """The round at whose end the checkpoint was kept that this one starts from."""
    bounded: bool = False
    """Whether a steering stage before it, which is not closed yet, may still change it."""

    @property
    def key(self) -> Key:
        return self.round, self.name

    @property
    def version(self) -> int:
        return self.declared.version

    @property
    def main(self) -> str:
        """The kind of record whose file finishes a part."""
        return self.declared.writes.kind

    @cached_property
    def own(self) -> Any:
        """The stage's own settings."""
        return own_settings(self.recipe, Step(self.name, self.declared))

    def __str__(self) -> str:
        return f"round-{self.round:02d}/{self.name}"


def build_plan(
    recipe: Recipe, data: str, constitution: str = "", actions: Mapping[Key, Action] | None = None
) -> "Plan":
    """All stages of all rounds in the order in which they run.

    `data` and `constitution` are hashes of what the recipe only names; `actions` are those of the steering stages that
    are closed, by key; one that ends the run ends the plan.
    """
    plan: Plan = {}
    flow = flow_of(recipe)
    for number in range(recipe.rounds + 1):
        changed, taken, bounded, parent = recipe, "", False, number - 1
        for step in flow:
            if step.stage.when != "always" and (step.stage.when == "first") != (number == 0):
                continue
            settings = own_settings(changed, step)
            round_ = Round(
                number, step.name, settings, flow=flow, recipe=changed, data=data, constitution=constitution,
                parent=parent,
            )  # fmt: skip
            compares = changed.decontaminate if isinstance(settings, Training) else None
            reads = tuple(dict.fromkeys([*step.stage.reads(round_), *([round_.problems] if compares else [])]))
            hashed = step.stage.hashed(round_)
            if compares:
                hashed = {**hashed, "decontaminate": hashed_settings(compares)}
            parents = {f"{read[0]}/{read[1]}": plan[read].fingerprint for read in reads}
            if taken:
                parents["action"] = taken
            fingerprint = digest(step.name, step.stage.version, number, recipe.seed, hashed, parents)
            planned = PlannedStage(number, step.name, step.stage, changed, reads, hashed, fingerprint, parent, bounded)
            plan[planned.key] = planned
            if step.stage.steers:
                action = (actions or {}).get(planned.key)
                bounded = bounded or action is None
                if action and action.stop:
                    return plan
                if action and action.back_to is not None:
                    parent = action.back_to
                if action:
                    changed, taken = change_recipe(changed, action.changes), digest(taken, action.id)
    return plan


def ancestors(plan: "Plan", key: Key) -> set[Key]:
    """What a stage was made from, directly or not."""
    found: set[Key] = set()
    left = list(plan[key].reads)
    while left:
        if (one := left.pop()) not in found:
            found.add(one)
            left.extend(plan[one].reads)
    return found


def descendants(plan: "Plan", keys: Iterable[Key]) -> set[Key]:
    """What was made from these stages, directly or not, and they themselves."""
    found = set(keys)
    for stage in plan.values():  # each stands after all that it reads
        if found.intersection(stage.reads):
            found.add(stage.key)
    return found
