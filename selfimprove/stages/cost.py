"""What a stage will cost: what it says of it, and what it may go by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from selfimprove.constitution import Constitution
from selfimprove.recipe import Recipe
from selfimprove.records import Problem
from selfimprove.settings import Settings
from selfimprove.tasks import Task

S_co = TypeVar("S_co", bound=Settings, covariant=True)


@dataclass(frozen=True)
class Cost:
    """What a stage will ask for: `texts` of at most `longest` tokens each, or `rows` to train on.

    `measured_as` names the stages whose measured length of a text stands in for `longest`, the first one that was
    measured.
    """

    texts: float = 0
    longest: int = 0
    rows: float = 0
    measured_as: tuple[str, ...] = ()
    upto: bool = False
    """Whether there may be none: how many there are is only known once texts are judged."""


@dataclass(frozen=True)
class Sizes:
    """How many records a stage will meet, as far as it can be told before the run."""

    problems: int = 0
    """Problems a round, open prompts among them."""
    held_out: int = 0
    open: int = 0
    """Open prompts a round."""
    kept: float = 0
    """Examples that a round keeps at most."""


@dataclass(frozen=True)
class Look(Generic[S_co]):
    """What an estimate goes by: a stage's settings, the others', and how much there is."""

    settings: S_co
    recipe: Recipe
    sizes: Sizes
    round: int


class Given(Protocol):
    """The data of a run, before anything is made of it."""

    @property
    def task(self) -> Task: ...
    @property
    def open_task(self) -> Task | None: ...
    @property
    def held_out(self) -> Sequence[Problem]: ...
    @property
    def held_out_tasks(self) -> Sequence[Task]: ...
    @property
    def constitution(self) -> Constitution | None: ...


@dataclass(frozen=True)
class CutOff:
    """How many texts a stage has cut off so far, and in which run."""

    cut_off: int
    texts: int
    run: str


@dataclass(frozen=True)
class Ahead(Generic[S_co]):
    """What a stage may go by where it says something of a round before that begins."""

    settings: S_co
    recipe: Recipe
    given: Given
    sizes: Sizes
    """In `Stage.sizes` what the stages before it make; elsewhere what the whole round makes."""
    cut_off: Mapping[str, CutOff] = field(default_factory=dict)
    """By the declared name of stages that have written texts before."""
