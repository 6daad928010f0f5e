"""What a verifier offers, and what all verifiers do before they look at an answer."""

from typing import Protocol

from selfimprove.recipe.task_settings import Marks, VerifierSettings
from selfimprove.records import Outcome, Problem, Rationale, Step, Verdict
from selfimprove.verifiers.announcements import find_announcements
from selfimprove.verifiers.layout import is_foreign
from selfimprove.verifiers.thinking import complete, strip_thinking

MAX_TEXT = 50_000  # characters; longer texts are not parsed at all


class Verifier(Protocol):
    """Judges rationales; `version` changes whenever a verdict may, so that no run mixes both kinds unsaid."""

    name: str
    version: int
    settings: VerifierSettings

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        """The answer that a text gives to a problem, in the form that is compared; None where it gives none."""
        ...

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict | None:
        """The verdict, where our own bounded code can give it; None where a parser of others must be asked."""
        ...

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        """The verdict. Where `quick` has none this may take any time and memory: ask for it in a worker (`pool`)."""
        ...


def refuse(problem: Problem, rationale: Rationale, thinking: tuple[Marks, ...] = ()) -> tuple[Outcome, str] | None:
    """The verdict that needs no look at the answer, or None: what cannot be judged is undecided, not incorrect."""
    if rationale.finish == "too_long":
        return "undecided", "the prompt was too long for the model, nothing was written"
    if not (problem.answer or "").strip():
        return "undecided", "the problem has no answer to compare with"
    if len(rationale.text) > MAX_TEXT:
        return "undecided", f"the text has {len(rationale.text)} characters, over the limit of {MAX_TEXT}"
    return _refuse_silence(rationale, thinking) if rationale.answer is None else None


def _refuse_silence(rationale: Rationale, thinking: tuple[Marks, ...]) -> tuple[Outcome, str]:
    """The verdict on a text without an answer that was read; one in another language may have it all the same."""
    text = (
        strip_thinking(complete(rationale.text, rationale.prompt, thinking), thinking) if thinking else rationale.text
    )
    if thinking and (is_foreign(text) or find_announcements(text, options=True)):
        return "undecided", "no answer was read in this text, which is in another language than English"
    where = " after its thinking" if rationale.text.strip() and not text.strip() else ""
    cut = " before the length limit" if rationale.finish == "length" else ""
    return "incorrect", f"no answer found{where}{cut}"


def make_verdict(
    verifier: Verifier,
    rationale: Rationale,
    outcome: Outcome,
    reason: str,
    steps: tuple[Step, ...] = (),
    coverage: float | None = None,
) -> Verdict:
    """A verdict that names the verifier and its version."""
    return Verdict(
        parents=(rationale.id,),
        outcome=outcome,
        reason=reason,
        steps=steps,
        coverage=coverage,
        verifier=verifier.name,
        version=verifier.version,
    )


def quote(text: str, length: int = 60) -> str:
    """A text of a model as a reason shows it: one short line."""
    if text.isdigit() and len(text) <= length:
        return f"'{text}'"
    if len(text) <= length and text.isascii() and text.isprintable() and "  " not in text:
        return repr(text)
    plain = " ".join(text.split())
    return repr(plain if len(plain) <= length else plain[: length - 1] + "…")
