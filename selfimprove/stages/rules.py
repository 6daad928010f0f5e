"""What a table of rules makes of measured figures: the rule that acts, what it changes, and why the others do not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from selfimprove.recipe.controllers import Change, Condition, Controller, Rule
from selfimprove.records import Action, Effect, Health, Prediction
from selfimprove.stages.archive import Measured, find_best, trained_in

COMPARE = {
    "<": lambda one, other: one < other, "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other, ">=": lambda one, other: one >= other,
}  # fmt: skip
MAX_SAID = 400  # characters of a reason, as families are called by a task
MAX_FAMILIES = 8


class Settable(Protocol):
    """The settings of a round, before anything is changed in it."""

    def setting(self, name: str) -> Any:
        """The value of a setting as `--set` names it, None where there is none."""
        ...

    def refuses(self, changes: Sequence[str]) -> str:
        """What is wrong with the settings if they are changed so; nothing where they are valid."""
        ...


@dataclass(frozen=True)
class Held:
    """What holds of a rule's conditions: all of them, or why not."""

    why_not: str
    seen: tuple[Health, ...] = ()
    families: tuple[str, ...] = ()
    """Those of which all conditions hold; the one that counts first."""


@dataclass(frozen=True)
class Choice:
    """The rule that acts in a round, if any does."""

    rule: Rule | None
    changes: tuple[str, ...]
    before: tuple[str, ...]
    back_to: int | None
    held: Held
    considered: tuple[str, ...]
    guard: str = ""
    """The first rule that guards and whose conditions hold, whether or not another one stands before it."""


def choose(
    round_: int, health: Sequence[Health], past: Sequence[Action], controller: Controller, settings: Settable
) -> Choice:
    """The first rule whose conditions hold and whose change is valid; the same inputs give the same choice.

    `health` are the figures of all rounds before, `past` the actions that were taken in them.
    """
    measured = {(one.round, one.figure, one.family): one for one in health}
    chosen: tuple[Rule, tuple[str, ...], tuple[str, ...], int | None, Held] | None = None
    considered: list[str] = []
    guard = ""
    for rule in controller.rules:
        held = _hold(rule, round_, measured, past)
        back_to, why_not = (None, held.why_not) if held.why_not else find_way_back(rule, round_, measured, past)
        changes, before, why_not = ((), (), why_not) if why_not else find_changes(rule, settings)
        if not why_not and rule.guards:
            guard = guard or rule.name
        if not why_not and chosen:
            why_not = f"would act too, and stands after {chosen[0].name}"
        if why_not:
            considered.append(f"{rule.name}: {why_not}"[:MAX_SAID])
        else:
            chosen = (rule, changes, before, back_to, held)
    if chosen is None:
        return Choice(None, (), (), None, Held(""), tuple(considered))
    return Choice(*chosen, tuple(considered), guard)


def act(
    round_: int, health: Sequence[Health], past: Sequence[Action], controller: Controller, settings: Settable
) -> Action:
    """The action of a round; replaying it from what was recorded gives the same one."""
    return act_by(choose(round_, health, past, controller, settings), round_, controller)


def act_by(choice: Choice, round_: int, controller: Controller) -> Action:
    """The action that a choice of the rules is."""
    rule, held = choice.rule, choice.held
    if rule is None:
        nothing = "no rule acts: its settings stay" if round_ > 1 else "there is no round to go by yet"
        return Action(round=round_, changes=(), rule="", reason=nothing, version=controller.called,
                      considered=choice.considered)  # fmt: skip
    also = held.families[1:MAX_FAMILIES]
    seen = "; ".join(one.said for one in held.seen)
    more = f"; also {', '.join(also)}" if also else ""
    reason = f"{rule.reason} ({seen}{more})"
    return Action(
        parents=tuple(one.id for one in held.seen), round=round_, changes=choice.changes, rule=rule.name,
        reason=reason[:1000], before=choice.before, version=controller.called, considered=choice.considered,
        stop=rule.stop, back_to=choice.back_to,
    )  # fmt: skip


def predict(action: Action, controller: Controller, health: Sequence[Health]) -> Prediction | None:
    """What an action should bring, where its rule says so and the figure was measured before."""
    rule = next((one for one in controller.rules if one.name == action.rule), None)
    if rule is None:
        return None
    by = {one.id: one for one in health}
    family = by[action.parents[0]].family if rule.of == "family" else ""
    return expect(action, rule, family, health)


def expect(action: Action, rule: Rule, family: str, health: Sequence[Health]) -> Prediction | None:
    """The same of an action that is a rule's, about a family or all problems."""
    if rule.expects is None:
        return None
    expected = rule.expects
    found = [one for one in health if (one.figure, one.family) == (expected.figure, family)]
    if not found:
        return None
    was = max(found, key=lambda one: one.round)
    return Prediction(
        parents=(action.id, was.id), round=action.round, figure=expected.figure, family=family,
        direction=expected.direction, least=expected.least, before=was.value, due=action.round + expected.by,
    )  # fmt: skip


def look_back(round_: int, predictions: Sequence[Prediction], health: Sequence[Health]) -> list[Effect]:
    """What came of the predictions that the last round shows."""
    measured = {(one.round, one.figure, one.family): one for one in health}
    effects = []
    for one in predictions:
        if one.due != round_ - 1:
            continue
        now = measured.get((one.due, one.figure, one.family))
        moved = 0.0 if now is None else (now.value - one.before) * (1 if one.direction == "up" else -1)
        true = "not measured" if now is None else "yes" if moved > 0 and moved >= one.least else "no"
        effects.append(
            Effect(parents=(one.id, *([now.id] if now else [])), round=round_, figure=one.figure, family=one.family,
                   before=one.before, after=now.value if now else None, came_true=true)  # type: ignore[arg-type]
        )  # fmt: skip
    return effects


def _hold(rule: Rule, round_: int, measured: Measured, past: Sequence[Action]) -> Held:
    last = max((one.round for one in past if one.rule == rule.name), default=None)
    if last is not None and round_ - last <= rule.cool_down:
        return Held(f"acted in round {last} and rests until round {last + rule.cool_down}")
    if rule.of == "all":
        seen, why_not = _look(rule.when, round_, "", measured)
        return Held(why_not, tuple(seen))
    names = sorted({family for at, _, family in measured if at == round_ - 1 and family})
    looked = {name: _look(rule.when, round_, name, measured) for name in names}

    def order(name: str) -> tuple[float, str]:
        found = measured.get((round_ - 1, "yield", name))
        return (found.value if found else 1.0, name)

    holding = sorted((name for name, (_, why_not) in looked.items() if not why_not), key=order)
    if holding:
        return Held("", tuple(looked[holding[0]][0]), tuple(holding))
    nearest = min(names, key=lambda name: (-len(looked[name][0]), *order(name)), default=None)
    return Held(looked[nearest][1] if nearest else "no family was measured")


def _look(conditions: Sequence[Condition], round_: int, family: str, measured: Measured) -> tuple[list[Health], str]:
    """The figures for which conditions hold, and the first reason why one does not."""
    seen: list[Health] = []
    for one in conditions:
        for at in range(round_ - one.rounds, round_):
            found = measured.get((at, one.figure, family))
            if found is None:
                where = f"{one.figure} of {family}" if family else one.figure
                early = f"{where} is looked at over {one.rounds} {'rounds' if one.rounds > 1 else 'round'}"
                return seen, f"{where} was not measured in round {at}" if at > 0 else f"{early}: too early"
            if found.n < one.fewest:
                return seen, f"{found.said} counts {found.n}, fewer than {one.fewest}"
            value = found.value
            if one.bound == "interval":
                value = found.high if "<" in one.op else found.low
            if not COMPARE[one.op](value, one.value):
                return seen, f"{found.said} is not {one.said}"
            seen.append(found)
    return seen, ""


def find_way_back(rule: Rule, round_: int, measured: Measured, past: Sequence[Action]) -> tuple[int | None, str]:
    """The round that a rule goes back to, or why it cannot."""
    if rule.back_to is None:
        return None, ""
    target = find_best(measured, past) if rule.back_to == "best" else rule.back_to
    if target is None:
        return None, "no checkpoint was measured on problems that are kept for the controller"
    if target >= round_:
        return None, f"round {target} was not made yet"
    if trained_in(target, measured, past) == (now := trained_in(round_ - 1, measured, past)):
        return None, f"the round starts from the checkpoint of round {now} already"
    return target, ""


def find_changes(rule: Rule, settings: Settable) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The settings that a rule changes, as they become and as they are; or why it can change none."""
    now, was, why_not = [], [], ""
    for change in rule.change:
        current = settings.setting(change.setting)
        value = None if current is None else _changed(change, current)
        if value == current:
            said = "not set in this recipe" if current is None else f"{_text(current)} already"
            why_not = why_not or f"'{change.setting}' is {said}"
            if change.needed:
                return (), (), f"'{change.setting}' is {said}"
            continue
        now.append(f"{change.setting}={_text(value)}")
        was.append(f"{change.setting}={_text(current)}")
    if rule.stop:
        return (), (), ""
    if rule.back_to is not None and not now:
        return (), (), ""
    if now and (wrong := settings.refuses(now)):
        return (), (), f"its change is refused: {wrong}"
    return tuple(now), tuple(was), "" if now else why_not


def _changed(change: Change, current: Any) -> object:
    """The new value of a setting, within the bounds of its change."""
    if change.set is not None:
        return change.set
    value = float(current) * (change.scale or 1.0) + (change.add or 0.0)
    if change.at_least is not None:
        value = max(value, min(change.at_least, float(current)))
    if change.at_most is not None:
        value = min(value, max(change.at_most, float(current)))
    return round(value) if isinstance(current, int) else float(f"{value:.6g}")


def _text(value: object) -> str:
    """A value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)
