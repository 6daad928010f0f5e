"""The actions that a model may propose: those of the table of rules, one of which its answer must name."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from selfimprove.recipe.controllers import PROPOSED, Controller, Rule
from selfimprove.records import Action, Advice, Health
from selfimprove.stages.rules import Choice, Settable, act_by, choose, find_changes, find_way_back

MAX_ANSWER = 300  # characters of what a model may answer
NOTHING = "it proposes nothing"
_FORM = re.compile(r"(?P<number>[0-9]{1,3})\.?|change:[ ]?(?P<changes>\S.*)")
_CHANGE = re.compile(r"(?P<setting>[A-Za-z0-9._-]{1,100})=[A-Za-z0-9._+-]{1,40}")
_BACK = "back_to"


@dataclass(frozen=True)
class Offer:
    """An action of the table, as it is in this round."""

    rule: Rule
    changes: tuple[str, ...]
    before: tuple[str, ...]
    back_to: int | None = None
    why_not: str = ""
    """Why it may not be taken now; nothing where it may."""

    @property
    def parts(self) -> tuple[str, ...]:
        """What it does, each as an answer names it."""
        return _parts(self.changes, self.back_to)

    @property
    def said(self) -> str:
        return ", ".join(self.parts)

    @property
    def shown(self) -> str:
        """With the settings as they are."""
        was = [f"now {one.partition('=')[2]}" for one in self.before]
        back = [] if self.back_to is None else [f"starts from the checkpoint of round {self.back_to}"]
        return f"{self.said} ({', '.join([*back, *was])})"


@dataclass(frozen=True)
class Taken:
    """The action of a round, and whose it is: what it should bring is what that rule says, of a family or of all."""

    action: Action
    rule: Rule | None
    family: str = ""


def list_offers(
    round_: int, health: Sequence[Health], past: Sequence[Action], controller: Controller, settings: Settable
) -> list[Offer]:
    """What the rules can do in this round, and each of their changes alone; the same inputs give the same list.

    Nothing that ends the run is among it. What was done in a round in which its rule would still rest may not be taken.
    """
    measured = {(one.round, one.figure, one.family): one for one in health}
    found: dict[frozenset[str], Offer] = {}
    rests: dict[str, int] = defaultdict(int)  # the longest cool-down of the rules that do so
    for rule in (one for one in controller.rules if not one.stop):
        back_to, why_not = find_way_back(rule, round_, measured, past)
        for offer in _of_rule(rule, back_to, settings) if not why_not else ():
            known = found.get(frozenset(offer.parts))
            # What it should bring is what a rule says that is not about a run that goes wrong, if there is one.
            if known is None or (known.rule.guards and not rule.guards):
                found[frozenset(offer.parts)] = offer
            for part in offer.parts:
                rests[part] = max(rests[part], rule.cool_down)
    return [replace(one, why_not=_why_rests(one, rests, round_, past)) for one in found.values()]


def _of_rule(rule: Rule, back_to: int | None, settings: Settable) -> Iterator[Offer]:
    """A rule's action, and each of its changes alone."""
    changes, before, why_not = find_changes(rule, settings)
    if not why_not:
        yield Offer(rule, changes, before, back_to)
    for change in rule.change if len(rule.change) > 1 or back_to is not None else ():
        alone = rule.model_copy(update={"change": (change,), "back_to": None})
        changes, before, why_not = find_changes(alone, settings)
        if not why_not:
            yield Offer(rule, changes, before)
    if back_to is not None and rule.change:
        yield Offer(rule, (), (), back_to)


def _why_rests(offer: Offer, rests: dict[str, int], round_: int, past: Sequence[Action]) -> str:
    for one in past:
        for part in set(offer.parts).intersection(_parts(one.changes, one.back_to)):
            if round_ - one.round <= rests[part]:
                return f"'{part}' was done in round {one.round} and rests until round {one.round + rests[part]}"
    return ""


def _parts(changes: Sequence[str], back_to: int | None) -> tuple[str, ...]:
    return (*([] if back_to is None else [f"{_BACK}={back_to}"]), *changes)


def allowed(offers: Sequence[Offer]) -> list[Offer]:
    """Those that may be taken, in the order in which a model is shown them: the first one is number 1."""
    return [one for one in offers if not one.why_not]


def find_silence(choice: Choice, round_: int) -> str:
    """Why a model is not asked in a round, or nothing."""
    if round_ < 2:
        return "there is no round to go by yet"
    return f"the rule '{choice.guard}' acts, and goes before a proposal" if choice.guard else ""


def find_family(choice: Choice, round_: int, health: Sequence[Health]) -> str:
    """The family that the rules would act on, or the one with the lowest yield in the round before."""
    if choice.held.families:
        return choice.held.families[0]
    yields = [one for one in health if one.round == round_ - 1 and one.figure == "yield" and one.family]
    return min(yields, key=lambda one: (one.value, one.family)).family if yields else ""


def read_answer(text: str, finish: str, offers: Sequence[Offer]) -> tuple[Offer | None, str]:
    """The action that an answer names and nothing else, or why it names none: a number of the list, or a line such as
    `change: generate.temperature=1.3`. Nothing of it is evaluated."""
    said = text.strip() if len(text) <= MAX_ANSWER else ""
    form = _FORM.fullmatch(said)
    if finish == "too_long":
        return None, "the prompt has no room in the model"
    if len(text) > MAX_ANSWER:
        return None, f"it is longer than {MAX_ANSWER} characters"
    if finish != "stop":
        return None, "it is cut off before its end"
    if form is None:
        return None, "it is neither a number of the list nor a line 'change: SETTING=VALUE'" if said else "it is empty"
    if form["changes"] is not None:
        return _read_changes(form["changes"], offers)
    number, listed = int(form["number"]), allowed(offers)
    if number > len(listed):
        return None, f"there is no number {number}: the list ends with {len(listed)}"
    return (listed[number - 1], f"number {number} of {len(listed)}") if number else (None, NOTHING)


def _read_changes(said: str, offers: Sequence[Offer]) -> tuple[Offer | None, str]:
    parts = [one.strip() for one in said.split(",")]
    named = next((one for one in offers if len(parts) == len(one.parts) and set(one.parts) == set(parts)), None)
    if named is not None:
        return (None, named.why_not) if named.why_not else (named, f"one of {len(allowed(offers))}")
    if said == "stop":
        return None, "only a rule ends the run"
    values: dict[str, list[str]] = defaultdict(list)
    for part in dict.fromkeys(part for one in offers for part in one.parts):
        name, _, value = part.partition("=")
        values[name].append(value)
    for part in parts:
        form = _CHANGE.fullmatch(part)
        if form is None:
            return None, f"{part[:60]!r} is not of the form SETTING=VALUE"
        name, _, value = part.partition("=")
        if name not in values:
            return None, f"'{name}' is nothing that the rules can change in this round"
        if value not in values[name]:
            return None, f"'{part}' is out of bounds: the rules allow {' and '.join(values[name])}"
    return None, "these changes are not offered together"


def take(
    round_: int, health: Sequence[Health], past: Sequence[Action], controller: Controller, settings: Settable,
    advice: Advice | None = None,
) -> Taken:  # fmt: skip
    """The action of a round: what a model proposed where no rule that guards acts and the proposal is on the list,
    else what the rules do without it. Replaying it from what was recorded gives the same one."""
    choice = choose(round_, health, past, controller, settings)
    offer, verdict = None, ""
    if advice is not None and not find_silence(choice, round_):
        offers = list_offers(round_, health, past, controller, settings)
        offer, verdict = read_answer(advice.text, advice.finish, offers)
    if advice is None or offer is None:
        family = choice.held.families[0] if choice.held.families else ""
        return Taken(act_by(choice, round_, controller), choice.rule, family)
    would = [f"{choice.rule.name}: gives way to what a model proposed"] if choice.rule else []
    action = Action(
        parents=(advice.id,), round=round_, changes=offer.changes, rule=PROPOSED,
        reason=f"a model proposed it, {verdict} that the rules allow (of '{offer.rule.name}')",
        before=offer.before, version=controller.called, considered=(*would, *choice.considered), back_to=offer.back_to,
    )  # fmt: skip
    family = find_family(choice, round_, health) if offer.rule.of == "family" else ""
    return Taken(action, offer.rule, family)
