"""What a checkpoint reaches, and whether it is kept."""

from typing import ClassVar, Literal

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


class Audit(Record):
    """Whether what a text is worth by its reward, and by another one that nothing was trained on, went apart while a
    policy was trained (Gao et al., 2022); parents: the checkpoint.

    All are means over texts in order of training: over the first of them, the last, and where `gold` was highest.
    """

    kind: ClassVar[str] = "audit"
    gold: str
    """The reward that was only measured."""
    reward_first: float
    reward_last: float
    gold_first: float
    gold_last: float
    gold_highest: float
    step: int
    """Where `gold` was highest, in optimizer steps."""
    rose: bool
    """Whether the reward rose by more than chance."""
    fell: bool
    """Whether `gold` ended lower than where it was highest, by more than chance."""
    worse: bool
    """Whether it ended lower than where it began, by more than chance."""

    @property
    def warns(self) -> bool:
        return self.rose and (self.fell or self.worse)

    @property
    def said(self) -> str:
        """In words, as the end of a sentence."""
        rise = f"the reward rose from {self.reward_first:.3g} to {self.reward_last:.3g}"
        if not self.warns:
            return f"{rise}, and {self.gold} went from {self.gold_first:.3g} to {self.gold_last:.3g}"
        since = f"{self.gold_first:.3g}" if self.worse else f"{self.gold_highest:.3g} (step {self.step})"
        return f"{rise} while {self.gold} fell from {since} to {self.gold_last:.3g}"


class Overlap(Record):
    """What a row that is to be trained shares with a problem that is evaluated; parents: the row, the problem."""

    kind: ClassVar[str] = "overlap"
    rule: Literal["exact", "words", "long", "numbers"]
    """exact: the row's prompt is the question; words: runs of 8 words cover enough of it; long: a run of 13 words of a
    long question; numbers: so much of it is the same that the numbers alone may be others."""
    where: str
    """The row's column, such as `completion`."""
    share: float
    """How much of the question's own words these runs cover."""
    passage: str
    """The longest piece, in the words of the question."""
    dropped: bool
    """Whether the row is left out of what is trained."""


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
