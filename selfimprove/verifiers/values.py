"""Values of formulas without rounding: as fractions where they are small, and else in a finite field.

Two formulas of numbers, letters, roots of numbers, π, e and i are the same where they have the same value in a field of
a large secret prime, at points nobody knows: a rational function of degree d that is not zero is zero there with a
chance below d in 2¹⁸⁰ (Schwartz 1980, Zippel 1979). The field is one in which -1 and each prime under a radical has a
square root: any choice of these roots keeps all identities, since the roots of different primes are independent.
Whatever else stands in a formula (a sine, a cube root) is a letter of its own, named by the value of what it is of: two
formulas with the same value are then equal, and two with different values may be.
"""

import hashlib
import math
import os
import random
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from selfimprove.verifiers.nodes import Node

MAX_BITS = 1 << 13  # of a number that is worked out in full, such as an exponent
MAX_RADICAND = 10**10
MAX_FACTORIAL = 500
_SMALL = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)
_SECRET = os.urandom(16)  # so that no text can be made for the primes and points
_RANDOM = random.Random(_SECRET)


class InexactError(Exception):
    """A value that cannot be worked out exactly."""


class UndefinedError(Exception):
    """A formula that has no value, such as 1/0."""


def exact(node: Node, letters: Mapping[str, Fraction] = {}) -> Fraction:
    """The value of a formula as a fraction of at most `MAX_BITS` bits; raises where it is none."""
    op, args = node.op, node.args
    if op in ("number", "decimal"):
        return Fraction(node.value)
    if op == "symbol" and node.value in letters:
        return letters[node.value]
    if op == "degree":
        return exact(args[0], letters)
    if op == "percent":
        return exact(args[0], letters) / 100
    if op not in ("add", "multiply", "power", "call"):
        raise InexactError
    values = [exact(one, letters) for one in args]
    if op == "add":
        return _bounded(sum(values, Fraction(0)))
    if op == "multiply":
        product = Fraction(1)
        for value in values:
            product = _bounded(product * value)
        return product
    return _power(*values) if op == "power" else _call(node.value, values)


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise InexactError
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        base, exponent = _root(base, exponent.denominator), Fraction(exponent.numerator)
    if base == 0 and exponent < 0:
        raise UndefinedError
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if size > 1 and size * abs(exponent) > MAX_BITS:
        raise InexactError
    if abs(base) == 1 or base == 0:
        return base ** int(exponent % 2 + (2 if exponent else 0)) if exponent else Fraction(1)
    return base ** int(exponent)


def _root(value: Fraction, degree: int) -> Fraction:
    """A root that is a fraction, the real one where a negative number has one."""
    if degree > 64 or (value < 0 and degree % 2 == 0):
        raise InexactError
    parts = [_whole_root(abs(value.numerator), degree), _whole_root(value.denominator, degree)]
    root = Fraction(*parts)
    return -root if value < 0 else root


def _whole_root(value: int, degree: int) -> int:
    if degree == 2:
        root = math.isqrt(value)
    else:
        low, high = 0, 1 << (value.bit_length() // degree + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
        root = low
    if root**degree != value:
        raise InexactError
    return root


def _call(name: str, values: list[Fraction]) -> Fraction:
    first = values[0]
    if name == "abs" and len(values) == 1:
        return abs(first)
    if name in ("floor", "ceil") and len(values) == 1:
        return Fraction(math.floor(first) if name == "floor" else math.ceil(first))
    if name in ("max", "min"):
        return max(values) if name == "max" else min(values)
    if all(value.denominator == 1 for value in values):
        whole = [int(value) for value in values]
        if name == "factorial" and 0 <= whole[0] <= MAX_FACTORIAL and len(whole) == 1:
            return _bounded(Fraction(math.factorial(whole[0])))
        if name == "binomial" and len(whole) == 2 and whole[1] >= 0 and 0 <= whole[0] <= 2 * MAX_FACTORIAL:
            return _bounded(Fraction(math.comb(*whole)))
        if name == "permutation" and len(whole) == 2 and whole[1] >= 0 and 0 <= whole[0] <= 2 * MAX_FACTORIAL:
            return _bounded(Fraction(math.perm(*whole)))
        if name in ("gcd", "lcm"):
            return Fraction(getattr(math, name)(*whole))
    raise InexactError


class Field(NamedTuple):
    """A finite field by its prime, which is 9 modulo 16 and 1 modulo each prime that has a square root in it."""

    prime: int

    def root(self, value: int) -> int:
        return _square_root(self.prime, value % self.prime)


@lru_cache(maxsize=256)
def make_field(primes: frozenset[int] = frozenset()) -> Field:
    """A field in which -1, all primes below 100 and these have square roots (by quadratic reciprocity)."""
    step = 8 * math.prod(_SMALL) * math.prod(primes)
    while True:
        candidate = step * (_RANDOM.getrandbits(64) | 1) + 1
        if _is_prime(candidate):
            return Field(candidate)


def _is_prime(candidate: int) -> bool:
    """Miller and Rabin's test with twenty random bases, for a candidate that is 9 modulo 16."""
    odd = (candidate - 1) // 8
    for _ in range(20):
        power = pow(_RANDOM.randrange(2, candidate - 1), odd, candidate)
        if power in (1, candidate - 1):
            continue
        for _ in range(2):
            power = power * power % candidate
            if power == candidate - 1:
                break
        else:
            return False
    return True


@lru_cache(maxsize=4096)
def _square_root(prime: int, value: int) -> int:
    """Tonelli and Shanks' square root; the value has one."""
    odd, other = (prime - 1) // 8, 2
    while pow(other, (prime - 1) // 2, prime) == 1:
        other += 1
    step, left, root = pow(other, odd, prime), pow(value, odd, prime), pow(value, (odd + 1) // 2, prime)
    levels = 3
    while left != 1:
        least, power = 0, left
        while power != 1:
            power, least = power * power % prime, least + 1
            if least == levels:
                raise InexactError
        factor = pow(step, 1 << (levels - least - 1), prime)
        levels, step = least, factor * factor % prime
        left, root = left * step % prime, root * factor % prime
    return root


@lru_cache(maxsize=4096)
def factorize(value: int) -> tuple[tuple[int, int], ...]:
    """The prime factors of a whole number up to `MAX_RADICAND` with their powers."""
    if not 0 < value <= MAX_RADICAND:
        raise InexactError
    found, divisor = [], 2
    while divisor * divisor <= value:
        power = 0
        while value % divisor == 0:
            value, power = value // divisor, power + 1
        if power:
            found.append((divisor, power))
        divisor += 1 if divisor == 2 else 2
    return (*found, (value, 1)) if value > 1 else tuple(found)


def _radicand(node: Node) -> Fraction | None:
    """What stands under a square root, where it is a number: of 12^(3/2) the 12."""
    if node.op != "power":
        return None
    try:
        exponent = exact(node.args[1])
        return exact(node.args[0]) if exponent.denominator == 2 else None
    except InexactError:
        return None


def find_primes(node: Node) -> set[int]:
    """The primes from 100 on that stand under the square roots of a formula."""
    radicand = _radicand(node)
    found: set[int] = set()
    if radicand:
        for part in (abs(radicand.numerator), radicand.denominator):
            if part <= MAX_RADICAND:
                found.update(prime for prime, power in factorize(part) if power % 2 and prime > 100)
    for one in node.args:
        found |= find_primes(one)
    return found


class Values:
    """The values of formulas in one field at one point; `opaque` says whether anything was taken as a letter."""

    def __init__(self, field: Field, point: int = 0) -> None:
        self.field, self.prime, self.point, self.opaque = field, field.prime, point, False
        self.given: dict[str, int] = {}

    def letter(self, *name: object) -> int:
        key = hashlib.sha256(repr((_SECRET, self.point, name)).encode()).digest()
        return int.from_bytes(key * 2, "big") % self.prime

    def of(self, node: Node) -> int:
        """The value of a formula; raises `UndefinedError` where it has none."""
        op, args, prime = node.op, node.args, self.prime
        if op in ("number", "decimal"):
            return int(node.value.numerator * pow(node.value.denominator, -1, prime) % prime)
        if op == "add":
            return sum(self.of(one) for one in args) % prime
        if op == "multiply":
            product = 1
            for one in args:
                product = product * self.of(one) % prime
            return product
        if op == "power":
            return self.power(node)
        if op == "constant" and node.value == "i":
            return self.field.root(-1)
        if op in ("symbol", "constant"):
            return self.given[node.value] if node.value in self.given else self.letter(op, node.value)
        if op in ("percent", "degree"):
            return self.of(args[0]) * (pow(100, -1, prime) if op == "percent" else 1) % prime
        if op != "call":
            raise InexactError
        try:
            value = exact(node)
            return value.numerator * pow(value.denominator, -1, prime) % prime
        except InexactError:
            self.opaque = True
            # The value of a degree is that of its number, but the sine of 60° is not the sine of 60.
            marks = [one.op == "degree" or (one.op == "multiply" and one.args[-1].op == "degree") for one in args]
            name = "ln" if node.value == "log base" and args[1] == Node("constant", (), "e") else node.value
            return self.letter("call", name, [self.of(one) for one in args], marks)

    def solve(self, node: Node, letter: str) -> int | None:
        """The value of a letter that makes a formula zero, where the formula is linear in it and defined."""
        found = []
        try:
            for self.given[letter] in range(2, 5):
                found.append(self.of(node))
        except UndefinedError:
            return None
        finally:
            self.given.clear()
        step = (found[1] - found[0]) % self.prime
        if not step or (found[2] - found[1] - step) % self.prime:
            return None
        return (2 - found[0] * pow(step, -1, self.prime)) % self.prime

    def power(self, node: Node) -> int:
        base, prime = node.args[0], self.prime
        try:
            exponent = exact(node.args[1])
        except InexactError:
            self.opaque = True
            return self.letter("power", self.of(base), self.of(node.args[1]))
        if exponent.denominator == 1:
            value = self.of(base)
            if value == 0 and exponent < 0:
                raise UndefinedError
            return pow(value, int(exponent), prime)
        try:
            value_of_base = exact(base)
            if value_of_base == 0:
                return self.zero(exponent)
            root = self.root(value_of_base, exponent.denominator)
            return pow(root, exponent.numerator, prime)
        except InexactError:
            self.opaque = True
            return pow(self.letter("root", self.of(base), exponent.denominator), exponent.numerator, prime)

    def zero(self, exponent: Fraction) -> int:
        if exponent < 0:
            raise UndefinedError
        return 0

    def root(self, value: Fraction, degree: int) -> int:
        """The square root of a fraction from those of its primes, or another root that is a fraction."""
        prime = self.prime
        if degree != 2:
            root = _root(value, degree)
            return root.numerator * pow(root.denominator, -1, prime) % prime
        product = self.field.root(-1) if value < 0 else 1
        for part, sign in ((abs(value.numerator), 1), (value.denominator, -1)):
            for factor, power in factorize(part):
                product = product * pow(self.field.root(factor), sign * power, prime) % prime
        return product
