"""What was drawn of a mixture of data sets to be trained on."""

from typing import ClassVar, Literal

from selfimprove.records.base import Record

TURNED_AWAY = ("empty", "duplicates", "too_long", "held_out", "failed")
"""What a portion counts that is not trained, by the names of its fields."""


class Draw(Record):
    """A row of a data set, the template and the form in which it was asked for, and whether it is trained.

    It is the parent of its example. `tokens` are those of its prompt and its completion, 0 where they were not counted.
    """

    kind: ClassVar[str] = "draw"
    data_set: str
    cluster: str
    template: str
    place: str
    """The file and the line."""
    forms: tuple[str, ...]
    """few-shot, chain of thought, options, inverted, as far as it has them."""
    tokens: int
    completion_tokens: int
    kept: bool
    reason: str
    """Why it is not trained, or `kept`."""
    text: str
    """Of what is not trained: how the prompt begins."""


class Portion(Record):
    """How much of what a mixture gave is of a data set, and what was asked for; it has no parents."""

    kind: ClassVar[str] = "portion"
    round: int
    by: Literal["mixture", "cluster", "data set", "template", "form"]
    name: str
    rows: int
    of: int
    """The rows that it is a share of: all, and of a form those that could have it or not, of which `rows` are some."""
    tokens: int
    """Those of prompts and completions."""
    completion_tokens: int
    token_share: float
    """Of all tokens."""
    asked: float
    """The share of rows that was asked for."""
    empty: int
    """Rows without a target."""
    duplicates: int
    too_long: int
    held_out: int
    """Rows whose prompt is that of a held-out problem."""
    failed: int
    """Rows that a template makes nothing of."""

    @property
    def share(self) -> float:
        return self.rows / self.of if self.of else 0.0
