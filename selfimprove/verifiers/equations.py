"""Checks the equations that a rationale writes out, such as `3 * 4 + 2 = 14`, exactly and without evaluating code."""

import re
from fractions import Fraction

from selfimprove.records import Step
from selfimprove.verifiers.numbers import parse_number

_TERM = r"[$€£]?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,15})?"
# Bounded runs of terms: a text cannot make the search slow. What stands before the first term or after the result may
# change its meaning (`- 3 + 5 = 2`, `1 1/2 = 1.5`, `= 8 + 2`, `= 10%`): such an equation is left out, not blamed, and
# so is one with a unit between its terms.
_REST_OF_NUMBER = r"(?:\d{1,15}/|\d{3}(?!\d))"  # of `1 1/2` or `18 000`
_EQUATION = re.compile(
    rf"(?<![\w.,+\-*/×÷=(])(?<![%)+\-*/×÷x] )(?!(?<=\d ){_REST_OF_NUMBER})"
    rf"({_TERM}(?:[ ]?[-+*/×÷x][ ]?{_TERM}){{1,8}})[ ]?=[ ]?({_TERM})"
    rf"(?!\d|[.,]\d|[ ]?%|[ ]{_REST_OF_NUMBER}|[ ]?[-+*/×÷x][ ]?[\d$€£(])",
    re.ASCII,
)
_TOKEN = re.compile(rf"{_TERM}|[-+*/×÷x]", re.ASCII)


def evaluate(expression: str) -> Fraction | None:
    """The value of a flat expression with the usual precedence, or None where it divides by zero."""
    tokens = _TOKEN.findall(expression.replace(" ", ""))
    terms: list[Fraction] = []
    sign, operator = 1, "+"
    for token in tokens:
        value = parse_number(token)
        if value is None:
            operator = token
            sign = -1 if token == "-" else 1
        elif operator in "+-":
            terms.append(sign * value)
        elif operator in "*×x":
            terms[-1] *= value
        elif value == 0:
            return None
        else:
            terms[-1] /= value
    return sum(terms, Fraction(0))


def check_equations(text: str) -> tuple[Step, ...]:
    """A verdict for each equation of a text, with its place; a text without any has no steps."""
    steps = []
    for found in _EQUATION.finditer(text):
        value, stated = evaluate(found[1]), parse_number(found[2])
        if value is None or stated is None:
            continue
        right = value == stated
        reason = "checked" if right else f"{found[1].strip()} is {_show(value)}, not {found[2]}"
        steps.append(
            Step(start=found.start(), end=found.end(), outcome="correct" if right else "incorrect", reason=reason)
        )
    return tuple(steps)


def _show(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
