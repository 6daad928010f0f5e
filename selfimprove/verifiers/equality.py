"""Whether two formulas say the same: values, lists, sets, intervals, inequalities, equations, matrices, ratios.

Nothing is rounded and no bound is absolute: values are compared exactly (`values`), or in a worker as decimals with
more digits than the sizes of their parts ask for (`numeric`). The expected one is always the first of two arguments.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from selfimprove.recipe.task_settings import Answers
from selfimprove.verifiers.assignments import (
    as_matrix,
    assigned,
    fold_case,
    holds,
    same_numeral,
    unfold,
    values_of,
    without_letter,
)
from selfimprove.verifiers.nodes import MINUS_ONE, Node, negative, number
from selfimprove.verifiers.ranges import Interval, find_letters, find_range, turn_relation
from selfimprove.verifiers.readings import count_decimals, rounded
from selfimprove.verifiers.values import InexactError, UndefinedError, Values, exact, find_primes, make_field

MAX_ITEMS = 40
POINTS = 3
MIN_DECIMALS = 6  # of an expected decimal that stands for a value without an end, such as 1.414214
MIN_DIGITS = 10  # of an answer's decimal, where a value without an end was expected: 3.141593 is not π
_ZERO = number(0)


class WorkerNeededError(Exception):
    """A comparison that takes decimals of any size, which only a worker should compute."""


class UnsettledError(Exception):
    """Two formulas that nothing here can tell apart or prove equal; the message says why."""


class Comparison:
    """Compares formulas by the settings of a task; `how` says what the last comparison rested on."""

    def __init__(self, answers: Answers, *, worker: bool) -> None:
        self.answers, self.worker = answers, worker
        self.tolerant = bool(answers.tolerance or answers.relative_tolerance)
        self.how = "equal as formulas"

    def same(self, expected: Node, said: Node) -> bool:
        """Whether two formulas say the same; raises where a worker is needed, or where nobody can tell."""
        expected, said = fold_case(expected, said)
        return expected == said or self.compare(unfold(expected), unfold(said))

    def compare(self, expected: Node, said: Node) -> bool:
        if expected == said:
            return True
        expected, said = without_letter(expected, said)
        ranges = find_range(expected), find_range(said)
        if ranges[0] and ranges[1] and not expected.op == said.op == "tuple":
            (letter, one), (other_letter, other) = ranges[0], ranges[1]
            return (None in (letter, other_letter) or letter == other_letter) and self.same_range(one, other)
        groups = ("list", "set", "tuple", "matrix")
        if expected.op in groups or said.op in groups:
            return self.same_group(expected, said)
        if "relation" in (expected.op, said.op):
            return expected.op == said.op and self.same_relation(expected, said)
        if "ratio" in (expected.op, said.op):
            return self.same_ratio(expected, said)
        if "based" in (expected.op, said.op):
            return same_numeral(expected, said)
        wholes = ("modulo", "union", "intersection", "difference")
        if expected.op in wholes or said.op in wholes:
            return expected.op == said.op and self.same_each(expected.args, said.args)
        return self.same_value(expected, said)

    def same_group(self, expected: Node, said: Node) -> bool:
        """Lists and sets have no order; what stands in brackets has one."""
        if expected.op in ("list", "set"):
            if said.op in ("list", "set") or (said.op == "tuple" and said.value == "()"):
                return self.same_items(expected.args, values_of(expected, said))
            return len(expected.args) == 1 and expected.op == "set" and self.compare(expected.args[0], said)
        if expected.op == "tuple":
            if said.op == "list":
                values = assigned(said)
                ordered = values if values and len(values) == len(expected.args) else said.args
                return expected.value == "()" and self.same_each(expected.args, ordered)
            return said.op == "tuple" and expected.value == said.value and self.same_each(expected.args, said.args)
        if expected.op == "matrix":
            said = as_matrix(said)
            return said.op == "matrix" and expected.value == said.value and self.same_each(expected.args, said.args)
        return said.op == "set" and len(said.args) == 1 and self.compare(expected, said.args[0])

    def same_each(self, expected: Sequence[Node], said: Sequence[Node]) -> bool:
        return len(expected) == len(said) and all(map(self.compare, expected, said))

    def same_items(self, expected: Sequence[Node], said: Sequence[Node]) -> bool:
        """Whether each item has a partner of its own on the other side."""
        if len(expected) != len(said):
            return False
        if len(expected) > MAX_ITEMS:
            raise UnsettledError(f"over {MAX_ITEMS} items")
        left = list(said)
        for one in expected:
            at = next((at for at, other in enumerate(left) if self.compare(one, other)), None)
            if at is None:
                return False
            del left[at]
        return True

    def same_range(self, expected: list[Interval], said: list[Interval]) -> bool:
        if len(expected) != len(said):
            return False
        left = list(said)
        for one in expected:
            ends = (at for at, other in enumerate(left) if self.same_interval(one, other))
            at = next(ends, None)
            if at is None:
                return False
            del left[at]
        return True

    def same_interval(self, expected: Interval, said: Interval) -> bool:
        return (
            expected.closed == said.closed
            and self.same_value(expected.low, said.low)
            and self.same_value(expected.high, said.high)
        )

    def same_ratio(self, expected: Node, said: Node) -> bool:
        """3:4 is 6:8, and the fraction 3/4; of 0.75, or of 7 beside 7:1, nobody can tell that it means a ratio."""
        if expected.op != said.op:
            if any(one == _ZERO for one in (*expected.args, *said.args)):
                return False  # a time such as 5:00
            ratio, value = (expected, said) if expected.op == "ratio" else (said, expected)
            same = len(ratio.args) == 2 and self.same_value(_divide(*ratio.args), value)
            if same and value.op in ("number", "decimal", "percent"):
                raise UnsettledError("one is a ratio and the other one a number")
            return same
        if len(expected.args) != len(said.args):
            return False
        first, other = expected.args[0], said.args[0]
        pairs = zip(expected.args[1:], said.args[1:], strict=True)
        return all(self.same_value(_times(one, other), _times(two, first)) for one, two in pairs)

    def same_relation(self, expected: Node, said: Node) -> bool:
        """Relations that hold for the same values: one side minus the other is a multiple of that of the other."""
        expected, said = turn_relation(expected), turn_relation(said)
        if expected.value != said.value:
            return False
        if len(expected.args) != 2 or expected.value[0] in ("in", "equivalent"):
            return self.same_each(expected.args, said.args)
        (left, right), (other_left, other_right) = expected.args, said.args
        if any(one.op in ("tuple", "set", "list", "matrix") for one in (*expected.args, *said.args)):
            return self.same_each(expected.args, said.args)
        if self.same_each(expected.args, said.args):
            return True
        swaps = expected.value[0] in ("=", "!=")
        if swaps and self.same_each(expected.args, said.args[::-1]):
            return True
        if not find_letters(expected) or not find_letters(said):
            return False
        return self.proportional(_minus(left, right), _minus(other_left, other_right), positive=not swaps)

    def proportional(self, expected: Node, said: Node, *, positive: bool) -> bool:
        """Whether two differences are multiples of one another everywhere, by a positive number for inequalities."""
        points = [Values(make_field(frozenset(find_primes(expected) | find_primes(said))), at) for at in range(POINTS)]
        try:
            values = [(point.of(expected), point.of(said)) for point in points]
        except UndefinedError:
            raise UnsettledError("it has no value") from None
        prime, opaque = points[0].prime, any(point.opaque for point in points)
        if not all(one and other for one, other in values):
            return False  # it holds everywhere, or a value was met by a chance that is not to be reckoned with
        first, other_first = values[0]
        if all(one * other_first % prime == other * first % prime for one, other in values):
            return not positive or self.positive_share(expected, said)
        if not positive and not opaque:
            return _same_solution(expected, said, points[0])
        return opaque and self.decimally_proportional(expected, said, positive=positive)

    def positive_share(self, expected: Node, said: Node) -> bool:
        names = sorted(find_letters(expected) | find_letters(said))
        try:
            letters = {name: Fraction(7 + 13 * at, 11) for at, name in enumerate(names)}
            return exact(expected, letters) * exact(said, letters) > 0
        except InexactError:
            return self.decimally_proportional(expected, said, positive=True)

    def decimally_proportional(self, expected: Node, said: Node, *, positive: bool) -> bool:
        if not self.worker:
            raise WorkerNeededError
        from selfimprove.verifiers.numeric import Decimals

        shares = []
        for at in range(2 * POINTS):
            decimals = Decimals(at)
            try:
                one, other = decimals.pair(expected, said)
            except UndefinedError:
                continue
            if not one or not other:
                return False
            shares.append((decimals, one / other))
        if len(shares) < 2:
            raise UnsettledError("it has no value at the points that were tried")
        decimals, first = shares[0]
        return all(one.same(first, share) for one, share in shares) and (not positive or first.real > 0)

    def same_value(self, expected: Node, said: Node) -> bool:
        """Whether two formulas have the same value for all values of their letters."""
        if expected == said:
            return True
        if (expected.op == "percent") != (said.op == "percent"):
            share, plain = (expected, said) if expected.op == "percent" else (said, expected)
            if self.same_value(*((share.args[0], plain) if share is expected else (plain, share.args[0]))):
                return True
        expected, said = _plain_degree(expected), _plain_degree(said)
        try:
            values = exact(expected), exact(said)
        except UndefinedError:
            return self._undefined(expected)
        except InexactError:
            return self.same_inexact(expected, said)
        if values[0] == values[1]:
            return True
        if self.tolerant and within(self.answers, *values):
            self.how = "within the tolerance"
            return True
        how = rounded(*values)
        self.how = how or self.how
        return bool(how)

    def _undefined(self, expected: Node) -> bool:
        """A formula without a value: what is expected must have one, and an answer without one is none."""
        try:
            exact(expected)
        except UndefinedError:
            raise UnsettledError("the expected answer has no value") from None
        except InexactError:
            pass
        return False

    def same_inexact(self, expected: Node, said: Node) -> bool:
        values = Values(make_field(frozenset(find_primes(expected) | find_primes(said))))
        try:
            first = values.of(expected)
        except UndefinedError:
            raise UnsettledError("the expected answer has no value") from None
        try:
            other = values.of(said)
        except UndefinedError:
            return False
        if first == other:
            return True
        constant = not find_letters(expected) and not find_letters(said)
        shown = _shown_places(expected, said)
        if not values.opaque and not (constant and (self.tolerant or shown)):
            return False
        if not self.worker:
            raise WorkerNeededError
        return self.same_decimals(expected, said, constant=constant)

    def same_decimals(self, expected: Node, said: Node, *, constant: bool) -> bool:
        """Compare as decimals; a logarithm without a base may be the natural one or that of 10."""
        bases = (0, 10) if holds(expected, "call", "log") or holds(said, "call", "log") else (0,)
        points = 1 if constant else 2 * POINTS
        return any(self.same_at(expected, said, range(points), base, constant=constant) for base in bases)

    def same_at(self, expected: Node, said: Node, points: range, base: int, *, constant: bool) -> bool:
        from selfimprove.verifiers.numeric import Decimals

        compared, complex_ones = 0, constant or holds(expected, "constant", "i")
        for at in points:
            decimals = Decimals(at)
            decimals.log_base = base
            try:
                first = decimals.of(expected)
            except UndefinedError:
                continue
            if not complex_ones and first.imag:
                continue
            try:
                first, other = decimals.pair(expected, said)
            except UndefinedError:
                return False
            compared += 1
            if not decimals.same(first, other) and not (constant and self.near(expected, said, first, other)):
                return False
            self.how = self.how if "tolerance" in self.how or "rounded" in self.how else "equal in value"
        if not compared:
            raise UnsettledError("the expected answer has no value at the points that were tried")
        return True

    def near(self, expected: Node, said: Node, first: Any, other: Any) -> bool:
        """Whether a value is within the task's tolerance, or rounds to the digits that a decimal shows."""
        difference = abs(first - other)
        if difference <= max(self.answers.tolerance, self.answers.relative_tolerance * abs(first)):
            self.how = "within the tolerance"
            return True
        places = _shown_places(expected, said)
        # The last digit of a binary number's decimal is rounding.
        if places and difference * 10**places <= (2 if expected.op == "decimal" and places >= 14 else 0.5):
            self.how = f"rounded to {places} decimals"
            return True
        return False


def within(answers: Answers, expected: Fraction, said: Fraction) -> bool:
    """Whether a number is within the tolerance that a task allows."""
    share = Fraction(answers.relative_tolerance) * abs(expected)
    return abs(expected - said) <= max(Fraction(answers.tolerance), share)


def _times(one: Node, other: Node) -> Node:
    return Node("multiply", (one, other))


def _divide(one: Node, other: Node) -> Node:
    return _times(one, Node("power", (other, MINUS_ONE)))


def _minus(one: Node, other: Node) -> Node:
    return Node("add", (one, negative(other)))


def _plain_degree(node: Node) -> Node:
    """An angle as an answer without its sign: 60° is expected, and 60 is said."""
    return node.args[0] if node.op == "degree" else node


def _shown_places(expected: Node, said: Node) -> int:
    """The decimals to which a decimal stands for a value without an end; 0 where it has too few digits for it."""
    if (expected.op == "decimal") == (said.op == "decimal"):
        return 0
    value = Fraction((expected if expected.op == "decimal" else said).value)
    places = count_decimals(value) or 0
    digits = len(str(int(abs(value) * 10**places)))
    enough = places >= MIN_DECIMALS and digits >= (MIN_DECIMALS if expected.op == "decimal" else MIN_DIGITS)
    return places if enough else 0


def _same_solution(expected: Node, said: Node, point: Values) -> bool:
    """Whether both equations, each linear in one letter, give that letter the same value in terms of the others."""
    if find_letters(expected) != find_letters(said) or len(find_letters(expected)) < 2:
        return False
    for letter in sorted(find_letters(expected)):
        roots = [point.solve(one, letter) for one in (expected, said)]
        if roots[0] is not None and roots[0] == roots[1]:
            return True
    return False
