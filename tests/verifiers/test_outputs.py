"""Some 3,200 outputs by kind, each with the verdict that it must get: `outputs.jsonl`.

`was` is what the verifier of before said, commit 482380a (`python tests/benchmarks/kinds.py --before FOLDER --record`).
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from builders import make_problem, make_rationale
from places import TESTS

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.verifiers.choice import ChoiceVerifier
from selfimprove.verifiers.math import MathVerifier
from selfimprove.verifiers.steps import check_steps

MATH = MathVerifier(VerifierSettings(name="math"))
CHOICE = ChoiceVerifier(VerifierSettings(name="choice"))
ROWS: dict[str, list[dict[str, Any]]] = defaultdict(list)
for line in Path(__file__).with_name("outputs.jsonl").read_text(encoding="utf-8").splitlines():
    ROWS[(row := json.loads(line))["kind"]].append(row)


def judge(row: dict[str, Any]) -> tuple[object, str]:
    """The outcome of a row and why; of a row about steps the outcomes of its steps."""
    if "steps" in row:
        steps = check_steps(row["text"]).steps
        return [step.outcome for step in steps], "; ".join(step.reason for step in steps)
    verifier = CHOICE if "options" in row else MATH
    problem = make_problem("How many?", row["gold"], options=tuple(row.get("options", ())))
    rationale = make_rationale(problem, row["text"], answer=verifier.extract_answer(row["text"], problem))
    verdict = verifier.verify(problem=problem, rationale=rationale)
    return verdict.outcome, verdict.reason


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_each_output_gets_its_verdict(kind: str) -> None:
    wrong = []
    for row in ROWS[kind]:
        found, reason = judge(row)
        if found != row.get("steps", row.get("outcome")):
            wrong.append((row, found, reason))
    assert wrong == []


def test_the_verifier_of_before_fails_each_kind() -> None:
    """What each kind shows is new: at least one of its outputs was judged otherwise before."""
    named = {"thinking", "announcements", "languages", "choices", "plain mathematics", "equality", "numbers", "steps"}
    named |= {"ratios", "counting", "clock"}
    assert named <= set(ROWS)
    for kind, rows in ROWS.items():
        assert all(row.get("was") for row in rows), f"{kind}: record again what the verifier of before says"
        assert [row["text"] for row in rows if row["was"] != judge_all(row)] != [], kind


def judge_all(row: dict[str, Any]) -> object:
    """What a row must get; of its steps what a verdict says of them together."""
    if "steps" not in row:
        return row["outcome"]
    return "incorrect" if "incorrect" in row["steps"] else "correct" if row["steps"] else "undecided"


@pytest.mark.long
def test_no_way_of_reading_can_be_switched_off_unseen() -> None:
    command = [sys.executable, str(TESTS / "benchmarks" / "mutants.py")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
