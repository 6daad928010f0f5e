"""Train on the model's own texts towards what the same model says of them with the answer in sight."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import DistillTraining, Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.flow import flow_of, trains_full_prompt
from selfimprove.records import Checkpoint, Distillation, Problem, Rationale, Record, Verdict, by_id
from selfimprove.stages.as_sampled import count_sampled, is_sample, prompt_of
from selfimprove.stages.base import SHOWN, Cost, Desk, Key, Look, Round, Stage
from selfimprove.stages.training import trained_rows
from selfimprove.store import Manifest
from selfimprove.store.join import Judged, in_turn
from selfimprove.trainers.job import DistillJob

DISTILLED = "distilled"  # in the manifest's metrics
WRITERS = ("generate", "verify")
OF_RATIONALE = ("parents", "prompt", "text", "origin", "tokens", "finish", "token_ids", "sample")


class Distill(DistillTraining):
    """Train the model on its own samples towards its own distributions with the answer in its prompt: the same model,
    as the stage starts, is the teacher (on-policy self-distillation, SDFT; a rationalization that needs no right text).
    It starts from the round's checkpoint as the stages before leave it; the texts are those of `generate`, by the
    checkpoint that the round starts from: its own at the first step where nothing is trained between."""

    prompt: Literal["question", "shown"] = "question"
    """As in `sft`, whose setting counts if there is that stage."""
    of: Literal["failed", "all"] = "failed"
    """failed: texts with a wrong answer; all: right ones too, which hold the model to what it does."""
    per_problem: PositiveInt = 1
    """At most n different texts of a problem."""
    limit: NonNegativeInt | None = None
    """At most n texts a round, evenly over the problems, chosen by their ids; by default all. With 0 there are none,
    until a rule of `decide` asks for some."""
    fewest: PositiveInt = 8
    """With fewer texts nothing is trained in a round, and the checkpoint stays."""


def distill(_: Sequence[object], desk: Desk[Distill]) -> Iterator[Record]:
    """The rows, and the checkpoint that comes of them; too few leave what there is as it is."""
    settings, start = desk.settings, desk.trained
    problems = by_id(one for one in desk.read(Problem) if one.answer is not None and not one.is_pair)
    judged = Judged(desk.scan(Rationale, *WRITERS), desk.scan(Verdict, *WRITERS), of_rationale=OF_RATIONALE,
                    of_verdict=("parents", "outcome"), all_judged=False)  # fmt: skip
    groups = (
        choose(problems[found[0][0].problem], found, desk.prompts, settings, shown=desk.trains_full_prompt)
        for found in judged.by_problem()
        if found and found[0][0].problem in problems
    )
    rows = list(in_turn(groups, Distillation, limit=settings.limit))
    desk.note(DISTILLED, len(rows))
    yield from rows
    yield start if len(rows) < settings.fewest else desk.train(DistillJob, rows, start)


def choose(
    problem: Problem,
    judged: Sequence[tuple[Rationale, Verdict]],
    prompts: PromptFormat,
    settings: Distill,
    *,
    shown: bool,
) -> list[Distillation]:
    """The rows of a problem: of its samples that ended, each text once.

    What was cut off is left out, as its end was never sampled, and so is what is undecided: a text whose answer cannot
    be told is no failure.
    """
    found: dict[str, Distillation] = {}
    for one, verdict in judged:
        fits = verdict.outcome == "incorrect" or (settings.of == "all" and verdict.outcome == "correct")
        if not fits or one.finish != "stop" or not is_sample(one) or one.text in found:
            continue
        found[one.text] = Distillation(
            parents=(one.id, verdict.id),
            prompt=prompt_of(one, problem, prompts, shown),
            hinted=prompts.render_hint(problem),
            completion=one.text,
            group=problem.group,
            token_ids=one.token_ids,
            sampled_tokens=count_sampled(one, prompts.stop),
        )
        if len(found) == settings.per_problem:
            break
    return list(found.values())


def reads(round_: Round[Distill]) -> list[Key]:
    return [round_.start, round_.trained, *round_.every(Problem), *round_.this(*WRITERS)]


def depends(round_: Round[Distill]) -> dict[str, object]:
    return {**round_.own, "shown": trains_full_prompt(round_.recipe), **round_.shared(*SHOWN)}


def say(desk: Desk[Distill]) -> str:
    return describe_distill(desk.manifest.metrics, desk.settings.fewest) if desk.manifest else ""


def describe_distill(metrics: Mapping[str, Any], fewest: int) -> str:
    """How many texts, and how far they were from the teacher at first and at last."""
    texts, curve = metrics.get(DISTILLED, 0), metrics.get("curve")
    if not curve:
        few = f", fewer than 'fewest: {fewest}'" if texts else ""
        return f"{texts} texts{few}: the checkpoint is kept as it is"
    first, last = (curve[at]["loss"] for at in (0, -1))
    return f"{texts} texts; KL from the model with the answer in sight: {first:.3g} to {last:.3g} nats a token"


def figures(manifest: Manifest) -> Mapping[str, float | None]:
    return {"distill/texts": manifest.metrics.get(DISTILLED)}


def cost(look: Look[Distill]) -> Sequence[Cost]:
    """Each text is read by the teacher too, which takes about a third of what training on it does."""
    settings, problems = look.settings, look.sizes.problems
    texts = problems * settings.per_problem
    texts = texts if settings.limit is None else min(texts, settings.limit)
    rows = trained_rows(settings, look.round, texts) if texts else 0
    return [Cost(rows=rows * 4 / 3, longest=settings.max_length, upto=settings.steps is None)]


def check(recipe: Recipe, settings: Distill) -> Iterable[Mistake]:
    names = [step.stage.name for step in flow_of(recipe)]
    if "sft" in names and "distill" in names and names.index("distill") < names.index("sft"):
        said = "'sft' stands after 'distill' and does not go on from what it made; move 'distill' after 'sft'"
        yield Mistake(("stages", "distill"), said)


DISTILL = Stage(
    name="distill",
    version=1,
    settings=Distill,
    writes=Checkpoint,
    also=(Distillation,),
    reads=reads,
    needs=(Problem, Rationale, Verdict),
    run=distill,
    uses=SHOWN,
    depends=depends,
    trains="policy",
    hints=True,
    say=say,
    figures=figures,
    cost=cost,
    check=check,
)
