"""Which option a text picks: letters, numbers and texts are read, and what names two or none is never correct."""

import time

import pytest

from selfimprove.recipe.task_settings import Answers, VerifierSettings
from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.verifiers.base import MAX_TEXT
from selfimprove.verifiers.choice import ChoiceVerifier

LOOSE = ChoiceVerifier(VerifierSettings(name="choice"))
STATED = ChoiceVerifier(VerifierSettings(name="choice", stated=True))
STRICT = ChoiceVerifier(VerifierSettings(name="choice", answers=Answers(strict=True)))
PLACES = ("bank", "river", "department store", "mall", "new york")


def problem(answer: str | None, options: tuple[str, ...] = PLACES) -> Problem:
    return Problem(question="Where?", answer=answer, task="test", options=options)


def judge(text: str, one: Problem, verifier: ChoiceVerifier = LOOSE) -> Verdict:
    rationale = Rationale(
        parents=(one.id, "checkpoint"), prompt="", text=text, answer=verifier.extract_answer(text, one),
        origin="sampled", round=0, sample=0, seed=0, temperature=1.0, top_p=1.0, tokens=1, logprob=0.0, finish="stop",
    )  # fmt: skip
    verdict = verifier.verify(problem=one, rationale=rationale)
    assert verifier.quick(problem=one, rationale=rationale) == verdict
    return verdict


READ = [
    # text, what is extracted, and what is extracted where an answer must be announced
    ("B", "B", None),
    ("b", "B", None),
    ("(B)", "B", None),
    ("(b)", "B", None),
    ("B.", "B", None),
    ("B)", "B", None),
    ("[B]", "B", None),
    ("**B**", "B", None),
    ("B. river", "B", None),
    ("option B", "B", None),
    ("Ｂ", "B", None),
    ("river", "B", None),
    ("New York.", "E", None),
    (r"\boxed{B}", "B", "B"),
    (r"\boxed{\text{B}}", "B", "B"),
    (r"The final answer is: $\boxed{B}$", "B", "B"),
    (r"The answer is \(B\).", "B", "B"),
    ("#### B", "B", "B"),
    ("answer: (b) river", "B", "B"),
    ("Answer: B. River", "B", "B"),
    ("**Answer:** B", "B", "B"),
    ("**Answer**: (B) river", "B", "B"),
    ("The answer is\n\n(B)", "B", "B"),
    ("The correct answer is B: river", "B", "B"),
    ("The correct option is B", "B", "B"),
    ("The answer is （Ｂ）。", "B", "B"),
    ("The answer is river.", "B", "B"),
    ("The answer is a river.", "B", "B"),
    ("Answer: A river", "B", "B"),
    ("Answer: Department store because", "C", "C"),
    ("The answer is C (department store)", "C", "C"),
    ("The answer is option 2.", "B", "B"),
    ("So the answer is (B).", "B", "B"),
    ("The answer is (B), since (A) is dry.", "B", "B"),
    ("The answer is B because (A) is dry", "B", "B"),
    ("The answer is not A. The answer is B", "B", "B"),
    ("The answer is (B).\nI like the mall.", "B", "B"),
    ("(A) is dry.\nSo it must be (B), not (A).", "B", None),
    ("Not (A) but (B).", "B", None),
    ("(C)\nIt is the river", "B", None),
    ("I had a plan once", None, None),
    ("I saw a cat and a dog. I", None, None),
    ("He went there with A friend", None, None),
    ("(B)\nand then I went home", "B", None),
    ("The answer is Paris.", None, None),
    ("", None, None),
    # more than one, none of them, or beyond the options: never correct
    ("The answer is A or B.", "A and B", "A and B"),
    ("The answer is either (A) or (C).", "A and C", "A and C"),
    ("The answer is both A and B", "A and B", "A and B"),
    ("Answer: A/B", "A and B", "A and B"),
    ("Answer is A, B", "A and B", "A and B"),
    ("The answer is (B) river, or (C).", "B and C", "B and C"),
    ("The answer is bank or river", "A and B", "A and B"),
    ("The answer is (B) bank.", "A and B", "A and B"),
    ("The answer is (A). The answer is (B).", "A and B", "A and B"),
    (r"The answer is B. \boxed{C}", "B and C", "B and C"),
    ("both A and B", "A and B", None),
    ("It is either (A) or (B).", "A and B", None),
    ("It is A or B.", "A and B", None),
    ("the bank and the river", "A and B", None),
    ("The answer is not B.", "not B", "not B"),
    ("The answer isn't B.", "not B", "not B"),
    ("It is not (B).", "not B", None),
    ("Answer: neither A nor B", "not A and B", "not A and B"),
    ("The answer is (F).", "F", "F"),
    (r"\boxed{Z}", "Z", "Z"),
]


@pytest.mark.parametrize(("text", "found", "stated"), READ, ids=[ascii(row[0]) for row in READ])
def test_an_option_is_read(text: str, found: str | None, stated: str | None) -> None:
    one = problem("B")
    assert LOOSE.extract_answer(text, one) == found
    assert STATED.extract_answer(text, one) == stated
    assert (judge(text, one).outcome == "correct") == (found == "B")


REASONS = [
    ("B", "correct", "answered (B) river"),
    ("(C)", "incorrect", "answered (C) department store, expected (B) river"),
    ("The answer is (A) or (B).", "incorrect", "names two different options: (A) and (B)"),
    ("The answer is A, B, C", "incorrect", "names 3 different options: (A) and (B) and (C)"),
    ("The answer is (F).", "incorrect", "answered F, which is no option"),
    ("The answer is not B", "incorrect", "says only what it is not: 'not B'"),
    ("no idea", "incorrect", "no answer found"),
]


@pytest.mark.parametrize(("text", "outcome", "reason"), REASONS)
def test_a_reason_is_for_people(text: str, outcome: str, reason: str) -> None:
    verdict = judge(text, problem("B"))
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


LABELS = [
    # options, text, what is extracted
    (("Yes", "No"), "no.", "No"),
    (("Yes", "No"), "The answer is No, because yes is wrong", "No"),
    (("Yes", "No"), "the sentence is odd, so no", "No"),
    (("Yes", "No"), "The answer is yes.\n\nQ: next", "Yes"),
    (("Yes", "No"), "There is no doubt", None),
    (("Yes", "No"), "The answer is (B).", None),
    (("Yes", "No"), "The answer is yes or no", "Yes and No"),
    (("Yes", "No"), "The answer is not yes", "not Yes"),
    (("True", "False"), "not ( True ) = FALSE", "False"),
    (("True", "False"), r"\boxed{true}", "True"),
    (("valid", "invalid"), "The argument is invalid.", "invalid"),
    (("valid", "invalid"), "The answer is invalid.", "invalid"),
    (("valid", "invalid"), "#### valid", "valid"),
]


@pytest.mark.parametrize(("options", "text", "found"), LABELS)
def test_a_label_is_read_without_letters(options: tuple[str, ...], text: str, found: str | None) -> None:
    for answer in options:
        assert LOOSE.extract_answer(text, problem(answer, options)) == found
        assert (judge(text, problem(answer, options)).outcome == "correct") == (found == answer)


FREE = [
    # the expected answer, text, whether it is the same
    ("] ] )", "] ] )", True),
    ("] ] )", "]])", True),
    ("] ] )", "So the answer is ] ] ).", True),
    ("] } )", r"\boxed{] } )}", True),
    ("] } )", "#### `] } )`", True),
    ("] ] )", "The answer is ] ] }", False),
    ("] ] )", "] ]", False),
    ("apple bee it&t", "Apple, bee, it&t.", True),
    ("apple bee it&t", "apple\nbee\nit&t", True),
    ("apple bee it&t", "Words:\napple\nbee\nit&t\n", True),
    ("apple bee it&t", "The answer is:\n1. apple\n2. bee\n3. it&t", True),
    ("apple bee it&t", "#### apple bee it&t\nas was asked", True),
    ("apple bee it&t", "apple it&t bee", False),
    ("apple bee it&t", "The answer is apple bee", False),
    ("Paris", "the answer is paris", True),
]


@pytest.mark.parametrize(("answer", "text", "same"), FREE)
def test_brackets_and_words_are_compared(answer: str, text: str, same: bool) -> None:
    assert (judge(text, problem(answer, ())).outcome == "correct") == same


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("B", "correct"), ("The answer is B.", "correct"), ("#### B", "correct"), ("(B)", "incorrect"), ("b", "incorrect"),
     ("The answer is river", "incorrect"), ("B or C", "incorrect")],
)  # fmt: skip
def test_a_strict_comparison_wants_the_same_characters(text: str, outcome: str) -> None:
    assert judge(text, problem("B"), STRICT).outcome == outcome


@pytest.mark.parametrize("answer", ["F", "lake", "monsters, inc"])
def test_an_expected_answer_that_is_no_option_is_undecided(answer: str) -> None:
    verdict = judge("The answer is (B).", problem(answer))
    assert verdict.outcome == "undecided"
    assert "not one of the options" in verdict.reason
    assert judge("The answer is (B).", problem("")).reason == "the problem has no answer to compare with"


def test_a_number_is_an_option_only_where_none_is_that_number() -> None:
    assert LOOSE.extract_answer("The answer is option 2", problem("B", ("cat", "dog"))) == "B"
    assert LOOSE.extract_answer("The answer is option 3", problem("B", ("cat", "dog"))) == "3"
    assert LOOSE.extract_answer("The answer is option 2", problem("B", ("2", "3"))) == "A"


def test_options_that_look_alike_are_told_apart_by_their_characters() -> None:
    genes = ("BB BB", "BB Bb", "Bb Bb", "Bb bb")
    assert LOOSE.extract_answer("The answer is Bb Bb.", problem("A", genes)) == "C"
    assert LOOSE.extract_answer("The answer is bb bb.", problem("A", genes)) == "A and B and C and D"
    assert LOOSE.extract_answer("answer: (b) -1", problem("B", ("1", "-1", "i", "-i"))) == "B"
    assert LOOSE.extract_answer("So it is 5.25", problem("A", ("5", "6"))) is None


HOSTILE = [
    "(A) " * 12_000, "A or " * 10_000, "answer is " * 5_000, r"\boxed{" * 7_000, "#### " * 10_000, "(" * 49_000,
    "answer" + " " * 49_000, "river " * 8_000, "\\text{" * 8_000, "answer: \\text{" * 3_500, "\n" * 49_000 + "B",
    "a\n" * 24_000, "either " * 7_000, "answer is not " * 3_500, "#### the " * 5_000, "option " * 7_000, "] " * 24_000,
    "ﷺ" * 49_000, "ab-" * 16_000, "answer is the not the " * 2_200, "new " * 12_000,
]  # fmt: skip


@pytest.mark.parametrize("options", [PLACES, ("Yes", "No"), ()], ids=["letters", "labels", "free"])
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_texts_take_bounded_time(text: str, options: tuple[str, ...]) -> None:
    assert len(text) <= MAX_TEXT
    started = time.process_time()
    judge(text, problem("B" if options == PLACES else "Yes", options))
    assert time.process_time() - started < 1.0


def test_a_longer_text_is_not_read() -> None:
    verdict = judge("B" + " " * MAX_TEXT, problem("B"))
    assert verdict.outcome == "undecided"
    assert "over the limit" in verdict.reason
