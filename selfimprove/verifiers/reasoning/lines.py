"""The tokens of a line, looked at from a place in it: what stands there, and what may begin there."""

from collections.abc import Sequence

from selfimprove.verifiers.reasoning.expressions import Token
from selfimprove.verifiers.reasoning.quantities import NUMBER_WORDS, SHARES, TIMES

MAX_TOKENS = 60  # a side

EQUALITY = {
    "is", "are", "was", "were", "be", "equals", "equal", "makes", "make", "gives", "give", "leaves", "leave", "yields",
    "totals", "comes",
}  # fmt: skip
# Words that begin a new clause: what stands before them is no unit.
CLAUSES = {"because", "since", "so", "therefore", "thus", "then", "which", "hence", "if"}
PAIRS = {"sum": "+", "product": "*", "difference": "-"}
_STARTS = {"number", "mixed", "open", "fraction", "text"}
# What a side may begin with, for a look that costs next to nothing.
_MAY_START = {*_STARTS, "money", "operator"}
_WORDS_THAT_START = {*NUMBER_WORDS, *TIMES, *PAIRS, *SHARES, "a", "the"}


class Line:
    """A line's tokens, with their kinds and the brackets that belong together."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.kinds = [token.kind for token in tokens]
        self.size = len(tokens)
        self.partner = _match_brackets(tokens)

    def last_equality(self) -> int:
        """The place of the last equals sign or word, behind which no chain begins."""
        for at in range(self.size - 1, -1, -1):
            kind = self.kinds[at]
            if kind in ("equal", "approx") or (kind == "word" and self.tokens[at].text in EQUALITY):
                return at
        return 0

    def may_start(self, at: int) -> bool:
        kind = self.kinds[at]
        return self.tokens[at].text in _WORDS_THAT_START if kind == "word" else kind in _MAY_START

    def is_call(self, at: int) -> bool:
        """Whether a bracket holds what a function is applied to, and nothing but its value follows: `f(2) =`."""
        called = self.kind(at) == "open" and self.kind(at - 1) in ("word", "index")
        close = self.partner.get(at, 0) if called and self.tokens[at - 1].end == self.tokens[at].start else 0
        return close > at and bool(self.equality(close + 1))

    def kind(self, at: int) -> str:
        return self.kinds[at] if 0 <= at < self.size else ""

    def word(self, at: int) -> str:
        return self.tokens[at].text if 0 <= at < self.size and self.kinds[at] == "word" else ""

    def free(self, at: int) -> bool:
        """Whether nothing in front of a sign or number makes it the right part of something longer."""
        before = self.kind(at - 1)
        if before == "word":
            return self.tokens[at - 1].text in CLAUSES
        return before in ("", "other", "break", "equal", "open", "approx", "order")

    def equality(self, at: int) -> int:
        """The place after an equals sign or word, or 0 where there is none."""
        if self.kind(at) in ("equal", "approx"):
            return at + 1
        word = self.word(at)
        if word == "comes":
            return at + 2 if self.word(at + 1) == "to" else 0
        if word in EQUALITY:
            if self.word(at + 1) == "equal":
                at += 1
            return at + 2 if self.tokens[at].text in ("equal", "equals") and self.word(at + 1) == "to" else at + 1
        return 0

    def sign(self, at: int) -> str:
        token = self.tokens[at]
        return {"equal": "=", "approx": "≈"}.get(token.kind, "=" if token.text == "equals" else "is")

    def starts_operand(self, at: int, signs: bool = True) -> bool:
        kind = self.kind(at)
        if kind in _STARTS:
            return True
        if kind == "money":
            return self.kind(at + 1) in ("number", "mixed", "operator")
        if kind == "operator" and signs:
            return self.tokens[at].text in "+-" and self.starts_operand(at + 1, signs=False)
        word = self.word(at)
        return bool(word) and (
            word in NUMBER_WORDS
            or word in TIMES
            or word in PAIRS
            or word in SHARES
            or (word in ("a", "the") and (self.word(at + 1) in SHARES or self.word(at + 1) in PAIRS))
        )

    def spaced_dash(self, at: int) -> bool:
        token = self.tokens[at]
        return token.text == "-" and self.tokens[at - 1].end < token.start and token.end < self.tokens[at + 1].start

    def is_operand(self, at: int) -> bool:
        """Whether a bracket holds an expression and not a remark."""
        if self.kind(at) != "open":
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
