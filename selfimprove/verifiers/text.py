"""Answers that are words: compared as text, without case, surrounding space, what sets them off, and a final stop."""

import re
from collections.abc import Sequence

from selfimprove.recipe.task_settings import Marks, VerifierSettings
from selfimprove.records import Outcome, Problem, Rationale, Verdict
from selfimprove.verifiers.announcements import find_announcements
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, quote, refuse
from selfimprove.verifiers.layout import find_tags, lay_out
from selfimprove.verifiers.thinking import strip_thinking

_SET_OFF = " \t\n*_`\"'“”‘’."
_MARKED = (
    re.compile(r"####[ \t]*(\S.*)"),
    re.compile(r"\\f?boxed\s?\{(?:\\(?:text|mathrm|textbf)\s?\{)?([^{}\n]{1,300})\}"),
    re.compile(r"answer[*_]{0,2}\s{0,4}(?:is|:)[ \t]{0,4}(?::[ \t]{0,4})?(\S.*)", re.IGNORECASE),
)


def normalize(text: str) -> str:
    """The form in which texts are compared."""
    return " ".join(text.strip(_SET_OFF).casefold().split())


def extract_text(text: str, *, stated: bool = False) -> str | None:
    """What stands in a tag, after `####`, in a box, after "the answer is"; else, unless `stated`, the last line."""
    tags = find_tags(text) if "<" in text else []
    if tags:
        return tags[-1].text.strip()
    for marked in _MARKED:
        found = marked.findall(text)
        if found:
            return str(found[-1]).strip()
    foreign = [one for one in find_announcements(text) if not one.supposed]
    said = text[foreign[-1].end :].split("\n", 1)[0].strip() if foreign else ""
    if said:
        return said
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines and not stated else None


def _prepare(text: str, thinking: Sequence[Marks]) -> str:
    return lay_out(strip_thinking(text, thinking))


class TextVerifier:
    """Compares texts."""

    name = "text"
    version = 4

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        if len(text) > MAX_TEXT:
            return None
        thinking = self.settings.thinking
        text = strip_thinking(text, thinking) if self.settings.answers.strict else _prepare(text, thinking)
        return extract_text(text, stated=self.settings.stated)

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        return self.verify(problem=problem, rationale=rationale)

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        return make_verdict(self, rationale, *self._judge(problem, rationale))

    def _judge(self, problem: Problem, rationale: Rationale) -> tuple[Outcome, str]:
        refused = refuse(problem, rationale, self.settings.thinking)
        if refused:
            return refused
        said, expected = rationale.answer or "", problem.answer or ""
        if said == expected or (not self.settings.answers.strict and normalize(said) == normalize(lay_out(expected))):
            return "correct", "the texts are equal"
        return "incorrect", f"answered {quote(said)}, expected {problem.answer!r}"
