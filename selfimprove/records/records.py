"""Every kind of record that a run keeps.

Records are frozen, their ids are hashes of their content, and `parents` is the only place where
provenance is stored: from any record the way back to the problem is a walk over `parents`.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from selfimprove.settings import added

ID_LENGTH = 20  # hex digits, 80 bits: a billion records collide with a chance under one in a million

Outcome = Literal["correct", "incorrect", "undecided"]
Origin = Literal["sampled", "rationalized", "revised"]
Role = Literal["policy", "reward", "judge"]
"""What a checkpoint is for. Only what a policy was trained on counts as trained."""
KINDS: dict[str, type["Record"]] = {}
"""Every kind of record that is known, by name."""


def digest(*parts: object) -> str:
    """Hash JSON-able values into a hex id of `ID_LENGTH` digits."""
    return hash_text(json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True))


def hash_text(text: str) -> str:
    """Hash a text into a hex id of `ID_LENGTH` digits."""
    return hashlib.blake2b(text.encode(), digest_size=ID_LENGTH // 2).hexdigest()


def derive_seed(*parts: object) -> int:
    """Derive a 63-bit seed from values, so that a sample's draw depends on what it is and not on when it ran."""
    return int(digest(*parts)[:16], 16) >> 1


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which UTF-8 and so Parquet cannot hold, by U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


class Record(BaseModel):
    """One row of a run; equal content means equal id.

    A field that came later is declared by `added`: at its default it is left out of the id, so that older records keep
    theirs. A kind of another package is registered by its class alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: ClassVar[str]
    _added: ClassVar[tuple[str, ...]] = ()

    parents: tuple[str, ...] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        if not re.fullmatch("[a-z][a-z0-9_]{0,60}", cls.kind):
            raise TypeError(f"'{cls.kind}' is no name of a kind of records: small letters, digits and _, up to 61")
        there = KINDS.setdefault(cls.kind, cls)
        if (there.__module__, there.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"two kinds of records are called '{cls.kind}': {there.__module__} and {cls.__module__}")
        KINDS[cls.kind] = cls
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        cls._added = tuple(name for name, extra in extras.items() if isinstance(extra, dict) and "hashed" in extra)

    @cached_property
    def id(self) -> str:
        return hash_text(f"{self.kind}\0{self.model_dump_json(exclude=self._left_out() if self._added else None)}")

    def _left_out(self) -> set[str] | None:
        fields = type(self).model_fields
        return {name for name in self._added if getattr(self, name) == fields[name].default} or None


AnyRecord = TypeVar("AnyRecord", bound=Record)


class Problem(Record):
    """A question, with its answer where one is known; `group` is the unit that the frontier opens and closes."""

    kind: ClassVar[str] = "problem"
    question: str
    answer: str | None
    task: str
    level: int = 0
    group: str = ""
    options: tuple[str, ...] = ()
    """The texts of the options of a multiple choice, A first; `answer` is then the letter of one, or its text where
    the question shows no letters (yes and no)."""

    @property
    def is_open(self) -> bool:
        """Whether it is a prompt that a constitution has to judge; a scorer may decide without an answer, too."""
        return self.task.startswith("prompts/")


class Rationale(Record):
    """A text that a checkpoint wrote for a problem (STaR, section 3.1); parents: problem, checkpoint, and the rationale
    that it continues or revises where there is one, then the critique that asked for the revision.

    `tokens` counts the completion with its end token; `logprob` is the sum of their natural log-probabilities
    at temperature 1, None where a server did not tell them. `sample` numbers the samples of one problem in one stage.
    """

    kind: ClassVar[str] = "rationale"
    prompt: str
    text: str
    answer: str | None
    origin: Origin
    round: int
    sample: int
    seed: int
    temperature: float
    top_p: float
    tokens: int
    logprob: float | None
    finish: Literal["stop", "length", "too_long"]

    @property
    def problem(self) -> str:
        return self.parents[0]

    @property
    def checkpoint(self) -> str:
        return self.parents[1]


class Step(BaseModel):
    """The verdict on one step of a rationale; `start` and `end` are character offsets into its text.

    `uses` are the places in `Verdict.steps` of earlier steps whose results it takes; `unknown` are the numbers in it
    that stand neither in the question nor in an earlier step; `needed` says whether the answer follows from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    start: int
    end: int
    outcome: Outcome
    reason: str
    uses: tuple[int, ...] = ()
    unknown: tuple[str, ...] = ()
    needed: bool = True


class Verdict(Record):
    """What a verifier says of a rationale; parents: rationale. `outcome` is that of the answer alone.

    `coverage` is the share of the sentences with numbers in which a step was checked, or None where the verifier
    does not look at steps.
    """

    kind: ClassVar[str] = "verdict"
    outcome: Outcome
    reason: str
    steps: tuple[Step, ...] = ()
    coverage: float | None = None
    verifier: str
    version: int

    @property
    def rationale(self) -> str:
        return self.parents[0]

    @property
    def reasoning(self) -> Outcome:
        """The outcome of the steps: incorrect if one is, correct if all are, undecided where nothing was checked."""
        outcomes = {step.outcome for step in self.steps}
        if "incorrect" in outcomes:
            return "incorrect"
        return "correct" if outcomes == {"correct"} else "undecided"

    @property
    def wrong_reason(self) -> bool:
        """Whether a right answer was reached by a wrong step (the paper's wrong-reason-right-answer)."""
        return self.outcome == "correct" and self.reasoning == "incorrect"

    @property
    def ungrounded(self) -> tuple[str, ...]:
        """The numbers that the answer follows from and that come from nowhere."""
        return tuple(number for step in self.steps if step.needed for number in step.unknown)


class Critique(Record):
    """What a checkpoint says of a response by one principle (Constitutional AI; Bai et al., 2022b, section 3.1);
    parents: the response (a rationale), checkpoint.

    `found` says whether it finds something, `line` which line of the response it names, from 1.
    """

    kind: ClassVar[str] = "critique"
    principle: str
    constitution: str
    """Name, version and hash."""
    prompt: str
    text: str
    found: bool
    line: int | None
    round: int
    step: int
    """The place in the chain of revisions, from 1."""
    seed: int
    temperature: float
    tokens: int
    logprob: float | None
    finish: Literal["stop", "length", "too_long"]

    @property
    def response(self) -> str:
        return self.parents[0]


class Revision(Record):
    """What became of a revised response; parents: the revised rationale, the response before it, and the critique where
    there was one.

    `before` and `after` are what the principle's own check says of the two, None where it has none.
    """

    kind: ClassVar[str] = "revision"
    principle: str
    constitution: str
    round: int
    step: int
    kept: bool
    reason: str
    marks: tuple[str, ...]
    """What was seen in the revised text, rejected for it or not: unchanged, leak, exemplar, refusal, about itself."""
    before: Outcome | None
    after: Outcome | None

    @property
    def rationale(self) -> str:
        return self.parents[0]

    @property
    def response(self) -> str:
        return self.parents[1]


class Comparison(Record):
    """Which of two responses a model prefers by one principle (Constitutional AI, section 4.1); parents: the first
    response, the second one, the checkpoint that judged.

    `forward` is the probability of the option (A) where the first response stands there, `backward` where the second
    one does, so that a preference for a place cancels out.
    """

    kind: ClassVar[str] = "comparison"
    principle: str
    constitution: str
    prompt: str
    """As it was with the first response as (A)."""
    reasoning: tuple[str, ...]
    """The chains of thought of the two orders, where they were asked for."""
    forward: float
    backward: float
    round: int
    tokens: int

    @property
    def preferred(self) -> float:
        """The probability that the first response is the better one; a judge that only sees places gives 0.5."""
        return 0.5 + (self.forward - self.backward) / 2


class Vote(Record):
    """The majority over the samples of one problem (self-consistency; Wang et al., 2022); parents: the problem, the
    samples that agree with the majority, the first one first.

    `votes` of `samples` agree; `answers` counts the different ones. Where two answers have as many votes (`tie`), the
    one that was sampled first counts. `answer` is None where no sample gave one: then the parent is the first sample.
    """

    kind: ClassVar[str] = "vote"
    answer: str | None
    votes: int
    samples: int
    answers: int
    tie: bool

    @property
    def problem(self) -> str:
        return self.parents[0]

    @property
    def winner(self) -> str:
        """The sample that stands for the majority."""
        return self.parents[1]

    @property
    def agreeing(self) -> tuple[str, ...]:
        """All samples that agree with the majority; none where there is no answer."""
        return self.parents[1:] if self.votes else ()


class Proposal(Record):
    """A trigger that a checkpoint proposed (APE; Zhou et al., 2022. OPRO; Yang et al., 2023); parents: the checkpoint.

    `text` is what was written, `trigger` the text that was read out of it; `kept` says whether it was tried.
    """

    kind: ClassVar[str] = "proposal"
    prompt: str
    text: str
    trigger: str
    kept: bool
    reason: str
    step: int
    seed: int
    temperature: float
    tokens: int
    logprob: float | None
    finish: Literal["stop", "length", "too_long"]


class CrossCheck(Record):
    """What a second verifier says of a rationale that has a verdict; parents: rationale, verdict."""

    kind: ClassVar[str] = "crosscheck"
    first: Outcome
    second: Outcome
    reason: str
    verifier: str
    version: int

    @property
    def agrees(self) -> bool:
        return self.first == self.second


class Decision(Record):
    """Why a rationale was kept for training or turned away; parents: rationale, verdict."""

    kind: ClassVar[str] = "decision"
    kept: bool
    reason: str

    @property
    def rationale(self) -> str:
        return self.parents[0]


class Example(Record):
    """One SFT row in TRL's columns; parents: rationale and verdict, or the problem of a seed rationale.

    `origin` is that of its rationale, or `seed`; `critique` and `revision` are rows that teach to criticise and to
    revise: their prompts show a response. Stages of others may name an origin of their own.
    """

    kind: ClassVar[str] = "example"
    prompt: str
    completion: str
    origin: str
    group: str
    """The group of its problem."""


class Preference(Record):
    """One DPO row in TRL's columns: a text that is preferred to another one for one prompt (Rafailov et al., 2023).

    Parents: the chosen rationale and the rejected one, then what says so: their verdicts, the revision, comparisons.
    `margin` is how much the one is preferred by who judged, from 0 (a tie) to 1.
    """

    kind: ClassVar[str] = "preference"
    prompt: str
    chosen: str
    rejected: str
    ends: bool = True
    """Whether the texts end here, and are trained with the end token; not where they are cut out of longer ones."""
    margin: float
    source: str
    """verdicts: a correct rationale over an incorrect one of the same problem (IRPO; Pang et al., 2024, section 2);
    revision: a revised response over the original; feedback: a model compared the two (Constitutional AI, section 4);
    file: people did; or the name of another stage that paired them."""
    principle: str = ""
    group: str
    """The group of the problem."""


class Checkpoint(Record):
    """Weights on disk, relative to the run's folder or absolute; parents: the checkpoint before and the examples.

    `method` is the stage's or the trainer's name for how they were made.
    """

    kind: ClassVar[str] = "checkpoint"
    path: str
    method: str
    weights: str
    base: str | None = None
    role: Role = added("policy")


class Evaluation(Record):
    """Accuracy on one group of held-out problems with its Wilson 95% interval; parents: checkpoint, verdicts.

    `n` counts decided problems; undecided ones are counted beside it and lower nothing.
    """

    kind: ClassVar[str] = "evaluation"
    task: str
    level: int
    group: str
    n: int
    correct: int
    undecided: int
    wrong_reason: int
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.n if self.n else 0.0


class Promotion(Record):
    """Whether the round's checkpoint replaces the one before; parents: candidate, incumbent.

    `won` and `lost` count held-out problems that only the candidate, or only the incumbent, solves.
    """

    kind: ClassVar[str] = "promotion"
    promoted: bool
    won: int
    lost: int
    p_value: float
    reason: str

    @property
    def checkpoint(self) -> str:
        """The checkpoint that the next round starts from."""
        return self.parents[0] if self.promoted else self.parents[1]


class Frontier(Record):
    """How many problems of a group a round draws, and why; attempts and correct are the last ones sampled."""

    kind: ClassVar[str] = "frontier"
    round: int
    task: str
    level: int
    group: str
    attempts: int
    correct: int
    state: Literal["closed", "open", "mastered"]
    draw: int
    reason: str

    @property
    def share(self) -> float:
        """The yield: the share of the last samples that passed."""
        return self.correct / self.attempts if self.attempts else 0.0


class Action(Record):
    """What a steering stage changes for the round that it stands in; parents: the records that it looked at.

    `changes` are settings as `--set` takes them, `generate.temperature=1.0`: they hold for the stages after it in its
    round. A changed action changes the fingerprints of all that follows.
    """

    kind: ClassVar[str] = "action"
    round: int
    changes: tuple[str, ...]
    rule: str
    reason: str


def by_id(records: Iterable[AnyRecord]) -> dict[str, AnyRecord]:
    """Index records by their ids."""
    return {record.id: record for record in records}
