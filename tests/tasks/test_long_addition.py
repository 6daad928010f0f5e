"""Addition with named places: how it is asked, and that each mistake is blamed on the place where it is made."""

import pytest
from builders import make_problem, make_rationale

from selfimprove.recipe.task_settings import LongAdditionTask, VerifierSettings
from selfimprove.records import derive_seed
from selfimprove.tasks import load_task
from selfimprove.tasks.arithmetic import is_held_out
from selfimprove.tasks.long_addition import LongAddition
from selfimprove.tasks.places import (
    ALPHABET,
    LETTERS,
    MOST_DIGITS,
    Operands,
    check_places,
    extract_sum,
    read_question,
    write_places,
    write_question,
)
from selfimprove.verifiers import make_verifier

QUESTION = "C4B8A2+b6a7="
TEXT = "A2a790B8b641C4c.50D.d.00"


def blamed(text: str, question: str = QUESTION) -> list[tuple[int, str]]:
    return [(at, one.reason) for at, one in enumerate(check_places(question, text)) if one.outcome == "incorrect"]


def test_a_question_and_its_rationale_are_written_with_the_letters_of_the_places() -> None:
    operands = Operands("482", "67", start=0)
    assert write_question(operands) == QUESTION
    assert write_places(operands) == TEXT
    assert extract_sum(TEXT) == "549"
    assert blamed(TEXT) == []
    # The circle of letters closes, and both alphabets go round together.
    assert write_question(Operands("12", "3", start=len(LETTERS) - 1)) == "A1Ֆ2+ֆ3="
    assert write_places(Operands("9", "1", start=len(LETTERS) - 1)) == "Ֆ9ֆ101A.a.10"


@pytest.mark.parametrize(
    "question",
    ["", "482+67=", "C4B8A2+b6a7", "C4B8A2+B6A7=", "C4B8A2+b6c7=", "D4B8A2+b6a7=", "B8A2+c6b7=", QUESTION + "A"],
)
def test_a_question_whose_letters_do_not_follow_each_other_is_none(question: str) -> None:
    assert read_question(question) is None
    assert check_places(question, TEXT) == ()


@pytest.mark.parametrize("digits", [1, 2, 29, MOST_DIGITS])
def test_every_length_is_written_checked_and_read_back(digits: int) -> None:
    for seed in range(20):
        a, b = (derive_seed(name, seed, digits) % 10**digits for name in "ab")
        operands = Operands(str(a), str(b), seed * 3 % len(LETTERS))
        question, text = write_question(operands), write_places(operands)
        assert read_question(question) == operands
        assert set(question + text) <= set(ALPHABET)
        assert blamed(text, question) == [] and len(check_places(question, text)) == operands.places
        assert extract_sum(text) == str(a + b)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A3a701B8b651C4c.50D.d.00", [(0, "at this place stand 2 and 7, not 3 and 7")]),
        ("A2a790B8b651C4c.50D.d.00", [(1, "8+6+0 is 14, not 15")]),
        ("A2a790B8b641C4c.40D.d.00", [(2, "4+1 is 5, not 4")]),
        ("A2a790C4c.40D.d.00", [(1, "the place is Bb, not Cc"), (2, "the place is Cc, not Dd")]),
        ("A2a790B8b641C4c050D.d.00", [(2, "at this place stand 4 and ., not 4 and 0")]),
        ("A2a790B8b641C4c.50", [(2, "1 place is missing after this")]),
        ("A2a790", [(0, "3 places are missing after this")]),
        (TEXT + "E.e.00", [(4, "the sum has only 4 places")]),
        (TEXT + "E" * 60_000, [(4, "the sum has only 4 places")]),
        ("A2a790B8b641so\nC4c.50D.d.00", [(2, "not a place such as A1a780")]),
        ("", [(0, "not a place such as A1a780")]),
        ("A²a790B8b641C4c.50D.d.00", [(0, "not a place such as A1a780")]),
    ],
)
def test_a_mistake_is_blamed_on_its_place(text: str, expected: list[tuple[int, str]]) -> None:
    assert blamed(text) == expected


@pytest.mark.parametrize("text", ["", "549", TEXT + "\n", "A2a790x", "A2a790" * 200 + "B8b641"])
def test_what_is_no_rationale_has_no_answer(text: str) -> None:
    assert extract_sum(text) is None


def test_the_verifier_compares_the_sum_and_keeps_the_steps() -> None:
    verifier = make_verifier(VerifierSettings(name="long-addition"))
    problem = make_problem(QUESTION, "549")
    wrong = TEXT.replace("B8b641", "B6b841")  # the sum is right all the same
    for text, outcome, steps in (
        (TEXT, "correct", 0),
        (wrong, "correct", 1),
        (TEXT.replace("c.50", "c.60"), "incorrect", 1),
    ):
        rationale = make_rationale(problem, text, answer=verifier.extract_answer(text, problem))
        verdict = verifier.verify(problem=problem, rationale=rationale)
        assert verdict.outcome == outcome
        assert sum(one.outcome == "incorrect" for one in verdict.steps) == steps


def make_task(**settings: int | float) -> LongAddition:
    task = load_task(LongAdditionTask.model_validate(settings))
    assert isinstance(task, LongAddition)
    return task


def test_training_and_held_out_problems_of_all_lengths_are_apart() -> None:
    task = make_task(max_digits=12, held_out=5)
    held_out, drawn = task.held_out(), [one for group in task.levels for one in task.draw(group, 40, 1)]
    assert len(held_out) == 12 * 5 - (5 - len([one for one in held_out if one.group == "1"]))
    for problems, apart in ((held_out, True), (drawn, False)):
        for one in problems:
            operands = read_question(one.question)
            assert operands is not None
            assert is_held_out(int(operands.first), int(operands.second)) == apart
            assert max(len(operands.first), len(operands.second)) == one.level == int(one.group)
            assert one.answer == str(int(operands.first) + int(operands.second))
    lengths = [tuple(map(len, read_question(one.question)[:2])) for one in drawn if one.level == 12]  # type: ignore[index]
    assert 10 < sum(first == second for first, second in lengths) < 35
    assert any(first < second for first, second in lengths) and any(first > second for first, second in lengths)
    assert task.draw("9", 7, 3) == task.draw("9", 7, 3) != task.draw("9", 7, 4)


def test_short_problems_show_every_letter() -> None:
    task = make_task()
    shown = {letter for problem, text in task.seed_rationales(400, 0) for letter in problem.question + text}
    assert shown == set(ALPHABET)


def test_seed_rationales_are_short_right_and_as_many_as_asked_for() -> None:
    task = make_task(seed_digits=3)
    rows = task.seed_rationales(800, 0)
    assert len(rows) == len({problem.id for problem, _ in rows}) == 800
    assert {problem.level for problem, _ in rows} == {1, 2, 3}
    assert all(extract_sum(text) == problem.answer and blamed(text, problem.question) == [] for problem, text in rows)


@pytest.mark.parametrize(
    ("reach", "expected"),
    [(1.0, {2: [1], 4: [3], 30: [29]}), (1.5, {2: [1], 4: [3], 6: [5, 4], 9: [8, 7, 6]})],
)
def test_lengths_open_after_shorter_ones_within_reach(reach: float, expected: dict[int, list[int]]) -> None:
    task = make_task(reach=reach)
    assert {at: [int(one) for one in task.leads_to[str(at)]] for at in expected} == expected
    assert task.leads_to["1"] == ()


def test_what_changes_the_problems_changes_the_fingerprint() -> None:
    prints = [make_task(**one).fingerprint() for one in ({}, {"max_digits": 29}, {"held_out": 3}, {"seed_digits": 2})]
    assert len(set(prints)) == len(prints)
