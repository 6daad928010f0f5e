"""Addition: the answer as an exact string (so `09244` is not 9244), and every line of the rationale."""

from collections.abc import Callable
from typing import ClassVar

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Problem, Rationale, Step, Verdict
from selfimprove.tasks.addition import check_rationale, extract_answer
from selfimprove.tasks.places import check_places, extract_sum
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, refuse


class AdditionVerifier:
    """Compares the canonical string and checks the columns."""

    name = "addition"
    version = 2
    read: ClassVar[Callable[[str], str | None]] = staticmethod(extract_answer)
    check: ClassVar[Callable[[str, str], tuple[Step, ...]]] = staticmethod(check_rationale)

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        return self.read(text) if len(text) <= MAX_TEXT else None

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        return self.verify(problem=problem, rationale=rationale)

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        steps = self.check(problem.question, rationale.text) if len(rationale.text) <= MAX_TEXT else ()
        refused = refuse(problem, rationale)
        if refused:
            return make_verdict(self, rationale, *refused, steps)
        if rationale.answer == problem.answer:
            return make_verdict(self, rationale, "correct", f"the answer is {problem.answer}", steps)
        return make_verdict(
            self, rationale, "incorrect", f"answered {rationale.answer}, expected {problem.answer}", steps
        )


class LongAdditionVerifier(AdditionVerifier):
    """The same for addition with named places."""

    name = "long-addition"
    version = 1
    read = staticmethod(extract_sum)
    check = staticmethod(check_places)
