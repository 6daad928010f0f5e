"""Decide from the yields so far which problems a round draws."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Literal

from pydantic import PositiveInt

from selfimprove.errors import StoreError
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import Frontier, Problem, Rationale, Record, Verdict, Vote, by_id, derive_seed
from selfimprove.settings import Settings, Share, added, hashed_settings
from selfimprove.stages.base import Ahead, Desk, Round, Sizes, Stage
from selfimprove.stages.isolate import Failing, draw_group, read_failing
from selfimprove.stages.passes import passes
from selfimprove.stages.select import Select
from selfimprove.stages.vote import NEEDED, Votes
from selfimprove.store.join import Judged
from selfimprove.tasks import draws_at_most, pool_size

DRAWN = ("frontier", "propose")  # where the problems of a round come from
LAST = (*DRAWN, "generate", "verify", "rl")  # whose records of the last round say what was reached


class FrontierSettings(Settings):
    """Which problems a round draws from, decided by the yields so far."""

    problems: PositiveInt = 1000
    """Problems in a round."""
    policy: Literal["yields", "all"] = "yields"
    """yields: by the rule below, per group; all: evenly over all groups."""
    open_at: Share = 0.3
    """A group opens once a group that leads to it has at least this yield."""
    mastered_at: Share = 0.97
    """A group with at least this yield is drawn from at `mastered_weight`."""
    mastered_weight: Share = 0.25
    """The weight of a mastered group against an open one."""
    isolate: Share = added(0.0)
    """The share of an open group's problems in which only that step is hard at which most of its wrong texts of the
    last round go wrong first, and in which no wrong reading of it is right by chance; needs a task that can make such
    problems, as `arithmetic` can."""


def draw(_: Sequence[object], desk: Desk[FrontierSettings]) -> Iterator[Record]:
    """Decide on each group, then draw its problems; a held-out one is an error."""
    task, settings, before = desk.task, desk.settings, desk.round - 1
    decisions = frontier(
        task=task.name,
        levels=task.levels,
        leads_to=task.leads_to,
        seeded=task.seeded,
        before=desk.read_of(before, Frontier) if before else [],
        yields=read_yields(desk, before) if before else {},
        settings=settings,
        round_=desk.round,
    )
    failing = read_failing(desk, before) if before and settings.isolate else {}
    decisions = [say_isolated(one, failing.get(one.group), settings) for one in decisions]
    yield from decisions
    held_out = {problem.question for problem in desk.held_out}
    for decision in decisions:
        seed = derive_seed(desk.seed, "draw", desk.round, decision.group)
        for problem in draw_group(task, decision, isolated(decision, settings), failing.get(decision.group), seed):
            if problem.question in held_out:
                raise StoreError(f"{desk.title}: the held-out problem {problem.question!r} was drawn for training")
            yield problem
    yield from desk.draw_open()


def isolated(decision: Frontier, settings: FrontierSettings) -> int:
    """How many problems of a group are to isolate its failing step."""
    return round(decision.draw * settings.isolate) if decision.state == "open" else 0


def say_isolated(decision: Frontier, failing: Failing | None, settings: FrontierSettings) -> Frontier:
    """The decision on a group, with the step that is isolated in its reason."""
    count = isolated(decision, settings)
    if not count or failing is None:
        return decision
    return decision.model_copy(update={"reason": f"{decision.reason}; up to {count} problems isolate {failing.said}"})


def read_yields(desk: Desk[Settings], round_: int) -> dict[str, tuple[int, int]]:
    """Decided samples and passing ones of a round, by group; what a majority lets in stands for right answers where
    problems have none."""
    problems = by_id(desk.scan_of(round_, Problem, *DRAWN).pick("group"))
    rationales = desk.scan_of(round_, Rationale, "generate", "rl")
    require, settings = desk.other(Select).require, desk.other(Select).vote
    judged = Judged(
        rationales,
        desk.scan_of(round_, Verdict, "verify", "rl"),
        of_rationale=["parents"],
        of_verdict=["outcome"] if require == "answer" else ["outcome", "steps"],
        all_judged=False,
    )
    yields = measure_yields(problems, judged, require=require)
    if settings is not None:
        found = desk.scan_of(round_, Vote, "verify")
        votes = Votes(found, rationales.pick(*NEEDED), problems, settings)
        for group, (attempts, passed) in votes.yields(rationales.pick(*NEEDED)).items():
            before = yields.get(group, (0, 0))
            yields[group] = (before[0] + attempts, before[1] + passed)
    return yields


def mastered_groups(desk: Desk[Settings]) -> set[str]:
    """The groups that a round's samples, or the last ones before it, show to be mastered."""
    yields = read_yields(desk, desk.round)
    least = desk.other(FrontierSettings).mastered_at
    drawn = desk.read(Frontier)
    last = {one.group for one in drawn if one.state == "mastered" and one.group not in yields}
    return last | {group for group, (attempts, passed) in yields.items() if passed >= least * attempts}


def measure_yields(
    problems: Mapping[str, Problem], judged: Iterable[tuple[Rationale, Verdict]], *, require: str
) -> dict[str, tuple[int, int]]:
    """Decided samples and passing ones by group; a wrong step passes only where just the answer is required."""
    attempts: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for rationale, verdict in judged:
        if verdict.outcome == "undecided":
            continue
        group = problems[rationale.problem].group
        attempts[group] += 1
        passed[group] += passes(verdict, require)
    return {group: (count, passed[group]) for group, count in attempts.items()}


def frontier(
    *,
    task: str,
    levels: Mapping[str, int],
    leads_to: Mapping[str, Sequence[str]],
    seeded: Set[str],
    before: Iterable[Frontier],
    yields: Mapping[str, tuple[int, int]],
    settings: FrontierSettings,
    round_: int,
) -> list[Frontier]:
    """Open, weigh and close groups; one record a group says what was decided and why.

    `before` holds the last round's decisions and `yields` its samples; a group that was not sampled keeps its last
    yield, and a seeded one counts as mastered until then. A group opens once any group that leads to it has the yield
    `open_at`, or where none leads to it, and stays open.
    """
    last = {one.group: one for one in before}
    measured = {group: yields.get(group) or _last_yield(last, group) for group in levels}
    decisions = {
        group: _decide(group, measured, leads_to.get(group, ()), seeded, last.get(group), settings) for group in levels
    }
    weights = {group: _weight(state, settings) for group, (state, _) in decisions.items()}
    draws = _share_out(settings.problems, weights)
    return [
        Frontier(
            round=round_,
            task=task,
            level=level,
            group=group,
            attempts=measured[group][0],
            correct=measured[group][1],
            state=decisions[group][0],  # type: ignore[arg-type]
            draw=draws[group],
            reason=decisions[group][1],
        )
        for group, level in levels.items()
    ]


def _last_yield(last: Mapping[str, Frontier], group: str) -> tuple[int, int]:
    return (last[group].attempts, last[group].correct) if group in last else (0, 0)


def _decide(
    group: str,
    measured: Mapping[str, tuple[int, int]],
    leads_to: Sequence[str],
    seeded: Set[str],
    before: Frontier | None,
    settings: FrontierSettings,
) -> tuple[str, str]:
    def share(name: str) -> float:
        attempts, passed = measured[name]
        return passed / attempts if attempts else float(name in seeded)

    attempts, passed = measured[group]
    shown = f"{passed} of {attempts} samples pass"
    if settings.policy == "all":
        return "open", f"policy: all; {shown}" if attempts else "policy: all"
    if attempts and share(group) >= settings.mastered_at:
        return "mastered", f"{shown}, at least {settings.mastered_at:.0%}"
    if not attempts and group in seeded:
        return "mastered", "seed rationales hold it"
    if attempts or (before and before.state != "closed"):
        return "open", f"{shown}, below {settings.mastered_at:.0%}"
    if not leads_to:
        return "open", "the first of its task"
    ready = [name for name in leads_to if share(name) >= settings.open_at]
    if ready:
        return "open", f"{ready[0]} has a yield of {share(ready[0]):.0%}, at least {settings.open_at:.0%}"
    best = max(leads_to, key=share, default=None)
    return (
        "closed",
        f"{best} has a yield of {share(best):.0%}, below {settings.open_at:.0%}" if best else "no way to it",
    )


def _weight(state: str, settings: FrontierSettings) -> float:
    return {"open": 1.0, "mastered": settings.mastered_weight, "closed": 0.0}[state]


def _share_out(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Divide a number of problems by weight, the rest to the largest fractions."""
    whole = sum(weights.values())
    if not whole:
        return dict.fromkeys(weights, 0)
    exact = {group: total * weight / whole for group, weight in weights.items()}
    shares = {group: int(value) for group, value in exact.items()}
    rest = sorted(exact, key=lambda group: shares[group] - exact[group])
    for group in rest[: total - sum(shares.values())]:
        shares[group] += 1
    return shares


def say(desk: Desk[FrontierSettings]) -> str:
    states = [one.state for one in desk.written(Frontier)]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("mastered", "open", "closed"))
    return f"{len(desk.scan_written(Problem))} problems; groups: {counts}"


def depends(round_: Round[FrontierSettings]) -> dict[str, object]:
    select = round_.other(Select)
    return {
        **round_.own,
        "require": select.require,
        **({"vote": hashed_settings(select.vote)} if select.vote else {}),
        "open": round_.recipe.open and hashed_settings(round_.recipe.open),
    }


def sizes(ahead: Ahead[FrontierSettings]) -> Sizes:
    given, asked = ahead.given, ahead.recipe.open
    open_ = draws_at_most(asked.draw, given.open_task) if asked else 0
    drawn = draws_at_most(ahead.settings.problems, given.task)
    return replace(ahead.sizes, problems=ahead.sizes.problems + drawn + open_, open=open_)


def remarks(ahead: Ahead[FrontierSettings]) -> Iterator[str]:
    """Draws of a round that are fewer than the recipe says."""
    given, drawn, asked = ahead.given, ahead.settings.problems, ahead.recipe.open
    there = pool_size(given.task)
    if there is not None and drawn > there:
        yield f"a round draws {there:,} problems and not {drawn:,} ('frontier.problems'): there are no more to train on"
    open_ = pool_size(given.open_task) if given.open_task else None
    if asked and open_ is not None and asked.draw > open_:
        yield f"a round draws {open_:,} open prompts and not {asked.draw:,} ('open.draw'): there are no more"


def check(recipe: Recipe, settings: FrontierSettings) -> Iterable[Mistake]:
    if settings.isolate and not recipe.train.isolates:
        said = f"the task '{recipe.train.name}' makes no problems that isolate a step, which 'frontier.isolate' needs"
        yield Mistake(("stages", "frontier", "isolate"), said)


FRONTIER = Stage(
    name="frontier",
    version=1,
    settings=FrontierSettings,
    writes=Problem,
    also=(Frontier,),
    reads=lambda round: [round.problems, *round.last(*LAST)],
    run=draw,
    depends=depends,
    optional=False,
    per_item=lambda desk: desk.settings.problems,
    say=say,
    sizes=sizes,
    remarks=remarks,
    check=check,
)
