"""What was seen by step of trainings that write their own texts, such as RL: rewards, KL, entropy, length, shares."""

import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.table import Table
from rich.text import Text

from selfimprove.recipe.catalog import known_stages
from selfimprove.records.console import make_table
from selfimprove.store import Manifest

SHOWN = 5
"""Columns of a table: the logged steps, some of them together."""


def read_steps(manifests: Sequence[Manifest]) -> list[dict[str, Any]]:
    """The figures of each logged step, of the stages that declare that these are worth looking at."""
    known = known_stages()
    found = []
    for one in manifests:
        declared = known.get(one.declared or one.stage)
        curve = one.metrics.get("curve")
        if declared and declared.charts == "figures" and curve:
            found.append({"round": one.round, "stage": one.stage, "curve": [
                {"step": at["step"], **(at.get("values") or {})} for at in curve]})  # fmt: skip
    return found


def steps_table(steps: Mapping[str, Any]) -> Table:
    """A line for each figure, its means over a few stretches of steps."""
    curve: list[dict[str, float]] = steps["curve"]
    many = min(SHOWN, len(curve))
    cuts = [len(curve) * at // many for at in range(many + 1)]
    stretches = [curve[start:end] for start, end in itertools.pairwise(cuts)]
    names = [_name(one) for one in stretches]
    table = make_table(f"Round {steps['round']}, {steps['stage']} by step", "mean of", *names, left=("mean of",))
    for name in dict.fromkeys(name for at in curve for name in at if name != "step"):
        values = [[at[name] for at in some if name in at] for some in stretches]
        table.add_row(Text(name), *(f"{fmean(some):.3g}" if some else "" for some in values))
    return table


def _name(stretch: Sequence[Mapping[str, float]]) -> str:
    first, last = int(stretch[0]["step"]), int(stretch[-1]["step"])
    return str(first) if first == last else f"{first}-{last}"
