"""How far people disagree, how much of it their cohorts explain, and whether labels at random would explain as much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfimprove.people.comparisons import Compared

Array = NDArray[np.float64]
MOST = 4000  # comparisons that are looked at, those that most people made first


@dataclass(frozen=True)
class Matrix:
    """What each person said of each comparison: 1, 0.5 or 0 (or a mean of these), and whether they said anything."""

    people: list[str]
    said: Array
    there: Array
    of: str
    """responses: the same two responses to one item; sources: any responses of the same two sources."""

    @property
    def comparisons(self) -> int:
        return int(self.said.shape[1])


def make_matrix(compared: Sequence[Compared]) -> Matrix:
    """People by comparisons that two or more of them made.

    Where hardly any two people saw the same responses, as in PRISM, what is compared is whose response it is.
    """
    by_response = _collect([(one.rater, one.key, one.outcome) for one in compared])
    if by_response:
        return _tabulate(by_response, "responses")
    turned = []
    for one in compared:
        first, second = one.first.source, one.second.source
        if first and second and first != second:
            outcome = one.outcome if first < second else 1 - one.outcome
            turned.append((one.rater, (min(first, second), max(first, second)), outcome))
    return _tabulate(_collect(turned), "sources")


def _collect(said: Sequence[tuple[str, Any, float]]) -> dict[Any, dict[str, list[float]]]:
    found: dict[Any, dict[str, list[float]]] = {}
    for rater, key, outcome in said:
        found.setdefault(key, {}).setdefault(rater, []).append(outcome)
    return {key: by for key, by in found.items() if len(by) > 1}


def _tabulate(found: Mapping[Any, Mapping[str, list[float]]], of: str) -> Matrix:
    keys = sorted(found, key=lambda key: (-len(found[key]), key))[:MOST]
    people = sorted({rater for key in keys for rater in found[key]})
    place = {rater: at for at, rater in enumerate(people)}
    said, there = np.zeros((len(people), len(keys))), np.zeros((len(people), len(keys)))
    for column, key in enumerate(keys):
        for rater, outcomes in found[key].items():
            said[place[rater], column] = sum(outcomes) / len(outcomes)
            there[place[rater], column] = 1.0
    return Matrix(people, said, there, of)


def measure_disagreement(matrix: Matrix) -> dict[str, object]:
    """The mean over comparisons of 2p(1 - p), of the share p of people who prefer the first: how often two people would
    differ, 0 to 0.5; as it is, and without the bias of few people each (times n/(n - 1))."""
    if not matrix.comparisons:
        return {"of": matrix.of, "comparisons": 0, "people": 0, "disagreement": None, "unbiased": None}
    n = matrix.there.sum(0)
    share = matrix.said.sum(0) / n
    two = 2 * share * (1 - share)
    return {
        "of": matrix.of,
        "comparisons": matrix.comparisons,
        "people": len(matrix.people),
        "disagreement": float(two.mean()),
        "unbiased": float((two * n / (n - 1)).mean()),
    }


def explain_disagreement(
    matrix: Matrix, cohort_of: Mapping[str, str], *, permutations: int = 999, seed: int = 0
) -> dict[str, object]:
    """The share of the variance of what is said that cohorts explain, and the p-value of the permutation test of their
    labels (Fisher, 1935): labels are dealt out again among the people, who keep all that they said.

    The share is ε² over all comparisons, 1 - MSW/MST with degrees of freedom, so that labels that mean nothing explain
    0 on average and sometimes less. The p-value is (1 + as extreme) / (1 + permutations), and never 0.
    """
    rows = [at for at, rater in enumerate(matrix.people) if rater in cohort_of]
    names = sorted({cohort_of[matrix.people[at]] for at in rows})
    if len(names) < 2 or not matrix.comparisons:
        return {"explained": None, "p_value": None, "comparisons": 0}
    labels = np.array([names.index(cohort_of[matrix.people[at]]) for at in rows])
    said, there = matrix.said[rows], matrix.there[rows]
    n = there.sum(0)
    kept = n > 2
    said, there, n = said[:, kept], there[:, kept], n[kept]
    if not len(n):
        return {"explained": None, "p_value": None, "comparisons": 0}
    mean = said.sum(0) / n
    around = (said - mean) * there
    total = (around**2).sum(0)
    within, cohorts = _within(labels, len(names), around, there, total)
    freedom = n - cohorts
    used = freedom > 0
    ratio = float((within[used] / freedom[used] * n[used]).sum())
    overall = float((total[used] / (n[used] - 1) * n[used]).sum())
    explained = 1 - ratio / overall if overall else 0.0
    rng = np.random.default_rng(seed)
    found = float(within.sum())
    extreme = 0
    for _ in range(permutations):
        shuffled, _ = _within(rng.permutation(labels), len(names), around, there, total)
        extreme += float(shuffled.sum()) <= found + 1e-9
    return {"explained": explained, "p_value": (1 + extreme) / (1 + permutations), "comparisons": len(n)}


def _within(labels: NDArray[Any], cohorts: int, around: Array, there: Array, total: Array) -> tuple[Array, Array]:
    """Of each comparison the sum of squares within cohorts, and how many cohorts have someone there."""
    member = np.zeros((cohorts, len(labels)))
    member[labels, np.arange(len(labels))] = 1.0
    sums, counts = member @ around, member @ there
    between = np.where(counts > 0, sums**2 / np.maximum(counts, 1), 0.0).sum(0)
    return total - between, (counts > 0).sum(0).astype(float)
