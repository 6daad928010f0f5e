"""Whose choice serves whom: the reward model of each cohort chooses, and people of each cohort say what they got."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selfimprove.people.comparisons import Compared, decide
from selfimprove.people.ratings import Rating, centre_scores, sets_of
from selfimprove.people.tastes import Features, Fitted, chance
from selfimprove.records.stats import wilson

ALL = "(everyone)"


def value_responses(rated: Sequence[Rating], centred: Mapping[tuple[str, str, str], float]) -> list[float]:
    """What each response is worth to the one who rated them: points above the mean of all that they rated; without
    scores the share of the others to which it is preferred, less a half."""
    if all(one.score is not None for one in rated):
        return [centred[one.rater, one.item, one.response] for one in rated]
    values = []
    for one in rated:
        wins = [won for other in rated if other is not one and (won := decide(one, other)) is not None]
        values.append(sum(wins) / len(wins) - 0.5 if wins else 0.0)
    return values


def measure_served(
    ratings: Sequence[Rating], features: Features, fitted: Fitted, cohorts: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The matrix cohort that chose x cohort that is served: what people of the one got on average, were they given what
    the reward model of the other prefers of the responses that they rated.

    Each person is served by models that were fitted without them. Rows are the cohorts and all people together; of each
    the worst-off cohort and the gap between the best-off and it. `fairest` is the row whose worst-off is best off.
    """
    cohort_of = {rater: name for name, people in cohorts.items() for rater in people}
    centred = centre_scores(ratings)
    choosers: list[str | None] = [None, *cohorts]
    got: dict[tuple[str | None, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for rated in sets_of(ratings):
        rater = rated[0].rater
        if rater not in cohort_of or rater not in fitted.fold_of:
            continue
        values = np.array(value_responses(rated, centred))
        seen = np.array([features.values[one.item, one.response] for one in rated])
        for chooser in choosers:
            rewards = seen @ fitted.without(rater, chooser)
            best = np.flatnonzero(rewards >= rewards.max() - 1e-12)
            got[chooser, cohort_of[rater]][rater].append(float(values[best].mean()))
    rows: dict[str, dict[str, Any]] = {}
    for chooser in choosers:
        served = {name: _mean([sum(one) / len(one) for one in got[chooser, name].values()]) for name in cohorts}
        known = {name: one["mean"] for name, one in served.items() if one["mean"] is not None}
        worst = min(known, key=lambda name: known[name], default=None)
        rows[chooser or ALL] = {
            "served": served,
            "worst off": worst,
            "gap": max(known.values()) - min(known.values()) if known else None,
        }
    floors = {name: row["served"][row["worst off"]]["mean"] for name, row in rows.items() if row["worst off"]}
    return {"rows": rows, "fairest": max(floors, key=lambda name: floors[name], default=None)}


def _mean(values: Sequence[float]) -> dict[str, Any]:
    """The mean over people with the half width of its 95% interval."""
    if not values:
        return {"mean": None, "half": None, "people": 0}
    half = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "half": half, "people": len(values)}


def measure_cohorts(
    compared: Sequence[Compared], features: Features, fitted: Fitted, cohorts: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Of each cohort: people, pairs, and how often the pooled model and its own are right on its people's pairs, fitted
    without them; ties are left out, and a Wilson interval takes pairs as independent."""
    found = {}
    for name, people in cohorts.items():
        inside = {*people}
        mine = [one for one in compared if one.rater in inside and one.outcome != 0.5]
        differences = features.differences(mine)
        row: dict[str, Any] = {"people": len(people), "pairs": len(mine)}
        for label, whose in (("pooled", None), ("own", name)):
            tastes = [fitted.without(one.rater, whose) for one in mine]
            odds = np.array([float(difference @ taste) for difference, taste in zip(differences, tastes, strict=True)])
            outcomes = np.array([one.outcome for one in mine])
            right = int(((odds > 0) == (outcomes > 0.5)).sum())
            low, high = wilson(right, len(mine))
            sure = chance(np.abs(odds))
            row[label] = {
                "accuracy": right / len(mine) if mine else None, "low": low, "high": high,
                "expected": float(sure.mean()) if mine else None,
            }  # fmt: skip
        found[name] = row
    return found


def find_disputed(
    compared: Sequence[Compared], features: Features, fitted: Fitted, cohorts: Mapping[str, Sequence[str]], most: int
) -> list[dict[str, object]]:
    """The pairs of responses on which the cohorts' models differ most: the probability that each prefers the first."""
    if len(cohorts) < 2 or not compared:
        return []
    distinct = list({one.key: one for one in compared}.values())
    differences = features.differences(distinct)
    chances = np.array([chance(differences @ fitted.tastes.of(name)) for name in cohorts])
    apart = chances.max(0) - chances.min(0)
    found = []
    for at in np.argsort(-apart, kind="stable")[:most]:
        one = distinct[at]
        found.append(
            {
                "item": one.first.item, "prompt": one.first.prompt[:300],
                "first": (one.first.text or one.first.response)[:300],
                "second": (one.second.text or one.second.response)[:300],
                "prefer the first": {name: float(chances[row, at]) for row, name in enumerate(cohorts)},
                "apart": float(apart[at]),
            }
        )  # fmt: skip
    return found


def compare_tastes(features: Features, fitted: Fitted, cohorts: Mapping[str, Sequence[str]], most: int) -> list[object]:
    """The features that cohorts value most differently: what all value, and what each adds, in log-odds a deviation."""
    table = np.array([fitted.tastes.of(name) - fitted.tastes.shared for name in cohorts])
    if not len(table):
        return []
    spread = table.max(0) - table.min(0)
    return [
        {
            "feature": features.names[at],
            "shared": float(fitted.tastes.shared[at]),
            "offsets": {name: float(table[row, at]) for row, name in enumerate(cohorts)},
        }
        for at in np.argsort(-spread, kind="stable")[:most]
    ]
