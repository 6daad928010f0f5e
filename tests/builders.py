"""Small records for tests: every field has a plain value that a test overrides where it matters."""

from collections.abc import Sequence
from typing import Any

from selfimprove.records import Outcome, Problem, Rationale, Step, Verdict

CHECKPOINT = "c0ffee"


def make_problem(question: str = "1+2=", answer: str | None = "3", **fields: Any) -> Problem:
    return Problem(
        **{"question": question, "answer": answer, "task": "arithmetic", "level": 2, "group": "1+1"} | fields
    )


def make_rationale(problem: Problem, text: str = "#3", **fields: Any) -> Rationale:
    """A finished sample of a problem; its answer is the problem's own."""
    plain: dict[str, Any] = {
        "parents": (problem.id, CHECKPOINT),
        "prompt": problem.question,
        "text": text,
        "answer": problem.answer,
        "origin": "sampled",
        "round": 1,
        "sample": 0,
        "seed": 5,
        "temperature": 1.0,
        "top_p": 1.0,
        "tokens": len(text) + 1,
        "logprob": -0.5,
        "finish": "stop",
    }
    return Rationale(**plain | fields)


def make_steps(outcomes: Sequence[Outcome]) -> tuple[Step, ...]:
    return tuple(Step(start=at, end=at + 1, outcome=one, reason=f"step {at}") for at, one in enumerate(outcomes))


def make_verdict(rationale: Rationale, outcome: Outcome = "correct", steps: Sequence[Outcome] = ()) -> Verdict:
    return Verdict(
        parents=(rationale.id,), outcome=outcome, reason="scripted", steps=make_steps(steps), verifier="test", version=1
    )
