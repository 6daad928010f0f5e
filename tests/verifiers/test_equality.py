"""Formulas in LaTeX and in plain text: what says the same, what does not, exactly and within bounds."""

import sys
from functools import partial
from typing import Any

import pytest
from growth import cpu_seconds, grows_linearly
from places import TESTS
from test_math import judge

from selfimprove.recipe.task_settings import Answers
from selfimprove.verifiers.expressions import MAX_LENGTH, read_expression
from selfimprove.verifiers.number_words import read_words
from selfimprove.verifiers.numbers import find_numbers, read_number, unwrap
from selfimprove.verifiers.readings import read_float, read_otherwise, read_time
from selfimprove.verifiers.symbolic import compare, find_length, settle

BENCHMARKS = TESTS / "benchmarks"

# (expected, answer)
PLAIN_TEXT = [
    ("sqrt(2)", "\\sqrt{2}"), ("3*sqrt(5)/7", "\\frac{3\\sqrt5}{7}"), ("pi/4", "\\frac{\\pi}{4}"), ("e**2", "e^2"),
    ("1+2*I", "1+2i"), ("-oo", "-\\infty"), ("2\\sqrt{3}", "2√3"), ("2³", "8"), ("x**2", "x²"), ("\\ln 2", "log(2)"),
    ("\\log 2", "log(2)"), ("\\frac{x}{2}", "1/2 x"), ("\\frac9{19}", "\\frac{9}{19}"),
    ("\\frac 1{72}", "\\frac{1}{72}"),
    ("\\sqrt[3]2", "2^{1/3}"), ("\\frac{625}4", "156.25"), ("1 and 2", "1, 2"), ("\\sqrt{2}", "sqrt 2"),
    ("x≤3", "x\\le 3"), ("abs(x-1)", "|x-1|"), ("exp(2)", "e^2"), ("\\theta", "θ"), ("arctan(1)", "\\tan^{-1} 1"),
    ("ab", "$ba$"), ("|x|", "$abs(x)$"), ("10^6", "10**6"),
    ("3\\sqrt{2}", "3\\sqrt{2} cm"), ("5\\sqrt2", "5\\sqrt2 (meters)"),
    ("36\\pi", "36\\pi \\text{ cubic inches}"), ("60^\\circ", "60"), ("\\cos 60^\\circ", "0.5"), ("2\\pi r", "2*pi*r"),
    ("\\frac{1}{\\sqrt{3}}", "\\frac{\\sqrt3}{3}"), ("-3", "–3"), ("x_{12}+1", "1+x_12"), ("C", "\\text{(C)}"),
]  # fmt: skip
SAME = [
    ("[1,3]", "1\\le x\\le 3"), ("1\\le x\\le 3", "[1,3]"), ("(-\\infty,4)\\cup(4,\\infty)", "x \\neq 4"),
    ("x \\neq 4", "(-\\infty,4)\\cup(4,\\infty)"), ("x>3", "3<x"), ("(3,\\infty)", "x>3"), ("2x>6", "x>3"),
    ("x<1 or x>4", "(-\\infty,1)\\cup(4,\\infty)"), ("x>1 and x<4", "(1,4)"), ("\\{x \\mid x>3\\}", "(3,\\infty)"),
    ("x=1 or x=2", "1,2"), ("\\pm 3", "x=3, x=-3"), ("1\\pm\\sqrt2", "1-\\sqrt2, 1+\\sqrt2"), ("(x,y)=(3,4)", "(3,4)"),
    ("(3,4)", "x=3, y=4"), ("2x+4y=6", "x+2y=3"), ("y=\\frac{x}{x-1}", "xy-y=x"), ("y=2x+1", "2x-y+1=0"),
    ("2^{2000}", "4^{1000}"), ("2^{3^2}", "512"), ("\\frac{2^{2024}-1}{3}", "\\frac{4^{1012}-1}{3}"), ("5!", "120"),
    ("\\sin^2 x", "1-\\cos^2 x"), ("(x+1)^{100}", "(1+x)^{100}"), ("0.\\overline{3}x", "x/3"), ("3:4", "6:8"),
    ("\\sqrt{3+2\\sqrt2}", "1+\\sqrt2"), ("1-2^{-99}", "\\frac{2^{99}-1}{2^{99}}"), ("(10^{-7},1)", "(0.0000001,1)"),
    ("3.141592653589793", "\\pi"), ("0.3333333333333333", "\\frac13"), ("1.4142135623730951", "\\sqrt2"),
    ("0.30000000000000004", "0.3"), ("3:30 PM", "3:30 p.m."), ("12:00", "12:00 PM"), ("15:30", "3:30 PM"),
    ("\\mathbb{R}", "(-\\infty,\\infty)"), ("\\emptyset", "\\{\\}"), ("4ac", "4*c*a"), ("50\\%", "\\frac12"),
]  # fmt: skip
OTHER = [
    ("x^2+1=0", "x^2+2=0"), ("|x|=-1", "|x|=-2"), ("\\log\\frac{1}{100}=-2", "\\log 100=-2"), ("x=x", "y=y+0x+1"),
    ("x=x+1", "x=x+2"), ("5m", "5h"), ("4ac", "4bd"), ("3", "3s^2"), ("3s^2", "3"), ("4", "4ac"), ("2xy", "2ab"),
    ("2^{2000}", "2^{2001}"), ("2^{-99}", "2^{-98}"), ("\\frac{1}{2^{99}}", "\\frac{1}{2^{98}}"),
    ("10^{-20}", "10^{-21}"),
    ("1/20!", "1/21!"), ("e^{-50}", "e^{-51}"), ("1-2^{-99}", "1-2^{-98}"), ("1-e^{-300}", "1-e^{-301}"),
    ("10^{-7}", "0.0000002"), ("(0.0000001,1)", "(0.0000002,1)"), ("\\pi", "3.141593"), ("\\sqrt2", "1.414214"),
    ("\\pi+10^{-80}", "\\pi"), ("x+e^{-500}", "x"), ("\\{10^{-9}\\}", "\\{10^{-8}\\}"), ("[0,10^{-9}]", "[0,10^{-8}]"),
    ("7", "0,007"), ("0.5", "-½"), ("[1,3]", "1<x<3"), ("[1,3]", "(1,3)"), ("(1,2)", "\\{1,2\\}"), ("x>3", "x<3"),
    ("x\\ge 3", "x>3"), ("2x>6", "-x>-3"), ("x \\neq 4", "x=4"), ("\\pm 3", "3"), ("1,2", "1,3"), ("3:4", "4:3"),
    ("0.3333333333333333", "0.3333"), ("0.30000000000000004", "0.31"), ("3:30 PM", "3:30 AM"), ("Monday", "Tuesday"),
    ("\\sin 60", "\\sin 60^\\circ"), ("x^2", "2x"), ("\\sqrt{x^2}", "x"), ("Yes", "No, because 4 is even."),
    ("1/3", "0.333333333333334"), ("7", "\\frac{7}{0}"), ("Aa", "aA^2"), ("x+X", "2x"), ("5!", "5"),
]  # fmt: skip
OPEN = [
    # who sets points and commas the other way round may be right
    ("1234", "1.234", "may set off decimals or thousands"), ("1.234", "1,234", "may set off decimals or thousands"),
    ("1,5", "1.5", "may set off decimals or a second number"), ("3:30 PM", "3:30", "the expected time is pm"),
    ("7 or 8", "7", "one of several expected answers"), ("\\frac{1}{0}", "7", "has no value"),
    ("9^{9^{9^{9^9}}}", "9^{9^{9^{9^9}}}+1", ""), ("Yes", "It depends", "not said in these words"),
]  # fmt: skip
SAID = [
 ("42", "\\boxed{42^\\circ}"), ("42", "\\boxed{42}\\text{ cm}^2"),
    ("125", "They are $125$ miles apart."), ("9", "9 (apples)"), ("-3", "\\boxed{–3}"),
    ("\\pm 3", "x = 3 or x = -3"), ("3\\sqrt{2}", "3*sqrt(2)"), ("x^{12}", "#### x**12"), ("2<x<5", "#### 2<x<5"),
    ("xy-y=x", "y(x-1)=x"), ("\\frac{1}{3}", "#### 0.\\overline{3}"), ("42", "forty-two"),
    ("42", "The answer is forty-two."),
    ("no solution", "There is no solution."), ("Yes", "Yes, because 4 is even."),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "text"), PLAIN_TEXT, ids=ascii)
def test_plain_text_and_latex_are_one_language(gold: str, text: str) -> None:
    for expected, said in ((gold, text), (text, gold)):
        verdict = judge(expected, f"\\boxed{{{said}}}")
        assert verdict.outcome == "correct", verdict.reason


@pytest.mark.parametrize(("gold", "text"), SAME, ids=ascii)
def test_formulas_that_say_the_same_are_equal(gold: str, text: str) -> None:
    verdict = judge(gold, f"\\boxed{{{text}}}")
    assert verdict.outcome == "correct", verdict.reason


@pytest.mark.parametrize(("gold", "text"), OTHER, ids=ascii)
def test_formulas_that_say_another_thing_are_not(gold: str, text: str) -> None:
    verdict = judge(gold, f"\\boxed{{{text}}}")
    assert verdict.outcome == "incorrect", verdict.reason


@pytest.mark.parametrize(("gold", "text", "why"), OPEN, ids=ascii)
def test_what_nobody_can_tell_is_undecided_and_says_why(gold: str, text: str, why: str) -> None:
    verdict = judge(gold, f"\\boxed{{{text}}}")
    assert verdict.outcome == "undecided" and why in verdict.reason, verdict.reason


@pytest.mark.parametrize(("gold", "text"), SAID, ids=ascii)
def test_a_formula_is_found_whole(gold: str, text: str) -> None:
    verdict = judge(gold, text)
    assert verdict.outcome == "correct", verdict.reason


@pytest.mark.parametrize(
    ("settings", "gold", "text", "outcome"),
    [
        ({}, "\\pi", "3.1416", "incorrect"),
        ({"tolerance": 0.001}, "\\pi", "3.1416", "correct"),
        ({"tolerance": 0.001}, "\\pi", "3.2", "incorrect"),
        ({"relative_tolerance": 0.01}, "100\\sqrt2", "141", "correct"),
        ({"relative_tolerance": 0.001}, "100\\sqrt2", "141", "incorrect"),
        ({"tolerance": 0.01}, "(1,\\frac13)", "(1,0.33)", "correct"),
        ({}, "(1,\\frac13)", "(1,0.33)", "incorrect"),
        ({}, "(1,\\frac13)", "(1,0.333333)", "correct"),
        ({"tolerance": 0.1}, "x+1", "x+1.05", "incorrect"),
    ],
)
def test_a_tolerance_is_the_task_s_and_holds_in_formulas(
    settings: dict[str, Any], gold: str, text: str, outcome: str
) -> None:
    verdict = judge(gold, f"\\boxed{{{text}}}", **settings)
    assert verdict.outcome == outcome, verdict.reason


SMALLER = [f"10^{{-{power}}}" for power in (3, 6, 7, 12, 15, 16, 30, 99, 300)]


@pytest.mark.parametrize(
    "shape", ["{}", "1-{}", "e^{{{}}}", "\\sqrt{{{}}}", "(x+{})^2", "[0,{}]", "\\sin({})", "3+{}\\pi"]
)
def test_no_size_is_too_small_to_tell(shape: str) -> None:
    """No absolute bound: one part in 10 of a small number tells two formulas apart as in a large one."""
    for small in SMALLER:
        gold = shape.format(small)
        right, wrong = shape.format(f"\\frac{{2}}{{2}}\\cdot {small}"), shape.format(f"1.1\\cdot {small}")
        assert compare(gold=gold, answer=right)[0] == "correct", right
        assert compare(gold=gold, answer=wrong)[0] == "incorrect", wrong


@pytest.mark.parametrize(
    ("gold", "answer", "outcome"),
    [
        # what sympy's grammar reads, and ours does not
        ("\\int_0^1 x^2 dx", "\\frac13", "correct"),
        ("\\sum_{k=1}^{10} k", "55", "correct"),
        ("\\sum_{k=1}^{10} k", "56", "incorrect"),
        ("\\int_0^1 10^{-9}x dx", "\\frac{1}{2}10^{-9}", "correct"),
        ("\\int_0^1 10^{-20}x dx", "10^{-20}", "incorrect"),
        ("\\sum_{k=1}^{2} 2^{-99}k", "3\\cdot 2^{-98}", "incorrect"),
        ("\\sum_{k=1}^{1} 0.1 k", "0.1000001", "incorrect"),
        ("\\sum_{k=1}^{1} 0.1 k", "\\frac{1}{10}", "correct"),
        ("\\sum_{k=1}^{3} X k", "6x", "incorrect"),
    ],
)
def test_what_only_sympy_reads_is_compared_without_the_library_s_bounds(gold: str, answer: str, outcome: str) -> None:
    assert compare(gold=gold, answer=answer)[0] == outcome


def test_our_own_grammar_needs_no_worker_for_what_is_rational() -> None:
    """No plain number and no rational formula is sent to a worker."""
    for gold, answer in [("18", "18.0"), ("\\frac{3}{4}", "0.75"), ("(x+1)^2", "x^2+2x+1"), ("3\\sqrt2", "\\sqrt{18}"),
                         ("[1,3]", "1\\le x\\le 3"), ("2^{2000}", "2^{2001}"), ("2\\pi", "6.28")]:  # fmt: skip
        assert settle(gold=gold, answer=answer, answers=Answers(), worker=False) is not None
    assert settle(gold="\\sin 1", answer="\\cos 1", answers=Answers(), worker=False) is None


def test_sympy_is_not_loaded_for_what_our_own_grammar_reads() -> None:
    import subprocess

    program = (
        "import sys; from selfimprove.verifiers.symbolic import settle;"
        "from selfimprove.recipe.task_settings import Answers;"
        "assert settle(gold='3x^2+1', answer='1+3x^2', answers=Answers(), worker=False)[0] == 'correct';"
        "assert not {'sympy', 'math_verify', 'mpmath'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_benchmark_s_formulas_are_right_in_each_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of `benchmarks/equality.py`: one row of each kind, in each form, right and changed."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import equality

    seen: set[tuple[str, str]] = set()
    cases = [case for case in equality.make_formulas() if case.kind != "sum, integral, limit"]
    first = {kind: next(case.gold for case in cases if case.kind == kind) for kind in {case.kind for case in cases}}
    wrong = []
    for case in cases:
        seen.add((case.kind, case.gold))
        if case.gold == first[case.kind] and (judge(case.gold, case.text).outcome == "correct") != case.right:
            wrong.append(case)
    assert len(seen) > 150 and wrong == []


HOSTILE = [
    "(", "{", "\\frac", "\\sqrt", "^", "^{", "x^", "-", "\\pm ", "|", "1 ", "a", "abcd ", "\\text{", "\\text{a}",
    "\\{", ",",
    "1,", "and ", "x=", "<", "_", "x_", "!", "'", "%", "\\log_", "\\sin", "\\begin{pmatrix}", "&", "\\\\",
    "0.\\overline{1}",
    "²", "√", "½", "٤", "1.234,", "12,34,", "Rs. ", "$", "$1$ ", "forty-", "one hundred and ", "3:30 ", "1e9",
    "\x00", "1'000",
    "\\left(", "\\boxed{", "(a) ", "1 cm ", "\\,", "~", "0.", "–", "a b c ", "-–", "{,}", "\x0crac", "٫1", "Rs.",
]  # fmt: skip


READERS = (
    find_numbers,
    unwrap,
    read_number,
    read_expression,
    read_words,
    read_otherwise,
    read_float,
    read_time,
    find_length,
)


@pytest.mark.parametrize("size", [1 << 16, pytest.param(1 << 20, marks=pytest.mark.long)])
def test_no_pattern_is_slower_than_linear_on_hostile_text(size: int) -> None:
    slow = [
        (piece, function.__name__)
        for piece in HOSTILE
        for function in READERS
        if not grows_linearly(function, piece, size)
    ]
    assert slow == []


@pytest.mark.parametrize("piece", HOSTILE, ids=ascii)
def test_the_longest_formula_is_judged_quickly(piece: str) -> None:
    text = (piece * MAX_LENGTH)[: MAX_LENGTH - 1]
    for gold, answer in (("x+1", text), (text, text + "1"), ("\\frac{" + text[:900] + "}{2}", text)):
        if find_length(gold) or find_length(answer):
            continue
        judge = partial(settle, gold=gold, answer=answer, answers=Answers(), worker=False)
        assert cpu_seconds(judge) < 0.5
