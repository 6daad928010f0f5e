"""Train the round's checkpoint on what was kept."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import PositiveInt

from selfimprove.errors import TrainingError
from selfimprove.recipe import Training
from selfimprove.records import Checkpoint, Example, derive_seed
from selfimprove.settings import Share
from selfimprove.stages.balance import BALANCE_VERSION, Member, balance
from selfimprove.stages.base import Cost, Desk, Key, Look, Round, Stage
from selfimprove.stages.frontier import LAST, FrontierSettings, mastered_groups
from selfimprove.stages.select import Select, pool_since, read_pool, read_seeds
from selfimprove.stages.teach import NO_CRITIQUE
from selfimprove.stages.training import trained_rows
from selfimprove.store.join import Chosen
from selfimprove.store.rows import Rows, join_rows
from selfimprove.trainers.job import SftJob


class Sft(Training):
    """Train the round's checkpoint."""

    start: Literal["base", "last"] = "base"
    """base: restart from the model before round 1 (STaR, section 3.1); last: continue from the best checkpoint."""
    mastered_rate: Share = 1.0
    """The learning rate is multiplied by this in rounds in which every group is mastered."""
    prompt: Literal["question", "shown"] = "question"
    """question: rows hold the question alone; shown: with the exemplars or the trigger that the sample was given."""
    steps: PositiveInt | None = None
    """Optimizer steps; by default `epochs` decides."""


def train(_: Sequence[Any], desk: Desk[Sft]) -> Iterator[Checkpoint]:
    """Train from the base or from the best checkpoint so far."""
    settings, examples = desk.settings, trained_examples(desk)
    if desk.once(mastered_groups) >= set(desk.task.levels):
        settings = settings.model_copy(update={"learning_rate": settings.learning_rate * settings.mastered_rate})
    if not examples:
        raise TrainingError(
            f"{desk.title}: no rationale was kept, so there is nothing to train on; see why with: "
            f"selfimprove traces {desk.run} --round {desk.round}"
        )
    start = desk.first_checkpoint if settings.start == "base" else desk.incumbent
    yield desk.train(SftJob, examples, start, settings=settings)


def trained_examples(desk: Desk[Any]) -> Rows[Example] | Chosen[Example]:
    """The rows that a round trains on."""
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
    return [round_.start, round_.incumbent, *round_.this(*LAST), *examples]


def depends(round_: Round[Sft]) -> dict[str, Any]:
    select = round_.hashed(Select) or {}
    return {
        **round_.own,
        "pool": select["pool"],
        "sources": select["sources"],
        "balance": select["balance"],
        "mastered_at": round_.other(FrontierSettings).mastered_at,
        "version of balance": BALANCE_VERSION,
    }


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
    cost=cost,
)
