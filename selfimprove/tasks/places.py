"""Addition with named places: how it is asked, how its rationale is written, and how each of its places is checked.

D4C8B2A1+b6a7=     the prompt: 4821+67, each digit after the letter of its place, capitals in the first operand
A1a780             a place, from the right: both digits after their letters, the sum's digit, and the carry
B2b680
C8c.80             a point where the operand has no such place
D4d.40
E.e.00             always one place more, so that a final carry has its own

The places follow each other without a break, so that what a place needs of the one before it stands near. The answer is
read off the sum's digits, the last place first.

Letters are index hints (Zhou et al., 2023, "What Algorithms can Transformers Learn?"): a digit is found by the letter
before it and not by counting, so that a place looks the same in a short sum and a long one. They follow each other in
a circle, and a problem begins anywhere in it, so that short problems show all of them.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from selfimprove.records import Outcome, Step

# Latin, Cyrillic as far as it looks like no Latin one, Greek and Armenian, so that 100 digits have each their own.
LETTERS = "abcdefghijklmnopqrstuvwxyzбгджилпфцчшщэюяαβγδεζηθκλμνξπρστυφχψωաբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ"
CAPITALS = LETTERS.upper()
MOST_DIGITS = len(LETTERS) - 1  # with the place for a final carry no letter stands twice in a problem
ABSENT = "."
WIDTH = 6  # characters of a place
LONGEST = (MOST_DIGITS + 1) * WIDTH  # characters of a rationale
ALPHABET = f"0123456789+={ABSENT}{LETTERS}{CAPITALS}"
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
        """The places of a rationale."""
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
    return "".join(lines)


def walk_places(operands: Operands) -> Iterator[Place]:
    """The places of two operands, from the units to the one of a final carry."""
    for at in range(operands.places):
        digits = (digits[-1 - at] if at < len(digits) else ABSENT for digits in operands[:2])
        yield Place(_letter(LETTERS, operands.start + at), *digits)


def _cut(text: str) -> list[str]:
    return [text[at : at + WIDTH] for at in range(0, len(text), WIDTH)]


def _letter(letters: str, at: int) -> str:
    return letters[at % len(letters)]


def _line(place: Place, total: int) -> str:
    return f"{place.letter.upper()}{place.first}{place.letter}{place.second}{total % 10}{total // 10}"


def extract_sum(text: str) -> str | None:
    """The number that the sum's digits give, or None where one of them is no place."""
    lines = _cut(text) if len(text) <= LONGEST else []
    found = [_LINE.fullmatch(line) for line in lines]
    if not found or None in found:
        return None
    return "".join(one[5] for one in reversed(found) if one).lstrip("0") or "0"


def check_places(question: str, text: str) -> tuple[Step, ...]:
    """Check every place against the question and the place before it; an error is blamed on one place only.

    What stands after the last place, and all that follows where something is no place, is one wrong step.
    """
    return (_check_often if len(text) <= LONGEST else _check_lines)(question, text)


def _check_lines(question: str, text: str) -> tuple[Step, ...]:
    operands = read_question(question)
    if operands is None:
        return ()
    steps: list[Step] = []
    lines, start, carry = _cut(text[:LONGEST]), 0, 0
    places = list(walk_places(operands))
    for place, line in zip(places, lines, strict=False):
        found = _LINE.fullmatch(line)
        if found is None:
            break
        reason = _check_place(found, place, carry)
        last = len(steps) == len(lines) - 1
        if last and not reason and (missing := len(places) - len(lines)):
            reason = f"{missing} place{'s are' if missing > 1 else ' is'} missing after this"
        outcome: Outcome = "incorrect" if reason else "correct"
        steps.append(Step(start=start, end=start + len(line), outcome=outcome, reason=reason or "checked"))
        start, carry = start + len(line), int(found[6])
    if len(text) > start or not text:
        reason = "not a place such as A1a780" if len(steps) < len(places) else f"the sum has only {len(places)} places"
        steps.append(Step(start=start, end=len(text), outcome="incorrect", reason=reason))
    return tuple(steps)


_check_often = lru_cache(maxsize=1_000)(_check_lines)  # a problem's samples are often the same


def _check_place(found: re.Match[str], place: Place, carry: int) -> str:
    if (found[1], found[3]) != (place.letter.upper(), place.letter):
        return f"the place is {place.letter.upper()}{place.letter}, not {found[1]}{found[3]}"
    if (found[2], found[4]) != (place.first, place.second):
        return f"at this place stand {place.first} and {place.second}, not {found[2]} and {found[4]}"
    if (total := place.sum(carry)) != int(found[6] + found[5]):
        added = "+".join([one for one in (place.first, place.second) if one != ABSENT] + [str(carry)])
        return f"{added} is {total}, not {int(found[6] + found[5])}"
    return ""
