"""The constitution file, as pydantic models."""

from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from selfimprove.prompting.prompts import fill
from selfimprove.records import digest
from selfimprove.settings import Settings

Use = Literal["critique", "preference"]
REQUEST_FIELDS = ("title", "text", "nothing")
MARKS = " .!\"'“”*"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("should not be empty")
    return text


Text = Annotated[str, AfterValidator(_said)]


# --- checks: what measures compliance without a model ----------------------------------------------------------


class PatternCheck(Settings):
    """How often a regular expression matches."""

    name: Literal["pattern"] = "pattern"
    regex: Text
    """^ and $ match at every line; case counts unless it begins with (?i)."""
    at_least: NonNegativeInt = 1
    at_most: NonNegativeInt | None = None
    """No limit without it; 0, with `at_least: 0`, for what must not stand there."""


class LengthCheck(Settings):
    """How long a response is."""

    name: Literal["length"] = "length"
    unit: Literal["words", "lines", "characters"] = "words"
    at_least: NonNegativeInt = 0
    at_most: NonNegativeInt | None = None


class VerifierCheck(Settings):
    """What the verifier of the task says."""

    name: Literal["verifier"] = "verifier"
    require: Literal["answer", "steps", "grounded"] = "steps"
    """answer: the answer is correct; steps: no step is wrong; grounded: no number comes from nowhere."""


Check = Annotated[PatternCheck | LengthCheck | VerifierCheck, Field(discriminator="name")]


# --- principles ------------------------------------------------------------------------------------------------


class CritiqueExemplar(Settings):
    """A response with its critique and its revision, shown before the one that is criticised."""

    question: Text
    """What was asked; earlier turns of a conversation stand in it as they are."""
    response: Text
    critique: Text
    revision: Text
    answer: str | None = None
    """The expected answer, for a check that needs it."""


class ComparisonExemplar(Settings):
    """Two responses of which one was chosen, shown before the two that are compared."""

    question: Text
    chosen: Text
    rejected: Text
    reasoning: str = ""
    """The chain of thought that led to the choice, for comparisons with CoT."""
    first: Literal["chosen", "rejected"] = "chosen"
    """Which of the two is shown as (A), because the reasoning may speak of it by its letter."""


class Scope(Settings):
    """What a principle applies to: everything, unless tasks or tags are named; one of them must then fit."""

    tasks: tuple[str, ...] = ()
    """Names of tasks; `mmlu` stands for all its subjects."""
    tags: tuple[str, ...] = ()
    """Tags of prompts."""

    def holds(self, task: str, tags: tuple[str, ...] = ()) -> bool:
        """Whether a prompt of this task with these tags is within the scope."""
        if not self.tasks and not self.tags:
            return True
        return task in self.tasks or task.partition("/")[0] in self.tasks or not set(tags).isdisjoint(self.tags)


class Principle(Settings):
    """One principle: what a good answer is, in plain words, and how the model is asked about it."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    """Stays as it is when the wording changes: reports and overrides go by it."""
    title: str = ""
    text: Text
    """The principle, in plain words."""
    critique: Text | None = None
    """The critique request; the constitution's own without it."""
    revision: Text | None = None
    """The revision request; the constitution's own without it."""
    preference: Text | None = None
    """The question which of two responses is better; the constitution's own without it."""
    weight: NonNegativeFloat = 1.0
    """How often it is drawn beside the others; 0 turns it off."""
    uses: tuple[Use, ...] = ("critique", "preference")
    """What it is drawn for."""
    scope: Scope = Scope()
    exemplars: tuple[CritiqueExemplar, ...] = ()
    """Shown before the response that is criticised by it; the constitution's own without them."""
    check: Check | None = None
    """Measures compliance without a model."""


class Transcript(Settings):
    """How a response, its critique and its revision stand below each other for a model without a chat template."""

    question: Text = "Human: {question}\n\nAssistant: {response}"
    critique: Text = "\n\nCritique Request: {request}\n\nCritique: {critique}"
    """Before {critique} and {revision} the {question} may stand once more."""
    revision: Text = "\n\nRevision Request: {request}\n\nRevision: {revision}"
    comparison: Text = "{question}\n\n{request}\nOptions:\n(A) {first}\n(B) {second}\nThe answer is: {choice}"
    """Of two responses; {choice} is (A) or (B)."""
    reasoning: Text = "{question}\n\n{request}\n(A) {first}\n(B) {second}\nLet's think step by step: {reasoning}"
    """The same with room for a chain of thought, after which the model is asked as in `answer`."""
    answer: Text = "\nThe answer is: {choice}"
    separator: str = "\n\n"
    """Between exemplars."""


class Constitution(Settings):
    """What a good answer is."""

    name: str = Field(pattern=NAME)
    version: PositiveInt = 1
    """Raise it when the wording changes, so that people can speak of it; records hold the hash too."""
    description: str = ""
    preamble: str = ""
    """Stands before everything that the model is asked by this constitution."""
    critique: Text = "Point out where the response goes against this principle: {text} If it does not, say: {nothing}"
    """How critiques are asked for; it may hold {text} and {title} of the principle, and {nothing}."""
    revision: Text = "Rewrite the response so that it follows this principle: {text} Keep what is good in it."
    """How revisions are asked for."""
    preference: Text = "Which response follows this principle better? {text}"
    """How two responses are compared."""
    nothing: Text = "Nothing to improve."
    """A critique that begins or ends with this finds nothing, and no revision is asked for."""
    principles: tuple[Principle, ...]
    exemplars: tuple[CritiqueExemplar, ...] = ()
    """For principles without their own."""
    comparisons: tuple[ComparisonExemplar, ...] = ()
    """Shown before two responses that are compared."""
    transcript: Transcript = Transcript()

    def finds_nothing(self, critique: str) -> bool:
        """Whether a critique finds nothing, at once or at its end; a full stop and quotation marks make no difference,
        unless `nothing` is no more than that."""
        said, nothing = critique.strip().casefold(), self.nothing.strip().casefold()
        if not said or said.startswith(nothing) or said.endswith(nothing):
            return True
        bare = nothing.strip(MARKS)
        return bool(bare) and said.strip(MARKS).endswith(bare)

    @property
    def label(self) -> str:
        """How records name it: name, version and hash."""
        return f"{self.name} {self.version} {self.hash}"

    @cached_property
    def hash(self) -> str:
        """Of everything that it says, inherited or not."""
        return digest(self.model_dump(mode="json"))

    def applying(self, use: Use, task: str, tags: tuple[str, ...] = ()) -> tuple[Principle, ...]:
        """The principles that can be drawn for a use on a prompt."""
        return tuple(one for one in self.principles if one.weight and use in one.uses and one.scope.holds(task, tags))

    def share(self, principle: Principle, use: Use) -> float:
        """How often a principle is drawn for a use where all are in scope."""
        total = sum(one.weight for one in self.principles if use in one.uses)
        return principle.weight / total if total and use in principle.uses else 0.0

    def request(self, principle: Principle, kind: Literal["critique", "revision", "preference"]) -> str:
        """The request of a principle, or the constitution's own, with its fields filled in."""
        template: str = getattr(principle, kind) or getattr(self, kind)
        values = {"text": principle.text.strip(), "title": principle.title, "nothing": self.nothing}
        return fill(template, values)

    def shown(self, principle: Principle) -> tuple[CritiqueExemplar, ...]:
        """The exemplars that stand before a critique by this principle."""
        return principle.exemplars or self.exemplars
