"""Word problems: the answer as a number, compared exactly as a fraction; nothing is ever evaluated."""

import re
from fractions import Fraction

from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, refuse

# A sign counts only where nothing stands before it: "10-4" holds 10 and 4, not -4.
_SIGN = r"(?:(?<![\w)])[-+−])?(?:[$€£] ?)?"
_NUMBER = _SIGN + r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/\d+)?|\.\d+)"
_PLAIN = re.compile(_NUMBER, re.ASCII)
_MARKED = (
    re.compile(r"\\boxed\{\s*(" + _NUMBER + r")[^{}]{0,40}\}", re.ASCII),
    re.compile(r"####\s*(" + _NUMBER + ")", re.ASCII),
    re.compile(r"answer\s*(?:is|:|=)\s*:?\s*(" + _NUMBER + ")", re.ASCII | re.IGNORECASE),
)
MAX_DIGITS = 60


def extract_number(text: str) -> str | None:
    """The stated answer: the last one in a box, after `####` or after "the answer is"; else the last number."""
    for marked in _MARKED:
        found = marked.findall(text)
        if found:
            return str(found[-1]).strip()
    found = _PLAIN.findall(text)
    return str(found[-1]).strip() if found else None


def parse_number(text: str) -> Fraction | None:
    """An exact number from `7`, `7.0`, `+7`, `1,000`, `$7` or `1/2`; None where it is not one or is too long."""
    plain = re.sub(r"[\s,$€£+]", "", text.replace("−", "-"))
    if len(plain) > MAX_DIGITS or not re.fullmatch(r"-?(\d+\.?\d*|\.\d+)(/\d+)?", plain, re.ASCII):
        return None
    top, _, bottom = plain.partition("/")
    if bottom and int(bottom) == 0:
        return None
    return Fraction(top) / int(bottom or 1)


class NumberVerifier:
    """Compares numbers."""

    name = "number"
    version = 1

    def extract_answer(self, text: str) -> str | None:
        return extract_number(text) if len(text) <= MAX_TEXT else None

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        refused = refuse(problem, rationale)
        if refused:
            return make_verdict(self, rationale, *refused)
        expected = parse_number(problem.answer or "")
        if expected is None:
            return make_verdict(self, rationale, "undecided", f"the expected answer {problem.answer!r} is not a number")
        answered = parse_number(rationale.answer or "")
        if answered is None:
            return make_verdict(self, rationale, "undecided", f"{(rationale.answer or '')[:80]!r} cannot be read as a number")
        if answered == expected:
            return make_verdict(self, rationale, "correct", f"{rationale.answer} equals {problem.answer}")
        return make_verdict(self, rationale, "incorrect", f"answered {rationale.answer}, expected {problem.answer}")
