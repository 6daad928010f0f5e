"""The rationale of an addition: how it is written, and that each mistake is blamed on the line where it is made.

The literal texts stand in `WORKED`; all other tests edit single lines of `write_rationale`.
"""

import itertools
import random
import time

import pytest
from builders import make_problem, make_rationale

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Rationale, Verdict
from selfimprove.stages.critique import find_line
from selfimprove.tasks.addition import (
    check_rationale,
    extract_answer,
    parse_addition,
    write_critique,
    write_flawed,
    write_rationale,
)
from selfimprove.verifiers import make_verifier

WORKED = [
    ((4821, 67), "1+7+0=08\n2+6+0=08\n8+0+0=08\n4+0+0=04\n0+0+0=00\n# 4888"),
    ((99, 1), "9+1+0=10\n9+0+1=10\n0+0+1=01\n#100"),
    ((0, 0), "0+0+0=00\n0+0+0=00\n# 0"),
]
QUESTION, TEXT = "58+67=", write_rationale(58, 67)
FIRST, SECOND, LAST, ANSWER = range(4)  # 8+7+0=15, 5+6+1=12, 0+0+1=01, and the answer 125


def edit(line: int, old: str, new: str, text: str = TEXT) -> str:
    lines = text.split("\n")
    assert old in lines[line], "the edit has no effect"
    lines[line] = lines[line].replace(old, new)
    return "\n".join(lines)


def blamed(text: str, question: str = QUESTION) -> list[tuple[int, str]]:
    """The lines that are wrong, with their reasons."""
    return [(at, one.reason) for at, one in enumerate(check_rationale(question, text)) if one.outcome == "incorrect"]


def judge(text: str, question: str = QUESTION, answer: str | None = "125", **fields: str) -> tuple[Rationale, Verdict]:
    verifier = make_verifier(VerifierSettings(name="addition"))
    problem = make_problem(question, answer)
    rationale = make_rationale(problem, text, **{"answer": verifier.extract_answer(text, problem)} | fields)
    return rationale, verifier.verify(problem=problem, rationale=rationale)


@pytest.mark.parametrize(("operands", "text"), WORKED, ids=str)
def test_a_rationale_is_written_column_by_column(operands: tuple[int, int], text: str) -> None:
    assert write_rationale(*operands) == text


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("58+67=", ("58", "67")),
        (" 58+67 ", ("58", "67")),
        ("058+0=", ("058", "0")),
        ("58 + 67=", None),
        ("58+67=125", None),
        ("-5+6=", None),
        ("58", None),
        ("", None),
        ("1" * 41 + "+1=", None),
    ],
)
def test_parse_addition_reads_the_operands(question: str, expected: tuple[str, str] | None) -> None:
    assert parse_addition(question) == expected


def test_what_is_written_checks_as_correct_and_gives_the_sum() -> None:
    numbers = [0, 1, 9, 10, 58, 95, 99, 100, 909, 4821, 99999, 10**39]
    for a, b in itertools.product(numbers, numbers):
        text = write_rationale(a, b)
        steps = check_rationale(f"{a}+{b}=", text)
        assert {step.outcome for step in steps} == {"correct"}, (a, b)
        assert [text[step.start : step.end] for step in steps] == text.split("\n")
        assert extract_answer(text) == str(a + b)


# In each of them the lines that follow are right for what the wrong line says.
SINGLE_MISTAKES = [
    (FIRST, edit(ANSWER, "125", "124", edit(FIRST, "=15", "=14")), "8+7+0 is 15, not 14"),
    (
        FIRST,
        edit(ANSWER, "125", "124", edit(FIRST, "8+7+0=15", "8+6+0=14")),
        "column 1 holds the digits 8 and 7, not 8",
    ),
    (FIRST, edit(ANSWER, "125", "126", edit(FIRST, "8+7+0=15", "8+7+1=16")), "the carry is 0, not 1"),
    (SECOND, edit(ANSWER, "125", "115", edit(SECOND, "5+6+1=12", "5+6+0=11")), "the carry is 1, not 0"),
    (SECOND, edit(ANSWER, "125", "225", edit(SECOND, "=12", "=22", edit(LAST, "1=01", "2=02"))), "5+6+1 is 12, not 22"),
    (LAST, edit(ANSWER, "125", "225", edit(LAST, "=01", "=02")), "0+0+1 is 01, not 02"),
    (LAST, edit(ANSWER, "125", "225", edit(LAST, "0+0+1=01", "1+0+1=02")), "column 3 holds the digits 0 and 0, not 1"),
    (ANSWER, edit(ANSWER, "125", "126"), "the columns give 125, not 126"),
    (ANSWER, edit(ANSWER, "125", "025"), "the columns give 125, not 025"),
    (ANSWER, edit(ANSWER, "#", ""), "not an answer"),
    (ANSWER, edit(ANSWER, "125", "125."), "not an answer"),
    (ANSWER, edit(ANSWER, "125", "-125"), "not an answer"),
    (ANSWER, edit(ANSWER, "125", ""), "not an answer"),
    (FIRST, "so:\n" + TEXT, "not a column"),
    (SECOND, edit(FIRST, "=15", "=15\nso:"), "not a column"),
    (LAST + 1, edit(LAST, "=01", "=01\n"), "not a column"),
    (LAST + 1, edit(LAST, "=01", "=01\n0+0+0=00"), "the sum has only 3 columns"),
    (LAST, "\n".join([*TEXT.split("\n")[:LAST], TEXT.split("\n")[ANSWER]]), "1 column is missing before the answer"),
    (LAST, TEXT.rsplit("\n", 1)[0], "the answer is missing"),
]


@pytest.mark.parametrize(("line", "text", "reason"), SINGLE_MISTAKES, ids=[text for _, text, _ in SINGLE_MISTAKES])
def test_a_mistake_is_blamed_on_its_own_line(line: int, text: str, reason: str) -> None:
    found = blamed(text)
    assert [at for at, _ in found] == [line], found
    assert found[0][1].startswith(reason)


def test_a_right_answer_after_a_wrong_column_is_not_what_the_columns_give() -> None:
    assert [at for at, _ in blamed(edit(FIRST, "=15", "=14"))] == [FIRST, ANSWER]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("", 0),
        ("\n", 0),
        ("125", 0),
        (TEXT.rsplit("\n", 1)[1], 0),
        ("\n".join(TEXT.split("\n")[1:]), 0),  # the first column is left out
        (edit(FIRST, "8+7+0=15", "8+7=15"), 0),
        (edit(SECOND, "5+6+1=12", "5+6+1=112"), 1),
        (edit(SECOND, "5+6+1=12", "5 + 6 + 1 = 12"), 1),
        ("\n".join(reversed(TEXT.split("\n"))), 0),
        (TEXT + "\n", 3),
        (TEXT + " ", 3),
        (TEXT + "\n" + TEXT, 3),
        (TEXT.replace("\n", "\r\n"), 0),
        (TEXT.replace("\n", "\u2028"), 0),
        (TEXT.replace("+", "-"), 0),
    ],
    ids=ascii,
)
def test_the_first_line_that_is_blamed_is_where_the_text_goes_astray(text: str, first: int) -> None:
    found = blamed(text)
    assert found and found[0][0] == first


def test_other_scripts_digits_are_no_digits() -> None:
    wide = TEXT.translate({ord("0") + value: 0xFF10 + value for value in range(10)})
    assert {at for at, _ in blamed(wide)} == {FIRST, SECOND, LAST, ANSWER}
    assert extract_answer(wide) is None


def test_a_text_for_another_kind_of_question_has_no_steps() -> None:
    assert check_rationale("How many birds?", TEXT) == ()


@pytest.mark.parametrize(
    ("last_line", "expected"),
    [("#125", "125"), ("#0125", "0125"), ("# 125", "125"), ("125", None), ("#", None), ("#12 5", None), ("", None)],
)
def test_the_answer_is_what_the_last_line_says(last_line: str, expected: str | None) -> None:
    assert extract_answer(f"8+7+0=15\n#9\n{last_line}") == expected


@pytest.mark.parametrize(
    ("text", "outcome", "reasoning"),
    [
        (TEXT, "correct", "correct"),
        (edit(FIRST, "=15", "=16"), "correct", "incorrect"),
        (TEXT.rsplit("\n", 1)[1], "correct", "incorrect"),
        (edit(ANSWER, "125", "126"), "incorrect", "incorrect"),
        (edit(ANSWER, "125", "0125"), "incorrect", "incorrect"),  # as a number it would be right
        (edit(ANSWER, "125", "125.0"), "incorrect", "incorrect"),
        ("", "incorrect", "incorrect"),
    ],
    ids=ascii,
)
def test_the_verdict_on_the_answer_and_on_the_steps(text: str, outcome: str, reasoning: str) -> None:
    rationale, verdict = judge(text)
    assert (verdict.outcome, verdict.reasoning) == (outcome, reasoning)
    assert verdict.parents == (rationale.id,) and verdict.verifier == "addition"
    assert verdict.wrong_reason == (outcome == "correct" and reasoning == "incorrect")


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    "text",
    ["8+7+0=15\n" * 5000, "#" * 50_000, "#" + " " * 49_000, "\n" * 40_000, "9" * 50_000, "#" + "9" * 49_000],
    ids=lambda text: f"{text[:4]!r}…",
)
def test_a_hostile_text_is_judged_quickly(text: str) -> None:
    started = time.process_time()
    _, verdict = judge(text)
    assert verdict.outcome == "incorrect" and verdict.reasoning == "incorrect"
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize("seed", range(400))
def test_a_made_up_mistake_is_criticised_where_the_checker_finds_it(seed: int) -> None:
    rng = random.Random(seed)
    a, b = (rng.randrange(10 ** rng.randrange(1, 6)) for _ in range(2))
    question, flawed = f"{a}+{b}=", write_flawed(a, b, rng)
    critique = write_critique(question, flawed, "ok")
    wrong = [at for at, step in enumerate(check_rationale(question, flawed)) if step.outcome == "incorrect"]
    if not wrong:
        assert flawed == write_rationale(a, b) and critique.endswith("ok")
        return
    line = flawed.split("\n")[wrong[0]]
    assert critique.endswith(f" {line}x") and critique.count("\n") == wrong[0]
    assert find_line(critique, flawed) == wrong[0] + 1


def test_made_up_mistakes_are_of_every_kind() -> None:
    found = set()
    for seed in range(300):
        flawed = write_flawed(482, 67, random.Random(seed))
        found |= {step.reason for step in check_rationale("482+67=", flawed) if step.outcome == "incorrect"}
        assert flawed == write_flawed(482, 67, random.Random(seed))
    for kind in (
        "holds the digits",
        "the carry is",
        "+0 is 14, not",
        "the sum has only",
        "missing",
        "the columns give",
    ):
        assert any(kind in reason for reason in found), kind
