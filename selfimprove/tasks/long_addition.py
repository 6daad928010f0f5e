"""Addition of long operands, by the digits of the longer one: the seeds are short, and longer ones open by and by."""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType

from selfimprove.prompting.prompts import Exemplar
from selfimprove.recipe.task_settings import LongAdditionTask, VerifierSettings
from selfimprove.records import Problem, derive_seed, digest
from selfimprove.tasks.arithmetic import HELD_OUT_SHARE, distinct_pairs, draw_operand
from selfimprove.tasks.places import LETTERS, Operands, read_question, write_places, write_question
from selfimprove.tasks.standard import Standard

UNEQUAL = 0.5  # of the problems have one operand that is shorter, by any number of digits


class LongAddition:
    """Addition problems by the digits of the longer operand, such as `7`, which is the level too."""

    name = "long-addition"
    verifier = VerifierSettings(name="long-addition")
    exemplars: Sequence[Exemplar] = ()
    scored = False
    left_out = 0
    standards: Mapping[str, Standard] = MappingProxyType({})

    def __init__(self, settings: LongAdditionTask) -> None:
        self.settings = settings
        self.levels = {str(n): n for n in range(1, settings.max_digits + 1)}
        self.leads_to = {
            str(n): tuple(str(m) for m in range(n - 1, 0, -1) if m == n - 1 or n <= m * settings.reach)
            for n in self.levels.values()
        }
        self.seeded = {str(n) for n in range(1, settings.seed_digits + 1)}

    def _problem(self, a: int, b: int) -> Problem:
        start = derive_seed("the letter of the units", a, b) % len(LETTERS)
        question = write_question(Operands(str(a), str(b), start))
        digits = len(str(max(a, b)))
        return Problem(question=question, answer=str(a + b), task=self.name, level=digits, group=str(digits))

    def _pairs(self, digits: int, rng: random.Random, *, held_out: bool) -> Iterator[tuple[int, int]]:
        """Pairs without repeats, until it is likely that there are no more."""

        def draw() -> tuple[int, int]:
            other = rng.randint(1, digits) if rng.random() < UNEQUAL else digits
            pair = draw_operand(rng, digits), draw_operand(rng, other)
            return pair[::-1] if rng.random() < 0.5 else pair

        return distinct_pairs(draw, held_out=held_out)

    def held_out(self) -> Sequence[Problem]:
        """The same problems for every seed, so that runs can be compared."""
        problems = []
        for group, digits in self.levels.items():
            rng = random.Random(derive_seed("held-out long problems", group))
            pairs = self._pairs(digits, rng, held_out=True)
            problems += [self._problem(*pair) for pair in islice(pairs, self.settings.held_out)]
        return problems

    def draw(self, group: str, count: int, seed: int) -> list[Problem]:
        pairs = self._pairs(self.levels[group], random.Random(seed), held_out=False)
        return [self._problem(*pair) for pair in islice(pairs, count)]

    def seed_rationales(self, count: int, seed: int) -> list[tuple[Problem, str]]:
        """Problems of the seeded lengths in equal parts as far as there are so many, with their rationales."""
        rows: list[tuple[Problem, str]] = []
        for left, group in zip(range(len(self.seeded), 0, -1), sorted(self.seeded, key=int), strict=False):
            pass_on = (count - len(rows)) // left if left > 1 else count - len(rows)
            for problem in self.draw(group, pass_on, derive_seed(seed, "seed rationales", group)):
                operands = read_question(problem.question)
                assert operands is not None
                rows.append((problem, write_places(operands)))
        return rows

    def fingerprint(self) -> str:
        settings = self.settings
        return digest(self.name, settings.max_digits, settings.seed_digits, settings.held_out, settings.reach,
                      LETTERS, UNEQUAL, HELD_OUT_SHARE)  # fmt: skip
