"""math-verify as its users call it, to cross-check our own verdicts with."""

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.verifiers.answers import find_statements, prepare
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, refuse
from selfimprove.verifiers.thinking import complete, strip_thinking


class MathVerifyVerifier:
    """Extraction and comparison by math-verify, with its defaults; it always needs a worker."""

    name = "math-verify"
    version = 2

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        """Our own extraction, for the record; math-verify makes its own out of the text."""
        if len(text) > MAX_TEXT:
            return None
        found = find_statements(prepare(text, self.settings.thinking), self.settings.stated)
        return found[-1].text if found else None

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict | None:
        refused = refuse(problem, rationale)
        return make_verdict(self, rationale, *refused) if refused and refused[0] == "undecided" else None

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        from selfimprove.verifiers.symbolic import compare_texts

        thinking = self.settings.thinking
        text = strip_thinking(complete(rationale.text, rationale.prompt, thinking), thinking)
        quick = self.quick(problem=problem, rationale=rationale)
        return quick or make_verdict(self, rationale, *compare_texts(gold=str(problem.answer), text=text))
