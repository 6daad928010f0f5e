"""How good a reward model is on pairs that it was not trained on."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from selfimprove.records import Preference
from selfimprove.records.stats import correlation, wilson

BINS = 5  # of the predicted probability that the preferred text is the chosen one, from a half to 1


@dataclass(frozen=True)
class Weighed:
    """A pair, and by how much each model of an ensemble has the chosen text ahead, in log-odds."""

    pair: Preference
    ahead: tuple[float, ...]
    rewards: tuple[float, float]
    """Of the chosen and the rejected text, all models taken together."""
    level: int | None = None

    @property
    def together(self) -> float:
        return sum(self.ahead) / len(self.ahead)


def measure_rewards(weighed: Sequence[Weighed]) -> dict[str, object]:
    """Pair accuracy with its Wilson 95% interval in all and by source, level and length; calibration; the correlation
    of rewards with lengths; and how often two models of an ensemble agree. A tie is not right."""
    found: dict[str, Any] = {"pairs": len(weighed), "prompts": len({one.pair.prompt for one in weighed})}
    if not weighed:
        return found
    rewards = [reward for one in weighed for reward in one.rewards]
    lengths = [len(text) for one in weighed for text in (one.pair.chosen, one.pair.rejected)]
    members = range(len(weighed[0].ahead))
    return {
        **found,
        "accuracy": count_right(weighed),
        "by source": split(weighed, lambda one: one.pair.source),
        "by level": split(weighed, lambda one: "" if one.level is None else str(one.level)),
        "by length": split(weighed, _compare_lengths),
        "log loss": sum(math.log1p(math.exp(-abs(one.together))) + max(0.0, -one.together) for one in weighed)
        / len(weighed),
        "calibration": measure_calibration([one.together for one in weighed]),
        "correlation with length": correlation(lengths, rewards),
        "members": [sum(one.ahead[at] > 0 for one in weighed) / len(weighed) for at in members],
        "agreement": measure_agreement([one.ahead for one in weighed]),
    }


def split(weighed: Sequence[Weighed], by: Callable[[Weighed], str]) -> dict[str, dict[str, float]]:
    """The accuracy of each part."""
    parts: dict[str, list[Weighed]] = defaultdict(list)
    for one in weighed:
        parts[by(one)].append(one)
    return {name: count_right(parts[name]) for name in sorted(parts) if name}


def _compare_lengths(one: Weighed) -> str:
    longer = len(one.pair.chosen) - len(one.pair.rejected)
    return "chosen is longer" if longer > 0 else "chosen is shorter" if longer < 0 else "equally long"


def count_right(weighed: Sequence[Weighed]) -> dict[str, float]:
    right = sum(one.together > 0 for one in weighed)
    low, high = wilson(right, len(weighed))
    return {"n": len(weighed), "right": right, "low": low, "high": high}


def measure_calibration(ahead: Sequence[float]) -> dict[str, object]:
    """The expected calibration error (Guo et al., 2017, equation 3) of the probabilities of what is preferred."""
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for one in ahead:
        sure = 1 / (1 + math.exp(-min(700.0, abs(one))))
        bins[min(BINS - 1, int((sure - 0.5) * 2 * BINS))].append((sure, one > 0))
    rows = [
        {
            "expected": sum(sure for sure, _ in bins[at]) / len(bins[at]),
            "right": sum(right for _, right in bins[at]) / len(bins[at]),
            "n": len(bins[at]),
        }
        for at in sorted(bins)
    ]
    return {"error": sum(one["n"] * abs(one["expected"] - one["right"]) for one in rows) / len(ahead), "bins": rows}


def measure_agreement(ahead: Sequence[tuple[float, ...]]) -> float | None:
    """The share of pairs on which two models prefer the same text, over all twos of models; None for one model."""
    models = len(ahead[0])
    twos = [(first, second) for first in range(models) for second in range(first)]
    if not twos:
        return None
    agree = sum((one[first] > 0) == (one[second] > 0) for one in ahead for first, second in twos)
    return agree / (len(ahead) * len(twos))
