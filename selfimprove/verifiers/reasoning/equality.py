"""Judges what is said to be equal: a claim is wrong only if every sensible way to read it is wrong."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise, product

from selfimprove.records import Outcome
from selfimprove.verifiers.reasoning.doubts import REMAINDERS, Surroundings
from selfimprove.verifiers.reasoning.expressions import Item, Quantity, Reading, Token, Value, evaluate
from selfimprove.verifiers.reasoning.quantities import UNITS
from selfimprove.verifiers.reasoning.rounding import FLOAT_DIGITS, is_float, rounds_to
from selfimprove.verifiers.reasoning.sides import Chain, Side

_SCALING = frozenset("*/&|^")
ROUNDED = "rounded to a whole number"
ANNOTATION = re.compile(r"<<[^<>\n]{0,300}>>")


@dataclass(frozen=True, slots=True)
class Claim:
    """A judged claim; `operands` are the numbers it takes, `results` the ways to read what it gives."""

    start: int
    end: int
    outcome: Outcome
    reason: str
    operands: tuple[Quantity, ...]
    results: tuple[Value, ...]


def values(side: Side, items: list[Item] | None = None) -> list[Value]:
    """The values of a side in its sensible readings, the plain one first."""
    if items is None:
        if side.values is None:
            side.values = values(side, side.items)
        return side.values
    if len(items) == 1 and isinstance(one := items[0], Quantity) and not one.percent:  # half of all sides
        value = evaluate(items)
        return [] if value is None else [value]
    # A percent sign may be read as a unit only where all numbers have it (`20% of 50` is never 1000), or beside 100.
    signed = [item.percent for item in items if isinstance(item, Quantity) and not (item.percent and item.value == 100)]
    marked = any(isinstance(item, Quantity) and item.percent for item in items)
    percents = (True, False) if marked and (all(signed) or not any(signed)) else (True,)
    tights = (False, True) if "&" in items or "|" in items else (False,)
    found: list[Value] = []
    for percent, tight in product(percents, tights):
        value = evaluate(items, Reading(percent, False, tight))
        if value is not None and value not in found:
            found.append(value)
    return found


class ChainJudge:
    """Judges the chains of one line."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self.text = text
        self.tokens = tokens
        self.around = Surroundings(text, tokens)

    def chain(self, chain: Chain) -> Iterator[Claim]:
        """The claims of a chain, one for each run of sides that can be evaluated."""
        run: list[Side] = []
        signs: list[str] = []
        for place, side in enumerate(chain.sides):
            worded = place > 0 and chain.signs[place - 1] == "is"
            linked = run and (not worded or (side is not None and not side.operators and self.word_claim(run[-1])))
            if side is None or not linked:
                yield from self.run(run, signs)
                run, signs = [], []
            if side is not None:
                if run:
                    signs.append(chain.signs[place - 1])
                run.append(side)
        yield from self.run(run, signs)

    def word_claim(self, left: Side) -> bool:
        """Whether `is` after this side says what it amounts to: one operator, and no date or ratio such as 1/2."""
        return left.operators == 1 and (left.word or bool({"+", "-", "*"} & {str(item) for item in left.items}))

    def run(self, sides: list[Side], signs: list[str]) -> Iterator[Claim]:
        """Judge sides that are all said to be equal."""
        if len(sides) < 2:
            return
        if not any(side.operators for side in sides):
            yield from self.conversions(sides)
            return
        notes: list[str] = []
        running = False
        wrong = None
        end = self.tokens[sides[-1].last - 1].end
        for place, (left, right) in enumerate(pairwise(sides)):
            last = place == len(sides) - 2
            verdict, note, reached = self.pair(left, right, signs[place], last=last, first=place == 0)
            if verdict is None:
                if place == 0 and not left.operators:  # it names something: `Day 2 = 3 * 4 = 12`
                    yield from self.run(sides[1:], signs[1:])
                return
            if verdict is False:
                wrong = wrong or (left, right)
            if note == "running":
                running = True
            elif note:
                notes.append(note)
            end = reached or end
        first = next(side for side in sides if side.operators)
        operands = first.numbers
        if running:
            operands = first.numbers + [number for side in sides[1:] for number in side.numbers[1:] if side.operators]
        if wrong is not None:
            if self.around.doubts(sides, signs):
                return
            yield self.claim(sides, end, "incorrect", self.blame(*wrong), operands)
            return
        whole = self.quote(sides[0])
        if running:
            notes.append("read from left to right as a running total")
            whole = quote(self.text[self.tokens[sides[0].first].start : self.tokens[sides[-2].last - 1].end])
        said = f"{whole} is {self.quote(sides[-1], end)}"
        yield self.claim(sides, end, "correct", "; ".join([said, *dict.fromkeys(notes)]), operands)

    def claim(self, sides: list[Side], end: int, outcome: Outcome, reason: str, operands: Iterable[Quantity]) -> Claim:
        result = sides[-1]
        results = values(result)
        if end < self.tokens[result.last - 1].end:
            results = next(
                (values(result, result.items[:n]) for n, at in result.cuts if self.tokens[at - 1].end == end), results
            )
        if not sides[0].items or (sides[0].operators == 0 and len(sides) == 2):
            results = values(sides[0])
        return Claim(self.tokens[sides[0].first].start, end, outcome, reason, tuple(operands), tuple(results))

    def pair(
        self, left: Side, right: Side, sign: str, *, last: bool, first: bool
    ) -> tuple[bool | None, str, int | None]:
        """Whether two sides are equal (None: it cannot be said), how so, and where the right one ends."""
        lefts, rights = values(left), values(right)
        if not lefts or not rights:
            return None, "", None
        plain = not units_clash(left, right)
        if plain and _meet(lefts, rights):
            return True, "", None
        if self.scaled(left, right):
            return True, "", None
        if not plain:
            return None, "", None
        note = self.rounding(left, lefts, right, sign) or self.rounding(right, rights, left, sign)
        if note:
            return True, note, None
        for items, at in right.cuts if last else ():
            if _meet(values(right, right.items[:items]), lefts):
                return True, "", self.tokens[at - 1].end
        if right.operators and self.head(right) & set(lefts):
            return (None, "", None) if last else (True, "running", None)
        if last and (remainder := self.remainder(left, right)) is not None:
            return (True, remainder[0], remainder[1]) if remainder[0] else (None, "", None)
        if first and self.drop_bullet(left, right, last=last):
            return self.pair(left, right, sign, last=last, first=False)
        if first and self.labelled(left) & set(rights):
            return None, "", None
        if left.stop > left.last and left.items[1:-1] == ["|"]:
            return None, "", None
        if not left.operators and (first and self.is_label(left, right)):
            return None, "", None
        return False, "", None

    def head(self, side: Side) -> set[Value]:
        """The value of the first operand of a side."""
        depth = 0
        for place, item in enumerate(side.items):
            if isinstance(item, str):
                depth += (item == "(") - (item == ")")
                if depth == 0 and place and item in "+-*/&|^":
                    return set(values(side, side.items[:place]))
        return set()

    def drop_bullet(self, side: Side, other: Side, *, last: bool) -> bool:
        """Read a spaced sign in front of a first side as a bullet, if the claim is right so."""
        first, second = self.tokens[side.first], self.tokens[side.first + 1]
        if side.items[0] not in ("-", "+") or first.end == second.start:
            return False
        ends = [len(other.items), *(items for items, _ in other.cuts if last)]
        rights = self.head(other).union(*(values(other, other.items[:end]) for end in ends))
        if rights.isdisjoint(values(side, side.items[1:])):
            return False
        side.items, side.values, side.first = side.items[1:], None, side.first + 1
        return True

    def labelled(self, side: Side) -> set[Value]:
        """The values of a first side without its first number, where that may be a label: `Day 2 - 3 + 5`."""
        before = self.tokens[side.first - 1].kind if side.first else ""
        if before == "word" and len(side.items) > 2 and side.items[1] in ("-", "&"):
            return set(values(side, side.items[2:]))
        return set()

    def is_label(self, left: Side, right: Side) -> bool:
        """Whether a bare first number names something: `Day 2 = 3 * 4`, `1 bag = 3 * 4`, `10% = 60 / 10`."""
        unit = left.numbers[0].unit if left.numbers else ""
        labelled = self.tokens[left.first - 1].kind == "word" if left.first else False
        percent = any(number.percent for number in left.numbers)
        return labelled or percent or (bool(unit) and unit not in {n.unit for n in right.numbers})

    def scaled(self, left: Side, right: Side) -> bool:
        """Whether the sides are equal when units count, such as 90 minutes and 1.5 hours."""
        ours, theirs = _kinds(left), _kinds(right)
        for kind in (ours & theirs) | ((ours | theirs) & {"count"}):
            sizes = {word: size for word, (name, size) in UNITS.items() if name == kind}
            signed = [number.percent for number in left.numbers + right.numbers]
            for percent in (True, False) if all(signed) else (True,):
                reading = Reading(percent, True)
                value = evaluate(left.items, reading, sizes)
                if value is not None and value == evaluate(right.items, reading, sizes):
                    return True
        return False

    def rounding(self, exact: Side, exacts: list[Value], stated: Side, sign: str) -> str:
        """A note that says how a stated decimal is rounded, or nothing where it is not."""
        if stated.operators or not (exact.operators or sign == "≈") or not stated.numbers:
            return ""
        number = stated.numbers[0]
        written = self.text[number.start : number.end].rstrip("%\\ ").removesuffix("percent").strip()
        if not re.fullmatch(r"[0-9,.]+", written):
            return ""
        if stated.items[0] == "-":
            exacts = [-value for value in exacts]
        scaled = not _SCALING.isdisjoint(item for item in exact.items if isinstance(item, str))
        whole = sign == "=" and not number.percent and number.value.denominator == 1 and len(written) < FLOAT_DIGITS
        for value in exacts:
            if whole and isinstance(value, int) and value != number.value:
                continue  # no rounding makes another whole number of one
            for size in (number, number._replace(percent=False)) if number.percent else (number,):
                if is_float(value, size, written):
                    return "rounded as floating-point numbers are"
                if rounds_to(value, size, written, sign == "≈", scaled=scaled):
                    decimals = len(written.partition(".")[2])
                    return f"rounded to {decimals} decimal{'s' * (decimals != 1)}" if decimals else ROUNDED
        return ""

    def remainder(self, left: Side, right: Side) -> tuple[str, int] | None:
        """The note and the end of `40 / 7 = 5 r 5`; an empty note where it is wrong, None where no remainder stands."""
        at = right.last
        while at < len(self.tokens) and self.tokens[at].text in ("with", "a", "and", ",", "("):
            at += 1
        if self.is_fraction(at) and self.tokens[right.last].text == "and":
            above, below = int(self.tokens[at].text), int(self.tokens[at + 2].text)
            whole = values(right)[0] + Fraction(above, below) if below else None
            return ("a mixed number", self.tokens[at + 2].end) if whole in values(left) else ("", 0)
        if at >= len(self.tokens) or self.tokens[at].text not in REMAINDERS:
            return None
        at += 1
        while at < len(self.tokens) and self.tokens[at].text in ("of", "is"):
            at += 1
        rest = self.tokens[at] if at < len(self.tokens) else None
        numbers = left.numbers
        if rest is None or rest.kind != "number" or len(numbers) != 2 or left.items[1] not in ("/", "|"):
            return "", 0
        quotient = values(right)[0]
        if (
            len(rest.text) < 9
            and rest.text.isdigit()
            and quotient * numbers[1].value + int(rest.text) == numbers[0].value
        ):
            return f"remainder {rest.text}", rest.end
        return "", 0

    def is_fraction(self, at: int) -> bool:
        kinds = [token.kind for token in self.tokens[at : at + 3]]
        return kinds == ["number", "operator", "number"] and all(
            self.tokens[place].text.isdigit() and len(self.tokens[place].text) < 9 for place in (at, at + 2)
        )

    def conversions(self, sides: list[Side]) -> Iterator[Claim]:
        """Judge `2 hours = 120 minutes`; sides without a unit in the table, or with the same unit, say nothing."""
        for left, right in pairwise(sides):
            if len(left.items) != 1 or len(right.items) != 1:
                continue
            ours, theirs = left.numbers[0], right.numbers[0]
            kinds = _kinds(left) & _kinds(right) or (_kinds(left) | _kinds(right)) & {"count"}
            right_percent = ours.percent != theirs.percent and values(left)[0] == values(right)[0]
            if right_percent or (kinds and ours.unit != theirs.unit and self.scaled(left, right)):
                end = self.unit_end(right)
                reason = f"{self.quote(left, self.unit_end(left))} is {self.quote(right, end)}"
                yield self.claim_of(left, right, end, "correct", reason)
            elif kinds and self.is_certain(left, right, kinds):
                end = self.unit_end(right)
                _, size = UNITS[ours.unit] if ours.unit in UNITS else ("", Fraction(1))
                _, other = UNITS[theirs.unit] if theirs.unit in UNITS else ("", Fraction(1))
                value = show(ours.value * size / other)
                said = f"{self.quote(left, self.unit_end(left))} is {value} {theirs.unit}".rstrip()
                yield self.claim_of(left, right, end, "incorrect", f"{said}, not {self.quote(right, end)}")

    def claim_of(self, left: Side, right: Side, end: int, outcome: Outcome, reason: str) -> Claim:
        return Claim(
            self.tokens[left.first].start, end, outcome, reason, tuple(left.numbers), (right.numbers[0].value,)
        )

    def is_certain(self, left: Side, right: Side, kinds: set[str]) -> bool:
        """Whether two amounts can be blamed for being different: a day may have 8 hours, a week 5 days."""
        ours, theirs = left.numbers[0], right.numbers[0]
        units = {ours.unit, theirs.unit}
        if units & {"day", "days", "week", "weeks"} or ours.unit.rstrip("s") == theirs.unit.rstrip("s"):
            return False
        same = (UNITS.get(ours.unit), UNITS.get(theirs.unit))
        return same[0] is not None and same[0] != same[1] and not self.around.doubts([left, right], ["="])

    def unit_end(self, side: Side) -> int:
        token = self.tokens[side.last] if side.last < len(self.tokens) else None
        return token.end if token and token.text == side.numbers[0].unit else self.tokens[side.last - 1].end

    def blame(self, left: Side, right: Side) -> str:
        if not left.operators:
            left, right = right, left
        return (
            f"{self.quote(left)} is {show(values(left)[0])}, not {self.quote(right, self.tokens[right.last - 1].end)}"
        )

    def quote(self, side: Side, end: int | None = None) -> str:
        """A side as it is written, with the words of its last unit where an equals sign follows them."""
        return quote(self.text[self.tokens[side.first].start : end or self.tokens[max(side.stop, side.last) - 1].end])


def quote(text: str) -> str:
    """A piece of text as reasons show it: without annotations, one short line."""
    plain = " ".join(ANNOTATION.sub("", text).split())
    return plain if len(plain) <= 60 else plain[:59] + "…"


def units_clash(left: Side, right: Side) -> bool:
    """Whether units must be converted, so that the bare numbers say nothing: `50 cents + 50 cents = $100`."""
    if not left.operators or right.operators or len(right.numbers) != 1 or not _kinds(left):
        return False
    sizes = [UNITS.get(number.unit) for number in left.numbers]
    added = any(item in ("+", "-") for item in left.items)
    kinds = {found[0] for found in sizes if found}
    if len(kinds) != 1:
        return False
    (kind,) = kinds
    ours = {found[1] for found in sizes if found}
    if added and (len(ours) > 1 or (kind == "count" and None in sizes)):
        return True
    theirs = UNITS.get(right.numbers[0].unit)
    if theirs is None or theirs[0] != kind or theirs[1] in ours:
        return False
    # Whoever divides 120 minutes by 60 has converted them.
    bare = [number.value for number, found in zip(left.numbers, sizes, strict=True) if found is None]
    ratios = {max(size, theirs[1]) / min(size, theirs[1]) for size in ours}
    products = {one * other for one, other in combinations(bare, 2)}
    return ratios.isdisjoint([*bare, *products, *(1 / one for one in bare if one)])


def _meet(ones: list[Value], others: list[Value]) -> bool:
    """Whether two short lists share a value; to compare fractions is cheaper than to hash them."""
    return any(one == other for one in ones for other in others)


def _kinds(side: Side) -> set[str]:
    return {UNITS[number.unit][0] for number in side.numbers if number.unit in UNITS}


def show(value: Value) -> str:
    """A value as reasons show it: a decimal where it is exact and short, a fraction otherwise."""
    if isinstance(value, int) and abs(value) < 10**15:
        return str(value)
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 200:
        return "another number"
    if value.denominator == 1:
        written = str(value.numerator)
    else:
        rest = value.denominator
        for prime in (2, 5):
            while rest % prime == 0:
                rest //= prime
        exact = f"{float(value):.10g}"
        written = exact if rest == 1 and Fraction(exact) == value else f"{value.numerator}/{value.denominator}"
    return written if len(written) <= 40 else "another number"
