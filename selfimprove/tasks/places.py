"""Addition with named places: how it is asked and how its rationale is written, and how each of its lines is checked.

D4C8B2A1+b6a7=     the prompt: 4821+67, each digit after the letter of its place, capitals in the first operand
A1a780             a line a place, from the right: both digits after their letters, the digit of the sum, and the carry
B2b680
C8c.80             a point where the operand has no such place
D4d.40
E.e.00             always one place more, so that a final carry has a line

The answer is read off the lines' digits of the sum, the last line first. Letters are index hints (Zhou et al., 2023, "What
Algorithms can Transformers Learn?"): a digit is found by the letter before it and not by counting, so that a line looks
the same in a short sum and in a long one. They follow each other in a circle, and a problem begins anywhere in it, so
that short problems show all of them.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from selfimprove.records import Step

LETTERS = "abcdefghijklmnopqrstuvwxyzбгджилпфцчшщэюя"  # Cyrillic ones as far as they look like no Latin one
CAPITALS = LETTERS.upper()
MOST_DIGITS = len(LETTERS) - 1  # with the place for a final carry no letter stands twice in a problem
ABSENT = "."
LONGEST = (MOST_DIGITS + 1) * 7  # characters of a rationale
ALPHABET = f"0123456789+={ABSENT}\n{LETTERS}{CAPITALS}"
"""Every character of prompts and rationales."""
_QUESTION = re.compile(rf"((?:[{CAPITALS}]\d){{1,{MOST_DIGITS}}})\+((?:[{LETTERS}]\d){{1,{MOST_DIGITS}}})=", re.ASCII)
_LINE = re.compile(rf"([{CAPITALS}])([\d.])([{LETTERS}])([\d.])(\d)(\d)", re.ASCII)


class Operands(NamedTuple):
    """Two numbers, and the place of their units' letter in the circle."""

    first: str
    second: str
    start: int

    @property
    def places(self) -> int:
        """The lines of a rationale."""
        return max(len(self.first), len(self.second)) + 1


class Place(NamedTuple):
    """What stands at a place: the letter in small, and the digits of both operands or points."""

    letter: str
    first: str
    second: str

    def sum(self, carry: int) -> int:
        return sum(int(one) for one in (self.first, self.second) if one != ABSENT) + carry


def write_question(operands: Operands) -> str:
    """The prompt of two operands."""
    first, second = (
        "".join(_letter(letters, operands.start + at) + digits[-1 - at] for at in reversed(range(len(digits))))
        for letters, digits in ((CAPITALS, operands.first), (LETTERS, operands.second))
    )
    return f"{first}+{second}="


def read_question(question: str) -> Operands | None:
    """The operands of a question, or None where it is no addition with letters that follow each other."""
    found = _QUESTION.fullmatch(question)
    if found is None:
        return None
    start = LETTERS.index(found[2][-2])
    operands = Operands(found[1][1::2], found[2][1::2], start)
    return operands if write_question(operands) == question else None


def write_places(operands: Operands) -> str:
    """The rationale, place by place."""
    lines, carry = [], 0
    for place in walk_places(operands):
        total = place.sum(carry)
        lines.append(_line(place, total))
        carry = total // 10
    return "\n".join(lines)


def walk_places(operands: Operands) -> Iterator[Place]:
    """The places of two operands, from the units to the one of a final carry."""
    for at in range(operands.places):
        digits = (digits[-1 - at] if at < len(digits) else ABSENT for digits in operands[:2])
        yield Place(_letter(LETTERS, operands.start + at), *digits)


def _letter(letters: str, at: int) -> str:
    return letters[at % len(letters)]


def _line(place: Place, total: int) -> str:
    return f"{place.letter.upper()}{place.first}{place.letter}{place.second}{total % 10}{total // 10}"


def extract_sum(text: str) -> str | None:
    """The number that the ends of the lines give, or None where one of them is no line."""
    lines = text.split("\n") if len(text) <= LONGEST else []
    found = [_LINE.fullmatch(line) for line in lines]
    if not found or None in found:
        return None
    return "".join(one[5] for one in reversed(found) if one).lstrip("0") or "0"


def check_places(question: str, text: str) -> tuple[Step, ...]:
    """Check every line against the question and the line before it; an error is blamed on one line only.

    What stands after the last place is one wrong step.
    """
    return (_check_often if len(text) <= LONGEST else _check_lines)(question, text)


def _check_lines(question: str, text: str) -> tuple[Step, ...]:
    operands = read_question(question)
    if operands is None:
        return ()
    steps: list[Step] = []
    lines, start, carry = text.split("\n"), 0, 0
    places = list(walk_places(operands))
    for place, line in zip(places, lines, strict=False):
        reason = _check_line(line, place, carry)
        last = len(steps) == len(lines) - 1
        if last and not reason and (missing := len(places) - len(lines)):
            reason = f"{missing} place{'s are' if missing > 1 else ' is'} missing after this"
        outcome = "incorrect" if reason else "correct"
        steps.append(Step(start=start, end=start + len(line), outcome=outcome, reason=reason or "checked"))
        start += len(line) + 1
        found = _LINE.fullmatch(line)
        carry = int(found[6]) if found else 0
    if len(lines) > len(places):
        reason = f"the sum has only {len(places)} places"
        steps.append(Step(start=start, end=len(text), outcome="incorrect", reason=reason))
    return tuple(steps)


_check_often = lru_cache(maxsize=10_000)(_check_lines)  # a problem's samples are often the same


def _check_line(line: str, place: Place, carry: int) -> str:
    found = _LINE.fullmatch(line)
    if found is None:
        return "not a line such as A1a780"
    if (found[1], found[3]) != (place.letter.upper(), place.letter):
        return f"the place is {place.letter.upper()}{place.letter}, not {found[1]}{found[3]}"
    if (found[2], found[4]) != (place.first, place.second):
        return f"at this place stand {place.first} and {place.second}, not {found[2]} and {found[4]}"
    if (total := place.sum(carry)) != int(found[6] + found[5]):
        added = "+".join([one for one in (place.first, place.second) if one != ABSENT] + [str(carry)])
        return f"{added} is {total}, not {int(found[6] + found[5])}"
    return ""
