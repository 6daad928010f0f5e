"""Sums and differences written in columns."""

import re
from collections.abc import Iterator
from fractions import Fraction

from selfimprove.verifiers.reasoning.equality import Claim, show
from selfimprove.verifiers.reasoning.expressions import Quantity

_RULE = re.compile(r"[ \t]*[-_─—=]{2,40}[ \t]*")
_NUMBER = re.compile(
    r"[ \t]{0,40}([-+−–]?)[ \t]{0,40}\$?([0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15}(?:\.[0-9]{1,15})?)[ \t]*"
)
_MAX_ROWS = 11


def read_columns(text: str) -> Iterator[Claim]:
    """Numbers under each other, a rule, and their sum or difference."""
    places = []
    start = 0
    for line in text.split("\n"):
        places.append((start, line))
        start += len(line) + 1
    for at, (_, line) in enumerate(places[:-1]):
        if not _RULE.fullmatch(line):
            continue
        result = _NUMBER.fullmatch(places[at + 1][1])
        rows = []
        for place in range(at - 1, max(-1, at - 1 - _MAX_ROWS), -1):
            row = _NUMBER.fullmatch(places[place][1])
            if row is None:
                break
            rows.append((place, row))
        signs = [row[1] for _, row in rows]
        if result is None or result[1] or len(rows) < 2 or not signs[0] or signs[-1]:
            continue
        first = places[rows[-1][0]][0]
        end = places[at + 1][0] + result.end(2)
        yield _judge_column(places, rows, result, first, end)


def _judge_column(
    places: list[tuple[int, str]], rows: list[tuple[int, re.Match[str]]], result: re.Match[str], start: int, end: int
) -> Claim:
    numbers = []
    total = Fraction(0)
    sign = rows[0][1][1]
    for order, (place, row) in enumerate(reversed(rows)):
        value = Fraction(row[2].replace(",", ""))
        offset = places[place][0]
        numbers.append(Quantity(value, False, "", offset + row.start(2), offset + row.end(2)))
        total += value if order == 0 or (row[1] or sign) == "+" else -value
    stated = Fraction(result[2].replace(",", ""))
    said = f" {'+' if sign == '+' else '-'} ".join(row[2] for _, row in reversed(rows)) + f" is {show(total)}"
    right = total == stated
    reason = said if right else f"{said}, not {result[2]}"
    return Claim(start, end, "correct" if right else "incorrect", reason, tuple(numbers), (stated,))
