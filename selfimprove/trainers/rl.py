"""RL through TRL on texts that the policy writes meanwhile: RLOO (Ahmadian et al., 2024), GRPO (Shao et al., 2024).

Problems in, a folder of safetensors out, and every text with what it was worth. It goes on after a kill where texts are
written next, as if nothing had happened.
"""

import random
from typing import Any

from selfimprove.engines.models import load_model
from selfimprove.errors import TrainingError
from selfimprove.prompting.prompts import encode_prompt
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.records import Problem, derive_seed
from selfimprove.store.parts import read_part
from selfimprove.trainers.common import (
    LEFT_OUT,
    Rows,
    count_processes,
    count_steps,
    make_arguments,
    train_with,
)
from selfimprove.trainers.job import Report, RlJob, TrainResult
from selfimprove.trainers.tokens import longest_row
from selfimprove.trainers.worth import Judge, make_reward

POINTS = 60
"""Points of a curve at most."""


def train_rl(job: RlJob, report: Report | None = None) -> TrainResult:
    """Train and save to `job.output`, continuing from the newest whole checkpoint; raises TrainingError."""
    problems: list[Problem] = read_part(job.examples, Problem)
    judge = Judge(job)

    def make_trainer(model: object, tokenizer: Tokenizer, rows: Rows, optimizer: object) -> Any:
        from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

        from selfimprove.trainers.rollout_trainer import make_rollout_trainer
        from selfimprove.trainers.rollouts import Rollouts

        rloo = job.settings.method == "rloo"
        adapted = hasattr(model, "peft_config")  # TRL then holds it to a copy of its adapter
        own = _arguments(job, rows, rloo=rloo, beta=job.settings.kl if adapted else 0.0)
        arguments = make_arguments(RLOOConfig if rloo else GRPOConfig, job, _texts(job, rows), **own)
        return make_rollout_trainer(RLOOTrainer if rloo else GRPOTrainer)(
            rollouts=Rollouts(job, problems, judge, make_reward(job, judge, tokenizer, problems)),
            reference=None if adapted or not job.settings.kl else _load_reference(job),
            model=model,
            args=arguments,
            train_dataset=rows.data,
            processing_class=tokenizer,
            optimizers=(optimizer, None),
        )

    try:
        return train_with(job, report, lambda tokenizer: schedule(job, problems, tokenizer), make_trainer)
    finally:
        judge.pool.close()


def _texts(job: RlJob, rows: Rows) -> int:
    """Texts of an epoch, each counted as often as it is trained on."""
    fitting = len(set(rows.data["row"]))
    return fitting * job.settings.samples * job.settings.passes


def _load_reference(job: RlJob) -> Any:
    """The model that the policy is held to, which TRL would look for by its name and not in memory."""
    device = "cpu" if job.device == "cpu" or count_processes() > 1 else "auto"
    path, base = (job.model, job.base) if job.reference is None else (job.reference, None)
    reference, _ = load_model(path, base=base, dtype=job.dtype, device=device)
    return reference.eval()


def _arguments(job: RlJob, rows: Rows, *, rloo: bool, beta: float) -> dict[str, Any]:
    settings = job.settings
    steps = job.steps or count_steps(settings, _texts(job, rows))
    boundary = settings.boundary
    own: dict[str, Any] = {
        "max_length": LEFT_OUT,
        "beta": beta,
        "num_generations": settings.samples,
        "steps_per_generation": settings.accumulate * settings.batches,
        "num_iterations": settings.passes,
        "epsilon": settings.clip_ratio,
        "temperature": settings.temperature,
        "max_completion_length": settings.max_tokens,
        "shuffle_dataset": False,  # the rows are in the order of the whole run
        "disable_dropout": True,
        "logging_steps": _up(steps // POINTS, boundary),
        "save_steps": _up(settings.checkpoint_every or steps, boundary),
    }
    if rloo:
        return {**own, "normalize_advantages": settings.normalize}
    return {**own, "loss_type": settings.loss, "scale_rewards": settings.scale}


def _up(steps: int, boundary: int) -> int:
    """So many steps, or a few more, after which texts are written next."""
    return max(1, -(-steps // boundary)) * boundary


def schedule(job: RlJob, problems: list[Problem], tokenizer: Tokenizer) -> Rows:
    """The problems in the order in which texts are written for them, shuffled anew each time all have had their turn.

    `row` is a problem's place in the job, `first` the number of the first of its texts; raises TrainingError where no
    problem leaves room for a text.
    """
    from datasets import Dataset

    settings = job.settings
    lengths = [len(encode_prompt(tokenizer, prompt, chat=job.chat)) for prompt in job.prompts]
    room = longest_row(job) - settings.max_tokens
    fitting = [at for at, length in enumerate(lengths) if 0 < length <= room]
    if not fitting:
        raise TrainingError(
            f"{job.output}: none of {len(problems)} problems leaves room for a text of 'max_tokens: "
            f"{settings.max_tokens}' within 'max_length: {room + settings.max_tokens}'"
        )
    texts = settings.batch_size * settings.accumulate * settings.batches
    if texts // count_processes() % settings.samples:
        raise TrainingError(
            f"each process writes {texts // count_processes()} texts at once, which is no multiple of 'samples: "
            f"{settings.samples}'"
        )
    steps = job.steps or count_steps(settings, len(fitting) * settings.samples * settings.passes)
    needed = -(-steps // settings.boundary) * (texts // settings.samples)
    rows: list[int] = []
    while len(rows) < needed:
        turn = list(fitting)
        random.Random(derive_seed(job.seed, "order", len(rows))).shuffle(turn)
        rows += turn
    seen: dict[int, int] = {}
    first = []
    for row in rows[:needed]:
        first.append(seen.get(row, 0))
        seen[row] = first[-1] + settings.samples
    columns = {"prompt": [job.prompts[row] for row in rows[:needed]], "row": rows[:needed], "first": first}
    return Rows(Dataset.from_dict(columns), len(problems) - len(fitting))
