"""Some 1,200 outputs by kind, each with the verdict that it must get: `outputs.jsonl`."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from builders import make_problem, make_rationale

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
