"""What a training run is given and what it reports: plain files, so that it can run in another process."""

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from selfimprove.recipe import Training

RESULT = "training.json"
PROGRESS = "progress.json"

Report = Callable[[int, int, dict[str, float]], None]
"""Called after each step with the step, the number of steps, and the values logged last."""


class SftJob(BaseModel):
    """One SFT run: `examples` is a Parquet file with the columns prompt and completion, in training order."""

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

    @property
    def workspace(self) -> Path:
        """Where the trainer's own checkpoints lie until the run is done."""
        return self.output.with_name("training")


class Point(BaseModel):
    """One logged moment of a training run."""

    step: int
    loss: float
    learning_rate: float


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
