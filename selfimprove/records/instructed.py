"""Tasks that a model proposes for itself."""

from typing import ClassVar, Literal

from selfimprove.records.base import Record

INSTRUCTIONS = "instructions"
"""Under this name a stage notes what was proposed, kept and turned away, and how different it is."""


class Instruction(Record):
    """An instruction that a checkpoint proposed (Self-Instruct; Wang et al., 2023, section 2.2); parents: the
    checkpoint, then those of its own that it was shown. A seed has no parents.

    `similarity` is the ROUGE-L F-measure with `nearest`, the text that is most like it of all that were kept before.
    """

    kind: ClassVar[str] = "instruction"
    text: str
    origin: Literal["seed", "proposed"]
    kept: bool
    reason: str
    """`kept`, or why it was turned away."""
    nearest: str = ""
    similarity: float = 0.0
    classification: bool | None = None
    """What the checkpoint says, of what is kept."""
    round: int
    step: int = 0
    """Which time it was asked."""
    seed: int = 0
    verb: str = ""
    noun: str = ""
    """How the instruction begins and what it is about, by a simple rule; empty where that finds none."""


class Instance(Record):
    """An input of an instruction and its output, as a checkpoint wrote both; parents: instruction, checkpoint.

    `text` is all that was written for the instruction, of which there may be several instances.
    """

    kind: ClassVar[str] = "instance"
    input: str
    output: str
    text: str
    kept: bool
    reason: str
    output_first: bool
    round: int
    seed: int
    tokens: int
    finish: Literal["stop", "length", "too_long"]

    @property
    def instruction(self) -> str:
        return self.parents[0]
