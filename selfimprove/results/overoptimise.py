"""What a grid of runs says of over-optimisation: gold and proxy rewards over √KL, fits with residuals, controls."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from selfimprove.errors import TrainingError
from selfimprove.recipe import Recipe
from selfimprove.records import Preference, Rationale, Rollout
from selfimprove.records.stats import mean_interval
from selfimprove.running.loop import run_loop
from selfimprove.running.overoptimise import Cell, Names, begin_as_copy, measure_best_of_n
from selfimprove.running.report import Report
from selfimprove.store import RunFolder

WINDOWS = 14  # of steps, each longer than the one before: what happens early happens fast
SHORTEST = 4  # steps of a window: the KL of a few texts is mostly noise
LAST = 0.1  # of the steps, whose texts say what RL came to
NOWHERE = (-math.inf, math.inf)
SHOWN = {"gold": "gold", "reward": "proxy"}
FORMS: Mapping[str, Callable[[float], float]] = {"best of n": lambda d: d, "RL": math.log}
"""Of gold = d(α - β f(d)): f, where d = √KL (Gao et al., 2022, section 3)."""


@dataclass(frozen=True)
class Point:
    """Means of texts, with the standard errors of `gold`."""

    kl: float
    reward: float
    gold: float
    error: float
    length: float
    """In characters for best-of-n, in tokens for RL, its end token among them."""
    step: int = 0
    half: float = 0.0
    """Half the width of Student's 95% interval of `gold` over the steps of a window of RL."""

    @property
    def d(self) -> float:
        return math.sqrt(max(0.0, self.kl))


@dataclass(frozen=True)
class Fit:
    """gold - start = d(α - β f(d)) by least squares."""

    alpha: float
    beta: float
    explained: float
    """R², the share of the variance that is explained."""
    residuals: tuple[float, ...]

    def peak(self, form: str) -> float | None:
        """The d at which the fit is highest, None where it is not."""
        if self.beta <= 0:
            return None
        return self.alpha / (2 * self.beta) if form == "best of n" else math.exp(min(700.0, self.alpha / self.beta - 1))


def fit_curve(points: Sequence[tuple[float, float]], form: str) -> Fit | None:
    """Fit pairs of d and a difference of gold rewards; None where fewer than three have a d above 0."""
    rows = [(d, -d * FORMS[form](d), y) for d, y in points if d > 0]
    if len(rows) < 3:
        return None
    aa, ab, bb = (sum(one[i] * one[j] for one in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    ay, by = (sum(one[i] * one[2] for one in rows) for i in (0, 1))
    det = aa * bb - ab * ab
    if abs(det) < 1e-12 * max(1.0, aa * bb):
        return None
    alpha, beta = (ay * bb - by * ab) / det, (by * aa - ay * ab) / det
    residuals = tuple(y - alpha * one - beta * other for one, other, y in rows)
    mean = fmean(y for _, _, y in rows)
    spread = sum((y - mean) ** 2 for _, _, y in rows)
    explained = 1 - sum(one * one for one in residuals) / spread if spread else 0.0
    return Fit(alpha, beta, explained, residuals)


def best_of_n_points(measured: Mapping[str, Any]) -> list[Point]:
    """The rows that `measure_best_of_n` kept."""
    return [
        Point(one["KL"], one["reward"], one["gold"], one["gold error"], one["length"], int(one["n"]))
        for one in measured["rows"]
    ]


def rl_points(folder: RunFolder, stage: str, gold: str) -> tuple[list[Point], Point]:
    """What the texts of RL were worth by windows of steps, and those of its last steps together; all were written by
    the policy of their step, before it was trained on them."""
    disk = folder.stage(1, stage)
    tokens = {one.id: one.tokens for one in disk.rows(Rationale).pick("tokens")}
    by: dict[int, list[Rollout]] = defaultdict(list)
    for one in disk.read(Rollout):
        by[one.step].append(one)
    steps = sorted(by)
    points = [_point([by[step] for step in some], gold, tokens) for some in cut_windows(steps)]
    last = steps[-max(1, round(LAST * len(steps))) :]
    return points, _point([by[step] for step in last], gold, tokens)


def cut_windows(steps: Sequence[int]) -> list[Sequence[int]]:
    """Steps cut into windows of which each is longer than the one before, by the same factor where that is possible."""
    cuts = [0]
    for at in range(1, WINDOWS):
        cut = round(len(steps) ** (at / WINDOWS))
        if cut - cuts[-1] >= SHORTEST and len(steps) - cut >= SHORTEST:
            cuts.append(cut)
    return [steps[start:end] for start, end in pairwise([*cuts, len(steps)])]


def _point(batches: Sequence[Sequence[Rollout]], gold: str, tokens: Mapping[str, int]) -> Point:
    texts = [one for batch in batches for one in batch]
    golds = [[part.value for one in batch for part in one.parts if part.reward == gold and part.value is not None]
             for batch in batches]  # fmt: skip
    means = [fmean(some) for some in golds if some]
    proxies = [part.value for one in texts for part in one.parts if part.reward == "model" and part.value is not None]
    return Point(
        kl=fmean(one.kl or 0.0 for one in texts),
        reward=fmean(proxies) if proxies else 0.0,
        gold=fmean(means) if means else 0.0,
        error=stdev(means) / len(means) ** 0.5 if len(means) > 1 else 0.0,
        length=fmean(tokens[one.rationale] for one in texts),
        step=texts[-1].step,
        half=_half(means),
    )


@dataclass(frozen=True)
class Measured:
    """A cell with what was measured of it."""

    cell: Cell
    best: list[Point]
    curve: list[Point]
    end: Point


def to_json(found: Sequence[Measured]) -> dict[str, object]:
    """Everything as plain data: the points of each run, the fits with residuals, what cells came to, and what is shown
    of it all as a picture and as tables."""
    return {
        "runs": [
            {"run": one.cell.name, "comparisons": one.cell.comparisons, "seed": one.cell.seed, "kl": one.cell.kl,
             "control": one.cell.control, "best of n": [vars(each) for each in one.best],
             "RL": [vars(each) for each in one.curve], "end of RL": vars(one.end)}
            for one in found
        ],
        "fits": [
            {"form": form, "comparisons": many, "seed": seed, **vars(fit), "peak": fit.peak(form)}
            for form, many, seed, fit in fits(found)
        ],
        "cells": [_cell_json(name, some) for name, some in groups(found).items()],
        "lines": draw_lines(found),
        "tables": list(describe(found)),
    }  # fmt: skip


def fits(found: Sequence[Measured]) -> Iterator[tuple[str, int, int, Fit]]:
    """A fit of best-of-n for each reward model, and of RL for each run with the lowest KL coefficient."""
    plain = [one for one in found if not one.cell.control]
    lowest = min((one.cell.kl for one in plain), default=0.0)
    for one in plain:
        if one.cell.kl != lowest:
            continue
        start = one.best[0].gold
        for form, points in (("best of n", one.best), ("RL", one.curve)):
            if fit := fit_curve([(each.d, each.gold - start) for each in points], form):
                yield form, one.cell.comparisons, one.cell.seed, fit


def groups(found: Sequence[Measured]) -> dict[tuple[str, int, float], list[Measured]]:
    """The runs that differ in their seeds alone."""
    made: dict[tuple[str, int, float], list[Measured]] = {}
    for one in found:
        made.setdefault((one.cell.control, one.cell.comparisons, one.cell.kl), []).append(one)
    return made


def _cell_json(name: tuple[str, int, float], some: Sequence[Measured]) -> dict[str, object]:
    control, many, kl = name
    row: dict[str, Any] = {"control": control, "comparisons": many, "kl": kl, "seeds": len(some)}
    for figure in ("gold", "reward", "kl", "length"):
        values = [getattr(one.end, figure) for one in some]
        interval = mean_interval(values, NOWHERE)
        row["end " + figure] = {"mean": fmean(values), "interval": None if interval is None else list(interval)}
    return row


def run_grid(
    cells: Sequence[tuple[Cell, Recipe]],
    names: Names,
    out: Path,
    problems: int,
    samples: int,
    watch: Callable[[RunFolder, int], AbstractContextManager[Report | None]],
) -> list[Measured]:
    """Run what is missing of a grid and measure all of it; what best-of-n gave is kept in the folder `out`, which lies
    among the runs. `watch` is told of each run and its place."""
    found = []
    for at, (cell, recipe) in enumerate(cells, 1):
        folder = RunFolder(out.parent / cell.name)
        begin_as_copy(cell, recipe, out.parent)
        with watch(folder, at) as report:
            run_loop(recipe, folder, report=report)
        check_comparisons(folder, names.label, cell.comparisons)
        measured = measure_best_of_n(recipe, folder, names.gold, out, problems, samples)
        found.append(Measured(cell, best_of_n_points(measured), *rl_points(folder, names.rl, names.gold)))
    return found


def check_comparisons(folder: RunFolder, stage: str, wanted: int) -> None:
    """Raise TrainingError where a run has fewer comparisons than its place in the grid says."""
    there = len(folder.stage(1, stage).read(Preference))
    if there < wanted:
        raise TrainingError(
            f"{folder.path}: has {there} comparisons, and {wanted} were asked for; sample more ('frontier.problems', "
            f"'generate.samples'), compare more of them ('{stage}.per_problem'), or ask for fewer with --comparisons"
        )


def describe(found: Sequence[Measured]) -> Iterator[list[list[str]]]:
    """The tables, as rows of cells; means over seeds stand with Student's 95% interval."""
    yield [["best of n", "n", "KL at most", "proxy", "gold", "length"]] + [
        [f"{many} comparisons", str(n), f"{values[0].kl:.2f}", *_means(values, ("reward", "gold", "length"))]
        for many, rows in _best_rows(found).items()
        for n, values in rows.items()
    ]
    yield [["end of RL", "cost of KL", "KL", "proxy", "gold", "length"]] + [
        [f"{many} comparisons{control and ', '}{control}", f"{kl:g}",
         *_means([one.end for one in some], ("kl", "reward", "gold", "length"))]
        for (control, many, kl), some in groups(found).items()
    ]  # fmt: skip
    yield [["fit", "seed", "α", "β", "R²", "residual", "peak at √KL"]] + [
        [f"{form}, {many} comparisons", str(seed), f"{fit.alpha:.2f}", f"{fit.beta:.2f}", f"{fit.explained:.2f}",
         f"{max(fit.residuals, key=abs):+.2f}", _describe_peak(fit.peak(form))]
        for form, many, seed, fit in fits(found)
    ]  # fmt: skip


def _describe_peak(peak: float | None) -> str:
    return "never falls" if peak is None else f"{peak:.2f}"


def _means(points: Sequence[Point], names: Sequence[str]) -> list[str]:
    return [_mean([getattr(one, name) for one in points]) for name in names]


def _best_rows(found: Sequence[Measured]) -> dict[int, dict[int, list[Point]]]:
    """By comparisons and n, one point a seed."""
    rows: dict[int, dict[int, list[Point]]] = defaultdict(lambda: defaultdict(list))
    seen = set()
    for one in found:
        key = (one.cell.comparisons, one.cell.seed)
        if not one.cell.control and key not in seen:
            seen.add(key)
            for point in one.best:
                rows[one.cell.comparisons][point.step].append(point)
    return rows


def _mean(values: Sequence[float]) -> str:
    interval = mean_interval(values, NOWHERE)
    mean = f"{fmean(values):.2f}"
    return mean if interval is None else f"{mean} ({interval[0]:.2f} to {interval[1]:.2f})"


def draw_lines(found: Sequence[Measured]) -> dict[str, list[dict[str, Any]]]:
    """What the picture shows: for best-of-n the means over seeds, for RL each run with the lowest KL coefficient, both
    with Student's 95% intervals."""
    best: list[dict[str, Any]] = []
    for many, rows in _best_rows(found).items():
        points = [values for _, values in sorted(rows.items())]
        xs = [math.sqrt(some[0].kl) for some in points]
        for name in SHOWN:
            ys = [fmean(getattr(one, name) for one in some) for some in points]
            errors = [_half([getattr(one, name) for one in some]) for some in points]
            best.append({"name": f"{SHOWN[name]}, {many} comparisons", "xs": xs, "ys": ys, "errors": errors,
                         "group": many, "dashed": name == "reward"})  # fmt: skip
    lowest = min((one.cell.kl for one in found), default=0.0)
    rl = [
        {"name": f"{SHOWN[name]}, {one.cell.comparisons} comparisons", "xs": [each.d for each in one.curve],
         "ys": [getattr(each, name) for each in one.curve], "errors": [each.half for each in one.curve]
         if name == "gold" else None, "group": one.cell.comparisons, "dashed": name == "reward"}
        for one in found if not one.cell.control and one.cell.kl == lowest for name in SHOWN
    ]  # fmt: skip
    # Of one seed there is no interval.
    bars = "; bars: 95% intervals over seeds" if any(any(one["errors"]) for one in best) else ""
    return {
        f"Best of n{bars}": best,
        f"RL, a nat of KL for {lowest:g}; bars: 95% intervals over steps": rl,
    }


def _half(values: Sequence[float]) -> float:
    """Half the width of the interval of a mean."""
    interval = mean_interval(values, NOWHERE)
    return 0.0 if interval is None else (interval[1] - interval[0]) / 2
