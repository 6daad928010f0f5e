"""Outputs of chat models, each with what must be said of it: `verdicts.jsonl`, whose `was` is an older verdict."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Outcome, Problem, Rationale
from selfimprove.verifiers import make_verifier
from selfimprove.verifiers.steps import check_steps

CASES = Path(__file__).parent / "verdicts.jsonl"


@lru_cache(maxsize=1)
def read_cases() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]


def judge(case: dict[str, Any]) -> tuple[Outcome | None, str]:
    """The verdict on a case; of a case about steps the outcome of its only step."""
    if case["kind"] == "steps":
        steps = check_steps(case["response"]).steps
        return (steps[0].outcome, steps[0].reason) if len(steps) == 1 else (None, f"{len(steps)} steps")
    options = tuple(case.get("options", ()))
    verifier = make_verifier(VerifierSettings(name="choice" if options else "math"))
    problem = Problem(
        question=case.get("question", ""), answer=case["expected_answer"], task="cases", options=options
    )  # fmt: skip
    rationale = Rationale(
        parents=(problem.id, "cases"), prompt="", text=case["response"],
        answer=verifier.extract_answer(case["response"], problem), origin="sampled", round=0, sample=0, seed=0,
        temperature=0.0, top_p=1.0, tokens=0, logprob=0.0, finish="stop",
    )  # fmt: skip
    verdict = verifier.verify(problem=problem, rationale=rationale)
    return verdict.outcome, verdict.reason


@pytest.mark.parametrize("case", read_cases(), ids=lambda case: ascii(f"{case['kind']}: {case['response']}")[1:60])
def test_a_case_gets_the_verdict_that_is_right(case: dict[str, Any]) -> None:
    outcome, reason = judge(case)
    assert outcome == case["must_be"], reason
