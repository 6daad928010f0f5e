"""Train the round's checkpoint on what was kept."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pydantic import PositiveInt

from selfimprove.errors import TrainingError
from selfimprove.recipe import Recipe, SupervisedTraining
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.flow import flow_of
from selfimprove.records import Checkpoint, Comparison, Example, Rationale, derive_seed
from selfimprove.settings import Settings, Share, added
from selfimprove.stages.balance import BALANCE_VERSION, Member, balance
from selfimprove.stages.base import Cost, Desk, Key, Look, Round, Stage
from selfimprove.stages.compare import preferred_less
from selfimprove.stages.critique_examples import NO_CRITIQUE
from selfimprove.stages.frontier import LAST, FrontierSettings, mastered_groups
from selfimprove.stages.prefer import Prefer
from selfimprove.stages.select import Select, pool_since, read_pool, read_seeds
from selfimprove.stages.training import trained_rows
from selfimprove.store.join import Chosen
from selfimprove.store.rows import Rows, join_rows
from selfimprove.trainers.job import SftJob

TOO_FEW = "too few rows"


class Sft(SupervisedTraining):
    """Train the round's checkpoint."""

    start: Literal["base", "last"] = "base"
    """base: restart from the model before round 1 (STaR, section 3.1); last: continue from the best checkpoint."""
    mastered_rate: Share = 1.0
    """The learning rate is multiplied by this in rounds in which every group is mastered."""
    prompt: Literal["question", "shown"] = "question"
    """question: rows hold the question alone; shown: with the exemplars or the trigger that the sample was given."""
    steps: PositiveInt | None = None
    """Optimizer steps; by default `epochs` decides."""
    fewest: PositiveInt = added(8)
    """With fewer rows nothing is trained in a round, and the checkpoint stays: a handful of texts, of which one may be
    right by chance, is learned by heart."""
    preferred_less: Literal["train", "leave out"] = added("train")
    """leave out: revisions that `prefer.feedback` found worse than another response are not trained; needs a `flow`
    with `prefer` before `sft`."""


def train(_: Sequence[object], desk: Desk[Sft]) -> Iterator[Checkpoint]:
    """Train from the base or from the best checkpoint so far; too few rows leave what there is as it is."""
    settings, examples = desk.settings, trained_examples(desk)
    if desk.once(mastered_groups) >= set(desk.task.levels):
        settings = settings.model_copy(update={"learning_rate": settings.learning_rate * settings.mastered_rate})
    if not examples:
        raise TrainingError(
            f"{desk.title}: no rationale was kept, so there is nothing to train on{_say_cut(desk)}; see why with: "
            f"selfimprove traces {desk.run} --round {desk.round}"
        )
    if (rows := len(set(examples.ids()))) < settings.fewest:
        desk.note(TOO_FEW, rows)
        yield desk.trained
        return
    start = desk.first_checkpoint if settings.start == "base" else desk.incumbent
    yield desk.train(SftJob, examples, start, settings=settings)


def _say_cut(desk: Desk[Sft]) -> str:
    """How many samples have no end, which are not trained even where they are right."""
    finishes = [one.finish for one in desk.scan(Rationale).pick("finish")]
    cut = finishes.count("length")
    return f"; {cut} of {len(finishes)} samples are cut off: raise 'generate.max_tokens'" if cut else ""


def trained_examples(desk: Desk[Settings]) -> Rows[Example] | Chosen[Example]:
    """The rows that a round trains on."""
    found = balanced_examples(desk)
    if desk.other(Sft).preferred_less == "train":
        return found
    rows, feedback = found if isinstance(found, Rows) else found.rows, desk.other(Prefer).feedback
    first = 1 if desk.other(Select).pool == "cumulative" else desk.round
    compared = [one for at in range(first, desk.round + 1) for one in desk.read_of(at, Comparison)]
    worse = preferred_less(compared, feedback.tie if feedback else 0.0)
    out = {one.id for one in rows.pick("parents", "origin") if one.origin == "revised" and one.parents[0] in worse}
    desk.note("preferred less", len(out))
    return Chosen(rows, [one for one in found.ids() if one not in out])


def balanced_examples(desk: Desk[Settings]) -> Rows[Example] | Chosen[Example]:
    """All rows of a round's pool, by the caps of their groups."""
    settings, seeds = desk.other(Select), read_seeds(desk)
    pool = read_pool(desk, up_to=desk.round)
    rows = join_rows(Example, [seeds, *pool])
    if settings.balance is None:
        return rows
    mastered = desk.once(mastered_groups)
    chosen = balance(
        [[Member(one.id, one.group) for one in each.pick("group")] for each in pool],
        seeds=seeds.pick("group"),
        # Right answers in which there is nothing to find are as plentiful as the right answers themselves.
        mastered=mastered | {f"{NO_CRITIQUE}{group}" for group in mastered},
        finished=mastered >= set(desk.task.levels),
        settings=settings.balance,
        seed=derive_seed(desk.seed, "balance", desk.round),
    )
    return Chosen(rows, [*seeds.ids(), *(one.id for one in chosen)])


def reads(round_: Round[Sft]) -> list[Key]:
    examples = [*round_.earlier_writers(Example, since=pool_since(round_)), *round_.every(Example)]
    if round_.settings.preferred_less == "leave out":
        examples += [*round_.earlier_writers(Comparison, since=pool_since(round_)), *round_.every(Comparison)]
    return [*dict.fromkeys([round_.start, round_.incumbent, round_.trained, *round_.this(*LAST), *examples])]


def depends(round_: Round[Sft]) -> dict[str, object]:
    select = round_.hashed(Select) or {}
    return {
        **round_.own,
        "pool": select["pool"],
        "sources": select["sources"],
        "balance": select["balance"],
        "mastered_at": round_.other(FrontierSettings).mastered_at,
        "version of balance": BALANCE_VERSION,
    }


def say(desk: Desk[Sft]) -> str:
    """Why nothing was trained, and what was left out."""
    metrics = desk.manifest.metrics if desk.manifest else {}
    found = (
        [f"{metrics['preferred less']} revisions left out that are preferred less"]
        if metrics.get("preferred less")
        else []
    )
    if TOO_FEW in metrics:
        found.append(
            f"WARNING: only {metrics[TOO_FEW]} rows, fewer than '{desk.name}.fewest: {desk.settings.fewest}': nothing "
            "is trained, and the checkpoint stays"
        )
    return ", ".join(found)


def check(recipe: Recipe, settings: Sft) -> Iterable[Mistake]:
    flow = [step.stage.name for step in flow_of(recipe)]
    prefer = recipe.find(Prefer)
    if settings.preferred_less == "leave out" and not (
        prefer and prefer.feedback and "prefer" in flow and flow.index("prefer") < flow.index("sft")
    ):
        yield Mistake(
            ("stages", "sft", "preferred_less"),
            "'preferred_less: leave out' needs 'prefer.feedback', and a 'flow' with 'prefer' before 'sft'",
        )


def cost(look: Look[Sft]) -> Sequence[Cost]:
    rounds = look.round if look.recipe.of(Select).pool == "cumulative" else 1
    rows = trained_rows(look.settings, look.round, look.sizes.kept * rounds)
    return [Cost(rows=rows, longest=look.settings.max_length, upto=look.settings.steps is None)]


SFT = Stage(
    name="sft",
    version=1,
    settings=Sft,
    writes=Checkpoint,
    reads=reads,
    needs=(Example,),
    run=train,
    depends=depends,
    by_default=True,
    trains="policy",
    say=say,
    cost=cost,
    check=check,
)
