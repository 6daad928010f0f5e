"""What a sweep came to: for each combination of settings the mean over seeds, its interval, and the worst seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfimprove.errors import SelfImproveError
from selfimprove.records.columns import lay_out
from selfimprove.records.stats import mean_interval
from selfimprove.results.compare import accuracy_of
from selfimprove.running.figures import read_manifests
from selfimprove.running.sweep import Variant
from selfimprove.stages.evaluate import describe_errors
from selfimprove.store import RunFolder
from selfimprove.store.manifest import last_measured


@dataclass(frozen=True)
class Outcome:
    """One run of a sweep: the accuracy of its first and of its last evaluation, None where there is none."""

    variant: Variant
    before: float | None
    reached: float | None
    round: int
    problem: str = ""
    """Why its figures cannot be read."""
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    """How often its verifier was wrong on labelled responses, where that was measured."""


def read_outcome(variant: Variant, runs: Path) -> Outcome:
    folder = RunFolder(runs / variant.name)
    try:
        first, last = accuracy_of(folder, 0), accuracy_of(folder)
        errors = last_measured(read_manifests(folder), "verifier")
    except SelfImproveError as error:
        return Outcome(variant, None, None, 0, str(error))

    def share(found: tuple[int, int, int] | None) -> float | None:
        return found[2] / found[1] if found and found[1] else None

    return Outcome(variant, share(first), share(last), last[0] if last else 0, errors=errors)


def by_settings(found: Sequence[Outcome]) -> dict[tuple[str, ...], list[Outcome]]:
    """The runs that differ in their seeds alone, together."""
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for one in found:
        groups.setdefault(one.variant.settings, []).append(one)
    return groups


def to_json(found: Sequence[Outcome]) -> list[dict[str, object]]:
    """The report as plain data."""
    rows = []
    for settings, mine in by_settings(found).items():
        shares = [one.reached for one in mine if one.reached is not None]
        interval = mean_interval(shares)
        rows.append(
            {
                "settings": list(settings),
                "runs": [{"run": one.variant.name, "seed": one.variant.seed, "before": one.before,
                          "accuracy": one.reached, "round": one.round, "verifier": one.errors} for one in mine],
                "mean": sum(shares) / len(shares) if shares else None,
                "interval": None if interval is None else list(interval),
                "worst": min(shares, default=None),
            }
        )  # fmt: skip
    return rows


def describe(found: Sequence[Outcome], width: int) -> Iterator[str]:
    """The report in lines: each run, how far its verdicts can be trusted, and each combination of settings with its
    mean, interval and worst seed."""
    yield from lay_out([[one.variant.name, _describe_run(one)] for one in found], width)
    measured = list(dict.fromkeys(describe_errors(one.errors) for one in found if one.errors))
    if measured and (len(measured) > 1 or not all(one.errors for one in found)):  # not the same for all runs
        measured = [f"{one.variant.name}: {describe_errors(one.errors)}" for one in found if one.errors]
    yield from lay_out([[one] for one in measured], width)
    groups = by_settings(found)
    yield ""
    yield from lay_out(
        [[", ".join(name) or "all seeds", _describe_group(mine)] for name, mine in groups.items()], width
    )
    yield from _differences(groups, width)


def _describe_run(one: Outcome) -> str:
    if one.reached is None:
        return one.problem or "has no evaluation yet"
    before = f" (from {one.before:.1%})" if one.before is not None and one.round else ""
    return f"{one.reached:.1%} in round {one.round}{before}"


def _describe_group(mine: Sequence[Outcome]) -> str:
    done = [(one.reached, one.variant.seed) for one in mine if one.reached is not None]
    missing = f"; {len(mine) - len(done)} of {len(mine)} runs have no evaluation" if len(done) < len(mine) else ""
    if not done:
        return f"nothing yet{missing}"
    shares = [share for share, _ in done]
    mean, interval = sum(shares) / len(shares), mean_interval(shares)
    if interval is None:
        return f"{mean:.1%}, of one run, so without an interval{missing}"
    worst, seed = min(done, key=lambda one: one[0])
    between = f"{interval[0]:.1%} to {interval[1]:.1%}"
    return f"mean {mean:.1%} ({between}) over {len(done)} seeds, worst {worst:.1%} (seed {seed}){missing}"


def _differences(groups: dict[tuple[str, ...], list[Outcome]], width: int) -> Iterator[str]:
    """Each combination beside the first one, by the difference of runs with the same seed; the intervals hold for all
    of them together."""
    (first, mine), *others = groups.items()
    base = {one.variant.seed: one.reached for one in mine}
    rows = []
    for name, theirs in others:
        pairs = [(one.reached, base.get(one.variant.seed)) for one in theirs]
        gains = [now - before for now, before in pairs if now is not None and before is not None]
        interval = mean_interval(gains, bounds=(-1.0, 1.0), together=len(others))
        if interval is not None:
            low, high = interval
            said = "no difference is shown" if low <= 0.0 <= high else "better" if low > 0.0 else "worse"
            mean = sum(gains) / len(gains)
            rows.append([", ".join(name), f"{mean:+.1%} ({low:+.1%} to {high:+.1%}) over {len(gains)} seeds: {said}"])
    if rows:
        yield ""
        several = ", intervals that hold together" if len(others) > 1 else ""
        yield f"beside {', '.join(first)}, seed by seed{several}:"
        yield from lay_out(rows, width)
