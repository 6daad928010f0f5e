"""Controllers: tables of rules by which a run steers itself, each a condition on measured figures and what it does.

They are data: a condition is a figure, a comparison and a number, and nothing in it is evaluated as code.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter, ValidationError

from selfimprove.errors import RecipeError, suggest
from selfimprove.recipe.catalog import known_stages
from selfimprove.recipe.flow import flow_of
from selfimprove.recipe.policies import find_policy
from selfimprove.recipe.recipe import Recipe
from selfimprove.recipe.yaml import Document, read_document, validate
from selfimprove.records import digest
from selfimprove.settings import Settings, is_unhashed

Scalar = bool | int | float | str
Figure = Literal[
    "yield", "change", "gain", "pass@k", "pass@k change", "unique", "diversity", "same", "alike", "coincidences",
    "cut off", "trained", "repaired", "rationalized", "lowest yield", "closed", "refused", "controller accuracy",
    "behind best", "length", "KL", "tokens so far", "budget left", "rounds left", "reward change",
    "gold change", "gold fell", "collapse", "distinct left", "forms left", "rows again", "own text",
]  # fmt: skip
GUARDED = frozenset[Figure]((
    "gold fell", "gold change", "reward change", "KL", "diversity", "collapse", "refused", "behind best",
    "budget left", "rounds left",
))  # fmt: skip
"""Figures of a run that goes wrong or ends: a rule that looks at one of them goes before what a model proposes."""
PROPOSED = "proposed"
"""What decisions call an action that a model proposed."""
COLLAPSE: tuple[Figure, ...] = ("collapse", "distinct left", "forms left", "rows again", "own text")
"""Figures that compare the texts of a round with those of the first one."""


class Condition(Settings):
    """A comparison of a figure with a number."""

    figure: Figure
    """What is looked at, as it was measured in the rounds before."""
    op: Literal["<", "<=", ">", ">="]
    """How it is compared."""
    value: float
    """With what."""
    rounds: PositiveInt = 1
    """In each of how many rounds up to the last one."""
    bound: Literal["value", "interval"] = "value"
    """interval: all of the 95% interval must lie there."""
    fewest: NonNegativeInt = 0
    """Of how many counted things at least; of fewer it says nothing."""

    @property
    def said(self) -> str:
        often = f" in {self.rounds} rounds" if self.rounds > 1 else ""
        return f"{self.op} {self.value:g}{often}"


class Change(Settings):
    """A setting that a rule changes for a round; exactly one of `set`, `scale` and `add`."""

    setting: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")
    """A stage's setting, such as `generate.temperature`."""
    set: Scalar | None = None
    """Its value in this round."""
    scale: PositiveFloat | None = None
    """Its value in the recipe is multiplied by this."""
    add: float | None = None
    """This is added to its value in the recipe."""
    at_least: float | None = None
    """Not lower than this."""
    at_most: float | None = None
    """Not higher than this."""
    needed: bool = False
    """The rule rests where this one changes nothing; by default it acts if any of its changes does something."""


class Expectation(Settings):
    """What an action should bring; the decisions of later rounds say whether it did."""

    figure: Figure
    """What should move: of the family that the rule was about, or of all."""
    direction: Literal["up", "down"]
    """Where to."""
    least: NonNegativeFloat = 0.0
    """By how much at least."""
    by: NonNegativeInt = 1
    """Seen in what is written so many rounds later: 0 by a change of sampling, 1 by a change of what is trained."""


class Rule(Settings):
    """What is done where all conditions hold."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")
    """What decisions call it."""
    reason: str = Field(min_length=1, max_length=500)
    """Why, in a sentence."""
    of: Literal["all", "family"] = "all"
    """family: all conditions must hold of one family of problems; of several the one with the lowest yield counts."""
    when: tuple[Condition, ...]
    """The conditions."""
    change: tuple[Change, ...] = ()
    """Settings of this round."""
    back_to: NonNegativeInt | Literal["best"] | None = None
    """Start the round from the checkpoint that was kept at the end of this round; best: from the one that is best on
    the held-out problems that are kept for the controller (`evaluate.controller`)."""
    stop: bool = False
    """End the run instead."""
    cool_down: NonNegativeInt = 1
    """Rounds after it acted in which it does not act again."""
    expects: Expectation | None = None
    """What this should bring."""
    guard: bool | None = None
    """Whether it goes before what a model proposes (`decide.proposer`); by default where it ends the run, goes back, or
    looks at rewards, collapse, refused promotions or the budget."""

    @property
    def guards(self) -> bool:
        if self.guard is not None:
            return self.guard
        return self.stop or self.back_to is not None or any(one.figure in GUARDED for one in self.when)


class Controller(Settings):
    """A table of rules: the first one whose conditions hold acts."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """What decisions call it."""
    description: str = ""
    """A sentence for people."""
    version: PositiveInt = 1
    """Raised where the rules change."""
    rules: tuple[Rule, ...]
    """In this order."""

    @property
    def hash(self) -> str:
        """Of what decides; a setting of rules that comes later leaves it as it is where it has its default."""
        return digest(self.model_dump(mode="json", exclude={"description"}, exclude_defaults=True))

    @property
    def called(self) -> str:
        """Name, version and hash, as decisions note them."""
        return f"{self.name} {self.version} {self.hash[:8]}"

    @property
    def figures(self) -> set[str]:
        """Every figure that a rule looks at, or that should move."""
        expected = (rule.expects.figure for rule in self.rules if rule.expects)
        return {*expected, *(one.figure for rule in self.rules for one in rule.when)}

    @property
    def settings(self) -> list[str]:
        """Every setting that a rule may change."""
        return sorted({change.setting for rule in self.rules for change in rule.change})


def load_controller(name: str) -> Controller:
    """Read a table of rules, by path or by name; raises RecipeError with the file and the line."""
    path = find_policy("controllers", name)
    return _load(path, _stamp(path))[0]


def check_controller(name: str, recipe: Recipe, stage: str) -> None:
    """Whether each rule changes settings that there are, of stages that can be steered by `stage`; raises RecipeError.

    The settings of a stage that the recipe lacks are known all the same: the rule then does not act.
    """
    path = find_policy("controllers", name)
    controller, document = _load(path, _stamp(path))
    flow = [step.name for step in flow_of(recipe)]
    before = flow[: flow.index(stage)] if stage in flow else []
    stages = {**known_stages(), **{step.name: step.stage for step in flow_of(recipe)}}
    for at, rule in enumerate(controller.rules):
        for place, change in enumerate(rule.change):
            where = document.where(("rules", at, "change", place, "setting"))
            if wrong := _why_not_changed(change, stages, before):
                raise RecipeError(f"{where}: {wrong}")


def find_setting(recipe: Recipe, name: str) -> object:
    """The value of a stage's setting; None where the recipe has no such stage or nothing is set."""
    value: Any = recipe.stages
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def _stamp(path: Path) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 (named like the other properties of files)
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=16)  # a plan asks for it in each round
def _load(path: Path, stamp: tuple[int, int]) -> tuple[Controller, Document]:
    document = read_document(path)
    controller = validate(Controller, document)
    for location, mistake in _mistakes(controller):
        raise RecipeError(f"{document.where(location)}: {mistake}")
    return controller, document


def _mistakes(controller: Controller) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What no single setting tells, with its place."""
    if not controller.rules:
        yield ("rules",), "a controller needs a rule"
    names: list[str] = []
    for at, rule in enumerate(controller.rules):
        if rule.name in names:
            yield ("rules", at, "name"), f"two rules are called '{rule.name}'"
        names.append(rule.name)
        if rule.name == PROPOSED:
            yield ("rules", at, "name"), f"'{PROPOSED}' is what decisions call what a model proposed; take another name"
        if rule.guard is False and rule.stop:
            yield ("rules", at, "guard"), f"the rule '{rule.name}' ends the run: no proposal goes before that"
        if not rule.when:
            yield ("rules", at, "when"), f"the rule '{rule.name}' needs a condition"
        if rule.stop == bool(rule.change or rule.back_to is not None):
            yield ("rules", at), f"the rule '{rule.name}' needs either 'change', 'back_to' or both, or 'stop: true'"
        for place, change in enumerate(rule.change):
            given = [name for name in ("set", "scale", "add") if getattr(change, name) is not None]
            if len(given) != 1:
                said = f"the rule '{rule.name}' needs exactly one of 'set', 'scale' and 'add' for '{change.setting}'"
                yield ("rules", at, "change", place), said
        if rule.expects and rule.stop:
            yield ("rules", at, "expects"), f"the rule '{rule.name}' ends the run: nothing comes of it later"


def _why_not_changed(change: Change, stages: Mapping[str, Any], before: Sequence[str]) -> str:
    """Why a setting cannot be changed by a rule, or nothing."""
    name, *path = change.setting.split(".")
    groups = {key: stage.settings for key, stage in stages.items() if stage.named}
    owner = stages.get(name)
    for stage in stages.values():
        for section, kind in stage.sections.items():
            groups[section] = kind
            owner = stage if section == name else owner
    if name not in groups or owner is None:
        return f"unknown stage '{name}'{suggest(name, groups)}"
    if owner.about == "held out":
        return f"'{name}' is about held-out problems, which nothing that steers may touch"
    if owner.asks == "verifier" or owner.steers or owner.when == "first":
        return f"'{name}' is set once for the whole run; a rule cannot change it for a round"
    if name in before:
        return f"'{name}' stands before the stage that decides, and is done by then"
    return _why_not_field(change, groups[name], path)


def _why_not_field(change: Change, kind: type[Settings], path: Sequence[str]) -> str:
    """The same, of the settings of a stage."""
    if not path:
        return f"'{change.setting}' is a stage; name a setting of it{suggest('', kind.model_fields)}"
    if path[0] not in kind.model_fields:
        return f"unknown setting '{path[0]}' in '{change.setting}'{suggest(path[0], kind.model_fields)}"
    field = kind.model_fields[path[0]]
    if is_unhashed(field):
        return f"'{change.setting}' changes how fast a run goes and nothing that it writes"
    if len(path) > 1:
        inner = [one for one in getattr(field.annotation, "__args__", (field.annotation,)) if isinstance(one, type)]
        group = next((one for one in inner if issubclass(one, Settings)), None)
        return _why_not_field(change, group, path[1:]) if group else f"'{path[0]}' is no group of settings"
    values = [one for one in (change.set, change.at_least, change.at_most) if one is not None]
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
    for value in values or [1]:
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Input ")
            return f"'{change.setting}' {said}, not {value!r}"
    return ""
