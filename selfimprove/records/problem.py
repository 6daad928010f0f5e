"""Problems, and how many of them a round draws."""

from typing import ClassVar, Literal

from selfimprove.records.base import Record

PAIRS = "scored/pairs"
"""The task that problems of pairs from a file name."""


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

    @property
    def is_pair(self) -> bool:
        """Whether it stands for the two texts of a pair from a file, and is not there to be answered."""
        return self.task == PAIRS


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
