"""What is seen by step of a training that writes its own texts, as RL does: rewards, KL, entropy, lengths, shares."""

import math
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from selfimprove.recipe import flow_names
from selfimprove.recipe.catalog import known_stages
from selfimprove.viewer import charts
from selfimprove.viewer.library import Figures

TENTH = 10


@dataclass(frozen=True)
class ByStep:
    """The curves of a stage in a round, by name: step and mean."""

    round: int
    steps: int
    """That were logged so far."""
    curves: dict[str, list[tuple[int, float]]]
    going_on: bool = False

    @property
    def name(self) -> str:
        return f"round {self.round}, so far" if self.going_on else f"round {self.round}"


def finite(value: object) -> Any:
    """A measured value with None in the place of what is no finite number, as of a model that diverged."""
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def charts_figures(figures: Figures, stage: str, declared: str = "") -> bool:
    """Whether a stage of a run declares that its figures are to be looked at by step, and not its loss."""
    flow = figures.recipe.flow if figures.recipe else None
    name = declared or (flow_names({"flow": flow}).get(stage, stage) if flow else stage)
    found = known_stages().get(name)
    return found is not None and found.charts == "figures"


def by_step(figures: Figures) -> dict[str, list[ByStep]]:
    """The stages that declare it, by their name in the flow."""
    found: dict[str, list[ByStep]] = {}
    for one in figures.manifests:
        curve = one.metrics.get("curve")
        if curve and charts_figures(figures, one.stage, one.declared):
            points = [(at["step"], at.get("values") or {}) for at in finite(curve)]
            found.setdefault(one.stage, []).append(ByStep(one.round, len(points), _curves(points)))
    for (round_, stage), trains in figures.underway.items():
        if charts_figures(figures, stage):
            points = [(at.step, at.values) for at in trains.curve]
            found.setdefault(stage, []).append(ByStep(round_, len(points), _curves(points), going_on=True))
    return found


def summarize_rl(figures: Figures) -> list[tuple[str, int, int, list[tuple[str, float, float]]]]:
    """Of each stage that writes its own texts, in its latest round: its name, the round, the steps, and for rewards and
    KL the means of the first and of the last tenth of the steps."""
    found = []
    for stage, rounds in by_step(figures).items():
        last = max(rounds, key=lambda one: one.round)
        told = []
        for name, points in last.curves.items():
            if name in ("reward", "KL") or name.startswith("gold of "):
                part = max(1, len(points) // TENTH)
                first, end = (fmean(value for _, value in some) for some in (points[:part], points[-part:]))
                told.append((name, first, end))
        if told:
            found.append((stage, last.round, last.steps, told))
    return found


def _curves(points: list[tuple[int, dict[str, float | None]]]) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    for step, values in points:
        for name, value in values.items():
            if value is not None:
                curves.setdefault(name, []).append((step, value))
    return curves


def draw_steps(figures: Figures, chart: str) -> str | bytes | None:
    """The chart `steps-STAGE`, None where there is none of that name."""
    for stage, found in by_step(figures).items():
        if chart == f"steps-{stage}":
            panels: dict[str, list[charts.Line]] = {}
            for one in found:
                for name, points in one.curves.items():
                    line = (one.name, [at for at, _ in points], [value for _, value in points])
                    panels.setdefault(name, []).append(line)
            return charts.steps_chart(panels, f"{stage} by step")
    return None
