"""What chat models set around their equations: emphasis, labels of list items, and equations over several lines."""

import re
from collections.abc import Iterator, Sequence

from selfimprove.verifiers.reasoning.expressions import Token

_CONTINUES = re.compile(r"[ \t]{0,80}(?:\\\\)?[ \t]{0,9}&?[ \t]{0,9}(?:=(?![=>])|≈|\\approx\b)")
_BULLETS = r"[ \t]{0,40}(?:(?:[-+*•◦▪>#|–—]|\#{2,6})[ \t]{1,9}){0,3}(?:\*\*|__|[*_])?"
_LABEL = re.compile(
    # `(2)`, `a)`, `[2]`, `2.`, but not a factor such as `(2) * 3`
    rf"{_BULLETS}(?:[(\[](?:[0-9]{{1,3}}|[A-Za-z]|[ivx]{{2,4}})[)\]][.:]?|(?:[0-9]{{1,3}}|[A-Za-z])[.)])"
    r"(?:\*\*|__|[*_])?[ \t]{1,9}(?![-+*/×÷=^·−–])"
    # `Step 2 - `, whose number is no part of a difference
    rf"|{_BULLETS}(?:step|part|question|problem|case|phase|stage)[ \t]{{1,3}}[0-9]{{1,3}}(?:\*\*|__|[*_])?"
    r"[ \t]{0,3}[-–—][ \t]{1,3}",
    re.IGNORECASE,
)
_ENDS = {"number", "mixed", "close", "percent", "money", "power", "word"}
_STARTS = {"number", "mixed", "open", "fraction", "text", "money", "word"}


def equation_lines(text: str) -> Iterator[tuple[int, int]]:
    """The start and end of each line; lines that begin with an equals sign go on from the line before."""
    begun = start = 0
    for line in text.split("\n"):
        if start > begun and not _CONTINUES.match(line):
            yield begun, start - 1
            begun = start
        start += len(line) + 1
    yield begun, len(text)


def skip_label(text: str, start: int, end: int) -> int:
    """The place after the label of a list item or step, whose number would be read as part of an equation."""
    label = _LABEL.match(text, start, end)
    return label.end() if label else start


def drop_emphasis(text: str, tokens: Sequence[Token]) -> list[Token]:
    """The tokens without the stars of bold print, italics and bullets, which are no products and powers.

    A star is one of them where an operand is missing on one of its sides, and where it touches only one of them (two
    stars), or where it begins or ends italics beside a word (one star).
    """
    dropped: set[int] = set()
    opened = None
    for at, token in enumerate(tokens):
        if token.kind != "operator" or text[token.start] != "*":
            continue
        left, right = _touches(text, tokens, at)
        before, after = at > 0 and tokens[at - 1].kind, at + 1 < len(tokens) and tokens[at + 1].kind
        alone = before not in _ENDS or not _starts_operand(tokens, at + 1)
        if token.end - token.start == 2:
            dropped |= {at} if alone or left != right else set()
            continue
        worded = "word" in (before, after)
        begins, ends = right and not left, left and not right
        if alone:
            dropped.add(at)
        if ends and opened is not None and (worded or alone or opened in dropped):
            dropped |= {at, opened}
        if begins and (alone or worded):
            opened = at
        elif ends:
            opened = None
    return [token for at, token in enumerate(tokens) if at not in dropped] if dropped else list(tokens)


def _touches(text: str, tokens: Sequence[Token], at: int) -> tuple[bool, bool]:
    """Whether a star touches what stands before and after it; a stop, a comma or a bracket after it is not touched."""
    token = tokens[at]
    left = at > 0 and tokens[at - 1].end == token.start and tokens[at - 1].kind != "open"
    right = at + 1 < len(tokens) and tokens[at + 1].start == token.end
    return left, right and tokens[at + 1].kind != "close" and text[token.end] not in ".,;:!?"


def _starts_operand(tokens: Sequence[Token], at: int) -> bool:
    if at + 1 < len(tokens) and tokens[at].kind == "operator" and tokens[at].text in "+-":
        at += 1
    return at < len(tokens) and tokens[at].kind in _STARTS
