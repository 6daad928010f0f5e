"""A trainer: SFT with noise on the embeddings (NEFTune; Jain et al., 2023), and the stage that trains with it."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from pydantic import PositiveFloat

from selfimprove.recipe import Training
from selfimprove.records import Checkpoint, Example
from selfimprove.stages.base import Desk, Stage, declare
from selfimprove.trainers.common import train_with
from selfimprove.trainers.job import Report, TrainingJob, TrainResult
from selfimprove.trainers.sft import make_sft_trainer, tokenize_examples


class Neftune(Training):
    """Train on what this round kept, with noise on the embeddings."""

    noise: PositiveFloat = 5.0
    """The size of the noise (section 2: alpha)."""


class NeftuneJob(TrainingJob):
    trainer: ClassVar[str] = f"{__name__}:train"
    method: Literal["neftune"] = "neftune"
    settings: Neftune


def train(job: NeftuneJob, report: Report | None = None) -> TrainResult:
    make = make_sft_trainer(job, neftune_noise_alpha=job.settings.noise)
    return train_with(job, report, lambda tokenizer: tokenize_examples(job, tokenizer), make)


def train_round(_: Sequence[Any], desk: Desk[Neftune]) -> Iterator[Checkpoint]:
    yield desk.train(NeftuneJob, desk.read(Example), desk.incumbent)


declare(Stage(name="neftune", version=1, settings=Neftune, writes=Checkpoint, run=train_round, trains="policy",
              reads=lambda round: [round.incumbent, *round.every(Example)], needs=(Example,)))  # fmt: skip
