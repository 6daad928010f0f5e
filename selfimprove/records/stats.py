"""Intervals and paired tests, and what preference pairs say of a policy."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfimprove.records import Evaluation

Z = 1.959963984540054  # of 95%; scipy, which would tell it, takes a second to import


def wilson(correct: int, n: int) -> tuple[float, float]:
    """The Wilson 95% interval of a proportion (Wilson, 1927); (0, 1) where nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    share = correct / n
    scale = 2 * (n + Z**2)
    center = (2 * n * share + Z**2) / scale
    half = Z / scale * math.sqrt(4 * n * share * (1 - share) + Z**2)
    return 0.0 if correct == 0 else center - half, 1.0 if correct == n else center + half


def mean_interval(values: Sequence[float], bounds: tuple[float, float] = (0.0, 1.0)) -> tuple[float, float] | None:
    """Student's 95% interval of the mean of a few values (Student, 1908), within `bounds`; None of fewer than two."""
    n = len(values)
    if n < 2:
        return None
    from scipy.stats import t

    mean = sum(values) / n
    error = math.sqrt(sum((one - mean) ** 2 for one in values) / (n - 1) / n)
    half = float(t.ppf(0.975, n - 1)) * error
    return max(bounds[0], mean - half), min(bounds[1], mean + half)


def mcnemar(won: int, lost: int) -> float:
    """The two-sided p-value of the exact McNemar test (McNemar, 1947) on discordant pairs; 1 where there are none."""
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values for several comparisons (Holm, 1979), in the order given."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def dpo_loss(
    policy: Sequence[tuple[float, float]], reference: Sequence[tuple[float, float]], *, beta: float
) -> tuple[float, float]:
    """The mean DPO loss (Rafailov et al., 2023, equation 7) and the share of pairs whose implicit reward is higher for
    the chosen text; each pair holds the log-probabilities of the chosen and of the rejected text, in nats."""
    margins = [
        beta * ((chosen - chosen_before) - (rejected - rejected_before))
        for (chosen, rejected), (chosen_before, rejected_before) in zip(policy, reference, strict=True)
    ]
    # log(1 + exp(-m)) without overflow.
    losses = [max(0.0, -margin) + math.log1p(math.exp(-abs(margin))) for margin in margins]
    return sum(losses) / len(losses), sum(margin > 0 for margin in margins) / len(margins)


@dataclass(frozen=True)
class TaskAccuracy:
    """What was answered right of one task's held-out problems, with the Wilson 95% interval."""

    task: str
    n: int
    correct: int
    undecided: int
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.n if self.n else 0.0

    def __str__(self) -> str:
        undecided = f", {self.undecided} undecided" if self.undecided else ""
        return f"{self.accuracy:.1%} of {self.n} (95% interval {self.low:.1%} to {self.high:.1%}{undecided})"


def sum_by_task(evaluations: Iterable[Evaluation]) -> list[TaskAccuracy]:
    """The evaluations of one checkpoint summed up by task, in their order."""
    tasks: dict[str, list[Evaluation]] = {}
    for one in evaluations:
        tasks.setdefault(one.task, []).append(one)
    found = []
    for task, mine in tasks.items():
        n, correct, undecided = (sum(getattr(one, name) for one in mine) for name in ("n", "correct", "undecided"))
        found.append(TaskAccuracy(task, n, correct, undecided, *wilson(correct, n)))
    return found
