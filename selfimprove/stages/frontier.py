"""Decide from the yields so far which problems a round draws."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set

from selfimprove.recipe import FrontierSettings
from selfimprove.records import Frontier, Problem, Rationale, Verdict

VERSION = 1


def measure_yields(
    problems: Iterable[Problem], rationales: Iterable[Rationale], verdicts: Iterable[Verdict], *, require: str
) -> dict[str, tuple[int, int]]:
    """Decided samples and passing ones by group; a wrong step passes only where just the answer is required."""
    group_of = {problem.id: problem.group for problem in problems}
    problem_of = {rationale.id: rationale.problem for rationale in rationales}
    attempts: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for verdict in verdicts:
        if verdict.outcome == "undecided":
            continue
        group = group_of[problem_of[verdict.rationale]]
        attempts[group] += 1
        passed[group] += verdict.outcome == "correct" and (
            require == "answer" or not (verdict.wrong_reason or (require == "grounded" and verdict.ungrounded))
        )
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
