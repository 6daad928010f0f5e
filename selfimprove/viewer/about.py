"""The first screen of a run: did it get better, by how much and against what, what went wrong, how it was made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from selfimprove.recipe import Recipe
from selfimprove.recipe.changes import find_changes, show_value
from selfimprove.recipe.flow import flow_of
from selfimprove.records.stats import Accuracy, mcnemar
from selfimprove.store.failures import read_causes, read_wrong_steps
from selfimprove.store.made_from import read_solved
from selfimprove.store.search import Filters
from selfimprove.viewer.controls import Control
from selfimprove.viewer.library import Figures, Run
from selfimprove.viewer.steps import summarize_rl

MAX_ROUNDS = 60  # whose held-out answers are compared with each other
SHOWN = ("samples", "temperature", "top_p", "max_tokens", "method", "loss", "beta", "learning_rate", "epochs", "steps",
         "batch_size", "accumulate", "require", "pool", "sources", "policy", "per_problem")  # fmt: skip


@dataclass(frozen=True)
class Paired:
    """A later round beside an earlier one on the held-out problems that both decided."""

    before: int
    after: int
    won: int
    lost: int

    @property
    def p_value(self) -> float:
        return mcnemar(self.won, self.lost)

    @property
    def gains(self) -> bool:
        return self.won > self.lost and self.p_value < 0.05

    @property
    def loses(self) -> bool:
        return self.lost > self.won and self.p_value < 0.05


def summarize(run: Run, figures: Figures, control: Control | None) -> dict[str, Any]:
    """What the first screen says of a run; an entry is empty where nothing was measured."""
    read = run.keep("summary", lambda: _read(run))
    solved: Mapping[int, Mapping[str, tuple[str, bool]]] = read["solved"]
    rounds = [one.round for one in figures.rounds if one.round in solved]
    return {
        "change": _pair(solved, rounds[0], rounds[-1]) if len(rounds) > 1 else None,
        "gained": _last_gain(solved, rounds) if len(rounds) > 2 else None,
        "control": _beside(figures, control),
        "causes": read["causes"][:3],
        "steps": read["steps"][:2],
        "cut": read["cut"],
        "pairs": list(_pair_accuracies(figures)),
        "rl": summarize_rl(figures),
        "facts": list(_facts(figures.recipe)) if figures.recipe else [],
        "settings": list(_settings(figures.recipe)) if figures.recipe and figures.recipe.rounds else [],
        "cost": _cost(figures),
    }


def _pair_accuracies(figures: Figures) -> Iterator[tuple[str, int, Accuracy]]:
    """The latest reward models, by stage, with their round and the held-out pairs that they order as these were."""
    latest: dict[str, tuple[int, Accuracy]] = {}
    for one in figures.manifests:
        held_out = one.metrics.get("held out")
        measured = held_out.get("accuracy") if isinstance(held_out, dict) else None
        n, right = (measured.get(key) if isinstance(measured, dict) else None for key in ("n", "right"))
        if isinstance(n, int) and isinstance(right, int) and 0 <= right <= n and n:
            latest[one.stage] = one.round, Accuracy(one.round, n, right, undecided=0, wrong_reason=0)
    yield from ((stage, *found) for stage, found in latest.items())


def _read(run: Run) -> dict[str, Any]:
    rows = run.index.rows(
        "SELECT DISTINCT round FROM trace WHERE is_held_out(stage) AND outcome IN ('correct', 'incorrect') "
        "ORDER BY round"
    )
    cut = run.index.rows(
        "SELECT round, stage, count(*) AS n, count(*) FILTER (finish = 'length') AS cut FROM trace "
        "WHERE is_held_out(stage) AND round = (SELECT max(round) FROM trace WHERE is_held_out(stage)) GROUP BY ALL"
    )
    causes = [one for one in read_causes(run.search, Filters()) if "duplicate" not in one["cause"]]
    steps = read_wrong_steps(run.search, Filters())
    return {
        "solved": {one: read_solved(run.index, one) for one in choose_rounds([row["round"] for row in rows])},
        "causes": causes,
        "steps": steps,
        "cut": max(cut, key=lambda row: row["n"], default=None),
    }


def choose_rounds(rounds: list[int], most: int = MAX_ROUNDS) -> list[int]:
    """At most `most` rounds: the first one, with which the last one is compared, and the latest."""
    return rounds if len(rounds) <= most else [rounds[0], *rounds[-most + 1 :]]


def _pair(solved: Mapping[int, Mapping[str, tuple[str, bool]]], before: int, after: int) -> Paired:
    a, b = solved[before], solved[after]
    shared = a.keys() & b.keys()
    won = sum(b[one][1] and not a[one][1] for one in shared)
    return Paired(before, after, won, sum(a[one][1] and not b[one][1] for one in shared))


def _last_gain(solved: Mapping[int, Mapping[str, tuple[str, bool]]], rounds: list[int]) -> int:
    """The first round that no later one is shown to be better than, by the paired test."""
    for at, round_ in enumerate(rounds):
        if not any(_pair(solved, round_, later).gains for later in rounds[at + 1 :]):
            return round_
    return rounds[-1]


def _beside(figures: Figures, control: Control | None) -> dict[str, Any] | None:
    """The last round that the run and its control both evaluated."""
    if control is None:
        return None
    mine = {one.round: one for one in figures.rounds}
    shared = sorted(mine.keys() & control.rounds.keys())
    if not shared:
        return {"name": control.name, "round": None}
    own, other = mine[shared[-1]], control.rounds[shared[-1]]
    apart = own.interval[0] > other.interval[1] or other.interval[0] > own.interval[1]
    return {"name": control.name, "round": shared[-1], "own": own, "other": other, "apart": apart,
            "reason": control.reason}  # fmt: skip


def _facts(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What a run was made with, as one reads it in a line."""
    build = recipe.model.build
    built = f"built from scratch, {build.layers} layers of {build.hidden_size}" if build else "built from scratch"
    yield "model", recipe.model.path or built
    yield "seed", str(recipe.seed)
    yield "trained on" if recipe.rounds else "problems", recipe.train.name
    if recipe.evaluate_on:
        yield "evaluated on", ", ".join(one.name for one in recipe.evaluate_on)
    if recipe.constitution:
        yield "constitution", recipe.constitution
    yield "prompt", recipe.prompt.style + (f", {recipe.prompt.shots} exemplars" if recipe.prompt.shots else "")
    runs = recipe.rounds > 0
    for step in flow_of(recipe, lenient=True):
        # How it writes what it is trained on; of a run without rounds how it answers.
        settings = getattr(recipe.stages, step.name, None)
        if hasattr(settings, "temperature") and getattr(step.stage, "evaluates", False) != runs:
            values = settings.model_dump() if isinstance(settings, BaseModel) else {}
            said = [f"{key} {show_value(values[key])}" for key in SHOWN[:4] if values.get(key) is not None]
            yield ("sampling" if runs else "answers"), ", ".join(said)
            break


def _settings(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The settings of each stage that one compares runs by."""
    for name, settings in recipe.stages:
        # Those of a stage that is not known here are as its file has them.
        values = settings.model_dump() if isinstance(settings, BaseModel) else settings or {}
        shown = [f"{key} {show_value(values[key])}" for key in SHOWN if values.get(key) is not None]
        if shown:
            yield name, ", ".join(shown)


def _cost(figures: Figures) -> dict[str, Any]:
    """When a run was at work, for how long, and how many tokens it wrote and trained on."""
    seconds = [one.seconds.wall if one.seconds.elapsed is None else one.seconds.elapsed for one in figures.manifests]
    at = figures.times
    return {
        "seconds": sum(seconds) if seconds else None,
        "written": sum(one.tokens.get("written", 0) for one in figures.manifests),
        "trained": sum(one.tokens.get("trained", 0) for one in figures.manifests),
        "began": _date(at[0]) if at else "",
        "ended": _date(at[1]) if at else "",
    }


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def differences(before: Recipe | None, now: Recipe | None) -> list[tuple[str, str, str]]:
    """The settings in which two recipes differ, with the value of each."""
    if before is None or now is None:
        return []
    return [(one.name, show_value(one.before), show_value(one.now)) for one in find_changes(before, now, files=True)]
