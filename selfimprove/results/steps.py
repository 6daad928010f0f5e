"""What was seen by step of trainings that write their own texts, such as RL: rewards, KL, entropy, length, shares."""

import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.table import Table
from rich.text import Text

from selfimprove.recipe.catalog import known_stages
from selfimprove.records import Promotion
from selfimprove.records.console import make_table
from selfimprove.records.stats import is_higher
from selfimprove.store import Manifest

CHANCE = 0.05
SHOWN = 5
"""Columns of a table: the logged steps, some of them together."""


def charts_figures(manifest: Manifest) -> bool:
    """Whether a stage declares that its figures are to be looked at by step, and not its loss."""
    declared = known_stages().get(manifest.declared or manifest.stage)
    return declared is not None and declared.charts == "figures"


def read_steps(manifests: Sequence[Manifest]) -> list[dict[str, Any]]:
    """The figures of each logged step, of the stages that declare that these are worth looking at."""
    found = []
    for one in manifests:
        curve = one.metrics.get("curve")
        if curve and charts_figures(one):
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


def warn_of_held_out(steps: Sequence[Mapping[str, Any]], promotions: Mapping[int, Promotion]) -> dict[int, str]:
    """By round: that held-out accuracy fell while the reward rose, where the paired test and a test of the first and
    the last fifth of the logged steps both say so."""
    found = {}
    for one in steps:
        rewards = [at["reward"] for at in one["curve"] if "reward" in at]
        some, promotion = len(rewards) // SHOWN, promotions.get(one["round"])
        if some < 2 or promotion is None or promotion.lost <= promotion.won or promotion.p_value >= CHANCE:
            continue
        first, last = rewards[:some], rewards[-some:]
        if is_higher(last, first, CHANCE / 2):
            found[one["round"]] = (
                f"the reward rose from {fmean(first):.3g} to {fmean(last):.3g} while held-out accuracy fell: "
                f"{promotion.won} problems won, {promotion.lost} lost (McNemar p = {promotion.p_value:.2g})"
            )
    return found


def _name(stretch: Sequence[Mapping[str, float]]) -> str:
    first, last = int(stretch[0]["step"]), int(stretch[-1]["step"])
    return str(first) if first == last else f"{first}-{last}"
