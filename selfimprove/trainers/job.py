"""What a training run is given and what it reports: plain files, so that it can run in another process."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from selfimprove.recipe import PairTraining, Training
from selfimprove.trackers import Destination

RESULT = "training.json"
PROGRESS = "progress.json"
CURVE = "curve.json"

Report = Callable[[int, int, dict[str, float]], None]
"""Called after each step with the step, the number of steps, and the values logged last."""


class TrainingJob(BaseModel):
    """One training run: `examples` is a Parquet file of its rows, in training order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    base: str | None = None
    examples: Path
    output: Path
    settings: Training
    steps: int | None
    seed: int
    chat: bool = False
    dtype: str = "float32"
    device: str = "auto"
    threads: int | None = None
    reporting: Destination | None = None
    """Where the trainer reports to; nowhere without it."""

    @property
    def workspace(self) -> Path:
        """Where the trainer's own checkpoints lie until the run is done."""
        return self.output.with_name("training")


class SftJob(TrainingJob):
    """One SFT run; the rows have the columns prompt and completion."""

    method: Literal["sft"] = "sft"


class DpoJob(TrainingJob):
    """One DPO run; the rows have the columns prompt, chosen and rejected.

    `reference` is the model that the policy is held to; the one that it starts from without it (of an adapter on an
    untouched model that is the model itself).
    """

    method: Literal["dpo"] = "dpo"
    settings: PairTraining
    reference: str | None = None


Job = Annotated[SftJob | DpoJob, Field(discriminator="method")]


class Point(BaseModel):
    """One logged moment of a training run; `values` are those of the method."""

    step: int
    loss: float
    learning_rate: float
    values: dict[str, float] = {}


class Curve(BaseModel):
    """The curve of a training run that goes on, in the form that its result has at the end."""

    steps: int
    """Of the whole run."""
    curve: list[Point]


class TrainResult(BaseModel):
    """What a finished run reports; seconds and tokens are those of this process's share after a resumption."""

    steps: int
    resumed_from: int
    rows: int
    left_out: int
    tokens: int
    seconds: float
    import_seconds: float
    tokens_per_second: float
    curve: list[Point]
    trainable: int
    processes: int = 1
    peaks: dict[str, int] = {}
    """The highest memory of the first process in bytes, by the names of Phase."""
    unreported: dict[str, int] = {}
    """By tracker: calls that failed."""
