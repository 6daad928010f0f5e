"""Addition of operands of any lengths: training problems are drawn without end, held-out pairs can never be drawn."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from selfimprove.prompting.prompts import Exemplar
from selfimprove.recipe.task_settings import ArithmeticTask, VerifierSettings
from selfimprove.records import Problem, derive_seed, digest
from selfimprove.tasks.addition import parse_addition, write_flawed, write_rationale
from selfimprove.tasks.standard import Standard

HELD_OUT_SHARE = 10  # one pair of operands in this many is held out
MISSES = 2000  # draws in a row that bring nothing new: there is nothing left


def is_held_out(a: int, b: int) -> bool:
    """Whether a pair, in either order, belongs to the held-out set: a fixed property of the pair, not of a seed."""
    return derive_seed("held out", min(a, b), max(a, b)) % HELD_OUT_SHARE == 0


def draw_operand(rng: random.Random, digits: int) -> int:
    """A number with exactly this many digits (0 has one)."""
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def draw_isolating(rng: random.Random, digits: tuple[int, int], column: int) -> tuple[int, int]:
    """Operands of so many digits in which one column, from the right, is the only hard one (`Arithmetic.isolate`)."""
    operands = [[rng.randint(1 if at == count - 1 else 0, 4) for at in range(count)] for count in digits]
    for one in (mine := [one for one in operands if len(one) > column]):
        unlike = {0, *one[max(0, column - 1) : column], *one[column + 1 : column + 2]}
        unlike |= {other[column] for other in mine if other is not one}
        one[column] = rng.choice([digit for digit in range(1, 10) if digit not in unlike])
    if not mine:  # the last column: a carry comes up to it, through nines where one operand is longer
        longer, shorter = sorted(operands, key=len, reverse=True)
        while (column := column - 1) >= len(shorter):
            longer[column] = 9
        longer[column] = rng.randint(1, 9)
        shorter[column] = rng.randint(10 - longer[column], 9)
    first, second = (int("".join(map(str, reversed(one)))) for one in operands)
    return first, second


def distinct_pairs(draw: Callable[[], tuple[int, int]], *, held_out: bool) -> Iterator[tuple[int, int]]:
    """Drawn pairs of one side without repeats, until so many draws in a row bring nothing new that none may be left."""
    seen: set[tuple[int, int]] = set()
    misses = 0
    while misses < MISSES:
        pair = draw()
        if pair in seen or is_held_out(*pair) != held_out:
            misses += 1
            continue
        misses = 0
        seen.add(pair)
        yield pair


class Arithmetic:
    """Addition problems by shape, such as `4+3`; a shape's level is its digits in total."""

    name = "arithmetic"
    verifier = VerifierSettings(name="addition")
    exemplars: Sequence[Exemplar] = ()
    scored = False
    left_out = 0
    standards: Mapping[str, Standard] = MappingProxyType({})

    def __init__(self, settings: ArithmeticTask) -> None:
        self.settings = settings
        sizes = range(1, settings.max_digits + 1)
        shapes = sorted(((m, n) for m in sizes for n in sizes), key=lambda shape: (sum(shape), shape))
        self.levels = {f"{m}+{n}": m + n for m, n in shapes}
        self.leads_to = {
            f"{m}+{n}": tuple(f"{x}+{y}" for x, y in ((m - 1, n), (m, n - 1)) if min(x, y) > 0) for m, n in shapes
        }
        self.seeded = {shape for shape, level in self.levels.items() if level <= settings.seed_total_digits}

    def _problem(self, a: int, b: int, *, hidden: bool = False) -> Problem:
        shape = f"{len(str(a))}+{len(str(b))}"
        answer = None if hidden else str(a + b)
        return Problem(question=f"{a}+{b}=", answer=answer, task=self.name, level=self.levels[shape], group=shape)

    def _pairs(self, group: str, rng: random.Random, *, held_out: bool) -> Iterator[tuple[int, int]]:
        """Pairs of a shape without repeats, until it is likely that there are no more."""
        m, n = map(int, group.split("+"))
        return distinct_pairs(lambda: (draw_operand(rng, m), draw_operand(rng, n)), held_out=held_out)

    def held_out(self) -> Sequence[Problem]:
        """The same problems for every seed, so that runs can be compared."""
        problems = []
        for group in self.levels:
            rng = random.Random(derive_seed("held-out problems", group))
            pairs = self._pairs(group, rng, held_out=True)
            problems += [self._problem(*pair) for _, pair in zip(range(self.settings.held_out), pairs, strict=False)]
        return problems

    def draw(self, group: str, count: int, seed: int) -> list[Problem]:
        return self._draw(group, count, seed, hidden=self.settings.hide_answers)

    def _draw(self, group: str, count: int, seed: int, *, hidden: bool) -> list[Problem]:
        pairs = self._pairs(group, random.Random(seed), held_out=False)
        return [self._problem(*pair, hidden=hidden) for _, pair in zip(range(count), pairs, strict=False)]

    def isolate(self, group: str, step: int, count: int, seed: int) -> list[Problem]:
        """Sums in which one column is hard: all others hold digits up to 4 and carry nothing, and its own digits are
        unlike each other and those next to them, so that whoever reads another digit is wrong. Of the last column,
        which holds a carry alone, they are those that have one; the answer's line has none."""
        m, n = map(int, group.split("+"))
        if step > max(m, n):
            return []
        rng, found = random.Random(derive_seed(seed, "isolate", step)), dict[tuple[int, int], Problem]()
        for _ in range(50 * count):
            pair = draw_isolating(rng, (m, n), step)
            if len(found) < count and not is_held_out(*pair):
                found.setdefault(pair, self._problem(*pair, hidden=self.settings.hide_answers))
        return list(found.values())

    def seed_rationales(self, count: int, seed: int) -> list[tuple[Problem, str]]:
        """Problems of the seeded shapes in equal parts, with their rationales."""
        shapes = sorted(self.seeded)
        rows = []
        for at, group in enumerate(shapes):
            share = count // len(shapes) + (at < count % len(shapes))
            for problem in self._draw(group, share, derive_seed(seed, "seed rationales", group), hidden=False):
                operands = parse_addition(problem.question)
                assert operands is not None
                rows.append((problem, write_rationale(*map(int, operands))))
        return rows

    def seed_responses(self, count: int, seed: int, *, right: float) -> list[tuple[Problem, str, str]]:
        """Problems of the seeded shapes, each with a response that is right in a share of them and may have mistakes in
        the others, and with its rationale."""
        rng = random.Random(derive_seed(seed, "seed responses"))
        rows = []
        for problem, rationale in self.seed_rationales(count, derive_seed(seed, "seed responses")):
            operands = parse_addition(problem.question)
            assert operands is not None
            flawed = write_flawed(int(operands[0]), int(operands[1]), rng)
            response = rationale if rng.random() < right else flawed
            rows.append((problem, response, rationale))
        return rows

    def fingerprint(self) -> str:
        settings = self.settings
        hidden = ["hidden answers"] if settings.hide_answers else []
        shapes = (settings.max_digits, settings.seed_total_digits, settings.held_out, HELD_OUT_SHARE)
        return digest(self.name, *shapes, *hidden)
