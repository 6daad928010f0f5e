"""The tokens of a line, looked at from a place in it: what stands there, and what may begin there."""

from collections.abc import Iterator, Sequence

from selfimprove.verifiers.reasoning.expressions import Token
from selfimprove.verifiers.reasoning.quantities import NUMBER_WORDS, SHARES, TIMES

MAX_TOKENS = 60  # a side

EQUALITY = {
    "is", "are", "was", "were", "be", "equals", "equal", "makes", "make", "gives", "give", "leaves", "leave", "yields",
    "totals", "comes",
}  # fmt: skip
# Words that begin a new clause: what stands before them is no unit.
CLAUSES = {"because", "since", "so", "therefore", "thus", "then", "which", "hence", "if", "when"}
PAIRS = {"sum": "+", "product": "*", "difference": "-"}
_STARTS = {"number", "mixed", "open", "fraction", "text"}
# What a side may begin with, for a look that costs next to nothing.
_MAY_START = {*_STARTS, "money", "operator"}
_SIGNS = {"equal", "approx"}
_BARRIERS = {"other", "break", "order", ""}  # no expression holds one of these
_OPERANDS = frozenset([*NUMBER_WORDS, *TIMES, *PAIRS, *SHARES])
_WORDS_THAT_START = _OPERANDS | {"a", "the"}


PAST = 8  # how far past a line's end, or before its beginning, anything looks


class Line:
    """A line's tokens, with their kinds and the brackets that belong together.

    `kinds` and `words` (nothing for what is no word) go on past the last token, and so before the first one as well.
    """

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.size = len(tokens)
        self.kinds = [*(token.kind for token in tokens), *("",) * PAST]
        self.words = [*(token.text if token.kind == "word" else "" for token in tokens), *("",) * PAST]
        self.partner = _match_brackets(tokens)

    def stretches(self) -> Iterator[tuple[int, int]]:
        """The beginning of each stretch that one chain may lie in, and the place of its last equals sign or word."""
        begin, last = 0, -1
        for at, kind in enumerate(self.kinds):
            if kind == "word":
                last = at if self.words[at] in EQUALITY else last
            elif kind in _SIGNS:
                last = at
            elif kind in _BARRIERS:
                if last >= 0:
                    yield begin, last
                begin, last = at + 1, -1

    def may_start(self, at: int) -> bool:
        kind = self.kinds[at]
        return self.words[at] in _WORDS_THAT_START if kind == "word" else kind in _MAY_START

    def is_call(self, at: int) -> bool:
        """Whether a bracket holds what a function is applied to, and nothing but its value follows: `f(2) =`."""
        called = self.kinds[at] == "open" and self.kinds[at - 1] in ("word", "index")
        close = self.partner.get(at, 0) if called and self.tokens[at - 1].end == self.tokens[at].start else 0
        return close > at and bool(self.equality(close + 1))

    def free(self, at: int) -> bool:
        """Whether nothing in front of a sign or number makes it the right part of something longer."""
        before = self.kinds[at - 1]
        if before == "word":
            return self.words[at - 1] in CLAUSES
        return before in ("", "other", "break", "equal", "open", "approx", "order")

    def equality(self, at: int) -> int:
        """The place after an equals sign or word, or 0 where there is none."""
        kind = self.kinds[at]
        if kind != "word":
            return at + 1 if kind in ("equal", "approx") else 0
        word, after = self.words[at], self.words[at + 1]
        if word == "comes":
            return at + 2 if after == "to" else 0
        if word not in EQUALITY:
            return 0
        if after == "equal":
            at += 1
        return at + 2 if self.words[at] in ("equal", "equals") and self.words[at + 1] == "to" else at + 1

    def sign(self, at: int) -> str:
        token = self.tokens[at]
        return {"equal": "=", "approx": "≈"}.get(token.kind, "=" if token.text == "equals" else "is")

    def starts_operand(self, at: int, signs: bool = True) -> bool:
        kind = self.kinds[at]
        if kind == "word":
            word = self.words[at]
            return word in _OPERANDS or (
                word in ("a", "the") and (self.words[at + 1] in SHARES or self.words[at + 1] in PAIRS)
            )
        if kind in _STARTS:
            return True
        if kind == "money":
            return self.kinds[at + 1] in ("number", "mixed", "operator")
        return kind == "operator" and signs and self.tokens[at].text in "+-" and self.starts_operand(at + 1, False)

    def spaced_dash(self, at: int) -> bool:
        token = self.tokens[at]
        return token.text == "-" and self.tokens[at - 1].end < token.start and token.end < self.tokens[at + 1].start

    def is_operand(self, at: int) -> bool:
        """Whether a bracket holds an expression and not a remark."""
        if self.kinds[at] != "open":
            return True
        close = self.partner.get(at, 0)
        return 0 < close - at <= MAX_TOKENS and self.starts_operand(at + 1)


def _match_brackets(tokens: Sequence[Token]) -> dict[int, int]:
    partner = {}
    stack = []
    for place, token in enumerate(tokens):
        if token.kind == "open":
            stack.append(place)
        elif token.kind == "close" and stack:
            partner[stack.pop()] = place
    return partner
