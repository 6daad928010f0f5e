"""What stands around an answer and is none of it: the letter of an option, a variable, a unit, the same once more."""

import re

from selfimprove.verifiers.hedges import is_same_amount
from selfimprove.verifiers.numbers import MAX_LENGTH, read_number, unwrap

ASSIGNED = re.compile(r"([A-Za-z]|\\[a-z]{2,8})(?:\([A-Za-z, ]{1,10}\))?\s{0,3}=\s{0,3}([^=]{1,200})")
_ALL_ASSIGNED = re.compile(r"(?:^|,|;|\bor\b|\band\b|\\text\{ ?(?:or|and) ?\})\s*([A-Za-z])\s*=\s*")
# What stands before or behind an answer and is none of it: the letter of an option, a sign, the same once more.
_OPTION = re.compile(
    r"\$?(?:\\(?:text|textbf|mathrm|mathbf)\s?\{\s?\(?[A-J][).]\)?\s?\}|\([A-J]\)(?=[\s\\~])|[A-J]\)(?=\s))"
    r"(?:[\s~$]|\\(?:[ ,;:!]|quad|qquad)){0,6}(?=\S)"
)
_POWER_OF_UNIT = re.compile(r"(.{1,200}\$)\s?[A-Za-z]{1,6}\$?\^\{?[23]\}?\$?", re.DOTALL)  # `$9\\pi$ cm$^2$`
_ALMOST = re.compile(r"\$?\s?(?:\\approx(?![a-z])|≈|~)\s?")
_AGAIN = re.compile(r"(.{1,80}?)\s\((?:or|=|≈|about|i\.e\.,?)?\s?([^()]{1,40})\)", re.DOTALL)
# Of these names a value is said and nothing is computed with them: `AB = 5`, `f(2) = 5`, `5 = x`.
_NAMED = re.compile(
    r"(?:[A-Z]{2,4}'?|[A-Za-z]\([^()=]{1,30}\)|\\(?:overline|angle|triangle)\s?\{?\s?[A-Z]{1,4}\}?)\s?=\s?([^=]{1,200})"
)
_REVERSED = re.compile(r"([^=A-Za-z]{1,60})=\s?[A-Za-z]")


def without_frame(gold: str, answer: str) -> str:
    """An answer without the letter of its option, without a sign that it is rounded, and without its repetition."""
    if len(answer) > MAX_LENGTH:
        return answer
    option = _OPTION.match(answer)
    if option and not _OPTION.match(gold):
        answer = answer[option.end() :].rstrip("$ ")
    unit = _POWER_OF_UNIT.fullmatch(answer) if "$" in answer else None
    answer = unit[1] if unit else answer
    almost = _ALMOST.match(answer)
    answer = answer[almost.end() :].rstrip("$ ") if almost else answer
    left, sign, right = answer.partition("≈")
    if sign and read_number(gold) is None and read_number(right):
        return left.strip()
    again = _AGAIN.fullmatch(answer) if answer.endswith(")") else None
    if again and is_same_amount(read_number(again[1]), read_number(again[2])):
        return again[1]
    return answer


def without_variable(gold: str, answer: str) -> tuple[str, str]:
    """Of `x = 5` beside `5`, or beside another `x = 5`, the 5 (as math-verify has it)."""
    if "=" not in gold and "=" not in answer:
        return gold, answer
    variables = _ALL_ASSIGNED.findall(answer) if "=" not in gold else []
    if len(variables) > 1 and len(set(variables)) == 1 and answer.count("=") == len(variables):  # x = 1 or x = 2
        return gold, _ALL_ASSIGNED.sub(", ", answer).lstrip(", ")
    one, other = ASSIGNED.fullmatch(unwrap(gold)), ASSIGNED.fullmatch(unwrap(answer))
    if other is None and "=" not in gold:
        named = _NAMED.fullmatch(unwrap(answer)) or _REVERSED.fullmatch(unwrap(answer))
        return gold, named[1].strip() if named else answer
    if one and other and one[1] != other[1]:
        return gold, answer
    return (one[2] if one and (other or "=" not in answer) else gold), (
        other[2] if other and (one or "=" not in gold) else answer
    )
