"""What is trained, why, and what comes of it."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from selfimprove.records.base import Record, Role, TokenIds
from selfimprove.settings import added, unhashed

OF_BASE = "weights of its base"
"""In the manifest of the stage that made the first checkpoint: the hash of the model under its adapter."""


class Decision(Record):
    """Why a rationale was kept for training or turned away; parents: rationale, verdict."""

    kind: ClassVar[str] = "decision"
    kept: bool
    reason: str

    @property
    def rationale(self) -> str:
        return self.parents[0]


class Example(Record):
    """One SFT row in TRL's columns; parents: rationale and verdict, a seed rationale's problem, or a mixture's draw.

    `origin` is that of its rationale, `seed` or `mixture`; `critique` and `revision` are rows that teach to criticise
    and to revise: their prompts show a response. Stages of others may name an origin of their own. `weight` is how much
    each of its tokens counts in the loss.

    `token_ids` are those of a completion that is a sample as it was written. Where only its text is known,
    `sampled_tokens` is how many the engine counted.
    """

    kind: ClassVar[str] = "example"
    prompt: str
    completion: str
    origin: str
    group: str
    """The group of its problem."""
    token_ids: TokenIds | None = unhashed(None, "the tokens of the completion as they were sampled")
    sampled_tokens: int | None = unhashed(None, "the number of sampled tokens where they themselves are not known")
    weight: float = added(1.0)


PEOPLE, FILE = "people", "file"
"""Where a pair is from: what people ranked or rated, as this package writes it, or any other file."""


class Preference(Record):
    """One DPO row in TRL's columns: a text that is preferred to another one for one prompt (Rafailov et al., 2023).

    Parents: the chosen rationale and the rejected one, then what says so: their verdicts, the revision, comparisons.
    `margin` is how much the one is preferred by who judged, from 0 (a tie) to 1; where a training goes by margins it is
    below 0 for a text that `label` chose by noise alone. `weight` is how much the pair counts in a reward model:
    1/(K - 1) for those of K responses that were ranked at once (InstructGPT, section 3.5).
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
    people: people ranked or rated them; file: a file of pairs says so; or the name of another stage that made them."""
    principle: str = ""
    group: str
    """The group of the problem."""
    weight: float = added(1.0)
    chosen_token_ids: TokenIds | None = unhashed(None, "the tokens of the chosen text as they were sampled")
    rejected_token_ids: TokenIds | None = unhashed(None, "the tokens of the rejected text as they were sampled")
    chosen_sampled_tokens: int | None = unhashed(None, "their number where they themselves are not known")
    rejected_sampled_tokens: int | None = unhashed(None, "their number where they themselves are not known")


class Distillation(Record):
    """A row of self-distillation: a text that the policy sampled after `prompt`, whose next tokens the same model is
    asked for after `hinted`, where the answer stands (SDFT; Shenfeld et al., 2026); parents: rationale, verdict.

    Only `prompt` is trained. `token_ids` and `sampled_tokens` are as in an Example.
    """

    kind: ClassVar[str] = "distillation"
    prompt: str
    hinted: str
    completion: str
    group: str
    """The group of its problem."""
    token_ids: TokenIds | None = unhashed(None, "the tokens of the completion as they were sampled")
    sampled_tokens: int | None = unhashed(None, "the number of sampled tokens where they themselves are not known")


class Earned(BaseModel):
    """What one of several rewards gives a text, before its weight; None where it is undecided."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    reward: str
    value: float | None


class Rollout(Record):
    """What a text was worth to the policy that wrote it and was trained on it (RLOO, GRPO); parents: the rationale, and
    its verdict where a verifier gave one.

    The checkpoint of such a rationale is the one that training began with: the policy that wrote it had taken `step`
    more optimizer steps, and was kept nowhere.
    """

    kind: ClassVar[str] = "rollout"
    round: int
    step: int
    reward: float | None
    """The sum with weights, without what KL costs; None where a part is undecided, which gives no gradient."""
    parts: tuple[Earned, ...]
    kl: float | None
    """log policy(text) - log reference(text) in nats, of the whole text; None without a reference."""
    advantage: float

    @property
    def rationale(self) -> str:
        return self.parents[0]


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
