"""Answers as models write them, with the verdict that each must get: nothing doubtful is ever correct."""

import json
from pathlib import Path
from typing import Any

import pytest
from builders import make_problem, make_rationale

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.verifiers.choice import ChoiceVerifier
from selfimprove.verifiers.hedges import taken_back
from selfimprove.verifiers.math import MathVerifier


def read_rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(__file__).with_name(name).read_text().splitlines()]


ROWS, CHOICES = read_rows("answers.jsonl"), read_rows("choices.jsonl")
VERIFIER = MathVerifier(VerifierSettings(name="math"))
CHOICE = ChoiceVerifier(VerifierSettings(name="choice"))


@pytest.mark.parametrize("outcome", ["correct", "incorrect", "undecided"])
def test_each_answer_gets_its_verdict(outcome: str) -> None:
    rows = [row for row in ROWS if row["outcome"] == outcome]
    assert len(rows) > 80
    wrong = []
    for row in rows:
        problem = make_problem("How many?", row["gold"])
        rationale = make_rationale(problem, row["text"], answer=VERIFIER.extract_answer(row["text"], problem))
        verdict = VERIFIER.verify(problem=problem, rationale=rationale)
        if verdict.outcome != outcome:
            wrong.append((row["gold"], row["text"], verdict.outcome, verdict.reason))
    assert wrong == []


@pytest.mark.parametrize("outcome", ["correct", "incorrect"])
def test_each_choice_gets_its_verdict(outcome: str) -> None:
    rows = [row for row in CHOICES if row["outcome"] == outcome]
    assert len(rows) > 80
    wrong = []
    for row in rows:
        problem = make_problem("Which?", row["gold"], options=tuple(row["options"]))
        rationale = make_rationale(problem, row["text"], answer=CHOICE.extract_answer(row["text"], problem))
        verdict = CHOICE.verify(problem=problem, rationale=rationale)
        if verdict.outcome != outcome:
            wrong.append((row["gold"], row["text"], verdict.outcome, verdict.reason))
    assert wrong == []


@pytest.mark.parametrize(
    ("tail", "later"),
    [
        (" Wait, it is 8.", "8"),
        (" No. It is 8.", "8"),
        (" On reflection it's 8.", "8"),
        ("\n\nHowever, the correct value is 8.", "8"),
        (" That's wrong.", "That's wrong"),
        (" Wait, let me check: 3 + 4 = 7.", ""),
        (" She actually has 16 eggs.", ""),
        (" Instead of selling 16 eggs she sells 9.", ""),
        (" Note that the price should be 2 dollars.", ""),
    ],
)
def test_only_what_takes_an_answer_back_does(tail: str, later: str) -> None:
    text = f"The answer is 7.{tail}"
    assert taken_back(text, len("The answer is 7"), "7") == later
