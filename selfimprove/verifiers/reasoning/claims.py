"""Finds every claim of a text that can be judged: equations, their annotations, words and columns."""

import re
from dataclasses import replace
from itertools import islice

from selfimprove.verifiers.reasoning.columns import read_columns
from selfimprove.verifiers.reasoning.equality import ANNOTATION, ChainJudge, Claim
from selfimprove.verifiers.reasoning.expressions import Token, tokenize
from selfimprove.verifiers.reasoning.lines import EQUALITY
from selfimprove.verifiers.reasoning.markup import drop_emphasis, equation_lines, skip_label
from selfimprove.verifiers.reasoning.sides import SideReader

MAX_CLAIMS = 400
MAX_SIDES = 5_000  # of all chains of a text

WORD_SIGN = re.compile(rf"\b(?:{'|'.join(sorted(EQUALITY))})\b", re.IGNORECASE)
# Without one of these words `is` announces no claim.
WORD_OPERATOR = re.compile(
    r"\b(?:plus|minus|times|multiplied|divided|twice|double|triple|thrice|equals|sum|product|difference)\b"
    r"|(?:[0-9]|%|percent|hal(?:f|ves)|(?:third|quarter|fourth|fifth|sixth|seventh|eighth|ninth|tenth)s?) of\b"
    r"|[0-9] ?[-+*×−–x] ?[0-9]",
    re.IGNORECASE,
)
_COLUMN = re.compile(r"\n[ \t]{0,40}[-_─—=]{2}")
# What may differ between an annotation and the equation around it.
_SPELLING = str.maketrans({" ": None, "$": None, ",": None, "x": "*", "×": "*"})


def find_claims(text: str) -> list[Claim]:
    """Every claim of a text that can be judged, in the order of the text, not overlapping."""
    claims: list[Claim] = []
    finder = _Finder(text)
    for start, end in equation_lines(text):
        line = text[start:end]
        if "=" in line or "≈" in line or r"\approx" in line or (WORD_SIGN.search(line) and WORD_OPERATOR.search(line)):
            claims.extend(finder.line(skip_label(text, start, end), end))
            if len(claims) >= MAX_CLAIMS or finder.left <= 0:
                break
    # The rows of a column hold no equals sign: a column overlaps no other claim.
    if _COLUMN.search(text):
        claims.extend(read_columns(text))
    return sorted(claims, key=lambda claim: claim.start)[:MAX_CLAIMS]


class _Finder:
    """Judges the claims of lines, until as many sides were read as no sensible text has."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.left = MAX_SIDES

    def line(self, start: int, end: int) -> list[Claim]:
        tokens = drop_emphasis(self.text, tokenize(self.text, start, end))
        notes = [token for token in tokens if token.kind == "annotation"]
        if not notes:
            return self.judge(tokens)
        claims = self.judge([token for token in tokens if token.kind != "annotation"])
        found: list[Claim] = []
        place = 0
        for note in notes[:MAX_CLAIMS]:
            while place < len(claims) and claims[place].end <= note.start:
                place += 1
            outer = claims[place] if place < len(claims) and claims[place].start <= note.start else None
            if outer and _says_the_same(self.text, outer, note):
                continue
            inner = self.judge(tokenize(self.text, note.start + 2, note.end - 2))
            wrong = next((claim for claim in inner if claim.outcome == "incorrect"), None)
            if outer is None and inner:
                found.append(replace(wrong or inner[-1], start=note.start, end=note.end))
            elif outer and wrong and outer.outcome == "correct":
                claims[place] = replace(outer, outcome="incorrect", reason=wrong.reason)
        return sorted([*claims, *found], key=lambda claim: claim.start)

    def judge(self, tokens: list[Token]) -> list[Claim]:
        judge, reader = ChainJudge(self.text, tokens), SideReader(tokens, self.left)
        claims = list(islice((claim for chain in reader.chains() for claim in judge.chain(chain)), MAX_CLAIMS))
        self.left = reader.left
        return claims


def _says_the_same(text: str, claim: Claim, note: Token) -> bool:
    """Whether an annotation repeats the equation around it, which is then judged once."""
    if claim.end - claim.start > 4 * len(note.text):
        return False
    written = ANNOTATION.sub("", text[claim.start : claim.end])
    return written.translate(_SPELLING) == note.text[2:-2].translate(_SPELLING)
