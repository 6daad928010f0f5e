"""Rising digits: right is a text that the task's rule gives enough points."""

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Outcome, Problem, Rationale, Verdict
from selfimprove.tasks.rising import GOOD, grade_rising
from selfimprove.verifiers.base import MAX_TEXT, make_verdict


class RisingVerifier:
    """Grades a text by the rule."""

    name = "rising"
    version = 1

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        return None

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        return self.verify(problem=problem, rationale=rationale)

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        points = grade_rising(problem.question, rationale.text[:MAX_TEXT])
        outcome: Outcome = "correct" if points >= GOOD else "incorrect"
        return make_verdict(self, rationale, outcome, f"{points:g} points, of at least {GOOD:g}")
