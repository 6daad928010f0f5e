"""Answers that are words: compared as text, without case, surrounding space and a final stop."""

import re

from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.task_settings import VerifierSettings
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, quote, refuse

_MARKED = (re.compile(r"####[ \t]*(\S.*)"), re.compile(r"answer\s*(?:is|:)[ \t]*(?::[ \t]*)?(\S.*)", re.IGNORECASE))


def normalize(text: str) -> str:
    """The form in which texts are compared."""
    return " ".join(text.strip().rstrip(".").casefold().split())


class TextVerifier:
    """Compares texts."""

    name = "text"
    version = 2

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        if len(text) > MAX_TEXT:
            return None
        for marked in _MARKED:
            found = marked.findall(text)
            if found:
                return str(found[-1]).strip()
        if self.settings.stated:
            return None
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else None

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        return self.verify(problem=problem, rationale=rationale)

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        refused = refuse(problem, rationale)
        if refused:
            return make_verdict(self, rationale, *refused)
        said, expected = rationale.answer or "", problem.answer or ""
        if said == expected or (not self.settings.answers.strict and normalize(said) == normalize(expected)):
            return make_verdict(self, rationale, "correct", "the texts are equal")
        return make_verdict(self, rationale, "incorrect", f"answered {quote(said)}, expected {problem.answer!r}")
