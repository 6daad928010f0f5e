"""Keep the better checkpoint."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from selfimprove.constitution.adherence import BEFORE, Beside
from selfimprove.errors import StoreError, suggest
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import Audit, Checkpoint, Comparison, Outcome, Promotion, Rationale, Verdict, Vote
from selfimprove.records.stats import mcnemar
from selfimprove.settings import Settings
from selfimprove.stages.asking import counted
from selfimprove.stages.base import Desk, Key, Round, Stage
from selfimprove.stages.comply import Comply, applies, beside_of, collect
from selfimprove.stages.evaluate import Evaluate
from selfimprove.stages.split import controllers


class Promote(Settings):
    """Keep the better checkpoint by the paired McNemar test on held-out problems."""

    rule: Literal["not-worse", "better", "always", "constitution"] = "not-worse"
    """not-worse: roll back only if the test says worse, or where an audit of RL says that the reward rose while what it
    stands for fell below where it began; better: keep only if the test says better; always: no test;
    constitution: roll back where held-out answers follow a principle less than before, or fewer of them are whole, by
    the paired tests of `comply`, or where not-worse would; what a judge says counts if it passed its trial there."""
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
    beside: Beside | None = None,
    audits: Sequence[Audit] = (),
) -> Promotion:
    """Compare two checkpoints on the held-out problems that both were judged on (McNemar, 1947, exact).

    `now` and `before` give the outcome by problem. A candidate that the paired test calls worse is rolled back.
    `beside` is what was measured by the constitution, where that decides; `audits` are those of the candidate.
    """
    both = [one for one in now if one in before and "undecided" not in (now[one], before[one])]
    won = sum(now[one] == "correct" and before[one] != "correct" for one in both)
    lost = sum(now[one] != "correct" and before[one] == "correct" for one in both)
    p_value = mcnemar(won, lost)
    significant = p_value < settings.alpha
    counts = f"{won} problems won, {lost} lost of {len(both)} (McNemar p = {p_value:.2g})"
    if settings.rule == "always":
        promoted, reason = True, f"kept without a test{f': {counts}' if both else ''}"
    elif significant and lost > won:
        promoted, reason = False, f"rolled back, the paired test says worse: {counts}"
    elif significant:
        promoted, reason = True, f"kept, the paired test says better: {counts}"
    elif not both and settings.rule != "better":
        promoted, reason = True, "kept without a test: no held-out problem has an answer that decides"
    else:
        promoted = settings.rule != "better"
        reason = f"{'kept' if promoted else 'rolled back'}, the paired test sees no difference: {counts}"
    if settings.rule == "constitution" and promoted:
        promoted, reason = by_principles(beside, settings.alpha, f"; {counts}" if both else "")
    hacked = [one.said for one in audits if one.rose and one.worse]
    if promoted and hacked and settings.rule != "always":
        promoted, reason = False, f"rolled back, {'; '.join(hacked)}; {counts}"
    return Promotion(
        parents=(candidate, incumbent), promoted=promoted, won=won, lost=lost, p_value=p_value, reason=reason
    )


def by_principles(beside: Beside | None, alpha: float, counts: str) -> tuple[bool, str]:
    """Whether no principle got worse, and why."""
    if beside is None:
        return True, f"kept: no held-out answer could be measured by the constitution{counts}"
    if worse := beside.worse(alpha):
        return False, f"rolled back, the constitution is followed less: {'; '.join(worse)}{counts}"
    checked = [f"{name} {one.won} won, {one.lost} lost of {one.n}" for name, one in beside.checked.items()]
    judged = [f"{name} preferred in {one.rate:.1%} of {one.n}" for name, one in beside.judged.items()]
    if judged and not beside.believed:
        judged = ["the judge did not pass its trial, and what it prefers does not count"]
    return True, f"kept, no principle is followed less: {'; '.join([*checked, *judged])}{counts}"


def decide(_: Sequence[object], desk: Desk[Promote]) -> Iterator[Promotion]:
    """Whether the round's checkpoint is the better one on what both answered."""
    candidate, incumbent = desk.trained, desk.incumbent
    now, before = _outcomes(desk, candidate), _outcomes(desk, incumbent)
    beside = None
    if desk.settings.rule == "constitution":
        found = collect(desk)
        beside = beside_of(desk, found, desk.read(Comparison, "comply")).get(BEFORE)
    audits = [one for one in desk.read(Audit) if one.parents == (candidate.id,)]
    yield promote(
        candidate.id, incumbent.id, now=now, before=before, settings=desk.settings, beside=beside, audits=audits
    )


def _outcomes(desk: Desk[Promote], checkpoint: Checkpoint) -> dict[str, Outcome]:
    """What the newest evaluation of a checkpoint says of each problem that decides."""
    tasks, held_out = desk.settings.tasks, {one.id for one in desk.held_out}
    apart = controllers(desk.held_out, desk.other(Evaluate).controller)
    deciding = {one.id for one in desk.held_out if (not tasks or one.task in tasks) and (one.id in apart or not apart)}
    for round_ in range(desk.round, -1, -1):
        votes, written = desk.by_stage(round_, Vote), desk.by_stage(round_, Rationale)
        for stage, found in reversed(written.items()):
            # Of what it was trained on too, where it was trained on what it wrote.
            rationales = [one for one in found if one.origin == "sampled" and one.problem in held_out]
            rationales = counted(rationales, votes.get(stage, []))
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
    if settings.rule == "constitution" and recipe.find(Comply) is None:
        yield Mistake(("stages", "promote", "rule"), "the rule 'constitution' needs the stage 'comply'")
    elif settings.rule == "constitution" and recipe.of(Evaluate).controller:
        said = "the rule 'constitution' goes by all held-out answers; take out 'evaluate.controller', or choose another"
        yield Mistake(("stages", "promote", "rule"), said)
    elif settings.rule == "constitution" and not applies(recipe):
        said = "the rule 'constitution' needs a 'constitution', and a task with open prompts that are held out"
        yield Mistake(("stages", "promote", "rule"), said)


def reads(round_: Round[Promote]) -> Iterable[Key]:
    measured = round_.this("comply") if round_.settings.rule == "constitution" else []
    return [round_.incumbent, round_.trained, *round_.evaluations(), *measured]


def depends(round_: Round[Promote]) -> dict[str, object]:
    return {**round_.own, **(round_.shared("constitution") if round_.settings.rule == "constitution" else {})}


PROMOTE = Stage(
    name="promote",
    version=1,
    settings=Promote,
    writes=Promotion,
    reads=reads,
    needs=(Rationale,),
    run=decide,
    uses=("constitution",),
    depends=depends,
    about="held out",
    optional=False,
    decides=True,
    say=lambda desk: desk.written(Promotion)[0].reason,
    check=check,
)
