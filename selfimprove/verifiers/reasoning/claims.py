"""Finds every claim of a text that can be judged: equations, their annotations, words and columns."""

import re
from dataclasses import replace

from selfimprove.verifiers.reasoning.columns import read_columns
from selfimprove.verifiers.reasoning.equality import ANNOTATION, ChainJudge, Claim
from selfimprove.verifiers.reasoning.expressions import Token, tokenize
from selfimprove.verifiers.reasoning.lines import EQUALITY
from selfimprove.verifiers.reasoning.markup import drop_emphasis, equation_lines, skip_label
from selfimprove.verifiers.reasoning.sides import SideReader

MAX_CLAIMS = 400

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
    for start, end in equation_lines(text):
        line = text[start:end]
        if "=" in line or "≈" in line or r"\approx" in line or (WORD_SIGN.search(line) and WORD_OPERATOR.search(line)):
            claims.extend(_read_line(text, skip_label(text, start, end), end))
            if len(claims) >= MAX_CLAIMS:
                break
    # The rows of a column hold no equals sign: a column overlaps no other claim.
    if _COLUMN.search(text):
        claims.extend(read_columns(text))
    return sorted(claims, key=lambda claim: claim.start)[:MAX_CLAIMS]


def _read_line(text: str, start: int, end: int) -> list[Claim]:
    tokens = drop_emphasis(text, tokenize(text, start, end))
    notes = [token for token in tokens if token.kind == "annotation"]
    if not notes:
        return _judge(text, tokens)
    claims = _judge(text, [token for token in tokens if token.kind != "annotation"])
    found: list[Claim] = []
    place = 0
    for note in notes[:MAX_CLAIMS]:
        while place < len(claims) and claims[place].end <= note.start:
            place += 1
        outer = claims[place] if place < len(claims) and claims[place].start <= note.start else None
        if outer and _says_the_same(text, outer, note):
            continue
        inner = _judge(text, tokenize(text, note.start + 2, note.end - 2))
        wrong = next((claim for claim in inner if claim.outcome == "incorrect"), None)
        if outer is None and inner:
            found.append(replace(wrong or inner[-1], start=note.start, end=note.end))
        elif outer and wrong and outer.outcome == "correct":
            claims[place] = replace(outer, outcome="incorrect", reason=wrong.reason)
    return sorted([*claims, *found], key=lambda claim: claim.start)


def _says_the_same(text: str, claim: Claim, note: Token) -> bool:
    """Whether an annotation repeats the equation around it, which is then judged once."""
    if claim.end - claim.start > 4 * len(note.text):
        return False
    written = ANNOTATION.sub("", text[claim.start : claim.end])
    return written.translate(_SPELLING) == note.text[2:-2].translate(_SPELLING)


def _judge(text: str, tokens: list[Token]) -> list[Claim]:
    judge = ChainJudge(text, tokens)
    return [claim for chain in SideReader(tokens).chains() for claim in judge.chain(chain)]
