"""A verifier: right is a text that holds the expected answer as words of its own."""

import re

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.verifiers import declare_verifier
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, quote


class ContainsVerifier:
    """Looks for the expected answer anywhere in a text."""

    name = "contains"
    version = 1

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        return problem.answer if self._holds(text, problem) else None

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict | None:
        return None  # judged in a worker process, with limits: a pattern may take long

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        if problem.answer is None or len(rationale.text) > MAX_TEXT:
            return make_verdict(self, rationale, "undecided", "no answer to look for, or too long a text")
        if self._holds(rationale.text, problem):
            return make_verdict(self, rationale, "correct", f"holds {quote(problem.answer)}")
        return make_verdict(self, rationale, "incorrect", f"{quote(problem.answer)} is not in it")

    def _holds(self, text: str, problem: Problem) -> bool:
        return bool(re.search(rf"\b{re.escape(problem.answer or '')}\b", text[:MAX_TEXT], re.IGNORECASE))


declare_verifier("contains", ContainsVerifier)
