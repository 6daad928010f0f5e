"""Column addition: how its rationale is written, and how each of its lines is checked.

4821+67=        the prompt
1+7+0=08        digit, digit, carry in, two-digit sum, from the right
2+6+0=08
8+0+0=08
4+0+0=04
0+0+0=00        always one column more than digits, so that a final carry has its place
# 4888          the answer, as wide as there are columns

The answer takes one character a column, with a space for each leading zero, so that its digits always stand at the
same distance from the columns that they are read from, with a final carry or without.
"""

import random
import re
from functools import lru_cache

from selfimprove.records import Step

MAX_LINES = 64  # operands of 40 digits need 42
_QUESTION = re.compile(r"(\d{1,40})\+(\d{1,40})=?", re.ASCII)
_COLUMN = re.compile(r"(\d)\+(\d)\+(\d)=(\d)(\d)", re.ASCII)
_ANSWER = re.compile(r"#( {0,41})(\d{1,41})", re.ASCII)


def parse_addition(question: str) -> tuple[str, str] | None:
    """The two operands' digits, or None where the question is not an addition."""
    found = _QUESTION.fullmatch(question.strip())
    return (found[1], found[2]) if found else None


def write_rationale(a: int, b: int) -> str:
    """The rationale of a+b, column by column."""
    first, second = str(a)[::-1], str(b)[::-1]
    lines, carry = [], 0
    for column in range(max(len(first), len(second)) + 1):
        x, y = _digit(first, column), _digit(second, column)
        total = x + y + carry
        lines.append(f"{x}+{y}+{carry}={total:02d}")
        carry = total // 10
    return "\n".join([*lines, f"#{str(a + b).rjust(len(lines))}"])


def write_flawed(a: int, b: int, rng: random.Random, share: float = 0.3) -> str:
    """A rationale of a+b in which each line is wrong with a chance of `share`, and what follows is in line with that.

    The mistakes are those of models: a wrong digit, carry or sum, a column that is missing or too many.
    """
    first, second = str(a)[::-1], str(b)[::-1]
    needed = max(len(first), len(second)) + 1
    columns = needed + (rng.choice((-1, 1)) if rng.random() < share / 2 else 0)
    lines, digits, carry = [], "", 0
    for column in range(columns):
        x, y = _digit(first, column), _digit(second, column)
        wrong = rng.choice(("x", "y", "carry", "sum")) if rng.random() < share else ""
        x = _other(x, rng) if wrong == "x" else x
        y = _other(y, rng) if wrong == "y" else y
        carry = 1 - carry if wrong == "carry" else carry
        total = x + y + carry
        if wrong == "sum":
            total = rng.choice([one for one in (total - 10, total - 1, total + 1, total + 10) if 0 <= one <= 19])
        lines.append(f"{x}+{y}+{carry}={total:02d}")
        carry, digits = total // 10, str(total % 10) + digits
    answer = digits.lstrip("0") or "0"
    if rng.random() < share:
        place = rng.randrange(len(answer))
        answer = answer[:place] + str(_other(int(answer[place]), rng)) + answer[place + 1 :]
    return "\n".join([*lines, f"#{answer.rjust(columns)}"])


def _other(digit: int, rng: random.Random) -> int:
    return (digit + rng.randrange(1, 10)) % 10


def write_critique(question: str, text: str, nothing: str) -> str:
    """The critique of a rationale: what each line should be with what it is beside it, up to the first line that is not
    what it should be, which gets an x; `nothing` at the end where every line is right.

    The two stand at a fixed distance, so that a small model can compare them.
    """
    operands = parse_addition(question)
    assert operands is not None
    expected = write_rationale(int(operands[0]), int(operands[1])).split("\n")
    lines: list[str] = []
    for at, line in enumerate(text.split("\n")):
        should = expected[at] if at < len(expected) else ""
        if line != should:
            return "\n".join([*lines, f"{should} {line}x"])
        lines.append(f"{should} {line}")
    return "\n".join(lines) + nothing


def _digit(reversed_digits: str, column: int) -> int:
    return int(reversed_digits[column]) if column < len(reversed_digits) else 0


def extract_answer(text: str) -> str | None:
    """The digits of the last line `#…`, exactly as written but for the padding, or None."""
    found = _ANSWER.fullmatch(text.rsplit("\n", 1)[-1])
    return found[2] if found else None


def check_rationale(question: str, text: str) -> tuple[Step, ...]:
    """Check every line against the question and the lines before it; an error is blamed on one line only.

    What stands after `MAX_LINES` lines is one wrong step.
    """
    if len(text) > MAX_LINES * 8:  # a text that is no rationale: not worth a place among those that come again
        return _check_lines(question, text)
    return _check_often(question, text)


@lru_cache(maxsize=10_000)  # a problem's samples are often the same
def _check_often(question: str, text: str) -> tuple[Step, ...]:
    return _check_lines(question, text)


def _check_lines(question: str, text: str) -> tuple[Step, ...]:
    operands = parse_addition(question)
    if operands is None:
        return ()
    first, second = operands[0][::-1], operands[1][::-1]
    needed = max(len(first), len(second)) + 1
    steps: list[Step] = []
    carry, digits, start, number = 0, "", 0, 0
    lines = text.split("\n")
    for at, line in enumerate(lines):
        if at == MAX_LINES:
            rest = f"{len(lines) - at} more lines than any sum needs"
            steps.append(Step(start=start, end=len(text), outcome="incorrect", reason=rest))
            break
        end = start + len(line)
        last = at == len(lines) - 1
        column = _COLUMN.fullmatch(line)
        if last and not column:
            reason = _check_answer(line, digits, needed - number)
        elif column is None:
            reason = "not a column such as 1+7+0=08"
        else:
            reason = _check_column(column, _digit(first, number), _digit(second, number), carry, number, needed)
            if last and not reason:
                reason = "the answer is missing"
            if number < needed:
                carry, digits = int(column[4]), column[5] + digits
            number += 1
        steps.append(
            Step(start=start, end=end, outcome="incorrect" if reason else "correct", reason=reason or "checked")
        )
        start = end + 1
    return tuple(steps)


def _check_column(column: re.Match[str], x: int, y: int, carry: int, number: int, needed: int) -> str:
    a, b, c = int(column[1]), int(column[2]), int(column[3])
    if number >= needed:
        return f"the sum has only {needed} columns"
    if (a, b) != (x, y):
        return f"column {number + 1} holds the digits {x} and {y}, not {a} and {b}"
    if c != carry:
        return f"the carry is {carry}, not {c}"
    if a + b + c != int(column[4] + column[5]):
        return f"{a}+{b}+{c} is {a + b + c:02d}, not {column[4]}{column[5]}"
    return ""


def _check_answer(line: str, digits: str, missing: int) -> str:
    answer = _ANSWER.fullmatch(line)
    if answer is None:
        return "not an answer such as # 4888"
    if missing > 0:
        return f"{missing} column{'s are' if missing > 1 else ' is'} missing before the answer"
    expected = digits.lstrip("0") or "0"
    if answer[2] != expected:
        return f"the columns give {expected}, not {answer[2]}"
    width = len(answer[1] + answer[2])
    return "" if width == len(digits) else f"the answer is {width} characters wide, not {len(digits)}"
