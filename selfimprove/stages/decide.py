"""Decide, from what earlier rounds measured, which settings this round changes, or that the run ends."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.controllers import COLLAPSE, check_controller, find_setting, load_controller
from selfimprove.recipe.flow import flow_of
from selfimprove.records import (
    Action,
    Advice,
    Audit,
    Decision,
    Distillation,
    Effect,
    Example,
    Frontier,
    Health,
    Prediction,
    Preference,
    Problem,
    Promotion,
    Rationale,
    Record,
    Rollout,
    Verdict,
    Vote,
    by_id,
)
from selfimprove.settings import Settings, added, unhashed
from selfimprove.stages.advice import ADVICE_VERSION, PROMPT, Proposer, ask_for_advice
from selfimprove.stages.asking import counted
from selfimprove.stages.base import Ahead, Cost, Desk, Key, Look, Round, Stage
from selfimprove.stages.evaluate import Evaluate
from selfimprove.stages.health import count, measure, measure_apart, measure_budget, measure_collapse
from selfimprove.stages.offers import take
from selfimprove.stages.promote import Promote
from selfimprove.stages.rules import choose, expect, look_back
from selfimprove.stages.select import Select
from selfimprove.stages.split import controllers
from selfimprove.store import Manifest
from selfimprove.store.join import Judged

KINDS = (Problem, Rationale, Verdict, Decision, Example, Preference, Distillation, Frontier, Rollout, Audit)
HEALTH, DECIDED = "health", "decided"  # in the manifest's metrics


class Decide(Settings):
    """Change settings of a round by rules, from what earlier rounds measured; or end the run."""

    rules: str = unhashed("default", "a file of rules, or the name of one in policies/controllers (its content counts)")
    proposer: Proposer | None = added(None)
    """Have a model propose an action from the list of those that the rules allow; by default no model is asked."""


def decide(_: Sequence[object], desk: Desk[Decide]) -> Iterator[Record]:
    """The figures of the last round, the action, what it should bring, and what came of earlier ones."""
    rounds, controller = range(1, desk.round), load_controller(desk.settings.rules)
    health = [one for at in rounds for one in desk.read_of(at, Health)]
    past = [one for at in rounds for one in desk.read_of(at, Action)]
    predictions = [one for at in rounds for one in desk.read_of(at, Prediction)]
    if desk.round > 1:
        health += (found := list(measure_last(desk, health, past)))
        yield from found
    advice = None
    if desk.settings.proposer:
        choice = choose(desk.round, health, past, controller, desk)
        advice = ask_for_advice(desk, desk.settings.proposer, choice, health, past, controller)
        yield from [advice] if advice else []
    taken = take(desk.round, health, past, controller, desk, advice)
    yield taken.action
    if taken.rule and (prediction := expect(taken.action, taken.rule, taken.family, health)) is not None:
        yield prediction
    effects = look_back(desk.round, predictions, health)
    yield from effects
    last = {one.figure: one.value for one in health if not one.family and one.round == desk.round - 1}
    desk.note(HEALTH, last)
    true = sum(one.came_true == "yes" for one in effects)
    proposed = {"proposed": 1, "proposal taken": int(advice.taken)} if advice else {}
    acted = int(bool(taken.action.rule))
    desk.note(DECIDED, {"acted": acted, "looked back": len(effects), "came true": true, **proposed})


def measure_last(desk: Desk[Decide], before: Sequence[Health], past: Sequence[Action]) -> Iterator[Health]:
    """All figures that there are since the last decision."""
    last = desk.round - 1
    found = list(measure_round(desk, last, before))
    yield from found
    yield from measure_budget(last, desk.ledger)
    # Measured where a rule asks for it: what other rules have recorded so far stays what it is.
    if load_controller(desk.settings.rules).figures.intersection(COLLAPSE):
        yield from measure_collapse(last, desk.texts)
    rounds = (0, 1) if last == 1 else (last,)  # the first decision comes before anything is compared
    outcomes = {at: outcomes_apart(desk, at) for at in rounds}
    yield from measure_apart(outcomes, [*before, *found], past)


def outcomes_apart(desk: Desk[Decide], round_: int) -> list[bool]:
    """Whether each held-out problem that is kept for the controller was answered right by a round's checkpoint."""
    apart = controllers(desk.held_out, desk.other(Evaluate).controller)
    found = desk.by_stage(round_, Rationale, "evaluate") if apart else {}
    if not found:
        return []
    last, written = list(found.items())[-1]  # a round's last evaluation is what it reached
    written = [one for one in written if one.origin == "sampled" and one.problem in apart]
    texts = counted(written, desk.by_stage(round_, Vote, "evaluate").get(last, []))
    verdicts = {one.rationale: one.outcome for one in desk.read_of(round_, Verdict, "evaluate")} if texts else {}
    return [verdicts[one.id] == "correct" for one in texts if verdicts[one.id] != "undecided"]


def measure_round(desk: Desk[Decide], round_: int, before: Sequence[Health]) -> Iterator[Health]:
    """All figures of a round that this stage reads."""
    problems = by_id(desk.scan_of(round_, Problem).pick("group", "answer"))
    decisions = desk.scan_of(round_, Decision)
    trained = Counter(desk.scan_of(round_, Example).values("group"))
    for kind in (Preference, Distillation):
        trained.update(desk.scan_of(round_, kind).values("group"))
    judged = Judged(
        desk.scan_of(round_, Rationale),
        desk.scan_of(round_, Verdict),
        of_rationale=("parents", "text", "origin", "tokens", "finish"),
        of_verdict=("outcome", "steps"),
        all_judged=False,
    )
    tallies = count(judged, problems, decisions.pick("parents", "reason"), trained, require=desk.other(Select).require)
    yield from measure(
        round_,
        tallies,
        before,
        trains=bool(len(decisions) or trained),
        promotions=desk.read_of(round_, Promotion),
        audits=desk.read_of(round_, Audit),
        frontier=desk.read_of(round_, Frontier),
        kl=[one for one in desk.scan_of(round_, Rollout).values("kl") if one is not None],
    )


def reads(round_: Round[Decide]) -> list[Key]:
    """What the round before wrote for training problems, and earlier decisions; of held-out problems only whether a
    checkpoint was promoted and, behind that, answers to those that are kept for the controller, and this only where
    those that are reported had no say in it."""
    last = round_.number - 1
    model = [round_.start] if round_.settings.proposer else []
    if not last:
        return [round_.start]
    written = [key for kind in KINDS for key in round_.earlier_writers(kind, since=last)]
    promoted = round_.last("promote") if round_.other(Evaluate).controller else []
    return [*written, *promoted, *round_.earlier("decide"), *model]


def depends(round_: Round[Decide]) -> dict[str, object]:
    controller = load_controller(round_.settings.rules)
    asked = {**round_.shared("judge"), "chat": round_.recipe.prompt.chat, "version of advice": ADVICE_VERSION}
    return {
        **round_.own,
        **(asked if round_.settings.proposer else {}),
        "rules": controller.hash,
        "steered": {name: find_setting(round_.recipe, name) for name in controller.settings},
        "require": round_.other(Select).require,
    }


def say(desk: Desk[Decide]) -> str:
    (action,) = desk.written(Action)
    refused = (one.said for one in desk.written(Advice) if not one.taken)
    return "; ".join([action.said, *refused, *(one.said for one in desk.written(Effect))])


def cost(look: Look[Decide]) -> Sequence[Cost]:
    proposer = look.settings.proposer
    return [Cost(texts=1, longest=proposer.max_tokens, upto=True)] if proposer and look.round > 1 else ()


def figures(manifest: Manifest) -> dict[str, float | None]:
    found = {f"health/{name}": value for name, value in manifest.metrics.get(HEALTH, {}).items()}
    return {**found, **{f"decide/{name}": value for name, value in manifest.metrics.get(DECIDED, {}).items()}}


def remarks(ahead: Ahead[Decide]) -> Iterator[str]:
    build = ahead.recipe.model.build
    if ahead.settings.proposer and ahead.recipe.judge.path is None and build and not set(PROMPT) <= set(build.alphabet):
        yield (
            "'decide.proposer' asks the run's first model, whose alphabet cannot write what it is asked: name a model "
            "that reads English with 'judge.path'"
        )


def check(recipe: Recipe, settings: Decide) -> Iterable[Mistake]:
    names = {step.stage.name: step.name for step in flow_of(recipe)}
    check_controller(settings.rules, recipe, names["decide"])
    promote = recipe.find(Promote) if "promote" in names else None
    if recipe.rounds and promote and promote.rule != "always" and not recipe.of(Evaluate).controller:
        said = (
            "what steers may not go by the held-out problems that are reported: set 'evaluate.controller' to the share "
            "of them that is kept for it, such as 0.5, or 'promote.rule: always'"
        )
        yield Mistake(("stages", "decide"), said)


DECIDE = Stage(
    name="decide",
    version=3,
    settings=Decide,
    writes=Action,
    also=(Health, Advice, Prediction, Effect),
    reads=reads,
    run=decide,
    uses=("judge",),
    depends=depends,
    steers=True,
    asks_too=lambda recipe: (settings := recipe.find(Decide)) is not None and settings.proposer is not None,
    say=say,
    cost=cost,
    remarks=remarks,
    figures=figures,
    check=check,
)
