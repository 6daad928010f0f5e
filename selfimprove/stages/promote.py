"""Keep the better checkpoint."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from selfimprove.errors import StoreError, suggest
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import Checkpoint, Outcome, Promotion, Rationale, Verdict, Vote
from selfimprove.records.stats import mcnemar
from selfimprove.settings import Settings
from selfimprove.stages.asking import counted
from selfimprove.stages.base import Desk, Stage


class Promote(Settings):
    """Keep the better checkpoint by the paired McNemar test on held-out problems."""

    rule: Literal["not-worse", "better", "always"] = "not-worse"
    """not-worse: roll back only if the test says worse; better: keep only if it says better; always: no test."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """The significance level of the test."""
    tasks: tuple[str, ...] = ()
    """The names of the tasks whose held-out problems decide; by default all that are evaluated."""


def promote(
    candidate: str,
    incumbent: str,
    *,
    now: Mapping[str, Outcome],
    before: Mapping[str, Outcome],
    settings: Promote,
) -> Promotion:
    """Compare two checkpoints on the held-out problems that both were judged on (McNemar, 1947, exact).

    `now` and `before` give the outcome by problem. A candidate that the paired test calls worse is rolled back.
    """
    both = [one for one in now if one in before and "undecided" not in (now[one], before[one])]
    won = sum(now[one] == "correct" and before[one] != "correct" for one in both)
    lost = sum(now[one] != "correct" and before[one] == "correct" for one in both)
    p_value = mcnemar(won, lost)
    significant = p_value < settings.alpha
    counts = f"{won} problems won, {lost} lost of {len(both)} (McNemar p = {p_value:.2g})"
    if settings.rule == "always":
        promoted, reason = True, f"kept without a test: {counts}"
    elif significant and lost > won:
        promoted, reason = False, f"rolled back, the paired test says worse: {counts}"
    elif significant:
        promoted, reason = True, f"kept, the paired test says better: {counts}"
    else:
        promoted = settings.rule == "not-worse"
        reason = f"{'kept' if promoted else 'rolled back'}, the paired test sees no difference: {counts}"
    return Promotion(
        parents=(candidate, incumbent), promoted=promoted, won=won, lost=lost, p_value=p_value, reason=reason
    )


def decide(_: Sequence[Any], desk: Desk[Promote]) -> Iterator[Promotion]:
    """Whether the round's checkpoint is the better one on what both answered."""
    candidate, incumbent = desk.trained, desk.incumbent
    now, before = _outcomes(desk, candidate), _outcomes(desk, incumbent)
    yield promote(candidate.id, incumbent.id, now=now, before=before, settings=desk.settings)


def _outcomes(desk: Desk[Promote], checkpoint: Checkpoint) -> dict[str, Outcome]:
    """What the newest evaluation of a checkpoint says of each problem that decides."""
    tasks, held_out = desk.settings.tasks, {one.id for one in desk.held_out}
    deciding = {one.id for one in desk.held_out if not tasks or one.task in tasks}
    for round_ in range(desk.round, -1, -1):
        found = desk.read_of(round_, Rationale)  # of what it was trained on too, where it was trained on what it wrote
        rationales = [one for one in found if one.origin == "sampled" and one.problem in held_out]
        rationales = counted(rationales, desk.read_of(round_, Vote))
        if rationales and rationales[0].checkpoint == checkpoint.id:
            verdicts = {one.rationale: one for one in desk.read_of(round_, Verdict)}
            return {one.problem: verdicts[one.id].outcome for one in rationales if one.problem in deciding}
    raise StoreError(f"{desk.title}: no evaluation of the checkpoint {checkpoint.id}")


def check(recipe: Recipe, settings: Promote) -> Iterable[Mistake]:
    evaluated = [task.name for task in recipe.evaluate_on] or [recipe.train.name]
    for at, name in enumerate(settings.tasks):
        if name not in evaluated:
            where = ("stages", "promote", "tasks", at)
            yield Mistake(where, f"'{name}' is not evaluated{suggest(name, evaluated)}")


PROMOTE = Stage(
    name="promote",
    version=1,
    settings=Promote,
    writes=Promotion,
    reads=lambda round: [round.incumbent, round.trained, *round.evaluations()],
    needs=(Rationale,),
    run=decide,
    about="held out",
    optional=False,
    decides=True,
    say=lambda desk: desk.written(Promotion)[0].reason,
    check=check,
)
