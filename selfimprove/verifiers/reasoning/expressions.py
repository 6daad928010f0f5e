"""Tokens of a line of text, and the exact value of an expression: nothing here is evaluated as code."""

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

MAX_DIGITS = 15  # before the point
MAX_DECIMALS = 20
MAX_EXPONENT = 20
MAX_BITS = 4096  # of a power, a product or a sum
MAX_DEPTH = 20  # brackets within brackets

VULGAR = {
    "½": Fraction(1, 2), "¼": Fraction(1, 4), "¾": Fraction(3, 4), "⅓": Fraction(1, 3), "⅔": Fraction(2, 3),
    "⅕": Fraction(1, 5), "⅖": Fraction(2, 5), "⅗": Fraction(3, 5), "⅘": Fraction(4, 5), "⅙": Fraction(1, 6),
    "⅚": Fraction(5, 6), "⅛": Fraction(1, 8), "⅜": Fraction(3, 8), "⅝": Fraction(5, 8), "⅞": Fraction(7, 8),
}  # fmt: skip
_VULGAR = "".join(VULGAR)

# Every repetition is over characters that no other part of its alternative can match, or is bounded: a text is read
# in one pass. The names of the groups are the kinds of tokens; words, which are most of them, are tried first.
_TOKEN = re.compile(
    rf"""
    [ ]{{0,3}}+ (?:
      (?P<word>(?:(?<=[0-9])-(?=[a-z]{{2}}))?(?![²³{_VULGAR}])[^\W\d_]+
        (?:(?:['’]|(?<=[^\W\d_]{{2}})-(?=[^\W\d_]{{2}}))[^\W\d_]+)*)
    | (?P<annotation><<[^<>\n]{{1,300}}>>)
    | (?P<mixed>[0-9]{{1,{MAX_DIGITS}}}[ ][0-9]{{1,4}}/[0-9]{{1,4}}(?![0-9/]|[.,][0-9])
        | [0-9]{{0,{MAX_DIGITS}}}[{_VULGAR}])
    | (?P<number>(?:[0-9]{{1,3}}(?:,[0-9]{{3}})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)
    | (?P<power>[²³])
    | (?P<index>(?<=[^\W_]|[)}}\]])_(?:\{{[^{{}}\n]{{1,40}}\}}|[^\W_]{{1,20}}))
    | (?P<approx>≈|~=|≃|≅|\\approx\b)
    | (?P<order><=|>=|!=|=>|=<(?!<)|->|:=|[<>≠≤≥]|\\(?:neq?|leq?|geq?|lt|gt)\b)
    | (?P<equal>==?)
    | (?P<operator>\*\*|[-+*/^×·⋅∙÷−–∗⁄∕]|\\(?:times|cdot|div)\b)
    | (?P<fraction>\\[dt]?frac(?![^\W\d_]))
    | (?P<text>\\(?:text|mathrm|textbf|mathbf|boxed|mbox)\b)
    | (?P<nothing>\\(?:left|right|quad|qquad|displaystyle)\b|\\[,;:!\ ]|[*]{{3,}}|_
        | \\\\(?=\s{{0,80}}&?\s{{0,9}}(?:=|≈|\\approx\b)) | &(?=\s{{0,9}}(?:=|≈|\\approx\b)) | (?<=[=≈])&)
    | (?P<break>\\(?:begin|end)\{{[a-z]{{1,20}}\*?\}}|\\\\(?:\[[0-9.]{{1,5}}[a-z]{{2}}\])?)
    | (?P<open>[(\[{{])
    | (?P<close>[)\]}}])
    | (?P<percent>\\?%)
    | (?P<money>\\?[$€£¢])
    | (?P<other>\\[^\W\d_]+|\\[^0-9]|\S))
    """,
    re.VERBOSE,
)
OPERATORS = {
    **dict.fromkeys(("*", "×", "·", "⋅", "∙", "∗", r"\times", r"\cdot"), "*"),
    **dict.fromkeys(("/", "÷", "⁄", "∕", r"\div"), "/"),
    **dict.fromkeys(("-", "−", "–"), "-"),
    **dict.fromkeys(("^", "**"), "^"),
    "+": "+",
}


class Token(NamedTuple):
    """A piece of a line; `text` is lower case for words, the plain sign for operators, as written for the rest."""

    kind: str
    text: str
    start: int
    end: int


_new = tuple.__new__  # several times as fast as the constructor with its names


class Quantity(NamedTuple):
    """A number in an expression; `unit` is the word or sign of money next to it."""

    value: Fraction
    percent: bool
    unit: str
    start: int
    end: int


Value = int | Fraction  # whole numbers are added, multiplied and compared many times as fast
Item = Quantity | str  # a number, a bracket or an operator: + - * / ^, "&" for an implied product, "|" for `a/b`


class Reading(NamedTuple):
    """One way to understand an expression."""

    percent: bool = True
    """A percent sign divides by 100; otherwise it is a unit."""
    scaled: bool = False
    """Units count: an hour is 60 minutes."""
    tight: bool = False
    """`3(4)` and an unspaced `1/2` bind closer than other products."""


PLAIN = Reading()


def tokenize(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """The tokens of a part of a text, with their places in the whole text."""
    tokens = []
    for found in _TOKEN.finditer(text, start, len(text) if end is None else end):
        kind = found.lastgroup or "other"
        word = found[kind]
        if kind == "word":
            word = word.lower()
        elif kind == "operator":
            word = OPERATORS[word]
        elif kind == "nothing":
            continue
        tokens.append(_new(Token, (kind, word, *found.span(kind))))
    return tokens


def read_number(written: str) -> Fraction | None:
    """The value of a number or mixed number as a token holds it; None where it is too long or no sensible number."""
    return _read_short_number(written) if len(written) <= 3 * MAX_DIGITS else None


@lru_cache(maxsize=4096)
def _read_short_number(written: str) -> Fraction | None:
    if written[-1] in VULGAR:
        return int(written[:-1] or 0) + VULGAR[written[-1]]
    if "/" in written:
        whole, _, rest = written.partition(" ")
        above, _, below = rest.partition("/")
        return int(whole) + Fraction(int(above), int(below)) if 0 < int(above) < int(below) else None
    if len(written) <= MAX_DIGITS and written.isdigit():
        return Fraction(int(written))
    before, _, after = written.replace(",", "").partition(".")
    if len(before) > MAX_DIGITS or len(after) > MAX_DECIMALS:
        return None
    return Fraction(int(before + after), 10 ** len(after)) if after else Fraction(int(before))


def evaluate(items: Sequence[Item], reading: Reading = PLAIN, units: dict[str, Fraction] | None = None) -> Value | None:
    """The value of an expression; None where it divides by zero, is malformed or takes too high a power.

    `units` gives the size of each unit, for a reading in which they count.
    """
    if len(items) == 1 and isinstance(one := items[0], Quantity) and not reading.scaled:  # half of all expressions
        return _whole(one.value / 100 if one.percent and reading.percent else one.value)
    if len(items) == 3 and not reading.scaled and (value := _of_two(items)) is not None:
        return value
    try:
        machine = _Machine(items, reading, units or {})
        value = machine.sum(0)
    except (ZeroDivisionError, _TooLarge, IndexError):
        return None
    return value if machine.place == len(items) else None


def _of_two(items: Sequence[Item]) -> Value | None:
    """The value of two plain numbers with a sign between them, which most expressions are; None of anything else."""
    left, sign, right = items
    if not (isinstance(left, Quantity) and isinstance(right, Quantity)) or left.percent or right.percent:
        return None
    one, other = _whole(left.value), _whole(right.value)
    if sign == "+":
        return one + other
    if sign == "-":
        return one - other
    if sign in ("*", "&"):
        return one * other
    return _divide(one, other) if sign in ("/", "|") and other else None


class _TooLarge(Exception):
    pass


def _bounded(value: Value) -> Value:
    if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
        raise _TooLarge
    return value


def _divide(above: Value, below: Value) -> Value:
    return _whole(Fraction(above, below))


def _whole(value: Fraction) -> Value:
    """The same value, as a whole number where it is one."""
    return value.numerator if value.denominator == 1 else value


class _Machine:
    """A descent through the levels of precedence; `place` is the item that comes next."""

    def __init__(self, items: Sequence[Item], reading: Reading, units: dict[str, Fraction]) -> None:
        self.items = [*items, ""]
        self.reading = reading
        self.units = units
        self.place = 0

    def sum(self, depth: int) -> Value:
        value = self.product(depth)
        while (sign := self.items[self.place]) in ("+", "-"):
            self.place += 1
            right = self.product(depth)
            value = _bounded(value + right if sign == "+" else value - right)
        return value

    def product(self, depth: int) -> Value:
        value = self.factor(depth)
        while (sign := self.items[self.place]) in ("*", "/", "&", "|"):
            self.place += 1
            right = self.factor(depth)
            value = _bounded(_divide(value, right) if sign in ("/", "|") else value * right)
        return value

    def factor(self, depth: int) -> Value:
        value = self.power(depth)
        while self.reading.tight and (sign := self.items[self.place]) in ("&", "|"):
            self.place += 1
            right = self.power(depth)
            value = _bounded(_divide(value, right) if sign == "|" else value * right)
        return value

    def power(self, depth: int) -> Value:
        if (sign := self.items[self.place]) in ("+", "-"):
            if depth > MAX_DEPTH:
                raise _TooLarge
            self.place += 1
            value = self.power(depth + 1)
            return -value if sign == "-" else value
        value = self.atom(depth)
        if self.items[self.place] != "^":
            return value
        self.place += 1
        exponent = self.power(depth + 1)
        bits = max(value.numerator.bit_length(), value.denominator.bit_length())
        if exponent.denominator != 1 or not 0 <= exponent <= MAX_EXPONENT or bits * exponent > MAX_BITS:
            raise _TooLarge
        return value**exponent.numerator

    def atom(self, depth: int) -> Value:
        item = self.items[self.place]
        self.place += 1
        if isinstance(item, Quantity):
            size = item.value / 100 if item.percent and self.reading.percent else item.value
            size = size * self.units.get(item.unit, 1) if self.reading.scaled else size
            return _whole(size)
        if item != "(" or depth > MAX_DEPTH:
            raise _TooLarge
        value = self.sum(depth + 1)
        self.place += 1
        return value
