"""Numbers are found in texts and read exactly; answers are found where they are announced, and else at the end."""

from fractions import Fraction
from functools import partial

import pytest
from growth import cpu_seconds, grows_linearly, repeat

from selfimprove.verifiers.answers import find_statements
from selfimprove.verifiers.base import MAX_TEXT
from selfimprove.verifiers.numbers import MAX_DIGITS, find_numbers, read_number, squeeze
from selfimprove.verifiers.readings import read_float, read_otherwise

READ = [
    ("7", 7), ("7.0", 7), ("+7", 7), ("-7", -7), ("−7", -7), ("- 7", -7), ("007", 7), ("7.", 7), (" 7 ", 7),
    ("$7", 7), ("-$7", -7), ("$-7", -7), ("€ 7.50", Fraction(15, 2)), ("\\$7", 7), ("1,000", 1000), ("1 000", 1000),
    ("1{,}000", 1000), ("1\\,000", 1000), ("1,234,567.25", Fraction(4938269, 4)), (".5", Fraction(1, 2)),
    ("1/2", Fraction(1, 2)), ("1.5/2", Fraction(3, 4)), ("1,000/2", 500), ("1 1/2", Fraction(3, 2)),
    ("-1 1/2", Fraction(-3, 2)), ("7 and a half", Fraction(15, 2)), ("\\frac{1}{2}", Fraction(1, 2)),
    ("-\\dfrac{1}{2}", Fraction(-1, 2)), ("\\frac12", Fraction(1, 2)), ("1\\frac{1}{2}", Fraction(3, 2)),
    ("1.5e3", 1500), ("1.5E-3", Fraction(3, 2000)), ("1.5 x 10^3", 1500), ("1.5 \\times 10^{3}", 1500), ("7%", 7),
    ("7 percent", 7), ("7\\%", 7), ("7 apples", 7), ("7 cm^2", 7), ("7 km/h", 7), ("7cm", 7), ("90^\\circ", 90),
    ("20 °C", 20), ("7 \\text{ apples}", 7), ("\\text{7 cm}", 7), ("$7$", 7), ("\\(7\\)", 7), ("**7**", 7), ("７", 7),
    ("2 million", 2_000_000), ("$1.5 billion", 1_500_000_000), ("7k", 7000), ("3 hundred", 300), ("7!", 7),
    ("7\u200b", 7),
    # separators with one meaning
    ("12,34,567", 1234567), ("1,23,456", 123456), ("1.234,5", Fraction(2469, 2)), ("1.234.567", 1234567),
    ("1 234,5", Fraction(2469, 2)), ("1'234.5", Fraction(2469, 2)), ("1’234’567", 1234567), ("1,\\!000", 1000),
    # money
    ("100€", 100), ("100 €", 100), ("₹100", 100), ("Rs. 100", 100), ("Rs 1,00,000", 100_000), ("100/-", 100),
    ("US$5", 5), ("R$ 1.234,50", Fraction(2469, 2)), ("CHF 100", 100), ("100 USD", 100), ("-₹5", -5),
    # signs, scripts, marks that cannot be seen
    ("-½", Fraction(-1, 2)), ("½", Fraction(1, 2)), ("2½", Fraction(5, 2)), ("-2 ½", Fraction(-5, 2)),
    ("⅗", Fraction(3, 5)), ("1⁄2", Fraction(1, 2)), ("–3", -3), ("٤٢", 42), ("४२", 42), ("٣٫١٤", Fraction(157, 50)),
    ("৪২", 42), ("\x0042", 42), ("\x0b42", 42), ("7\x00", 7),
    # units and what is counted
    ("$125$ miles", 125), ("9 (apples)", 9), ("5m", 5), ("7 cm^2", 7), ("18dollars", 18), ("7 \\text{ sq. ft}", 7),
    # words
    ("forty-two", 42), ("twelve", 12), ("Twelve apples.", 12), ("one hundred and five", 105), ("a thousand", 1000),
    ("two hundred thousand and six", 200_006), ("minus three and a half", Fraction(-7, 2)),
    ("two thirds", Fraction(2, 3)),
    ("three point one four", Fraction(157, 50)), ("half", Fraction(1, 2)), ("two dozen", 24), ("zero", 0),
    ("one million two hundred thousand", 1_200_000), ("negative five", -5), ("five percent", 5),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), READ, ids=[ascii(row[0]) for row in READ])
def test_a_number_is_read_exactly(text: str, value: Fraction | int) -> None:
    number = read_number(text)
    assert number is not None and number.value == value


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "a few", "one of two", "7 8", "7+8", "1,2", "3, 4", "1,00", "1,0000", "1,000,00", "10-4", "--7",
        "-+7", "1.5.2",
        "1/2/3", "1/-2", "1/0", "1 1/0", "inf", "nan", "0x10", "1_000", "1٣", "٣७", "²", "7\n8", "$", "-", ".", "/2",
        "[7]", "7 or 8", "7 or eight", "7 and 8", "7 to 8", "3x", "2i", "7:30", "$5!$", "7\u202e1", "1e9999", "VII",
        "x = 7", "2^10", "7\x088", "7\x1b[2K", "7\x008", "3,14", "0,5", "4ac", "3s^2", "4 bd", "5x^2",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_single_number_is_not_read(text: str) -> None:
    assert read_number(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "one of them", "one way", "two or three", "twenty twenty", "ten and", "hundred", "five hundred hundred",
        "a", "an",
        "one is enough", "five times two", "the one", "someone", "fortytwo", "one two", "first", "seven " * 40,
        "two-faced it",
    ],
)  # fmt: skip
def test_words_that_are_no_single_number_are_not_read(text: str) -> None:
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.30000000000000004", Fraction(3, 10)), ("0.3333333333333333", Fraction(1, 3)), ("2.0000000000000004", 2),
        ("33.333333333333336", Fraction(100, 3)), ("0.1", None), ("3.14159", None), ("1.4142135623730951", None),
        ("0.30000000000000005", None), ("-0.6666666666666666", Fraction(-2, 3)), ("1.1102230246251565e-16", None),
    ],
)  # fmt: skip
def test_a_binary_number_stands_for_what_it_was_made_from(text: str, value: Fraction | None) -> None:
    assert read_float(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3,14", Fraction(157, 50)), ("1.234", 1234), ("1,234", Fraction(617, 500)), ("-0,5", Fraction(-1, 2)),
        ("0,111", Fraction(111, 1000)), ("3,14 €", Fraction(157, 50)), ("1.5", None), ("1,2,3", None), ("7", None),
    ],
)  # fmt: skip
def test_a_separator_may_be_meant_the_other_way_round(text: str, value: Fraction | None) -> None:
    assert read_otherwise(text) == value


def test_percent_and_unit_are_kept_beside_the_value() -> None:
    assert read_number("7%") == (7, True, "")
    assert read_number("7 Apples.") == (7, False, "apples")
    assert read_number("$7") == (7, False, "$")
    assert read_number("7 square  feet") == (7, False, "square feet")


def test_numbers_are_exact_and_bounded() -> None:
    tenth = read_number("0.1")
    assert tenth is not None and tenth.value == Fraction(1, 10) != Fraction(0.1)
    assert read_number("9" * MAX_DIGITS) == (10**MAX_DIGITS - 1, False, "")
    assert read_number("9" * (MAX_DIGITS + 1)) is None
    assert read_number("9" * 1_000_000) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10-4", ["10", "4"]),
        ("10 -4", ["10", "-4"]),
        ("(10)-4", ["10", "4"]),
        ("x=-7", ["-7"]),
        ("v2 and the 2nd of 3x", []),
        ("at 7:30 he had 1,000 and 1/2", ["1,000", "1/2"]),
        ("$5 and 20%", ["$5", "20%"]),
        ("33x 3.55x 1,000x", []),
        ("", []),
    ],
)
def test_numbers_are_found_in_a_text(text: str, found: list[str]) -> None:
    assert [one[0] for one in find_numbers(text)] == found


def test_spaces_that_separate_nothing_do_not_tell_texts_apart() -> None:
    assert squeeze("\\dfrac{ 1 }{2} + x") == squeeze("$\\frac{1}{2}+x$")
    assert squeeze("1 2") != squeeze("12")


STATED = [
    # text, the answer, whether it was announced
    ("7", "7", False),
    ("#### 7", "7", True),
    ("####7", "7", True),
    ("#### -1,000", "-1,000", True),
    ("#### 7 apples", "7", True),
    ("The answer: 5 bags.\n#### 6", "6", True),
    ("\\boxed{7}", "7", True),
    ("\\boxed 7", "7", True),
    ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}", True),
    ("\\boxed{7", "7", True),
    ("The answer is $\\boxed{7}$.", "7", True),
    ("\\boxed{3} and \\boxed{4}", "3, 4", True),
    ("The answer is 7 apples.", "7", True),
    ("The answer is 7 apples. I have 8.", "7", True),
    ("The answer is $1,050.", "$1,050", True),
    ("the ANSWER is: 7", "7", True),
    ("Answer: -7.5", "-7.5", True),
    ("**Answer:** 7", "7", True),
    ("The answer is **7**.", "7", True),
    ("The answer to the question is 7.", "7", True),
    ("The answer is $7$.", "$7$", True),
    ("The answer is \\(x + 1\\).", "\\(x + 1\\)", True),
    ("The answer is 3 + 4 = 7.", "7", True),
    ("The answer is that he has 18 apples", "18", True),
    ("The answer is 1 million.", "1 million", True),
    ("The answer is x^2+1.", "x^2+1", True),
    ("The answer is (1, 2).", "(1, 2)", True),
    ("24 points/answer = 48 points in all", "48", False),
    ("3 + 4 = 7", "7", False),
    ("so x = 7", "7", False),
    ("x = 7", "x = 7", False),
    ("He has 7 apples", "7", False),
    ("So there are 76 \\text{ apples} in all.", "76 \\text{ apples}", False),
    ("So there are \\frac{-4}{2} in all.", "\\frac{-4}{2}", False),
    ("We have 0.006 \\times 10^{3} in all", "0.006 \\times 10^{3}", False),
    ("The answer is 6 250.", "6 250", True),
    ("So there are 1 201 565 in all.", "1 201 565", False),
    ("Of 12 bags 100 are left.", "100", False),
    ("#### 60 #### 120", "120", True),
    ("The answer is not 7.", "not 7", True),
    ("Thus $\\frac{\\sqrt{3}}{2}$", "$\\frac{\\sqrt{3}}{2}$", False),
    ("It costs $5 and then $6.", "$6", False),
    ("\\sum_{i=1}^{3} i", "\\sum_{i=1}^{3} i", False),
    ("no number", None, False),
    ("", None, False),
]


@pytest.mark.parametrize(("text", "answer", "announced"), STATED, ids=[ascii(row[0]) for row in STATED])
def test_the_answer_of_a_text_is_found(text: str, answer: str | None, announced: bool) -> None:
    found = find_statements(text)
    assert (found[-1].text if found else None) == answer
    stated = find_statements(text, True)
    assert (stated[-1].text if stated else None) == (answer if announced else None)


HOSTILE = {
    "digits": "1",
    "groups": "1,000",
    "slashes": "1/",
    "signs": "-",
    "points": "1.",
    "dollars": "$ ",
    "dollars and digits": "$1",
    "hashes": "#",
    "boxes": r"\boxed{",
    "closed boxes": r"\boxed{1}",
    "answers": "answer is ",
    "answers to": "answer to ",
    "answers and spaces": "answer" + " " * 1000,
    "stars": "*",
    "spaces": " ",
    "equals": "answer: 1=",
    "or": "1 or ",
    "brackets": "\\(",
    "wait": "answer is 1 wait ",
    "lines": "#### 1\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_search_takes_time_that_grows_with_the_text(name: str) -> None:
    for stated in (True, False):
        assert grows_linearly(partial(find_statements, stated=stated), HOSTILE[name], MAX_TEXT)
    # A tenth of a second where it was measured.
    assert cpu_seconds(partial(find_statements, repeat(HOSTILE[name], MAX_TEXT))) < 0.5
