"""What a model says of texts by a constitution."""

from typing import ClassVar, Literal

from selfimprove.records.base import Outcome, Record, TokenIds
from selfimprove.settings import added, unhashed


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
    token_ids: TokenIds | None = unhashed(None, "the tokens of the text as they were sampled")

    @property
    def response(self) -> str:
        return self.parents[0]


class Revision(Record):
    """What became of a revised response; parents: the revised rationale, the response before it, and the critique where
    there was one.

    `before` and `after` are what the principle's own check says of the two, None where it has none. `relevance` is how
    much likelier the revised text is after its prompt than after other prompts, in nats a token, where it was measured.
    """

    kind: ClassVar[str] = "revision"
    principle: str
    constitution: str
    round: int
    step: int
    kept: bool
    reason: str
    marks: tuple[str, ...]
    """What was seen in the revised text, rejected for it or not: unchanged, leak, exemplar, refusal, about itself, off
    topic."""
    before: Outcome | None
    after: Outcome | None
    relevance: float | None = added(None)

    @property
    def rationale(self) -> str:
        return self.parents[0]

    @property
    def response(self) -> str:
        return self.parents[1]


class Compliance(Record):
    """Whether a held-out response complies with a principle's check; parents: the response (a rationale).

    What cannot be told of a response that was cut off is undecided.
    """

    kind: ClassVar[str] = "compliance"
    principle: str
    constitution: str
    """Name, version and hash."""
    outcome: Outcome
    reason: str

    @property
    def response(self) -> str:
        return self.parents[0]


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
