"""What a stage will cost: what it says of it, and what it may go by."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from selfimprove.recipe import Recipe
from selfimprove.settings import Settings

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

    problems: int
    """Problems a round, open prompts among them."""
    held_out: int
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
