"""Populations with a known truth: what each cohort values is planted, so that it can be seen whether it is found."""

import math
from dataclasses import dataclass

import numpy as np

from selfimprove.errors import TaskError
from selfimprove.people.ratings import Rating

TRAIT = "cohort"
MOST = 5_000_000  # ratings
STRONGEST = 1e6  # log-odds; what is stronger says nothing else


@dataclass(frozen=True)
class Population:
    """Ratings with what they were made of."""

    ratings: list[Rating]
    shared: list[float]
    """What all value of each feature, in log-odds a unit."""
    offsets: dict[str, list[float]]
    """By cohort, what its people value more or less than that."""


def make_population(
    *,
    people: int = 120,
    cohorts: int = 2,
    items: int = 40,
    responses: int = 4,
    each: int = 20,
    features: int = 3,
    difference: float = 1.0,
    spread: float = 0.3,
    noise: float = 1.0,
    seed: int = 0,
) -> Population:
    """Draw a population whose cohorts value the last feature differently.

    `people` in all, each rates `each` of the items. The offsets of the last feature run evenly from -difference to
    +difference over the cohorts; 0 plants nothing. `spread` is the deviation of each person's own taste, `noise` the
    scale of the Gumbel noise of a rating: at 1 choices are those of Bradley and Terry. Scores have an offset and a
    scale of each person's own, within 1 to 100. Raises TaskError where the numbers do not fit.
    """
    if min(people, cohorts, items, features) < 1 or responses < 2 or not 0 < each <= items or cohorts > people:
        raise TaskError("a population needs people in each cohort, items, two responses or more, and 'each' of 'items'")
    if people * each * responses > MOST:
        raise TaskError(f"a population of {people * each * responses:,} ratings; at most {MOST:,} are drawn")
    if not all(abs(one) <= STRONGEST for one in (difference, spread, noise)):
        raise TaskError(f"the difference, the spread and the noise are numbers of at most {STRONGEST:g} log-odds")
    rng = np.random.default_rng(seed)
    names = [f"cohort {chr(65 + at % 26)}{at // 26 or ''}" for at in range(cohorts)]
    shared = rng.normal(0, 1, features)
    planted = np.zeros((cohorts, features))
    planted[:, -1] = np.linspace(-difference, difference, cohorts) if cohorts > 1 else 0.0
    shown = rng.normal(0, 1, (items, responses, features))
    ratings = []
    for person in range(people):
        cohort = person % cohorts
        taste = shared + planted[cohort] + rng.normal(0, spread, features)
        centre, scale = rng.normal(60, 12), math.exp(rng.normal(math.log(9), 0.3))
        for item in sorted(rng.choice(items, each, replace=False)):
            felt = shown[item] @ taste + (rng.gumbel(0, noise, responses) if noise else 0.0)
            scores = np.clip(np.round(centre + scale * (felt - felt.mean())), 1, 100)
            for at in range(responses):
                ratings.append(
                    Rating(
                        rater=f"p{person}",
                        item=f"i{item}",
                        response=f"i{item}-{at}",
                        prompt=f"Question {item}?",
                        text=" ".join(
                            f"{name}{value:+.1f}" for name, value in zip("abcdefgh", shown[item, at], strict=False)
                        ),
                        source=f"model {at}",
                        score=float(scores[at]),
                        cohorts={TRAIT: names[cohort]},
                        features={f"x{k}": round(float(shown[item, at, k]), 6) for k in range(features)},
                    )
                )
    offsets = {name: [float(one) for one in planted[at]] for at, name in enumerate(names)}
    return Population(ratings, [float(one) for one in shared], offsets)
