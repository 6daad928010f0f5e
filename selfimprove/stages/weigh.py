"""Whether a revision takes the place of the response, and which of several does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from selfimprove.constitution import Principle
from selfimprove.constitution.checks import comply, comply_as_written
from selfimprove.constitution.model import VerifierCheck
from selfimprove.constitution.transcript import Prompter
from selfimprove.prompting.phrases import find_leak, only_refuses, refuses, repeats, same_text, speaks_of_itself
from selfimprove.records import Critique, Outcome, Problem, Rationale, Revision, Verdict
from selfimprove.stages.critique import Link

OFF_TOPIC = "off topic"
Mark = Literal["unchanged", "leak", "exemplar", "refusal", "about itself"]
REASONS = {
    "leak": "it repeats the prompt's own words",
    "exemplar": "it is the answer of an exemplar",
    "refusal": "it only refuses",
}


@dataclass
class Chain:
    """One response on its way; `settled` holds the principles by which nothing changed since the last change."""

    problem: Problem
    response: Rationale
    verdict: Verdict
    principles: tuple[Principle, ...]
    settled: set[str] = field(default_factory=set)

    @property
    def moves(self) -> bool:
        return any(one.id not in self.settled for one in self.principles)


@dataclass(frozen=True)
class Weighed:
    """A revised response with all that speaks for and against it."""

    chain: Chain
    link: Link
    critique: Critique | None
    revised: Rationale
    verdict: Verdict
    relevance: float | None = None
    shown: str = ""
    """Principles as they stood in the prompt, where it held more than the requests of the link's principle."""


@dataclass(frozen=True)
class Scales:
    """By what revisions are weighed."""

    prompter: Prompter
    reject: Sequence[str]
    relevance: float | None
    no_worse: Literal["principle", "all"]
    blind: bool

    def weigh(self, one: Weighed) -> Revision:
        """Whether a revision may take the place of the response, and why not."""
        check = one.link.principle.check
        before: Outcome | None = None
        after: Outcome | None = None
        if check:
            before, _ = comply(check, one.link.response.text, one.chain.verdict)
            after, _ = comply(check, one.revised.text, one.verdict)
        prompter = self.prompter
        asked = [prompter.constitution.request(one.link.principle, kind) for kind in ("critique", "revision")]
        asked += [one.shown] if one.shown else []
        marks = find_marks(one.link.response.text, one.revised.text, prompter.labels, prompter.shown_texts, asked)
        off = one.relevance is not None and self.relevance is not None and one.relevance < self.relevance
        reason = self._why_not(one, marks, off)
        return Revision(
            parents=(one.revised.id, one.link.response.id, *([one.critique.id] if one.critique else [])),
            principle=one.link.principle.id,
            constitution=prompter.constitution.label,
            round=one.revised.round,
            step=one.link.step,
            kept=not reason,
            reason=reason or "kept",
            marks=(*marks, *([OFF_TOPIC] if off else [])),
            before=before,
            after=after,
            relevance=one.relevance,
        )

    def _why_not(self, one: Weighed, marks: Sequence[str], off: bool) -> str:
        """Why a revision is not kept, or nothing."""
        revised, before = one.revised, one.chain.verdict
        if revised.finish != "stop":
            return "the prompt was too long" if revised.finish == "too_long" else "cut off at the length limit"
        if not revised.text.strip():
            return "empty"
        if rejected := next((mark for mark in marks if mark in self.reject), None):
            return REASONS.get(rejected, rejected)
        if off:
            return (
                f"it says too little of its prompt: {one.relevance:.3f} nats a token, at least {self.relevance:g} asked"
            )
        if not self.blind and before.outcome == "correct" and one.verdict.outcome == "incorrect":
            return f"the answer was right before: {one.verdict.reason}"
        return self._why_worse(one)

    def _why_worse(self, one: Weighed) -> str:
        held = one.chain.principles if self.no_worse == "all" else (one.link.principle,)
        for principle in held:
            check = principle.check
            if check is None or (self.blind and isinstance(check, VerifierCheck)):
                continue
            before, _ = comply(check, one.link.response.text, one.chain.verdict)
            after, why = comply(check, one.revised.text, one.verdict)
            if before == "correct" and after == "incorrect":
                whose = "the principle's check" if principle.id == one.link.principle.id else f"'{principle.id}'"
                return f"it passed {whose} before: {why}"
        return ""


def count_passed(one: Weighed) -> int:
    """How many checks of the principles that hold for its prompt a revision passes."""
    checks = [principle.check for principle in one.chain.principles if principle.check]
    return sum(comply_as_written(check, one.revised, one.verdict)[0] == "correct" for check in checks)


def find_marks(
    response: str, revised: str, labels: Iterable[str], exemplars: Iterable[str] = (), requests: Iterable[str] = ()
) -> tuple[str, ...]:
    """What is to be seen in a revised text without a model, most telling first."""
    found = {
        "unchanged": same_text(response, revised),
        "leak": find_leak(revised, labels) is not None or any(repeats(revised, one) for one in requests),
        "exemplar": any(same_text(revised, one) for one in exemplars),
        "refusal": only_refuses(revised) and not refuses(response),
        "about itself": speaks_of_itself(revised),
    }
    return tuple(mark for mark, seen in found.items() if seen)
