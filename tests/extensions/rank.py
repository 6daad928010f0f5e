"""Score every sample with a sequence classifier, and keep the best of each problem, or pair it with the worst."""

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any, ClassVar

from pydantic import PositiveInt

from selfimprove.records import Decision, Example, Preference, Problem, Rationale, Record, Verdict
from selfimprove.settings import Settings
from selfimprove.stages.base import Desk, Stage, chunks, declare


class Ranked(Record):
    """What a model says of a text; parents: the rationale."""

    kind: ClassVar[str] = "ranked"
    value: float


class Rank(Settings):
    """Score every sample."""

    path: str
    """A folder with a sequence classifier of one label."""
    part_size: PositiveInt = 256


class Best(Settings):
    """Keep the best samples of each problem."""

    keep: PositiveInt = 1
    pairs: bool = False
    """Pair the best with the worst instead."""


def load(desk: Desk[Rank]) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = desk.settings.path
    return AutoTokenizer.from_pretrained(path), AutoModelForSequenceClassification.from_pretrained(path).eval()


def rank(samples: Sequence[Rationale], desk: Desk[Rank]) -> Iterator[Record]:
    import torch

    tokenizer, model = desk.once(load)
    problems = desk.by_id(Problem)
    for one in samples:
        ids = tokenizer(desk.prompts.render(problems[one.problem]) + one.text, return_tensors="pt")
        with torch.no_grad():
            yield Ranked(parents=(one.id,), value=float(model(**ids).logits[0, 0]))


def best(samples: Sequence[Rationale], desk: Desk[Best]) -> Iterator[Record]:
    value = {one.parents[0]: one.value for one in desk.read(Ranked)}
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
            yield Decision(
                parents=(one.id,), kept=kept, reason=f"place {place + 1} of {len(order)}, {value[one.id]:.3f}"
            )
            if kept and not desk.settings.pairs:
                yield Example(
                    parents=(one.id,), prompt=prompt, completion=one.text, origin=one.origin, group=problem.group
                )
        if desk.settings.pairs and order and value[order[0].id] > value[order[-1].id]:
            yield Preference(parents=(order[0].id, order[-1].id), prompt=prompt, chosen=order[0].text,
                             rejected=order[-1].text, margin=1.0, source="rank", group=problem.group)  # fmt: skip


declare(Stage(
    name="rank", version=1, settings=Rank, writes=Ranked, run=rank, asks="policy", needs=(Problem, Rationale),
    uses=("prompt", "open prompt", "model"), reads=lambda round: round.every(Problem, Rationale),
    parts=lambda desk: chunks(desk.read(Rationale), desk.settings.part_size),
    say=lambda desk: f"{mean([one.value for one in desk.written(Ranked)] or [0.0]):.3f} on average",
))  # fmt: skip
declare(Stage(
    name="best", version=1, settings=Best, writes=Decision, also=(Example, Preference), run=best, needs=(Rationale,),
    uses=("prompt", "open prompt"), reads=lambda round: round.every(Problem, Rationale, Verdict, Ranked),
    parts=lambda desk: [desk.read(Rationale)],
))  # fmt: skip
