"""Addition: the answer as an exact string (so `09244` is not 9244), and every line of the rationale."""

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Problem, Rationale, Step, Verdict
from selfimprove.tasks.addition import check_rationale, extract_answer
from selfimprove.tasks.places import check_places, extract_sum
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, refuse


class AdditionVerifier:
    """Compares the canonical string and checks the columns."""

    name = "addition"
    version = 2

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings

    def read(self, text: str) -> str | None:
        return extract_answer(text)

    def check(self, question: str, text: str) -> tuple[Step, ...]:
        return check_rationale(question, text)

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
    version = 2

    def read(self, text: str) -> str | None:
        return extract_sum(text)

    def check(self, question: str, text: str) -> tuple[Step, ...]:
        return check_places(question, text)
