"""Word problems: the answer as a number, compared exactly as a fraction, and the equations of the rationale."""

from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, refuse
from selfimprove.verifiers.equations import check_equations
from selfimprove.verifiers.numbers import extract_number, parse_number


class NumberVerifier:
    """Compares numbers and checks equations; with `stated` an answer must be announced, a last number is none."""

    name = "number"
    version = 1

    def __init__(self, *, stated: bool = False) -> None:
        self.stated = stated

    def extract_answer(self, text: str) -> str | None:
        return extract_number(text, stated=self.stated) if len(text) <= MAX_TEXT else None

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        steps = check_equations(rationale.text) if len(rationale.text) <= MAX_TEXT else ()
        refused = refuse(problem, rationale)
        if refused:
            return make_verdict(self, rationale, *refused, steps)
        expected = parse_number(problem.answer or "")
        if expected is None:
            return make_verdict(
                self, rationale, "undecided", f"the expected answer {problem.answer!r} is not a number", steps
            )
        answered = parse_number(rationale.answer or "")
        if answered is None:
            return make_verdict(
                self, rationale, "incorrect", f"{(rationale.answer or '')[:80]!r} cannot be read as a number", steps
            )
        if answered == expected:
            return make_verdict(self, rationale, "correct", f"{rationale.answer} equals {problem.answer}", steps)
        return make_verdict(
            self, rationale, "incorrect", f"answered {rationale.answer}, expected {problem.answer}", steps
        )
