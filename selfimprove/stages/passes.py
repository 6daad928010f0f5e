"""What a rationale must pass to be trained."""

from typing import Protocol

from selfimprove.records import Rationale, Verdict

CUT = "cut off at the length limit, so its end would be learned wrong"


def passes(verdict: Verdict, require: str) -> bool:
    """Whether a verdict lets its text count as right; a wrong step does only where just the answer is required."""
    if verdict.outcome != "correct":
        return False
    return require == "answer" or not (verdict.wrong_reason or (require == "grounded" and verdict.ungrounded))


class Requirement(Protocol):
    """answer: a correct answer suffices; steps: no step may be wrong; grounded: nor may a number come from nowhere."""

    @property
    def require(self) -> str: ...


def why_not(rationale: Rationale, verdict: Verdict, settings: Requirement) -> str:
    """Why a rationale does not pass what is required of what is trained, or nothing."""
    if verdict.outcome != "correct":
        return f"{verdict.outcome}: {verdict.reason}"
    if rationale.finish != "stop":
        return CUT
    return why_not_steps(verdict, settings, "right answer")


def why_not_steps(verdict: Verdict, settings: Requirement, answer: str) -> str:
    """Why the steps of a text with an accepted answer do not pass what is required of them, or nothing."""
    if settings.require != "answer" and verdict.reasoning != "correct":
        wrong = next((step for step in verdict.steps if step.outcome == "incorrect"), None)
        return f"{answer}, wrong step: {wrong.reason}" if wrong else f"{answer}, no step could be checked"
    if settings.require == "grounded" and verdict.ungrounded:
        return f"{answer} from numbers that come from nowhere: {', '.join(verdict.ungrounded[:8])}"
    return ""
