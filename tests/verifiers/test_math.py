"""Mathematical answers: what is equal, what is not, what is no single answer, and what is told about it."""

from typing import Any

import pytest
from builders import make_problem, make_rationale

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Verdict
from selfimprove.verifiers.base import MAX_TEXT
from selfimprove.verifiers.math import MathVerifier


def judge(gold: str, text: str, question: str = "How many?", **settings: Any) -> Verdict:
    """The verdict in this process: nothing in these tables is hostile."""
    answers = {key: settings.pop(key) for key in list(settings) if key != "stated"}
    verifier = MathVerifier(VerifierSettings.model_validate({"name": "math", "answers": answers, **settings}))
    problem = make_problem(question, gold)
    rationale = make_rationale(problem, text, answer=verifier.extract_answer(text, problem))
    quick = verifier.quick(problem=problem, rationale=rationale)
    verdict = verifier.verify(problem=problem, rationale=rationale)
    assert quick is None or quick == verdict
    return verdict


EQUAL = [
    ("7", "7"), ("7", "7.0"), ("7", "+7"), ("7", "7 apples"), ("7", "$7"), ("7", "#### 7"), ("7", "\\boxed{7}"),
    ("7", "The answer is 7."), ("7", "So the answer is 7, because 3 + 4 = 7."), ("7", "7 apples. \n"),
    ("1000", "1,000"), ("1/2", "0.5"), ("0.5", "1/2"), ("0.5", "50%"), ("50", "50%"), ("50%", "50"), ("50%", "0.5"),
    ("1.5", "1 1/2"), ("1500", "1.5e3"), ("1/3", "0.333333"), ("-7", "−7"), ("7", "x = 7"), ("x = 7", "7"),
    ("x=7", "$x = 7$"), ("\\frac{1}{2}", "0.5"), ("\\dfrac{1}{2}", "$\\frac12$"), ("3", "The answer is 7 - 4."),
    ("\\frac{\\sqrt{2}}{2}", "$\\frac{1}{\\sqrt{2}}$"), ("x^2+1", "The answer is $1 + x^2$."),
    ("\\{1,2\\}", "$\\{2,1\\}$"),
    ("(1,2)", "The answer is $(1, 2)$."), ("[0,1)", "$[0, 1)$"), ("120", "$5!$"), ("10", "$\\binom{5}{2}$"),
    ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "$\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}$"), ("1024", "$2^{10}$"),
    ("3, 4", "\\boxed{4} and \\boxed{3}"), ("y = 2x", "$y=2x$"), ("$1, 2, or 3$", "The answer is \\(1, 2, or 3\\)."),
    ("$f(log c)$", "So $\\boxed{f(log c)}$."), ("$12^(1/7)$", "$12^(1/7)$"), ("2^(10)", "1024"),
    ("$3:58 p.m.$", "\\boxed{3:58 p.m.}"),
    ("7", "The answer is 7. The answer is 7.0."),
    ("seven", "The answer is seven."), ("18 = p - 4; 22", "18 = p - 4; 22"),
    ("400 times", "400"), ("3:4", "\\boxed{3:4}"),
    ("6", "The answer: 5 bags.\n#### 6"), ("\\pi", "$\\pi$"),
]  # fmt: skip
DIFFERENT = [
    ("7", "-7"), ("7", "70"), ("7", "7.0000000000000001"), ("7", "none"), ("7", ""), ("7", "1/0"), ("7", "9" * 61),
    ("7", "7/2"), ("1/3", "0.333"), ("1/3", "0.333334"), ("0.5", "5%"), ("7", "7 million"), ("7.5", "7"),
    ("x^2+1", "$x^2-1$"), ("(1,2)", "$(2, 1)$"), ("[0,1)", "$[0,1]$"), ("\\{1,2\\}", "$\\{1,3\\}$"), ("7", "eight"),
    ("x+y = 76", "$2x+y = 76$"), ("s/3 = 4", "$3s = 4$"),
    ("\\frac{1}{2}", "$\\frac{2}{1}$"), ("3, 4", "\\boxed{3}"), ("7", "٨"), ("7", "7\u202e1"),
    ("100", "1٠0"), ("13", "$1٣$"), ("7", "$(-1)!$"), ("7", "$$\\frac{1}{0}$$"),
]  # fmt: skip
DOUBTFUL = [
    ("7", "The answer is 7. The answer is 8."), ("8", "The answer is 7. The answer is 8."),
    ("7", "\\boxed{7}. So the answer is 8."), ("7", "The answer is 8. Hence \\boxed{7}."),
    ("7", "#### 7\n#### 8"), ("7", "\\boxed{7} or \\boxed{8}"), ("7", "7 or 8"), ("8", "7 or 8"),
    ("8", "It is 7 or maybe 8"), ("7", "The answer is 7 or 8."), ("7", "The answer is 7 to 9."), ("7", "#### 7 and 8"),
    ("7", "The answer is 7-8."), ("7", "The answer is 7, 8."),
    ("7", "The answer is \\boxed{7}. Actually, it should be 8."),
    ("7", "The answer is 7. Wait, that's wrong."), ("7", "The answer is 7. No, it is 8."),
    ("7", "The answer is between 7 and 9"), ("60", "#### 60 #### 120"), ("7", "The answer is not 7."),
    ("7", "The answer is 7 (or 8 if you count zero)."), ("7", "The answer is 7. Let me recompute: 4 + 4 = 8."),
    ("7", "The answer is 7 times 2."), ("7", "The answer is 7 plus 1."), ("76", "$2x = 76$"),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "text"), EQUAL, ids=ascii)
def test_equal_answers_are_correct(gold: str, text: str) -> None:
    verdict = judge(gold, text)
    assert verdict.outcome == "correct", verdict.reason


@pytest.mark.parametrize(("gold", "text"), DIFFERENT, ids=ascii)
def test_other_answers_are_incorrect(gold: str, text: str) -> None:
    verdict = judge(gold, text)
    assert verdict.outcome == "incorrect", verdict.reason


@pytest.mark.parametrize(("gold", "text"), DOUBTFUL, ids=ascii)
def test_two_answers_are_never_correct(gold: str, text: str) -> None:
    verdict = judge(gold, text)
    assert verdict.outcome == "incorrect", verdict.reason


@pytest.mark.parametrize("gold", ["a few", "", "7 or 8", "one of two", "9" * 200, "\\sum_{k=1}^{9} k^{3^{4}}", "1/0"])
def test_an_expected_answer_that_cannot_be_read_is_undecided(gold: str) -> None:
    assert judge(gold, "The answer is 7.").outcome == "undecided"


@pytest.mark.parametrize(
    ("gold", "text", "reason"),
    [
        ("0.5", "The answer is 1/2.", "extracted '1/2', expected '0.5': equal as rationals"),
        ("7", "#### 7.0", "extracted '7.0', expected '7': equal as whole numbers"),
        ("7", "#### 8", "extracted '8', expected '7': not equal"),
        ("0.5", "50%", "extracted '50%', expected '0.5': 50% is 1/2"),
        ("1/3", "0.333333", "extracted '0.333333', expected '1/3': 1/3 rounded to 6 decimals"),
        ("7", "The answer is 7 or 8.", "no single answer: '7 or 8'"),
        ("7", "\\boxed{7}. So the answer is 8.", "two different answers: '7' and '8'"),
        ("7", "The answer is 7. Wait, it is 8.", "answered '7' and took it back: '8'"),
        ("7", "The answer is red.", "extracted 'red', expected '7': neither a number nor a formula"),
        ("7", "", "no answer found"),
        ("x+1", "$1+x$", "extracted '$1+x$', expected 'x+1': equal as formulas"),
        ("7", "$9^{9^{9}}$", "extracted '$9^{9^{9}}$', expected '7': not equal"),
        ("7", "$2^{5000}$", "extracted '$2^{5000}$', expected '7': not equal"),
        (
            "7",
            "$\\sum_{k=1}^{9} 2^{5000}$",
            "extracted '$\\\\sum_{k=1}^{9} 2^{5000}$', expected '7': the answer holds an exponent over 1000",
        ),
        ("\\pi", "$3.14159265359$", "extracted '$3.14159265359$', expected '\\\\pi': rounded to 11 decimals"),
        ("\\cos 60^\\circ", "0.5", "extracted '0.5', expected '\\\\cos 60^\\\\circ': equal in value"),
        ("3.14", "3,14", "extracted '3,14', expected '3.14': equal with a decimal comma"),
    ],
)
def test_a_reason_says_what_was_compared_and_how(gold: str, text: str, reason: str) -> None:
    assert judge(gold, text).reason == reason


@pytest.mark.parametrize(
    ("settings", "gold", "text", "outcome"),
    [
        ({"tolerance": 0.01}, "3.14", "3.149", "correct"),
        ({"tolerance": 0.01}, "3.14", "3.16", "incorrect"),
        ({"relative_tolerance": 0.1}, "-100", "-109", "correct"),
        ({"relative_tolerance": 0.1}, "100", "111", "incorrect"),
        ({"strict": True}, "7", "#### 7", "correct"),
        ({"strict": True}, "7", "#### 7.0", "incorrect"),
        ({"units": "match"}, "7 km", "The answer is 7 km.", "correct"),
        ({"units": "match"}, "7 apples", "The answer is 7 Apples.", "correct"),
        ({"units": "match"}, "7 km", "The answer is 7 m.", "incorrect"),
        ({"units": "match"}, "7 km", "The answer is 7.", "incorrect"),
        ({"units": "match"}, "7", "The answer is 7 km.", "correct"),
        ({"units": "match"}, "$7", "The answer is $7.", "correct"),
        ({"units": "match"}, "$7", "The answer is €7.", "incorrect"),
        ({"units": "ignore"}, "7 km", "The answer is 7 m.", "correct"),
        ({"stated": True}, "7", "He has 7.", "incorrect"),
        ({"stated": True}, "7", "The answer is 7.", "correct"),
    ],
)
def test_the_settings_of_a_task_decide_how_strict(settings: dict[str, Any], gold: str, text: str, outcome: str) -> None:
    assert judge(gold, text, **settings).outcome == outcome


def test_gold_and_prediction_cannot_be_swapped() -> None:
    from selfimprove.verifiers.symbolic import compare

    with pytest.raises(TypeError):
        compare("7", "7")  # type: ignore[misc]
    # They are not the same: an unreadable expected answer is nobody's fault.
    assert judge("a few", "7").outcome == "undecided" and judge("7", "a few").outcome == "incorrect"


def test_the_steps_are_judged_beside_the_answer() -> None:
    verdict = judge("7", "3 + 4 = 8. The answer is 7.", "I had 3 and got 4. How many?")
    assert verdict.wrong_reason and verdict.coverage == 0.5
    copied = judge("9", "20 - 11 = 9. The answer is 9.", "Of eleven cupcakes two are left. How many were eaten?")
    assert copied.reasoning == "correct" and copied.ungrounded == ("20",)


def test_a_longer_text_is_not_looked_at() -> None:
    verdict = judge("7", "7" * (MAX_TEXT + 1))
    assert verdict.outcome == "undecided" and "over the limit" in verdict.reason


BRIEF = [
    "7", "8", "$7", "7 apples", "7 or", "7 times", "7 million", "7 hundred", "07", "The answer is 7",
    "The answer is 7.",
    "The answer is $7.", "The answer is 7 apples.", "the answer is 7", "#### 7", "####7", "#### 7.", "#### 07", "7.",
    "7\n",
    "The answer is 7.\n", "A: 7", "A: $7.", "A:7", "A: 7 apples", "Answer: 7", "**7**", "**$7**.", "** 7 **",
    "\\boxed{7}",
    "$\\boxed{7}$.", "$\\boxed{7}", "The answer is **7**.", "The answer is \\boxed{07}.", "The answer is $\\boxed{7}$",
    "7" * 18, "7" * 19, "7 percent", "7 per day", "７",
]  # fmt: skip


@pytest.mark.parametrize("gold", ["7", "07", "8", "7" * 18, "7" * 19, "7.0", "$7", "٧"])
@pytest.mark.parametrize("text", BRIEF, ids=ascii)
def test_short_answers_are_judged_as_all_others_are(text: str, gold: str) -> None:
    """A tolerance, which whole numbers cannot use, leaves the quick way for short answers unused."""
    assert judge(gold, text) == judge(gold, text, tolerance=1e-9)


@pytest.mark.parametrize(
    ("text", "gold", "question", "outcome"),
    [
        # Of `x + y = 7` the 7 is the answer to "what is x + y", and of nothing else.
        (r"\boxed{x + y = 7}", "7", "If 2x = 6 and y = 4, what is $x + y$?", "correct"),
        (r"\boxed{x + y = 8}", "7", "If 2x = 6 and y = 4, what is $x + y$?", "incorrect"),
        ("So x + y = 7.", "7", "What is x+y?", "correct"),
        ("The answer is $a^2 + b^2 = 25$.", "25", "Find $a^2+b^2$.", "correct"),
        ("So, z - x = - (y / 2).", "-\\frac{y}{2}", "Express $z-x$ in terms of $y$.", "correct"),
        ("x - y = 2z - 2z = 0", "0", "Express x - y in terms of z.", "correct"),
        ("So x + y = 7.", "7", "If $x + y = 7$, find $x - y$.", "undecided"),
        ("So x + y = 7.", "3", "If $x + y = 7$, find $x - y$.", "incorrect"),
        ("x + y = 7", "7", "How many?", "undecided"),
        ("2x + y = 7", "7", "What is x + y?", "undecided"),
        ("2x = 8", "8", "Solve it.", "incorrect"),
        # The same amount in two forms is one answer.
        ("The answer is 0.5 or 50%.", "0.5", "How much?", "correct"),
        ("The answer is 3/4, or 75%.", "3/4", "How much?", "correct"),
        ("The answer is 1/3 or 0.33.", "1/3", "How much?", "correct"),
        ("The answer is 3/4 or 0.76.", "3/4", "How much?", "incorrect"),
        ("The answer is 7 or 8%.", "7", "How much?", "incorrect"),
        ("So it is approximately 0.944 or 94.4%.", "0.944", "How much?", "correct"),
        ("So it is approximately 0.944 or 95.4%.", "0.954", "How much?", "incorrect"),
        ("It is 1/3 or about 33.3%.", "1/3", "How much?", "undecided"),
        # An expression is said whole, and a number is said of.
        ("Total number of ways = 8!*2!.", "8!*2!", "How many?", "correct"),
        ("Total number of ways = 8!*2!.", "2", "How many?", "incorrect"),
        ("Simplifying, the average is (2x^2 + 2) / 2 = x^2 + 1", "x^2+1", "What is it?", "correct"),
        ("Simplifying, the average is (2x^2 + 2) / 2 = x^2 + 1", "1", "What is it?", "incorrect"),
        ("So the cost = 3 + 4", "4", "How much?", "incorrect"),
        ("35 is the smallest number by which 560 must be multiplied", "35", "Which?", "correct"),
        ("35 is the smallest number by which 560 must be multiplied", "560", "Which?", "incorrect"),
        ("5 is the number of boxes, so the total is 15", "15", "How many?", "correct"),
        # What is counted in a formula is no answer.
        ("There are 19 integers in the solution of the inequality |x + 5| < 10.", "19", "How many?", "correct"),
        ("There are 19 integers in the solution of the inequality |x + 5| < 10.", "10", "How many?", "incorrect"),
        ("There are $3$ roots of the equation $x^3 - x = 0$.", "3", "How many?", "correct"),
        ("There are 3 roots of the equation x^3 - x = 0.", "0", "How many?", "incorrect"),
        ("The number of integers that satisfy the inequality |x| < 10 is 19.", "19", "How many?", "correct"),
        ("The value of the expression 3 + 4 is 7.", "7", "How many?", "correct"),
    ],
)
def test_an_answer_is_what_the_question_asks_for(text: str, gold: str, question: str, outcome: str) -> None:
    verdict = judge(gold, text, question)
    assert verdict.outcome == outcome, verdict
