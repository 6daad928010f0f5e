"""What a checkpoint reaches, and whether it is kept."""

from typing import ClassVar

from selfimprove.records.base import Record

KL = "KL from the base"
"""How far the policy has moved from the model before round 1, among what is noted of a stage."""


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
