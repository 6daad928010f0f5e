"""How good a run's reward models are on pairs that they were not trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from selfimprove.store.manifest import Manifest

HELD_OUT = "held out"
TRAINED = "trained pairs"


class Right(BaseModel):
    """Of how many pairs the preferred text has the higher reward, with its Wilson 95% interval."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    n: NonNegativeInt
    right: NonNegativeInt
    low: float
    high: float


class Calibration(BaseModel):
    """The expected calibration error of the probabilities that follow from the rewards."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    error: float


class Measured(BaseModel):
    """The figures of a reward model, or of all models of an ensemble together (`stages.reward_figures`)."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, allow_inf_nan=False)
    pairs: NonNegativeInt
    prompts: NonNegativeInt
    accuracy: Right | None = None
    by_source: dict[str, Right] = Field(default_factory=dict, alias="by source")
    by_level: dict[str, Right] = Field(default_factory=dict, alias="by level")
    by_length: dict[str, Right] = Field(default_factory=dict, alias="by length")
    log_loss: float | None = Field(None, alias="log loss")
    calibration: Calibration | None = None
    length: float | None = Field(None, alias="correlation with length")
    members: list[float] = Field(default_factory=list)
    """The accuracy of each model of an ensemble."""
    agreement: float | None = None

    def rows(self) -> Iterator[tuple[str, Right]]:
        """The accuracy of all pairs, then of those of a source, a level, a difference of lengths."""
        if self.accuracy:
            yield "all", self.accuracy
        parts = (("by", self.by_source), ("level", self.by_level), ("", self.by_length))
        yield from ((f"{of} {name}".strip(), one) for of, found in parts for name, one in found.items())

    @property
    def said(self) -> str:
        """What else is known, in a line."""
        members = f"each model right on {', '.join(f'{one:.0%}' for one in self.members)}"
        known = [
            None if self.log_loss is None else f"log loss {self.log_loss:.3f}",
            self.calibration and f"calibration error {self.calibration.error:.3f}",
            None if self.length is None else f"correlation with length {self.length:+.2f}",
            members if len(self.members) > 1 else None,
            None if self.agreement is None else f"two models agree on {self.agreement:.0%}",
        ]
        return ", ".join(one for one in known if one)


@dataclass(frozen=True)
class OfRound:
    """What a stage measured in a round."""

    round: int
    stage: str
    trained: int
    measured: Measured


def read_reward_models(manifests: Sequence[Manifest]) -> list[OfRound]:
    """In order; what somebody else noted under the names is passed over."""
    found = []
    for one in manifests:
        trained = one.metrics.get(TRAINED)
        if isinstance(trained, int) and HELD_OUT in one.metrics:
            try:
                measured = Measured.model_validate(one.metrics[HELD_OUT])
            except ValidationError:
                continue
            found.append(OfRound(one.round, one.stage, trained, measured))
    return found
