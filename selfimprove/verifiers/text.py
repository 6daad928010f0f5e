"""Answers that are words: compared as text, without case, surrounding space and a final stop."""

import re

from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, refuse

_MARKED = (re.compile(r"####[ \t]*(\S.*)"), re.compile(r"answer\s*(?:is|:)[ \t]*(?::[ \t]*)?(\S.*)", re.IGNORECASE))


def normalize(text: str) -> str:
    """The form in which texts are compared."""
    return " ".join(text.strip().rstrip(".").casefold().split())


class TextVerifier:
    """Compares texts."""

    name = "text"
    version = 1

    def extract_answer(self, text: str) -> str | None:
        if len(text) > MAX_TEXT:
            return None
        for marked in _MARKED:
            found = marked.findall(text)
            if found:
                return str(found[-1]).strip()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else None

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        refused = refuse(problem, rationale)
        if refused:
            return make_verdict(self, rationale, *refused)
        if normalize(rationale.answer or "") == normalize(problem.answer or ""):
            return make_verdict(self, rationale, "correct", "the texts are equal")
        return make_verdict(
            self, rationale, "incorrect", f"answered {(rationale.answer or '')[:80]!r}, expected {problem.answer!r}"
        )
