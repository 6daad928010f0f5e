"""Strings of digits that should rise: no answer, and a rule that grades each text in a microsecond.

The rule is cheap, graded, has an optimum, and can be overshot by whoever only learned to like what it likes: what it
takes to see a reward model over-optimised (Gao et al., 2022) on a model of a hundred thousand weights.
"""

import random
from itertools import pairwise

from selfimprove.recipe.task_settings import RisingTask, VerifierSettings
from selfimprove.records import Problem, derive_seed
from selfimprove.tasks.base import PoolTask, split_pool

LONGEST = 10  # digits; each further character costs half a point
STOP = 0.2  # the chance that a seed string ends after a digit
MOST = 24  # digits of a seed string
GOOD = 4.0  # points from which a text counts as right


def grade_rising(question: str, text: str) -> float:
    """A point for each digit that is higher than the one before it, the question's last one before the first; minus one
    for an equal one and for each character that is no digit, and minus a half for each character beyond ten."""
    digits = [one for one in (question.rstrip("=")[-1:] + text) if one.isascii() and one.isdigit()]
    points = sum((one > before) - (one == before) for before, one in pairwise(digits))
    others = sum(not (one.isascii() and one.isdigit()) for one in text)
    return float(points - others) - 0.5 * max(0, len(text) - LONGEST)


class Rising(PoolTask):
    """Problems `402=` of three digits, with strings of random digits as seeds."""

    def __init__(self, settings: RisingTask) -> None:
        problems = [
            Problem(question=f"{one:03d}=", answer=None, task="rising", level=1, group="strings") for one in range(1000)
        ]
        train, test = split_pool(problems, settings.held_out)
        super().__init__("rising", train, test, verifier=VerifierSettings(name="rising"))

    def seed_rationales(self, count: int, seed: int) -> list[tuple[Problem, str]]:
        """Training problems, each with random digits after it."""
        rng, pool = random.Random(derive_seed(seed, "seed strings")), self.train()
        rows = []
        for _ in range(count):
            text = rng.choice("0123456789")
            while rng.random() > STOP and len(text) < MOST:
                text += rng.choice("0123456789")
            rows.append((rng.choice(pool), text))
        return rows
