"""Intervals and paired tests, and what preference pairs say of a policy."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from selfimprove.records import Evaluation

Z = 1.959963984540054  # of 95%; scipy, which would tell it, takes a second to import


def wilson(correct: float, n: int) -> tuple[float, float]:
    """The Wilson 95% interval of a proportion (Wilson, 1927); (0, 1) where nothing was counted.

    A tie counts as half a success, which makes the interval wider than it would have to be.
    """
    if n == 0:
        return 0.0, 1.0
    share = correct / n
    scale = 2 * (n + Z**2)
    center = (2 * n * share + Z**2) / scale
    half = Z / scale * math.sqrt(4 * n * share * (1 - share) + Z**2)
    return 0.0 if correct == 0 else center - half, 1.0 if correct == n else center + half


def describe_share(correct: int, n: int) -> str:
    """A proportion with its Wilson interval."""
    low, high = wilson(correct, n)
    return f"{correct / n:.1%} ({low:.1%} to {high:.1%})"


def difference(now: float, of_now: tuple[float, float], was: float, of_was: tuple[float, float]) -> tuple[float, float]:
    """The 95% interval of a difference of two proportions from the intervals of each (Newcombe, 1998, method 10)."""
    low = math.sqrt((now - of_now[0]) ** 2 + (of_was[1] - was) ** 2)
    high = math.sqrt((of_now[1] - now) ** 2 + (was - of_was[0]) ** 2)
    return now - was - low, now - was + high


def mean_interval(
    values: Sequence[float], bounds: tuple[float, float] = (0.0, 1.0), *, together: int = 1
) -> tuple[float, float] | None:
    """Student's 95% interval of the mean of a few values (Student, 1908), within `bounds`; None of fewer than two. Of
    several intervals that are to hold `together` each is wider (Bonferroni; Dunn, 1961)."""
    n = len(values)
    if n < 2:
        return None
    from scipy.special import stdtrit  # scipy.stats has this too, and takes three times as long to import

    mean = sum(values) / n
    error = math.sqrt(sum((one - mean) ** 2 for one in values) / (n - 1) / n)
    half = -float(stdtrit(n - 1, 0.025 / together)) * error
    return max(bounds[0], mean - half), min(bounds[1], mean + half)


def is_higher(ones: Sequence[float], others: Sequence[float], chance: float) -> bool:
    """Whether the mean of some values is higher than that of others by Welch's one-sided test (Welch, 1947), which says
    so by chance with a probability of `chance`; both need two values or more."""
    from scipy.special import stdtr

    means, parts = [], []
    for values in (ones, others):
        means.append(sum(values) / len(values))
        spread = sum((one - means[-1]) ** 2 for one in values) / (len(values) - 1)
        parts.append((spread / len(values), len(values) - 1))
    error = sum(part for part, _ in parts)
    if not error:
        return means[0] > means[1]
    freedom = error**2 / sum(part**2 / free for part, free in parts)
    return bool(stdtr(freedom, (means[1] - means[0]) / math.sqrt(error)) < chance)


def mcnemar(won: int, lost: int) -> float:
    """The two-sided p-value of the exact McNemar test (McNemar, 1947) on discordant pairs; 1 where there are none."""
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0


@dataclass(frozen=True)
class WinRate:
    """How often one of two answers to the same prompt was preferred, ties counted as half, with 95% intervals."""

    won: int
    ties: int
    lost: int
    controlled: tuple[float, float, float]
    """The win rate between answers of one length, with its interval."""

    @property
    def n(self) -> int:
        return self.won + self.ties + self.lost

    @property
    def rate(self) -> float:
        return (self.won + self.ties / 2) / self.n if self.n else 0.5

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.won + self.ties / 2, self.n)

    @property
    def p_value(self) -> float:
        """Of the sign test on what is no tie."""
        return mcnemar(self.won, self.lost)


def count_wins(scores: Sequence[float], differences: Sequence[float]) -> WinRate:
    """Count scores of 1 (won), 0.5 (a tie) and 0 (lost); `differences` are the lengths of the answers less those of the
    others."""
    won, lost = sum(one > 0.5 for one in scores), sum(one < 0.5 for one in scores)
    return WinRate(won, len(scores) - won - lost, lost, control_length(scores, differences))


def control_length(scores: Sequence[float], differences: Sequence[float]) -> tuple[float, float, float]:
    """The win rate at equal length with its 95% interval: a logistic regression of the score on tanh(difference over
    its deviation), as in AlpacaEval 2 (Dubois et al., 2024, section 3), with a standard normal prior on the slope.

    Where all scores are alike nothing can be told apart, and the raw rate stands.
    """
    n, total = len(scores), sum(scores)
    deviation = math.sqrt(sum(one * one for one in differences) / n) if n else 0.0
    if not n or total in (0, n) or not deviation:
        return (total / n if n else 0.5, *wilson(total, n))
    xs = [math.tanh(one / deviation) for one in differences]
    at, slope = 0.0, 0.0
    for _ in range(100):  # Newton's method; the loss is convex
        chances = [1 / (1 + math.exp(-(at + slope * x))) for x in xs]
        weights = [one * (1 - one) for one in chances]
        gradient = (
            sum(score - one for score, one in zip(scores, chances, strict=True)),
            sum((score - one) * x for score, one, x in zip(scores, chances, xs, strict=True)) - slope,
        )
        (a, b, c) = (
            sum(weights),
            sum(weight * x for weight, x in zip(weights, xs, strict=True)),
            sum(weight * x * x for weight, x in zip(weights, xs, strict=True)) + 1,
        )
        determinant = a * c - b * b
        step = ((c * gradient[0] - b * gradient[1]) / determinant, (a * gradient[1] - b * gradient[0]) / determinant)
        shorter = min(1.0, 2 / max(abs(one) for one in step)) if any(step) else 1.0
        at, slope = at + shorter * step[0], slope + shorter * step[1]
        if max(abs(one) for one in step) < 1e-10:
            break
    half = Z * math.sqrt(c / determinant)
    low, rate, high = (1 / (1 + math.exp(-max(-700.0, one))) for one in (at - half, at, at + half))
    return rate, low, high


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


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Pearson's correlation, None where one of the two does not vary."""
    n = len(xs)
    if n < 2:
        return None
    mean_x, mean_y = sum(xs) / n, sum(ys) / n
    over = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    spread = (sum((x - mean_x) ** 2 for x in xs) * sum((y - mean_y) ** 2 for y in ys)) ** 0.5
    return over / spread if spread else None


def best_of(values: Sequence[float], outcomes: Sequence[float], n: int) -> float:
    """The expected outcome of the text with the highest value among n of these, without bias: the mean over all ways to
    draw n of them (Nakano et al., 2021, appendix I). Where several have the highest value, each is as likely."""
    count = len(values)
    if not 0 < n <= count:
        raise ValueError(f"cannot draw {n} of {count} texts")

    def within(lowest: int) -> float:
        """The probability that all n are among the lowest so many."""
        if lowest < n:
            return 0.0
        return math.exp(math.lgamma(lowest + 1) - math.lgamma(lowest - n + 1) - whole)

    whole = math.lgamma(count + 1) - math.lgamma(count - n + 1)
    order = sorted(zip(values, outcomes, strict=True))
    expected, start = 0.0, 0
    while start < count:
        end = start
        while end < count and order[end][0] == order[start][0]:
            end += 1
        mean = sum(outcome for _, outcome in order[start:end]) / (end - start)
        expected += (within(end) - within(start)) * mean
        start = end
    return expected


def best_of_kl(n: int) -> float:
    """How far the best of n is from a single draw, in nats; less where texts or values repeat (Gao et al., 2022)."""
    return math.log(n) - (n - 1) / n


@dataclass(frozen=True)
class Accuracy:
    """How many of a round's decided held-out problems were answered right, with the Wilson 95% interval: of all, or of
    one task, level and group."""

    round: int
    n: int
    correct: int
    undecided: int
    wrong_reason: int
    task: str = ""
    level: int | None = None
    group: str = ""

    @property
    def accuracy(self) -> float:
        return self.correct / self.n if self.n else 0.0

    @cached_property
    def interval(self) -> tuple[float, float]:
        return wilson(self.correct, self.n)

    def to_json(self) -> dict[str, str | float | None]:
        """As plain data; the accuracy is None where nothing was decided."""
        counts = {name: getattr(self, name) for name in ("round", "task", "level", "n", "correct", "undecided")}
        low, high = self.interval
        return {**counts, "accuracy": self.accuracy if self.n else None, "low": low, "high": high}

    def __str__(self) -> str:
        (low, high), undecided = self.interval, f", {self.undecided} undecided" if self.undecided else ""
        return f"{self.accuracy:.1%} of {self.n} (95% interval {low:.1%} to {high:.1%}{undecided})"


def sum_up(
    evaluations: Sequence[Evaluation], round_: int, task: str = "", level: int | None = None, group: str = ""
) -> Accuracy:
    """The accuracy over all evaluations that are given, which are those of a round, task, level and group."""
    names = ("n", "correct", "undecided", "wrong_reason")
    n, correct, undecided, wrong_reason = (sum(getattr(one, name) for one in evaluations) for name in names)
    return Accuracy(round_, n, correct, undecided, wrong_reason, task, level, group)


def sum_by_task(evaluations: Iterable[Evaluation], round_: int) -> list[Accuracy]:
    """The evaluations of a round's checkpoint summed up by task, in their order."""
    tasks: dict[str, list[Evaluation]] = {}
    for one in evaluations:
        tasks.setdefault(one.task, []).append(one)
    return [sum_up(mine, round_, task) for task, mine in tasks.items()]
