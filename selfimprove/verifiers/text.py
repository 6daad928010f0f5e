"""Answers that are words: compared as text, without case, surrounding space and a final stop."""

import re

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, quote, refuse

_MARKED = (re.compile(r"####[ \t]*(\S.*)"), re.compile(r"answer\s*(?:is|:)[ \t]*(?::[ \t]*)?(\S.*)", re.IGNORECASE))


def normalize(text: str) -> str:
    """The form in which texts are compared."""
    return " ".join(text.strip().rstrip(".").casefold().split())


def extract_text(text: str, *, stated: bool = False) -> str | None:
    """The rest of the line after `####` or "the answer is"; else, unless `stated`, the last line."""
    for marked in _MARKED:
        found = marked.findall(text)
        if found:
            return str(found[-1]).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines and not stated else None


class TextVerifier:
    """Compares texts."""

    name = "text"
    version = 2

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        return extract_text(text, stated=self.settings.stated) if len(text) <= MAX_TEXT else None

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
