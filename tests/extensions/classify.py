"""Score every sample with a sequence classifier, and keep the best of each problem, or pair it with the worst."""

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any, ClassVar

from pydantic import PositiveInt

from selfimprove.records import Decision, Example, Preference, Problem, Rationale, Record, Verdict
from selfimprove.settings import Settings
from selfimprove.stages.base import Desk, Stage, chunks, declare


class Classified(Record):
    """What a model says of a text; parents: the rationale."""

    kind: ClassVar[str] = "classified"
    value: float


class Classify(Settings):
    """Score every sample."""

    path: str
    """A folder with a sequence classifier of one label."""
    part_size: PositiveInt = 256


class Pick(Settings):
    """Keep the best samples of each problem."""

    keep: PositiveInt = 1
    pairs: bool = False
    """Pair the best with the worst instead."""


def load(desk: Desk[Classify]) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = desk.settings.path
    return AutoTokenizer.from_pretrained(path), AutoModelForSequenceClassification.from_pretrained(path).eval()


def classify(samples: Sequence[Rationale], desk: Desk[Classify]) -> Iterator[Record]:
    import torch

    tokenizer, model = desk.once(load)
    problems = desk.by_id(Problem)
    for one in samples:
        ids = tokenizer(desk.prompts.render(problems[one.problem]) + one.text, return_tensors="pt")
        with torch.no_grad():
            yield Classified(parents=(one.id,), value=float(model(**ids).logits[0, 0]))


def pick(samples: Sequence[Rationale], desk: Desk[Pick]) -> Iterator[Record]:
    value = {one.parents[0]: one.value for one in desk.read(Classified)}
    value |= {
        one.rationale: float(one.outcome == "correct") for one in desk.read(Verdict) if one.rationale not in value
    }
    of_problem: dict[str, list[Rationale]] = {}
    for one in samples:
        of_problem.setdefault(one.problem, []).append(one)
    for problem in desk.read(Problem):
        order = sorted(of_problem.get(problem.id, []), key=lambda one: -value[one.id])
        prompt = desk.prompts.render_question(problem)
        for place, one in enumerate(order):
            kept = place < desk.settings.keep
            reason = f"place {place + 1} of {len(order)}, {value[one.id]:.3f}"
            yield Decision(parents=(one.id,), kept=kept, reason=reason)
            if kept and not desk.settings.pairs:
                yield Example(parents=(one.id,), prompt=prompt, completion=one.text, origin=one.origin,
                              group=problem.group)  # fmt: skip
        if desk.settings.pairs and order and value[order[0].id] > value[order[-1].id]:
            yield Preference(parents=(order[0].id, order[-1].id), prompt=prompt, chosen=order[0].text,
                             rejected=order[-1].text, margin=1.0, source="classify", group=problem.group)  # fmt: skip


declare(Stage(
    name="classify", version=1, settings=Classify, writes=Classified, run=classify, asks="policy",
    needs=(Problem, Rationale), uses=("prompt", "open prompt", "model"),
    reads=lambda round: round.every(Problem, Rationale),
    parts=lambda desk: chunks(desk.read(Rationale), desk.settings.part_size),
    say=lambda desk: f"{mean([one.value for one in desk.written(Classified)] or [0.0]):.3f} on average",
))  # fmt: skip
declare(Stage(
    name="pick", version=1, settings=Pick, writes=Decision, also=(Example, Preference), run=pick, needs=(Rationale,),
    uses=("prompt", "open prompt"), reads=lambda round: round.every(Problem, Rationale, Verdict, Classified),
    parts=lambda desk: [desk.read(Rationale)],
))  # fmt: skip
