"""Sums and differences written in columns."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from selfimprove.verifiers.reasoning.equality import Claim, show
from selfimprove.verifiers.reasoning.expressions import Quantity

_RULE = re.compile(r"[ \t]*[-_─—=]{2,40}[ \t]*")
_NUMBER = re.compile(
    r"[ \t]{0,40}([-+−–]?)[ \t]{0,40}\$?([0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15}(?:\.[0-9]{1,15})?)[ \t]*"
)
_MAX_ROWS = 11


@dataclass(frozen=True, slots=True)
class _Row:
    start: int  # of its line
    sign: str
    written: str
    number: Quantity


def read_columns(text: str) -> Iterator[Claim]:
    """Numbers under each other, a rule, and their sum or difference, which may be the first number of the next one."""
    lines = []
    start = 0
    for line in text.split("\n"):
        lines.append((start, line))
        start += len(line) + 1
    taken = -1
    for at, (_, line) in enumerate(lines[:-1]):
        if not _RULE.fullmatch(line):
            continue
        result = _read_row(*lines[at + 1])
        rows: list[_Row] = []
        for place in range(at - 1, max(-1, at - 1 - _MAX_ROWS), -1):
            row = _read_row(*lines[place])
            # Only a row with a sign goes on from the result of the column before.
            if row is None or (place == taken and not (rows and rows[0].sign)):
                break
            rows.insert(0, row)
            if place == taken:
                break
        if result is None or result.sign or len(rows) < 2 or rows[0].sign or not rows[-1].sign:
            continue
        before = lines[taken][0] if taken >= 0 else None
        taken = at + 1
        yield _judge_column(rows, result, before)


def _read_row(start: int, line: str) -> _Row | None:
    found = _NUMBER.fullmatch(line)
    if found is None:
        return None
    value = Fraction(found[2].replace(",", ""))
    return _Row(start, found[1], found[2], Quantity(value, False, "", start + found.start(2), start + found.end(2)))


def _judge_column(rows: list[_Row], result: _Row, before: int | None) -> Claim:
    stated = result.number.value
    # What stands above the numbers may be a carry or belong to something else.
    tops = (top for top in range(len(rows) - 1) if not rows[top].sign)
    used = next((rows[top:] for top in tops if _total(rows[top:]) == stated), None)
    right = used is not None
    used = used or rows
    said = used[0].written + "".join(f" {_sign(row, used)} {row.written}" for row in used[1:])
    reason = f"{said} is {show(_total(used))}" + ("" if right else f", not {result.written}")
    # No two claims share text: the result of the column before is marked there.
    start = used[used[0].start == before].start
    numbers = tuple(row.number for row in used)
    return Claim(start, result.number.end, "correct" if right else "incorrect", reason, numbers, (stated,))


def _sign(row: _Row, rows: list[_Row]) -> str:
    return "+" if (row.sign or rows[-1].sign) == "+" else "-"


def _total(rows: list[_Row]) -> Fraction:
    return rows[0].number.value + sum(
        row.number.value if _sign(row, rows) == "+" else -row.number.value for row in rows[1:]
    )
