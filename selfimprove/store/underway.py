"""How far a stage is that trains."""

import math
from pathlib import Path

from pydantic import BaseModel, field_validator

from selfimprove.records.files import read_bounded
from selfimprove.store.links import find_detour

# While a stage trains, and once it has trained and is not closed yet.
CURVES = ("training/curve.json", "checkpoint/training.json")
MAX_CURVE = 1 << 20  # bytes


class Moment(BaseModel):
    """The loss and other figures of a logged step."""

    step: int
    loss: float | None
    """None where it was no finite number."""

    values: dict[str, float] = {}

    @field_validator("values")
    @classmethod
    def _known(cls, values: dict[str, float]) -> dict[str, float]:
        return {name: value for name, value in values.items() if math.isfinite(value)}

    @field_validator("loss")
    @classmethod
    def _finite(cls, loss: float | None) -> float | None:
        return loss if loss is not None and math.isfinite(loss) else None


class Underway(BaseModel):
    """How far a stage is that trains: the steps of the whole run, and what was logged so far."""

    steps: int
    curve: list[Moment]


def read_underway(folder: Path) -> Underway | None:
    """How far the training of an open stage is; None where nothing of it lies there, or it cannot be read."""
    for name in CURVES:
        try:
            if not find_detour(folder / name):
                return Underway.model_validate_json(read_bounded(folder / name, MAX_CURVE))
        except (OSError, ValueError):  # taken away since, or torn
            continue
    return None
