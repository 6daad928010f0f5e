"""Numbers are found in texts and read exactly; equations are checked without evaluating anything."""

import json
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from selfimprove.prompts import load_exemplars
from selfimprove.recipe_file import POLICIES
from selfimprove.verifiers.equations import check_equations, evaluate
from selfimprove.verifiers.numbers import MAX_DIGITS, extract_number, parse_number
from selfimprove.verifiers.text import TextVerifier

FOUND = [
    # text, what is extracted, its value, what is extracted where an answer must be stated
    ("7", "7", 7, None),
    ("7.0", "7.0", 7, None),
    ("+7", "+7", 7, None),
    ("-7", "-7", -7, None),
    ("−7", "−7", -7, None),
    ("$7", "$7", 7, None),
    ("-$7", "-$7", -7, None),
    ("€ 7.50", "€ 7.50", Fraction(15, 2), None),
    ("1,000", "1,000", 1000, None),
    ("1,234,567.25", "1,234,567.25", Fraction(4938269, 4), None),
    ("1/2", "1/2", Fraction(1, 2), None),
    (".5", ".5", Fraction(1, 2), None),
    ("1/0", "1/0", None, None),
    ("10-4", "4", 4, None),
    ("10−4", "4", 4, None),
    ("(10)-4", "4", 4, None),
    ("x=-7", "-7", -7, None),
    ("7.", "7", 7, None),
    ("(7)", "7", 7, None),
    ("7 apples and 8 pears", "8", 8, None),
    ("007", "007", 7, None),
    ("no number", None, None, None),
    ("", None, None, None),
    ("٣ and ７ and ²", None, None, None),
    ("#### 7", "7", 7, "7"),
    ("####7", "7", 7, "7"),
    ("#### -1,000", "-1,000", -1000, "-1,000"),
    ("#### 5\nso 6", "5", 5, "5"),
    (r"\boxed{7}", "7", 7, "7"),
    (r"\boxed{ $7 apples } or 8", "$7", 7, "$7"),
    (r"\boxed{x} 9", "9", 9, None),
    (r"\boxed{7", "7", 7, None),
    ("The answer is 7 apples.", "7", 7, "7"),
    ("The answer is 7 apples. I have 8.", "7", 7, "7"),
    ("The answer is $1,050.", "$1,050", 1050, "$1,050"),
    ("the ANSWER is: 7", "7", 7, "7"),
    ("Answer: -7.5", "-7.5", Fraction(-15, 2), "-7.5"),
    ("answer = 7", "7", 7, "7"),
    ("the answer is\n7", "7", 7, "7"),
    ("The answer is 5. No, the answer is 6.", "6", 6, "6"),
    ("The answer is 5. #### 6", "6", 6, "6"),
    ("The answer is five, 5", "5", 5, None),
    ("Question 3: what is 4 + 5?", "5", 5, None),
]


@pytest.mark.parametrize(("text", "found", "value", "stated"), FOUND, ids=[ascii(row[0]) for row in FOUND])
def test_a_number_is_extracted_and_read(
    text: str, found: str | None, value: Fraction | int | None, stated: str | None
) -> None:
    assert extract_number(text) == found
    assert extract_number(text, stated=True) == stated
    if found is not None:
        assert parse_number(found) == value


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "seven", "7 8", "7+8", "1,2", "3, 4", "1,00", "1,0000", "1,000,00", "10-4", "--7", "-+7", "1.5.2",
        "1/2/3", "1/-2", "7%", "1e5", "inf", "nan", "0x10", "1_000", "٣", "7\n8", "$", "-", ".", "/2", "[7]",
    ],
)  # fmt: skip
def test_what_is_no_single_number_is_not_read(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [(" 7 ", 7), ("7.", 7), ("0.10", Fraction(1, 10)), ("1.5/2", Fraction(3, 4)), ("$-7", -7), ("1,000/2", 500)],
)
def test_unusual_ways_to_write_a_number_are_read(text: str, value: Fraction | int) -> None:
    assert parse_number(text) == value


def test_numbers_are_exact_and_bounded() -> None:
    assert parse_number("0.1") == Fraction(1, 10) != Fraction(0.1)
    assert parse_number("9" * MAX_DIGITS) == 10**MAX_DIGITS - 1
    assert parse_number("9" * (MAX_DIGITS + 1)) is None
    assert parse_number("9" * 1_000_000) is None


MEGABYTE = 1_000_000
HOSTILE = {
    "digits": "1" * MEGABYTE,
    "groups": "1,000" * (MEGABYTE // 5),
    "slashes": "1/" * (MEGABYTE // 2),
    "signs": "-" * MEGABYTE,
    "points": "1." * (MEGABYTE // 2),
    "dollars": "$ " * (MEGABYTE // 2),
    "hashes": "#" * MEGABYTE,
    "boxes": r"\boxed{" * (MEGABYTE // 7),
    "box and spaces": r"\boxed{" + " " * MEGABYTE,
    "box and digits": r"\boxed{" + "1" * MEGABYTE,
    "answers": "answer is " * (MEGABYTE // 10),
    "answer and spaces": "answer is" + " " * MEGABYTE + "x",
    "answer, spaces": ("answer" + " " * 1000) * 1000,
}


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_is_searched_quickly(name: str, stated: bool) -> None:
    started = time.process_time()
    extract_number(HOSTILE[name], stated=stated)
    assert time.process_time() - started < 2.0


def judged(text: str) -> list[tuple[str, bool]]:
    """The equations that are checked, and whether each is right."""
    return [(text[one.start : one.end], one.outcome == "correct") for one in check_equations(text)]


CHECKED = [
    "1+1=2",
    "3 * 4 + 2 = 14",
    "2+3*4=14",
    "8/4/2=1",
    "10-2-3=5",
    "10 - 2 * 3 + 1 = 5",
    "3 x 4 = 12",
    "3×4÷2=6",
    "0.1+0.2=0.3",
    "1/2+1/3+1/6=1",
    "1 / 3 * 3 = 1",
    "$3 + $4.50 = $7.50",
    "1,000 + 1 = 1,001",
    "9999999999 * 9999999999 / 9999999999 = 9999999999",
]
WRONG = ["1+1=3", "2+3*4=20", "8/4/2=4", "10-2-3=11", "1/3=0.33", "0.1+0.2=0.30000000000001", "$3 + $4 = $7.50"]


@pytest.mark.parametrize("equation", CHECKED)
@pytest.mark.parametrize("frame", ["{}", "So {}.", "<<{}>>", "x = {} left", "{}, and", "{} - which", "{}\n#### 1"])
def test_a_right_equation_is_right_in_any_text(equation: str, frame: str) -> None:
    assert judged(frame.format(equation)) == [(equation, True)]


@pytest.mark.parametrize("equation", WRONG)
def test_a_wrong_equation_is_wrong(equation: str) -> None:
    assert judged(f"So {equation}.") == [(equation, False)]


def test_a_reason_gives_the_value() -> None:
    reasons = [one.reason for one in check_equations("2 * 3 = 7, then 1 / 3 = 0.3 and 1 + 1 = 2")]
    assert reasons == ["2 * 3 is 6, not 7", "1 / 3 is 1/3, not 0.3", "checked"]


@pytest.mark.parametrize(
    "text",
    [
        "", "no equation", "7 = 7", "1/0=3", "2+1/0=3", "3 apples + 4 apples = 7 apples", "-3+5=2", "- 3 + 5 = 2",
        "10 apples - 3 + 5 = 12", "(3 + 4) + 5 + 6 = 18", "2 * (3 + 4) + 5 * 2 = 24", "2*(3+4)=14", "50% + 1 + 1 = 2.5",
        "5 + 5 = 8 + 2", "2 * 6 = 3 * 4", "2*6=3*4", "4+4=2*4", "1 / 10 = 10%", "5 - 8 = -3", "5 - 8 = - 3",
        "8 x 1 1/2 = 12", "2 - 1/2 = 1 1/2", "80 000 x 2 = 160 000", "600 x 30 = 18 000", "1/3=0.33333333333333333",
        "1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 = 10", "1+1+1+1+1+1+1+1+1+1=10", "x1+1=3", "1.1.1+1=3", "١+١=٣",
        "1 + 1\n= 3", "12345678901234567890 + 1 = 3",
    ],
)  # fmt: skip
def test_what_may_mean_something_else_is_left_out(text: str) -> None:
    assert judged(text) == []


@pytest.mark.parametrize(
    ("expression", "value"),
    [("1+2*3", 7), ("8/4*2", 4), ("1-2-3", -4), ("7", 7), ("1/2/2", Fraction(1, 4)), ("0*5+0/5", 0), ("1/0", None)],
)
def test_an_expression_has_the_usual_precedence(expression: str, value: Fraction | int | None) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    "text",
    ["1+" * 100_000, "1 + " * 100_000, "1" * 200_000, "1" * 15 + "+", "1,000," * 40_000, "1x" * 100_000,
     ("1" * 15 + "+") * 10_000, "1+1=" * 50_000, "1 + 1 = 1,111,111,111" * 10_000, "$" * 200_000, "1 1/" * 50_000],
    ids=lambda text: f"{text[:9]}…",
)  # fmt: skip
def test_hostile_equations_take_bounded_time(text: str) -> None:
    started = time.process_time()
    check_equations(text)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize("search", [extract_number, TextVerifier().extract_answer], ids=["number", "text"])
def test_a_long_run_of_spaces_is_searched_quickly(search: Callable[[str], str | None]) -> None:
    """A search whose time grows with the square of the run would take tens of seconds."""
    started = time.process_time()
    search("answer is" + " " * 49_000 + "\n")
    assert time.process_time() - started < 0.5


def test_the_shipped_exemplars_teach_right_equations() -> None:
    path = POLICIES / "exemplars" / "word-problems.yaml"
    for exemplar in load_exemplars(str(path), None):
        checked = judged(exemplar.rationale)
        assert checked and all(right for _, right in checked), exemplar.rationale
        assert extract_number(exemplar.rationale) == exemplar.answer


def test_gold_solutions_are_hardly_ever_blamed(data_folder: Path) -> None:
    """Of GSM8K's 8,792 solutions people wrote a wrong or an odd equation into a few, such as `5 x 1/2 = 10 halves`."""
    lines = [
        line
        for name in ("train", "test")
        for line in (data_folder / "gsm8k" / f"{name}.jsonl").read_text().splitlines()
    ]
    steps = [check_equations(json.loads(line)["answer"]) for line in lines]
    blamed = sum(any(step.outcome == "incorrect" for step in found) for found in steps)
    assert len(lines) == 8792
    assert sum(map(len, steps)) > 27_000
    assert blamed <= 40
