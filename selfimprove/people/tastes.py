"""Linear reward models of people: one that all share, and an offset of each cohort that is held near to it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfimprove.people.comparisons import Compared
from selfimprove.people.ratings import Rating

Array = NDArray[np.float64]
RIDGE = 1.0  # of what is shared: keeps the fit finite where one side always won
SHRINKAGES = (1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
"""Of which the one is taken whose offsets foretell people best who were left out."""
FOLDS = 5
MOST_SOURCES = 40
STYLE: dict[str, Callable[[str], float]] = {
    "log words": lambda text: float(np.log1p(len(text.split()))),
    "list": lambda text: float(bool(re.search(r"(?m)^\s*(?:[-*•]|\d+[.)])\s", text))),
    "question": lambda text: float("?" in text),
    "exclamation": lambda text: float("!" in text),
    "first person": lambda text: float(bool(re.search(r"\b(?:I|my|me)\b", text))),
    "hedge": lambda text: float(bool(re.search(r"(?i)\b(?:may|might|perhaps|possibly|however|depends)\b", text))),
    "refusal": lambda text: float(bool(re.search(r"(?i)\b(?:I can(?:no|')t|I'm sorry|as an ai)\b", text))),
}
MOST_READ = 20_000  # characters of a response whose style is looked at


@dataclass(frozen=True)
class Features:
    """What a linear reward model sees of responses, each feature with mean 0 and deviation 1."""

    names: tuple[str, ...]
    of: str
    """Where they come from: the file, or the texts' style and the sources."""
    values: Mapping[tuple[str, str], Array]
    """By item and response."""

    def differences(self, compared: Sequence[Compared]) -> Array:
        """Of each pair the first's less the second's; shape (pairs, features)."""
        rows = [self.values[one.key[0], one.key[1]] - self.values[one.key[0], one.key[2]] for one in compared]
        return np.array(rows).reshape(len(rows), len(self.names))


def read_features(ratings: Sequence[Rating]) -> Features:
    """The features that the file gives; without any, the style of the texts and, where there are few, the sources."""
    responses = {(one.item, one.response): one for one in ratings}
    given = sorted({name for one in responses.values() for name in one.features})
    if given:
        raw = [[one.features.get(name, 0.0) for name in given] for one in responses.values()]
        names, of = list(given), "the file's features"
    else:
        sources = sorted({one.source for one in responses.values() if one.source})
        listed = sources if 1 < len(sources) <= MOST_SOURCES else []
        names = [*STYLE, *(f"source {one}" for one in listed)]
        raw = [
            [look(one.text[:MOST_READ]) for look in STYLE.values()] + [float(one.source == each) for each in listed]
            for one in responses.values()
        ]
        of = "style of the texts" + (" and sources" if listed else "")
    table = np.array(raw, dtype=float)
    deviation = table.std(0)
    vary = deviation > 1e-12
    scaled = (table[:, vary] - table[:, vary].mean(0)) / deviation[vary]
    kept = tuple(name for name, varies in zip(names, vary, strict=True) if varies)
    return Features(kept, of, dict(zip(responses, scaled, strict=True)))


@dataclass(frozen=True)
class Tastes:
    """Weights of features in log-odds: those that all share, and by cohort what is added to them."""

    shared: Array
    offsets: dict[str, Array]
    shrinkage: float

    def of(self, cohort: str | None) -> Array:
        """The weights of a cohort; of all people for None, and of a cohort of which none is known."""
        return self.shared if cohort is None or cohort not in self.offsets else self.shared + self.offsets[cohort]


def fit_tastes(
    differences: Array, outcomes: Array, weights: Array, cohorts: Sequence[str | None], *, shrinkage: float
) -> Tastes:
    """The maximum a posteriori fit of a Bradley-Terry model r_g(x) = (w + Δ_g)·x, with a prior of RIDGE/2·|w|² and
    shrinkage/2·|Δ_g|², by Newton's method; the loss is convex. With infinite shrinkage all are alike."""
    names = sorted({one for one in cohorts if one is not None}) if np.isfinite(shrinkage) else []
    width = differences.shape[1]
    blocks = [np.ones(len(outcomes)), *(np.array([one == name for one in cohorts], dtype=float) for name in names)]
    design = np.concatenate([differences * block[:, None] for block in blocks], axis=1)
    penalty = np.concatenate([np.full(width, RIDGE), np.full(width * len(names), shrinkage)])
    theta = np.zeros(design.shape[1])
    for _ in range(50):
        chances = chance(design @ theta)
        gradient = design.T @ (weights * (chances - outcomes)) + penalty * theta
        curvature = (design * (weights * chances * (1 - chances))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        theta = theta - step * min(1.0, 5.0 / max(float(np.abs(step).max(initial=0.0)), 1e-300))
        if float(np.abs(step).max(initial=0.0)) < 1e-8:
            break
    parts = theta.reshape(1 + len(names), width)
    return Tastes(parts[0], dict(zip(names, parts[1:], strict=True)), shrinkage)


def chance(odds: Array) -> Array:
    """The probability that the first of two is preferred, of its log-odds."""
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -500, 500))))


def log_losses(chances: Array, outcomes: Array) -> Array:
    """Of each pair; a tie is half of each."""
    sure = np.clip(chances, 1e-12, 1 - 1e-12)
    return np.asarray(-(outcomes * np.log(sure) + (1 - outcomes) * np.log(1 - sure)))


@dataclass(frozen=True)
class Fitted:
    """The models of cohorts and the pooled one, and for each fold the same fitted without the fold's people."""

    tastes: Tastes
    folds: list[Tastes]
    pooled: list[Tastes]
    fold_of: dict[str, int]
    held_out: dict[str, Any]

    def without(self, rater: str, cohort: str | None) -> Array:
        """The weights of a cohort, or of the pooled model for None, of the fit without this person."""
        fold = self.fold_of[rater]
        return self.pooled[fold].shared if cohort is None else self.folds[fold].of(cohort)


def cross_fit(
    compared: Sequence[Compared], features: Features, cohort_of: Mapping[str, str], *, seed: int = 0
) -> Fitted:
    """Fit the models, with the shrinkage that foretells people best who were left out.

    The loss that is reported is of the shrinkage chosen within the other folds, so that choosing is paid for.
    """
    differences = features.differences(compared)
    outcomes = np.array([one.outcome for one in compared])
    weights = np.array([one.weight for one in compared])
    cohorts = [cohort_of.get(one.rater) for one in compared]
    fold_of = draw_folds([one.rater for one in compared], cohort_of, seed)
    folds = np.array([fold_of[one.rater] for one in compared])
    losses: dict[float, Array] = {}
    fits: dict[float, list[Tastes]] = {}
    for shrinkage in (*SHRINKAGES, np.inf):
        losses[shrinkage], fits[shrinkage] = np.zeros(len(compared)), []
        for fold in range(FOLDS):
            others = folds != fold
            fitted = fit_tastes(
                differences[others], outcomes[others], weights[others],
                [one for one, kept in zip(cohorts, others, strict=True) if kept], shrinkage=shrinkage,
            )  # fmt: skip
            fits[shrinkage].append(fitted)
            mine = np.flatnonzero(~others)
            odds = np.array([differences[at] @ fitted.of(cohorts[at]) for at in mine])
            losses[shrinkage][mine] = log_losses(chance(odds), outcomes[mine])
    chosen = []
    for fold in range(FOLDS):
        others = folds != fold
        sums = {one: float(loss[others] @ weights[others]) for one, loss in losses.items()}
        chosen.append(min(sums, key=lambda one: sums[one]))
    shrinkage = min(SHRINKAGES, key=lambda one: float(losses[one] @ weights))
    apart = np.array([losses[chosen[fold]][at] for at, fold in enumerate(folds)])
    return Fitted(
        tastes=fit_tastes(differences, outcomes, weights, cohorts, shrinkage=shrinkage),
        folds=fits[shrinkage],
        pooled=fits[np.inf],
        fold_of=fold_of,
        held_out={
            "log loss pooled": float(losses[np.inf] @ weights / weights.sum()),
            "log loss by cohort": float(apart @ weights / weights.sum()),
            "gain": gain_interval(losses[np.inf] - apart, weights, [one.rater for one in compared]),
        },
    )


def draw_folds(raters: Sequence[str], cohort_of: Mapping[str, str], seed: int) -> dict[str, int]:
    """The fold of each person, those of a cohort spread evenly."""
    rng = np.random.default_rng(seed)
    people = sorted({*raters})
    order = [people[at] for at in rng.permutation(len(people))]
    order.sort(key=lambda one: cohort_of.get(one, ""))
    return {rater: at % FOLDS for at, rater in enumerate(order)}


def gain_interval(gains: Array, weights: Array, raters: Sequence[str]) -> list[float]:
    """The mean of what each person's pairs gain, in nats a pair, with its 95% interval over people."""
    people: dict[str, list[float]] = {}
    for gain, weight, rater in zip(gains, weights, raters, strict=True):
        sums = people.setdefault(rater, [0.0, 0.0])
        sums[0] += gain * weight
        sums[1] += weight
    means = np.array([total / weight for total, weight in people.values()])
    half = 1.96 * float(means.std(ddof=1)) / len(means) ** 0.5 if len(means) > 1 else float("inf")
    return [float(means.mean()), float(means.mean()) - half, float(means.mean()) + half]
