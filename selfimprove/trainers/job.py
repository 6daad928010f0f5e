"""What a training run is given and what it reports: plain files, so that it can run in another process."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from selfimprove.constitution import Constitution
from selfimprove.recipe import DistillTraining, PairTraining, RewardTraining, SupervisedTraining, Training
from selfimprove.recipe.reinforcement import RlTraining
from selfimprove.recipe.task_settings import Limits, VerifierSettings
from selfimprove.trainers.trackers import Destination

RESULT = "training.json"
PROGRESS = "progress.json"
CURVE = "curve.json"
REFUSAL = "refusal.txt"
"""What a training child says where it cannot go on."""

JOBS: dict[str, type["TrainingJob"]] = {}
"""Every kind of training job by its method."""
Report = Callable[[int, int, dict[str, float]], None]
"""Called after each step with the step, the number of steps, and the values logged last."""


class TrainingJob(BaseModel):
    """One training run: `examples` is a Parquet file of its rows, in training order.

    A class of job is known by its `method`; `trainer` is the function that runs it, as `module:function`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    trainer: ClassVar[str]
    method: str
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
    save_after: float = 60.0
    """Seconds after which the trainer's state is saved, where the settings name no number of steps."""
    reporting: Destination | None = None
    """Where the trainer reports to; nowhere without it."""
    files: tuple[str, ...] = ()
    """Imported files that declare what the job needs, for a process of its own."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        JOBS[str(cls.model_fields["method"].default)] = cls

    @property
    def workspace(self) -> Path:
        """Where the trainer's own checkpoints lie until the run is done."""
        return self.output.with_name("training")

    @property
    def boundary(self) -> int:
        """The trainer's state is saved after multiples of this many steps."""
        return 1


class SftJob(TrainingJob):
    """One SFT run; the rows have the columns prompt and completion, and the other ones of an Example that it uses."""

    trainer: ClassVar[str] = "selfimprove.trainers.sft:train_sft"
    method: Literal["sft"] = "sft"
    settings: SupervisedTraining


class DpoJob(TrainingJob):
    """One DPO run; the rows have the columns of a Preference; those on tokens may be left out.

    `reference` is the model that the policy is held to; the one that it starts from without it (of an adapter on an
    untouched model that is the model itself).
    """

    trainer: ClassVar[str] = "selfimprove.trainers.dpo:train_dpo"
    method: Literal["dpo"] = "dpo"
    settings: PairTraining
    reference: str | None = None


class DistillJob(TrainingJob):
    """One run of self-distillation; the rows have the columns of a Distillation, and the model that it starts from is
    the teacher as well."""

    trainer: ClassVar[str] = "selfimprove.trainers.distill:train_distill"
    method: Literal["distill"] = "distill"
    settings: DistillTraining


class RewardJob(TrainingJob):
    """One training of a reward model; the rows have the columns of a Preference.

    `member` is its number in an ensemble, whose members differ in their heads and in the order of the rows.
    """

    trainer: ClassVar[str] = "selfimprove.trainers.reward:train_reward"
    method: Literal["reward"] = "reward"
    settings: RewardTraining
    member: int | None = None

    @property
    def workspace(self) -> Path:
        """Each member's own: one that is done is cleared away without what the next has done so far."""
        if self.member is None:
            return super().workspace
        return self.output.parent.with_name(f"training-{self.member}")


class RlJob(TrainingJob):
    """One RL run; the rows are the problems, and `prompts` their prompts in the same order.

    The texts that are written meanwhile are kept in the stage's folder, as those of `checkpoint` in `round`.
    """

    trainer: ClassVar[str] = "selfimprove.trainers.rl:train_rl"
    method: Literal["rl"] = "rl"
    settings: RlTraining
    prompts: tuple[str, ...]
    asked: tuple[str, ...] = ()
    """The prompts by which reward models are asked, in the same order; by default those."""
    stop: tuple[str, ...] = ()
    checkpoint: str = ""
    """The record of the one that it starts from."""
    round: int = 0
    reference: str | None = None
    """The model that the policy is held to; by default the one that it starts from."""
    write_at_once: int = 64
    """Texts that are written in one batch."""
    verifiers: dict[str, VerifierSettings] = {}
    """By task, with all that a worker process must know."""
    limits: Limits = Limits()
    workers: int = 1
    constitution: Constitution | None = None
    reward_models: tuple[str, ...] = ()
    """Folders of reward models."""
    mixed: tuple[tuple[str, str], ...] = ()
    """Prompts and texts of before, whose likelihood counts too; none where `ptx` is 0."""

    @property
    def boundary(self) -> int:
        """Where all that was written is trained on, so that going on is exact."""
        return self.settings.boundary


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
    origins: dict[str, int] = {}
    """Completions by where their tokens come from."""
    sequences: int = 0
    """Rows that passed through the model, each of a pair's texts as one: what the last batch lacks is not counted."""
    tokens: int
    """Of these, without padding."""
    written: int = 0
    """Tokens that the policy wrote to be trained on."""
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
