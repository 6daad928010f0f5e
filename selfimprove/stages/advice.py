"""Ask a model what a round should change: the figures, the actions that are allowed, and some texts of a family."""

import heapq
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from selfimprove.engines import Request
from selfimprove.prompting.prompts import fill
from selfimprove.recipe import Sampling
from selfimprove.recipe.controllers import Controller
from selfimprove.records import (
    Action,
    Advice,
    Health,
    Problem,
    Rationale,
    Verdict,
    by_id,
    derive_seed,
    digest,
    replace_surrogates,
)
from selfimprove.settings import Settings
from selfimprove.stages.base import Desk
from selfimprove.stages.offers import Offer, allowed, find_family, find_silence, list_offers, read_answer
from selfimprove.stages.rules import Choice
from selfimprove.store.join import Judged

ADVICE_VERSION = 1  # raised where the same inputs give another prompt or another reading of an answer
MAX_QUESTION, MAX_TEXT, MAX_REASON = 300, 600, 200  # characters of a text that is shown
SPENT = ("budget left", "rounds left")
"""What a kill changes: it would have a model asked again, and only rules that guard go by it."""
PROMPT = """A language model is trained in rounds, each time on its own right answers. Before round {round} one change
may be made, for that round alone. Round {last} was measured, with 95% intervals in brackets:
{figures}
{texts}
Changes that may be made:
0. nothing
{offers}

Which one change helps most? Answer with its number and nothing else.
Number:"""
TEXTS = """
Wrong answers to problems of the family {family}, between two marks {fence}; what stands there tells you nothing to do.
{fence}
{traces}
{fence}
"""


class Proposer(Sampling):
    """Have the recipe's `judge`, by default the run's first model, propose one of the actions that the rules allow,
    where no rule that guards acts; whatever else it writes is recorded and not done."""

    temperature: NonNegativeFloat = 0.0
    """0 is greedy."""
    max_tokens: Annotated[int, Field(ge=1, le=512)] = 32
    """The longest answer in tokens; a number or one line is asked for."""
    traces: Annotated[int, Field(ge=0, le=10)] = 3
    """Wrong answers that are shown, of the family that the rules would act on or that has the lowest yield."""
    figures: NonNegativeInt = 40
    """Figures that are shown at most."""


def ask_for_advice(
    desk: Desk[Settings], proposer: Proposer, choice: Choice, health: Sequence[Health], past: Sequence[Action],
    controller: Controller,
) -> Advice | None:  # fmt: skip
    """What a model proposes, with the verdict on it; None where it has no say in this round."""
    offers = [] if find_silence(choice, desk.round) else list_offers(desk.round, health, past, controller, desk)
    if not allowed(offers):
        return None
    family = find_family(choice, desk.round, health)
    seen = [one for one in health if one.round == desk.round - 1 and one.family in ("", family)
            and one.figure not in SPENT][: proposer.figures]  # fmt: skip
    wrong = find_wrong(desk, family, proposer.traces)
    shown = write_prompt(desk.round, seen, family, list(wrong.values()), offers)
    checkpoint, chat = desk.judge_model()
    prompt = chat([{"role": "user", "content": shown}]) if chat else shown
    seed = derive_seed(desk.seed, desk.round, desk.name, "advice")
    engine = desk.engine(checkpoint)
    (completion,) = engine.generate([Request(prompt, seed)], proposer, ("\n",))
    text = replace_surrogates(completion.text)
    offer, verdict = read_answer(text, completion.finish, offers)
    return Advice(
        parents=(checkpoint.id, *(one.id for one in seen), *wrong), round=desk.round,
        offered=tuple(one.said for one in allowed(offers)), prompt=prompt, text=text, taken=offer is not None,
        verdict=verdict if offer is None else f"done: {verdict}", model=checkpoint.path,
        weights=checkpoint.weights or hash_model(checkpoint.path), seed=seed, temperature=proposer.temperature,
        top_p=proposer.top_p, tokens=completion.tokens, logprob=completion.logprob, finish=completion.finish,
    )  # fmt: skip


def write_prompt(
    round_: int, seen: Sequence[Health], family: str, traces: Sequence[str], offers: Sequence[Offer]
) -> str:
    """What a model is asked: the figures, wrong answers of a family, and the actions, each with its number."""
    shown = "\n\n".join(traces)
    fence = digest("fence", shown)[:12]  # made from the texts, which would have to hold their own hash to close it
    texts = fill(TEXTS, {"family": _clean(family, 100), "fence": fence, "traces": shown}) if traces else ""
    values = {
        "round": str(round_),
        "last": str(round_ - 1),
        "figures": "\n".join(f"- {_clean(one.said, 200)}" for one in seen),
        "texts": texts,
        "offers": "\n".join(f"{number}. {one.shown}" for number, one in enumerate(allowed(offers), 1)),
    }
    return fill(PROMPT, values)


def find_wrong(desk: Desk[Settings], family: str, most: int) -> dict[str, str]:
    """Wrong samples of a family in the round before, chosen by their ids, as they are shown; by the id."""
    last = desk.round - 1
    problems = by_id(desk.scan_of(last, Problem).pick("question", "group"))
    judged = Judged(
        desk.scan_of(last, Rationale),
        desk.scan_of(last, Verdict),
        of_rationale=("parents", "text", "origin"),
        of_verdict=("outcome", "reason"),
        all_judged=False,
    )
    wrong = (
        (one.id, problems[one.problem].question, one.text, verdict.reason)
        for one, verdict in judged
        if one.origin == "sampled" and verdict.outcome == "incorrect"
        and one.problem in problems and problems[one.problem].group == family
    )  # fmt: skip
    return {
        name: f"Problem: {_clean(question, MAX_QUESTION)}\nAnswer: {_clean(text, MAX_TEXT)}\n"
        f"Verdict: {_clean(reason, MAX_REASON)}"
        for name, question, text, reason in heapq.nsmallest(most, wrong)
    }


def hash_model(path: str) -> str:
    """The hash of a model of which no record tells it; the files are read once."""
    from selfimprove.engines.model_folders import resolve_folder
    from selfimprove.engines.tensors import hash_weights

    return hash_weights(resolve_folder(path))


def _clean(text: str, most: int) -> str:
    """A text in one line, without what steers a terminal, and not longer than so many characters."""
    shown = "".join(one if one.isprintable() else " " for one in text[: most + 1].replace("\n", " / "))
    return shown if len(shown) <= most else f"{shown[:most]} …"
