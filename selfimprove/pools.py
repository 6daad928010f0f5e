"""What the stages of a round go by: what was written and judged so far, what is mastered, and what is trained."""

from itertools import chain

from selfimprove.context import Context
from selfimprove.plan import PlannedStage, rewrites, start_stage
from selfimprove.records import Example, Frontier, Problem, Rationale, Revision, Verdict, Vote, by_id, derive_seed
from selfimprove.stages.balance import balance
from selfimprove.stages.frontier import measure_yields
from selfimprove.stages.rationalize import failed_problems
from selfimprove.stages.teach import NO_CRITIQUE
from selfimprove.stages.vote import Votes


def find_failed(round_: int, context: Context) -> list[Problem]:
    """The problems on which all of a round's samples failed."""
    return failed_problems(
        context.read((round_, "frontier"), Problem),
        context.read((round_, "generate"), Rationale),
        context.read((round_, "verify"), Verdict),
    )


def read_seeds(context: Context) -> list[Example]:
    """The seed rationales that every round trains on, if the recipe mixes them in."""
    if context.recipe.stages.select.sources == "samples" or not context.recipe.stages.warmup:
        return []
    return context.read((0, start_stage(context.recipe)), Example)


def read_pool(stage: PlannedStage, context: Context, *, up_to: int) -> list[list[Example]]:
    """The kept examples by round: the stage's own round's or all rounds', up to one."""
    settings = context.recipe.stages.select
    if settings.sources == "seed":
        return []
    first = 1 if settings.pool == "cumulative" else stage.round
    return [context.read((one, "select"), Example) for one in range(first, up_to + 1)]


def trained_examples(stage: PlannedStage, context: Context) -> list[Example]:
    """The rows that a round trains on."""
    settings, seeds = context.recipe.stages.select, read_seeds(context)
    pool = read_pool(stage, context, up_to=stage.round)
    if settings.balance is None:
        return [*seeds, *chain.from_iterable(pool)]
    mastered = mastered_groups(stage.round, context)
    chosen = balance(
        pool,
        seeds=seeds,
        # Right answers in which there is nothing to find are as plentiful as the right answers themselves.
        mastered=mastered | {f"{NO_CRITIQUE}{group}" for group in mastered},
        finished=mastered >= set(context.task.levels),
        settings=settings.balance,
        seed=derive_seed(context.recipe.seed, "balance", stage.round),
    )
    return [*seeds, *chosen]


def mastered_groups(round_: int, context: Context) -> set[str]:
    """The groups that a round's samples, or the last ones before it, show to be mastered."""
    yields = read_yields(round_, context)
    least = context.recipe.stages.frontier.mastered_at
    drawn = context.read((round_, "frontier"), Frontier)
    last = {one.group for one in drawn if one.state == "mastered" and one.group not in yields}
    return last | {group for group, (attempts, passed) in yields.items() if passed >= least * attempts}


def read_yields(round_: int, context: Context) -> dict[str, tuple[int, int]]:
    """Decided samples and passing ones of a round, by group; what a majority lets in stands for right answers where
    problems have none."""
    rationales = context.read((round_, "generate"), Rationale)
    yields = measure_yields(
        context.read((round_, "frontier"), Problem),
        rationales,
        context.read((round_, "verify"), Verdict),
        require=context.recipe.stages.select.require,
    )
    votes = read_votes(round_, context)
    for group, (attempts, passed) in votes.yields(rationales).items() if votes else ():
        before = yields.get(group, (0, 0))
        yields[group] = (before[0] + attempts, before[1] + passed)
    return yields


def read_votes(round_: int, context: Context) -> Votes | None:
    """The majorities over a round's samples of problems without an answer, if the recipe lets them decide."""
    settings = context.recipe.stages.select.vote
    if settings is None:
        return None
    problems = by_id(context.read((round_, "frontier"), Problem))
    rationales = context.read((round_, "generate"), Rationale)
    return Votes(context.read((round_, "verify"), Vote), rationales, problems, settings)


def read_written(round_: int, context: Context) -> tuple[list[Rationale], dict[str, Verdict]]:
    """All that a round wrote for training problems, and its verdicts by rationale."""
    sources = [(round_, "generate"), *((round_, name) for name in rewrites(context.recipe))]
    rationales = [one for key in sources for one in context.read(key, Rationale)]
    judged = [(round_, "verify"), *sources[1:]]
    return rationales, {one.rationale: one for key in judged for one in context.read(key, Verdict)}


def read_revisions(round_: int, context: Context) -> dict[str, Revision]:
    """What became of each revised rationale of a round, by rationale."""
    if not context.recipe.stages.revise:
        return {}
    return {one.rationale: one for one in context.read((round_, "revise"), Revision)}
