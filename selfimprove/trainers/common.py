"""What all training runs through TRL share: the model with its adapter, the arguments, resumption, saving."""

import functools
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfimprove.engines.model_files import ADAPTER
from selfimprove.engines.models import apply_adapter, load_model, mend, read_tokenizer
from selfimprove.errors import TrainingError
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.recipe import Training
from selfimprove.recipe.launch import SHARDED
from selfimprove.records.files import seal_folder, sync_folder
from selfimprove.trainers.adapters import add_adapter, check_shape
from selfimprove.trainers.checkpoints import newest_checkpoint, save_callback
from selfimprove.trainers.job import RESULT, Report, TrainingJob, TrainResult
from selfimprove.trainers.on_cpu import learned_alone
from selfimprove.trainers.peaks import read_peak, reset_peak
from selfimprove.trainers.reports import report_to, reporting
from selfimprove.trainers.watch import Counter, check_saved, read_curve, watch_callback

LEFT_OUT = object()
"""In place of an argument that a kind of training does not have."""


@dataclass(frozen=True)
class Rows:
    """Tokenized rows, and how many were left out."""

    data: Any
    left_out: int
    origins: dict[str, int] = field(default_factory=dict)
    """Completions by where their tokens come from."""
    sequences: int | None = None
    """How many there are, where one of `data` holds several."""


def train_with(
    job: TrainingJob,
    report: Report | None,
    tokenize: Callable[[Any], Rows],
    make_trainer: Callable[[Any, Any, Rows, Any], Any],
    *,
    load: Callable[[Any], tuple[Any, Any]] | None = None,
    save: Callable[[Any, Path], None] | None = None,
) -> TrainResult:
    """Train and save to `job.output`, continuing from the newest whole checkpoint; raises TrainingError.

    `make_trainer` is given the model, the tokenizer, the rows and the optimizer. `load` gives the model to train and
    its tokenizer where that is no language model; `save` writes what was trained to a folder, on one process alone.
    """
    started = time.perf_counter()
    _import_libraries(job.threads)
    from selfimprove.engines.products import use_onednn

    imported = time.perf_counter()
    model, tokenizer = (load or _load)(job)
    rows = tokenize(tokenizer)
    reset_peak()
    resume = newest_checkpoint(job.workspace)
    with reporting(job.reporting, job.workspace) as reports:
        trainer = make_trainer(model, tokenizer, rows, make_optimizer(model, job.settings))
        if job.settings.restarts:
            _restart(trainer, job.settings)
        _check_processes(trainer)
        use_onednn(trainer.model)  # an adapter's layers too
        _resume_adapter(trainer)
        _hush(trainer)
        reports.guard(trainer)
        counter = Counter(trainer.model)
        trainer.add_callback(watch_callback(job, report, counter, count_processes()))
        trainer.add_callback(
            save_callback(job.workspace, None if job.settings.checkpoint_every else job.save_after, job.boundary)
        )
        with learned_alone():
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    state = trainer.state
    if state.global_step < state.max_steps:
        raise TrainingError(f"{job.output}: training stopped at step {state.global_step} of {state.max_steps}")
    first = int(resume.name.rsplit("-", 1)[1]) if resume else 0
    seconds = time.perf_counter() - imported
    sequences, tokens = counter.total(trainer.accelerator)
    result = TrainResult(
        steps=state.global_step,
        resumed_from=first,
        rows=rows.sequences or len(rows.data),
        left_out=rows.left_out,
        sequences=sequences,
        origins=rows.origins,
        tokens=tokens,
        written=getattr(trainer, "written", 0),
        seconds=seconds,
        import_seconds=imported - started,
        tokens_per_second=tokens / seconds,
        curve=read_curve(state),
        trainable=sum(one.numel() for one in model.parameters() if one.requires_grad),
        processes=count_processes(),
        peaks=read_peak(),
        unreported=reports.lost,
    )
    _save(trainer, tokenizer, job, result, save)
    return result


def _import_libraries(threads: int | None) -> None:
    """Import what trains, and have it print nothing: what matters is reported by the stage."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ["TQDM_DISABLE"] = "1"
    import datasets
    import torch
    import transformers
    import trl  # noqa: F401

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    if threads:
        torch.set_num_threads(threads)


def _hush(trainer: Any) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def place(job: TrainingJob) -> str:
    """Where a model is loaded: several processes put it where each of them works, or spread it, themselves."""
    return "cpu" if job.device == "cpu" or count_processes() > 1 else "auto"


def _load(job: TrainingJob) -> tuple[Any, Any]:
    """The model to train: all its weights, an adapter's merged into them, or an adapter on it, an old or a new one."""
    device = place(job)
    lora = job.settings.lora
    if lora is None:
        model, tokenizer = load_model(job.model, base=job.base, dtype=job.dtype, device=device)
        return model.requires_grad_(), tokenizer  # of a merged adapter's base nothing would be trained
    base = job.base or job.model
    model, tokenizer = load_model(base, base=None, dtype=job.dtype, device=device)
    if (Path(job.model) / ADAPTER).is_file():
        check_shape(job.model, lora)
        model, tokenizer = apply_adapter(model, job.model, trainable=True), read_tokenizer(job.model, base)
        mend(model, tokenizer, Path(job.model))  # it may know more tokens than its base, and a chat template
        return model, tokenizer
    return add_adapter(model, lora, base=base, seed=job.seed), tokenizer


def count_processes() -> int:
    """The processes that train together, as their launcher tells each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _resume_adapter(trainer: Any) -> None:
    """Have a trainer that goes on load the adapter that it trains.

    TRL holds an adapter to a copy of it, `ref`, which is saved in a folder of its own; where there is such a folder,
    transformers loads it alone, and the trained adapter would begin anew with the optimizer of the old one.
    """
    if "ref" not in getattr(trainer.model, "peft_config", {}):
        return
    load = trainer._load_from_checkpoint

    def load_both(folder: str, model: Any = None) -> None:
        load(folder, model)
        (trainer.model if model is None else model).load_adapter(folder, "default", is_trainable=True)

    trainer._load_from_checkpoint = load_both


def _share_of_batch(settings: Training) -> int:
    """The rows of a batch that one process takes."""
    share, left = divmod(settings.batch_size, count_processes())
    if left:
        raise TrainingError(
            f"'batch_size: {settings.batch_size}' cannot be shared out evenly among {count_processes()} processes"
        )
    return share


def _check_processes(trainer: Any) -> None:
    """Accelerate falls back to fewer processes, or to whole copies of the model, in silence."""
    wanted = int(os.environ.get("SELFIMPROVE_PROCESSES", "0"))
    found = trainer.accelerator.num_processes
    if wanted and found != wanted:
        raise TrainingError(f"{wanted} processes were to train, and accelerate started {found}")
    spread = os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    if spread and trainer.accelerator.distributed_type != "FSDP":
        raise TrainingError("FSDP needs GPUs: accelerate would train whole copies of the model instead")


def count_steps(settings: Training, rows: int) -> int:
    """Optimiser steps of a run without `steps`: whole epochs, the last batch of each counted."""
    per_epoch = -(-rows // (settings.batch_size * settings.accumulate))
    return max(1, round(per_epoch * settings.epochs))


def make_arguments(kind: Any, job: TrainingJob, rows: int, **own: Any) -> Any:
    """TRL's arguments of a kind (SFTConfig, DPOConfig) for a job; `own` are those of the method."""
    import torch

    settings, cpu = job.settings, job.device == "cpu" or not torch.accelerator.is_available()
    if cpu and job.dtype == "float16":
        raise TrainingError(
            f"{job.output}: no training in float16 without a GPU; set model.dtype to bfloat16 or float32"
        )
    steps = job.steps or count_steps(settings, rows)
    # The name changed between two versions of TRL that are both in use.
    checkpointing = next(
        name for name in ("activation_checkpointing", "gradient_checkpointing") if name in kind.__dataclass_fields__
    )
    schedules = {
        "cosine": ("cosine_with_min_lr", {"min_lr_rate": settings.final_share}),
        "linear": ("linear", {}),
        "constant": ("constant_with_warmup", {}),
    }
    schedule, schedule_options = schedules[settings.schedule]
    common = {
        "output_dir": str(job.workspace),
        "max_steps": steps,
        "per_device_train_batch_size": _share_of_batch(settings),
        "gradient_accumulation_steps": settings.accumulate,
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "lr_scheduler_type": schedule,
        "lr_scheduler_kwargs": schedule_options,
        "warmup_steps": settings.warmup_steps,
        "max_grad_norm": settings.clip,
        "max_length": None,
        "seed": job.seed % 2**32,
        "data_seed": job.seed % 2**32,
        "use_cpu": cpu,
        "bf16": job.dtype == "bfloat16",
        "fp16": job.dtype == "float16",
        "logging_steps": max(1, steps // 20),
        "logging_first_step": True,
        "logging_nan_inf_filter": False,  # it would log the mean of the losses that are numbers
        "save_strategy": "steps" if settings.checkpoint_every else "no",  # without it by the time that passes
        "save_steps": settings.checkpoint_every or steps,
        "save_total_limit": 2,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "ddp_find_unused_parameters": False,
        **report_to(kind, job.reporting),
        "disable_tqdm": True,
        checkpointing: settings.gradient_checkpointing,
        **own,
    }
    arguments = kind(**{name: one for name, one in common.items() if one is not LEFT_OUT})
    if count_processes() == 1:
        # Where it sees several GPUs, the trainer would take a batch for each of them (torch's DataParallel).
        arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _restart(trainer: Any, settings: Training) -> None:
    """Give a trainer a cosine that begins anew; transformers' own one ends at 0, whatever `final_share` says."""
    from torch.optim.lr_scheduler import LambdaLR

    def create(num_training_steps: int, optimizer: Any = None) -> Any:
        share = functools.partial(share_of_rate, settings=settings, steps=num_training_steps)
        trainer.lr_scheduler = LambdaLR(optimizer or trainer.optimizer, share)
        return trainer.lr_scheduler

    trainer.create_scheduler = create


def share_of_rate(step: int, settings: Training, steps: int) -> float:
    """The learning rate of a step as a share of the highest one, where the cosine begins anew (SGDR, section 3)."""
    if step < settings.warmup_steps:
        return step / settings.warmup_steps
    cycles = settings.restarts + 1
    done = min((step - settings.warmup_steps) / max(1, steps - settings.warmup_steps), 1.0) * cycles
    place = 1.0 if done == cycles else done % 1
    return settings.final_share + (1 - settings.final_share) * (1 + math.cos(math.pi * place)) / 2


def make_optimizer(model: Any, settings: Training) -> object:
    """The optimizer of a training, or None where TRL is to make it."""
    if settings.optimizer == "adamw":
        return None  # TRL makes it, with its own rule for what is decayed
    from selfimprove.trainers.optimizers import MuonWithAdamW

    return MuonWithAdamW(
        model,
        learning_rate=settings.learning_rate,
        adamw_share=settings.adamw_share,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
    )


def _save(
    trainer: Any, tokenizer: Tokenizer, job: TrainingJob, result: TrainResult, save: Callable[[Any, Path], None] | None
) -> None:
    """Write the weights under another name, then rename: the checkpoint exists whole or not at all.

    All processes take part: where the weights are spread over them, they are gathered on the first, which writes.
    """
    spread = trainer.accelerator.distributed_type in SHARDED
    state = {"state_dict": trainer.accelerator.get_state_dict(trainer.model_wrapped)} if spread else {}
    if not trainer.is_world_process_zero():
        trainer.accelerator.wait_for_everyone()
        return
    partial = job.output.with_name(job.output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    if save:
        save(model, partial)
    else:
        # Of a model with adapters only the trained one: TRL keeps a copy of an earlier one as the reference.
        adapters = {"selected_adapters": ["default"]} if hasattr(trainer.model, "peft_config") else {}
        model.save_pretrained(partial, **state, **adapters)
    tokenizer.save_pretrained(partial)
    check_saved(job, partial)
    (partial / RESULT).write_text(result.model_dump_json(indent=1))
    seal_folder(partial)
    partial.rename(job.output)
    sync_folder(job.output.parent)
    trainer.accelerator.wait_for_everyone()
