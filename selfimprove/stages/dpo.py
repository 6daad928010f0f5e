"""Train on preference pairs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from selfimprove.engines import Engine
from selfimprove.errors import suggest
from selfimprove.prompting.prompts import Continuation
from selfimprove.recipe import PairTraining, Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.flow import flow_of
from selfimprove.records import Checkpoint, Preference
from selfimprove.records.stats import dpo_loss
from selfimprove.settings import added
from selfimprove.stages.base import Cost, Desk, Key, Look, Round, Stage
from selfimprove.stages.prefer import Prefer
from selfimprove.stages.training import trained_rows
from selfimprove.store import Manifest
from selfimprove.trainers.job import DpoJob

Pair = tuple[float, float]
"""Of the chosen and of the rejected text, in nats."""


class Dpo(PairTraining):
    """Train on preference pairs (Rafailov et al., 2023), from the round's SFT checkpoint; without the stage `sft` from
    the best checkpoint so far, which wrote the pairs (IRPO). After an `sft` with `lora` its adapter is trained on,
    whether `lora` is repeated here or not."""

    prompt: Literal["question", "shown"] = "question"
    """As in `sft`, whose setting counts if there is that stage."""
    reference: Literal["start", "base"] = "start"
    """What the policy is held to: the checkpoint that the stage starts from (IRPO), or the model before round 1."""
    fewest: PositiveInt = added(8)
    """With fewer pairs nothing is trained in a round, and the checkpoint stays."""
    pairs_of: tuple[str, ...] | None = added(None)
    """Train only on the pairs of these stages, by their names in the flow: [best], where `label` made others for a
    reward model; by default on all of the round."""
    measure: NonNegativeInt = 200
    """Pairs that are scored before and after, for margins and log-probabilities that do not depend on a batch."""


def train(_: Sequence[object], desk: Desk[Dpo]) -> Iterator[Checkpoint]:
    """Train the round's checkpoint so far on pairs; where there are too few, as nothing is wrong any more, keep it."""
    settings, pairs, start = desk.settings, desk.scan(Preference), desk.trained
    if len(pairs) < settings.fewest:
        desk.note("pairs", len(pairs))
        if pairs:
            desk.note("too few pairs", settings.fewest)
        yield start
        return
    first = desk.first_checkpoint
    reference = desk.weights(first) if settings.reference == "base" and first.id != start.id else None
    measured = nsmallest(settings.measure, pairs, key=lambda one: one.id)
    before = score_pairs(measured, desk.engine(start)) if measured else {}
    held_to = score_pairs(measured, desk.engine(first)) if measured and reference else before
    trained = desk.train(DpoJob, pairs, start, reference=reference)
    desk.note("pairs", len(pairs))
    if before:
        after = score_pairs(measured, desk.engine(trained))
        known = [one for one in before if one in held_to and one in after]
        found = {"before": before, "after": after}
        desk.note("measured", {name: _describe(one, held_to, known, settings.beta) for name, one in found.items()})
    yield trained


def score_pairs(pairs: Sequence[Preference], engine: Engine) -> dict[str, Pair]:
    """By pair the log-probabilities of the chosen and of the rejected text with their end tokens; a pair for which the
    model has no room is left out."""
    found: dict[str, Pair] = {}
    for ends in (True, False):  # the first step of a text ends without an end token, a whole text with one
        some = [one for one in pairs if one.ends == ends]
        scores = engine.score([(one.prompt, text) for one in some for text in _texts(one)], end=ends)
        for one, chosen, rejected in zip(some, scores[::2], scores[1::2], strict=True):
            if not (chosen.too_long or rejected.too_long):
                found[one.id] = chosen.logprob, rejected.logprob
    return {one.id: found[one.id] for one in pairs if one.id in found}


def _texts(pair: Preference) -> tuple[Continuation, Continuation]:
    """Both texts of a pair, as the tokens that were sampled where they are known."""
    chosen, rejected = pair.chosen_token_ids, pair.rejected_token_ids
    return pair.chosen if chosen is None else chosen, pair.rejected if rejected is None else rejected


def _describe(
    policy: Mapping[str, Pair], reference: Mapping[str, Pair], known: Sequence[str], beta: float
) -> dict[str, float]:
    scores = [policy[one] for one in known]
    loss, accuracy = dpo_loss(scores, [reference[one] for one in known], beta=beta)
    chosen, rejected = (sum(one[at] for one in scores) / len(scores) for at in (0, 1))
    return {"loss": loss, "accuracy": accuracy, "chosen": chosen, "rejected": rejected}


def reads(round_: Round[Dpo]) -> list[Key]:
    chosen = round_.settings.pairs_of
    pairs = [one for one in round_.every(Preference) if chosen is None or one[1] in chosen]
    return [round_.start, round_.trained, *pairs]


def describe_dpo(metrics: dict[str, Any]) -> str:
    """What DPO did to its pairs, with a warning where it made the chosen texts less likely, its well-known failure."""
    if not metrics.get("pairs"):
        return "no pairs: the checkpoint is kept as it is"
    if fewest := metrics.get("too few pairs"):
        return (
            f"WARNING: only {metrics['pairs']} pairs, fewer than 'fewest: {fewest}': nothing is trained, and the "
            "checkpoint is kept as it is"
        )
    measured = metrics.get("measured")
    where = f", on the adapter of '{metrics['adapter of']}'" if metrics.get("adapter of") else ""
    if not measured:
        return f"{metrics['pairs']} pairs{where}"
    before, after = measured["before"], measured["after"]
    chosen, rejected = (f"{before[name]:.2f} to {after[name]:.2f}" for name in ("chosen", "rejected"))
    fell = "; WARNING: the chosen texts became less likely" if after["chosen"] < before["chosen"] else ""
    return (
        f"{metrics['pairs']} pairs{where}: log-probability of the chosen {chosen}, of the rejected {rejected}, "
        f"loss {after['loss']:.3f}, {after['accuracy']:.0%} of the pairs with a margin above 0{fell}"
    )


def say(desk: Desk[Dpo]) -> str:
    manifest = desk.manifest
    return describe_dpo(manifest.metrics) if manifest else ""


def figures(manifest: Manifest) -> Mapping[str, float | None]:
    """Loss, accuracy and log-probabilities of the measured pairs, before and after."""
    measured = manifest.metrics.get("measured") or {}
    return {f"dpo/{name}_{moment}": value for moment, found in measured.items() for name, value in found.items()}


def cost(look: Look[Dpo]) -> Sequence[Cost]:
    """Both texts of a pair are trained."""
    prefer, problems = look.recipe.find(Prefer) or Prefer(), look.sizes.problems
    pairs = problems * prefer.per_problem
    rows = trained_rows(look.settings, look.round, min(pairs, prefer.limit or pairs))
    return [Cost(rows=2 * rows, longest=look.settings.max_length, upto=look.settings.steps is None)]


def check(recipe: Recipe, settings: Dpo) -> Iterable[Mistake]:
    makers = {step.name for step in flow_of(recipe) if step.stage.gives((Preference,))}
    if unknown := [one for one in settings.pairs_of or () if one not in makers]:
        said = f"no stage '{unknown[0]}' of the flow makes pairs{suggest(unknown[0], makers)}"
        yield Mistake(("stages", "dpo", "pairs_of"), said)
    if settings.lora and settings.reference == "base":
        yield Mistake(
            ("stages", "dpo", "reference"),
            "'reference: base' is not there for LoRA: TRL holds an adapter to its own beginning",
        )
    if settings.labels == "soft" and (settings.loss != "sigmoid" or settings.label_smoothing):
        yield Mistake(("stages", "dpo", "labels"), "soft labels need the loss 'sigmoid' without 'label_smoothing'")
    if settings.label_smoothing and settings.loss not in ("sigmoid", "robust"):
        yield Mistake(
            ("stages", "dpo", "label_smoothing"),
            f"'label_smoothing' needs the loss 'sigmoid' (cDPO) or 'robust', not '{settings.loss}'",
        )


DPO = Stage(
    name="dpo",
    version=1,
    settings=Dpo,
    writes=Checkpoint,
    reads=reads,
    needs=(Preference,),
    run=train,
    trains="policy",
    scores=lambda recipe: ["dpo.measure"] if (found := recipe.find(Dpo)) and found.measure else [],
    say=say,
    figures=figures,
    cost=cost,
    check=check,
)
