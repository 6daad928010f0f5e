"""What a model wrote, and what verifiers and votes say of it."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from selfimprove.records.base import Origin, Outcome, Record, TokenIds
from selfimprove.settings import unhashed


class Rationale(Record):
    """A text that a checkpoint wrote for a problem (STaR, section 3.1); parents: problem, checkpoint, and the rationale
    that it continues or revises where there is one, then the critique that asked for the revision.

    `tokens` counts the completion with its end token; `logprob` is the sum of their natural log-probabilities
    at temperature 1, None where a server did not tell them. `sample` numbers the samples of one problem in one stage.
    `token_ids` are the tokens of `text` as they were sampled, without the one that ended it; None where they are not
    known or are not just this text, as where it begins with an earlier one. `token_lengths` and `token_costs` are kept
    with `engine.token_logprobs`, and are as many as they.
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
    token_ids: TokenIds | None = unhashed(None, "the tokens of the text as they were sampled")
    token_lengths: TokenIds | None = unhashed(None, "how many characters of the text each token wrote")
    token_costs: TokenIds | None = unhashed(
        None, "each token's negative log-probability at temperature 1, in hundredths of a nat"
    )

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

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
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


class Reward(Record):
    """What a text is worth (Christiano et al., 2017); parents: the rationale, then what says so: the checkpoints of
    reward models, or the verdict; a rule has no record.

    `value` is None where it is undecided. `members` are what the models of an ensemble say each.
    """

    kind: ClassVar[str] = "reward"
    value: float | None
    by: str
    """The stage that says so, by its name in the flow."""
    reward: str
    """model, verdict, or the name of a rule."""
    members: tuple[float, ...] = ()

    @property
    def rationale(self) -> str:
        return self.parents[0]


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
