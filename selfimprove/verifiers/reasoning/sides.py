"""Finds in the tokens of a line what can be evaluated, and which of it is said to be equal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from selfimprove.verifiers.reasoning.expressions import MAX_DEPTH, Item, Quantity, Token, Value, read_number
from selfimprove.verifiers.reasoning.lines import CLAUSES, EQUALITY, MAX_TOKENS, PAIRS, Line
from selfimprove.verifiers.reasoning.quantities import NUMBER_WORDS, SCALES, SHARES, TIMES

MAX_SIDES = 60  # a chain
MAX_UNIT_WORDS = 8

_WORD_OPERATORS = {"plus": ("+", 1), "minus": ("-", 1), "times": ("*", 1), "multiplied": ("*", 2), "divided": ("/", 2)}
_AMOUNT = {"word", "number", "percent", "money"}
_COMPUTES = {*_WORD_OPERATORS, *NUMBER_WORDS, *SHARES, *PAIRS, *TIMES, *EQUALITY, "of", "x"}
_UNIT_STARTS = {"word", "operator", "open", "text"}
_new = tuple.__new__  # several times as fast as the constructor with its names
_DETERMINERS = {"the", "his", "her", "their", "its", "my", "our", "your", "those", "these", "all", "that"}


@dataclass(slots=True)
class Side:
    """An expression: its tokens are `first` up to `last`, unit words after it end before `stop`.

    `cuts` are the places (in `items` and in the tokens) where it may also have ended; `loose` is how many words stand
    between its numbers at most; `word` says that words are its operators.
    """

    first: int
    items: list[Item] = field(default_factory=list)
    last: int = 0
    stop: int = 0
    operators: int = 0
    cuts: list[tuple[int, int]] = field(default_factory=list)
    loose: int = 0
    word: bool = False
    doubtful: bool = False
    numbers: list[Quantity] = field(default_factory=list)
    values: list[Value] | None = None
    """What `equality.values` found, so that it looks once."""


@dataclass(slots=True)
class Chain:
    """Sides with the signs between them (`=`, `≈` or a word); a side that cannot be evaluated is None."""

    sides: list[Side | None]
    signs: list[str]


class _Unreadable(Exception):
    """The side holds a variable or something else without a value; `place` is where."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


class SideReader:
    """Reads one line from left to right; no token is read more than a bounded number of times.

    `left` is how many sides may still be read.
    """

    def __init__(self, tokens: Sequence[Token], left: int) -> None:
        self.left = left
        self.line = Line(tokens)
        self.tokens, self.size, self.partner = tokens, self.line.size, self.line.partner
        self.kinds, self.words = self.line.kinds, self.line.words

    def chains(self) -> Iterator[Chain]:
        """All that is said to be equal, from left to right."""
        line, at = self.line, 0
        for begin, end in line.stretches():
            at = max(at, begin)
            while at < end and self.left > 0:
                if not line.may_start(at) or not line.starts_operand(at, line.free(at)):
                    at += 1
                    continue
                chain, stop = self.chain(at)
                if chain.signs:
                    yield chain
                # what follows an unreadable side may start inside of it
                at = max(stop, at + 1)

    def chain(self, at: int) -> tuple[Chain, int]:
        """The chain that starts here, of one side where nothing is said to equal it, and where reading goes on."""
        side, stop = self.read(at)
        if side is not None and self.kinds[at - 1] == "operator":
            side = None
        if self.line.is_call(at):  # a function of something has a value that is not computed here
            side, stop = None, self.partner[at] + 1
        sides, signs = [side], list[str]()
        while (after := self.line.equality(stop)) and len(sides) < MAX_SIDES:
            signs.append(self.line.sign(stop))
            next_side, next_stop = self.read(after)
            sides.append(next_side)
            stop = max(next_stop, after)
            if next_side is None:
                break
        return Chain(sides, signs), stop

    def read(self, at: int) -> tuple[Side | None, int]:
        """The side that starts here, and the place where reading goes on."""
        self.left -= 1
        side = Side(at)
        try:
            self.expression(side, at, self.size, 0)
        except _Unreadable as error:
            return None, error.place
        side.numbers = [item for item in side.items if isinstance(item, Quantity)]
        return side, side.stop

    def expression(self, side: Side, at: int, end: int, depth: int) -> int:
        """Read operands and operators up to `end` or to what does not belong to them; the place reached."""
        while True:
            at = self.operand(side, at, end, depth)
            if at - side.first > MAX_TOKENS:
                raise _Unreadable(at)
            words = self.unit_phrase(side, at, end) if self.kinds[at] in _UNIT_STARTS else min(at, end)
            sign, after = self.connection(side, at, words, end)
            if depth == 0:
                side.last, side.stop = at, words if self.line.equality(words) else at
            if not sign:
                return words
            if depth == 0 and (words > at or side.word or self.line.spaced_dash(words)):
                side.cuts.append((len(side.items), at))
            side.loose = max(side.loose, words - at)
            side.items.append(sign)
            side.operators += 1
            at = after

    def connection(self, side: Side, at: int, words: int, end: int) -> tuple[str, int]:
        """The operator after an operand and the place of the next operand; none where the expression ends."""
        if words >= end:
            return "", words
        token = self.tokens[words]
        if token.kind == "operator":
            if words + 1 < end and self.line.starts_operand(words + 1):
                return self.as_written(side, words), words + 1
            if self.words[words + 1] in _DETERMINERS and self.kinds[words + 2] in ("number", "mixed", "money"):
                return self.as_written(side, words), words + 2
            variable = len(self.words[words + 1]) == 1
            if variable or (self.words[words + 1] and token.text != "-"):
                raise _Unreadable(words + 1)
            return "", words
        if words == at and token.kind in ("open", "fraction") and self.line.is_operand(words):
            return "&", words
        if words == at and token.kind in ("number", "mixed") and self.kinds[at - 1] == "close":
            # `(21/20)2` may have been a square
            side.doubtful = side.doubtful or token.start == self.tokens[at - 1].end
            return "&", words
        if token.kind == "word":
            if token.text == "x" and words + 1 < end and self.line.starts_operand(words + 1, signs=False):
                return "*", words + 1
            if token.text == "of" and words == at and self.is_share(side):
                after = at + 1 + (self.words[at + 1] in _DETERMINERS)
                if after < end and self.line.starts_operand(after):
                    side.word = True
                    return "&", after
            sign, length = _WORD_OPERATORS.get(token.text, ("", 0))
            if (
                sign
                and self.line.starts_operand(words + length, signs=False)
                and (length == 1 or self.words[words + 1] == "by")
            ):
                side.word = True
                return sign, words + length
            if len(token.text) == 1 and words == at and token.text not in "ar":
                if token.start == self.tokens[words - 1].end or token.text in "xyz":
                    raise _Unreadable(words)
                side.doubtful = True
            elif len(token.text) == 1 and words == at and token.start == self.tokens[words - 1].end:
                raise _Unreadable(words)
        return "", words

    def as_written(self, side: Side, at: int) -> str:
        """The operator, where `|` marks the bar of a fraction such as `1/2`."""
        sign = self.tokens[at].text
        if sign != "/":
            return sign
        tight = self.tokens[at - 1].end == self.tokens[at].start and self.tokens[at].end == self.tokens[at + 1].start
        numbers = self.kinds[at - 1] == "number" and self.kinds[at + 1] == "number"
        return "|" if tight and numbers and isinstance(side.items[-1], Quantity) else sign

    def is_share(self, side: Side) -> bool:
        """Whether the last operand is a percentage or a fraction, of which there can be a part `of` something."""
        last = side.items[-1]
        if not isinstance(last, Quantity):
            return last == ")"
        return last.percent or last.value.denominator > 1 or (len(side.items) > 1 and side.items[-2] == "|")

    def operand(self, side: Side, at: int, end: int, depth: int) -> int:
        """Read a signed number, bracket or fraction with its percent or money sign; the place after it."""
        if self.kinds[at] == "number" and at < end and depth <= MAX_DEPTH:  # most operands
            at = self.number(side, at, read_number(self.tokens[at].text), "")
            return self.power(side, at) if self.kinds[at] == "power" else at
        signs = 0
        while self.kinds[at] == "operator" and self.tokens[at].text in "+-" and signs < 3:
            side.items.append(self.tokens[at].text)
            at, signs = at + 1, signs + 1
        unit = ""
        if self.kinds[at] == "money":
            unit = self.tokens[at].text.lstrip("\\")
            at += 1
            if self.kinds[at] == "operator" and self.tokens[at].text == "-":
                side.items.append("-")
                at += 1
        kind = self.kinds[at]
        if at >= end or depth > MAX_DEPTH:
            raise _Unreadable(at)
        if kind in ("number", "mixed"):
            at = self.number(side, at, read_number(self.tokens[at].text), unit)
        elif kind == "word":
            at = self.worded(side, at, end, depth)
        elif kind == "open":
            at = self.group(side, at, depth)
        elif kind == "text" and self.kinds[at + 1] == "open":
            at = self.group(side, at + 1, depth)
        elif kind == "fraction" and self.kinds[at + 1] == "open":
            side.items.append("(")
            at = self.group(side, at + 1, depth)
            side.items.append("/")
            if self.kinds[at] != "open":
                raise _Unreadable(at)
            at = self.group(side, at, depth)
            side.items.append(")")
            side.operators += 1
        else:
            raise _Unreadable(at)
        return self.power(side, at) if self.kinds[at] == "power" else at

    def power(self, side: Side, at: int) -> int:
        """Read a small 2 or 3; the place after it."""
        token = self.tokens[at]
        side.items += ["^", Quantity(Fraction(2 if token.text == "²" else 3), False, "", token.start, token.end)]
        side.operators += 1
        return at + 1

    def number(self, side: Side, at: int, value: Fraction | None, unit: str) -> int:
        if value is None:
            raise _Unreadable(at + 1)
        token, after = self.tokens[at], at + 1
        end, kind = token.end, self.kinds[after]
        percent = kind == "percent" or self.words[after] == "percent"
        if percent:
            end, after = self.tokens[after].end, after + 1
            kind = self.kinds[after]
        if kind == "money" and self.tokens[after].start == self.tokens[after - 1].end:
            following = self.tokens[after + 1] if after + 1 < self.size else None
            if not (following and following.kind == "number" and following.start == self.tokens[after].end):
                unit = self.tokens[after].text.lstrip("\\")
                after += 1
                kind = self.kinds[after]
        if not unit and kind == "word":
            unit = self.words[after]
        elif kind == "text" and self.kinds[after + 1] == "open":
            unit = unit or self.words[after + 2]
        side.items.append(_new(Quantity, (value, percent, unit, token.start, end)))
        return after

    def worded(self, side: Side, at: int, end: int, depth: int) -> int:
        """Read a number in words, `half of …`, `twice …` or `the sum of … and …`."""
        word = self.words[at]
        if word in ("a", "the") and (self.words[at + 1] in SHARES or self.words[at + 1] in PAIRS):
            at, word = at + 1, self.words[at + 1]
        token = self.tokens[at]
        share, length = self.share(at)
        if length:
            side.items.append(Quantity(share, False, "", token.start, self.tokens[at + length - 1].end))
            return at + length
        if word in TIMES:
            side.word = True
            side.items += [Quantity(Fraction(TIMES[word]), False, "", token.start, token.end), "&"]
            side.operators += 1
            return self.operand(side, at + 1, end, depth + 1)
        if word in PAIRS and self.words[at + 1] in ("of", "between"):
            return self.pair(side, at + 2, end, depth + 1)
        if word in NUMBER_WORDS:
            value = NUMBER_WORDS[word]
            if self.words[at + 1] in SCALES:
                value *= SCALES[self.words[at + 1]]
                at += 1
            percent = self.words[at + 1] == "percent"
            unit = "" if percent else self.words[at + 1]
            side.items.append(Quantity(Fraction(value), percent, unit, token.start, self.tokens[at].end))
            return at + 1 + percent
        raise _Unreadable(at + 1)

    def share(self, at: int) -> tuple[Fraction, int]:
        """The value of `half`, `third` or `two thirds` in front of `of`, and how many tokens it takes."""
        word = self.words[at]
        above, _, below = word.partition("-")
        if word in SHARES and self.words[at + 1] == "of":
            return SHARES[word], 1
        if below in SHARES and above in NUMBER_WORDS and self.words[at + 1] == "of":
            return NUMBER_WORDS[above] * SHARES[below], 1
        if word in NUMBER_WORDS and self.words[at + 1] in SHARES and self.words[at + 2] == "of":
            return NUMBER_WORDS[word] * SHARES[self.words[at + 1]], 2
        return Fraction(0), 0

    def pair(self, side: Side, at: int, end: int, depth: int) -> int:
        """Read `3 and 4` after `the sum of`; a difference is that of the larger and the smaller number."""
        sign = PAIRS[self.words[at - 2]]
        items, side.items = side.items, []
        at = self.operand(side, at, end, depth)
        left, side.items = side.items, []
        if self.words[at] != "and" or not self.line.starts_operand(at + 1):
            raise _Unreadable(at)
        at = self.operand(side, at + 1, end, depth)
        right = side.items
        first, second = left[0], right[0]
        if sign == "-" and isinstance(first, Quantity) and isinstance(second, Quantity) and first.value < second.value:
            left, right = right, left
        side.items = [*items, "(", *left, sign, *right, ")"]
        side.operators += 1
        side.word = True
        return at

    def group(self, side: Side, at: int, depth: int) -> int:
        close = self.partner.get(at, 0)
        if not 0 < close - at <= MAX_TOKENS or not self.line.starts_operand(at + 1):
            raise _Unreadable(at + 1)
        side.items.append("(")
        reached = self.expression(side, at + 1, close, depth + 1)
        if reached != close:
            raise _Unreadable(at + 1)
        side.items.append(")")
        return close + 1

    def unit_phrase(self, side: Side, at: int, end: int) -> int:
        """The place after the words that say of what a number is: `hours each day`, `/hour`, `(min/hour)`."""
        limit = min(at + MAX_UNIT_WORDS, end)
        start = at
        while at < limit:
            token = self.tokens[at]
            if token.kind == "word":
                if not self.is_unit_word(side, at, at == start):
                    break
                # of `(10/100)Workers` nobody knows whether it is multiplied
                side.doubtful |= (
                    at == start and self.kinds[at - 1] == "close" and token.start == self.tokens[at - 1].end
                )
                at += 1
            elif token.kind == "operator" and token.text == "/" and len(self.words[at + 1]) > 1:
                if self.words[at + 1] in NUMBER_WORDS:
                    break
                at += 2
            elif token.kind == "open" or (token.kind == "text" and self.kinds[at + 1] == "open"):
                opened = at + (token.kind == "text")
                close = self.partner.get(opened, 0)
                if not 0 < close - at <= MAX_UNIT_WORDS or not self.is_remark(opened, close):
                    break
                at = close + 1
            else:
                break
        return min(at, end)

    def is_remark(self, opened: int, close: int) -> bool:
        """Whether a bracket holds only words, or an amount of something behind a space: `$20 * 1.25 (25% markup)`."""
        inside = self.tokens[opened + 1 : close]
        if all(inner.kind == "word" or inner.text == "/" for inner in inside):
            return True
        spaced = self.tokens[opened].start > self.tokens[opened - 1].end
        named = any(len(word) > 1 for word in self.words[opened + 1 : close])
        return spaced and named and all(inner.kind in _AMOUNT and inner.text not in _COMPUTES for inner in inside)

    def is_unit_word(self, side: Side, at: int, first: bool) -> bool:
        word = self.tokens[at].text
        if word in EQUALITY or word in CLAUSES:
            return False
        if len(word) == 1:
            if word not in "amglhk" or (first and self.tokens[at].start == self.tokens[at - 1].end):
                return False
            if word == "a":
                return self.kinds[at + 1] == "word"
            side.doubtful = True
        if word == "of" and first and self.is_share(side):
            return False
        length = _WORD_OPERATORS.get(word, ("", 0))[1]
        if word in NUMBER_WORDS and (self.kinds[at + 1] == "operator" or self.words[at + 1] in _WORD_OPERATORS):
            return False
        return not (
            length
            and self.line.starts_operand(at + length, signs=False)
            and (length == 1 or self.words[at + 1] == "by")
        )
