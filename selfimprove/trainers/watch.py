"""What is seen of a training while it goes on: tokens really trained, the curve, and losses that are no numbers."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfimprove.errors import TrainingError
from selfimprove.trainers.job import CURVE, Curve, Point, Report, TrainingJob

LOGGED = {  # TRL's names of what is kept of each logged step of DPO, and of a reward model
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "logps/chosen": "chosen log-probability",
    "logps/rejected": "rejected log-probability",
    "margin": "margin",
    "accuracy": "accuracy",
}
OWN = "selfimprove/"
"""What the names of figures begin with that our trainers log beside TRL's; they are kept under what follows."""
QUIET = ("KL a token", "clipped ratios", "cut off", "undecided", "groups without difference")
"""Figures that the line of a training under way has no room for."""


def name_figures(logs: dict[str, Any]) -> dict[str, float]:
    """What is kept of a logged step, by our names."""
    found = {LOGGED.get(key) or key.removeprefix(OWN): value for key, value in logs.items()
             if key in LOGGED or key.startswith(OWN)}  # fmt: skip
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


class Counter:
    """Counts what passes through a model with gradients: sequences, and their tokens without padding."""

    def __init__(self, model: Any) -> None:
        self.sequences: Any = 0
        self._tokens: Any = 0
        model.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, _: object, values: Sequence[object], named: Mapping[str, object]) -> None:
        import torch

        if not torch.is_grad_enabled():
            return  # a reference, or a measurement
        ids = named.get("input_ids", values[0] if values else None)
        if not isinstance(ids, torch.Tensor):
            return
        mask, places = named.get("attention_mask"), named.get("position_ids")
        if mask is None and isinstance(places, torch.Tensor) and places.shape == ids.shape:
            # Packed rows: each sequence begins at position 0 and goes on to 1, and what fills a row up stays at 0.
            begun = (places == 1).sum()
            self.sequences = self.sequences + begun
            self._tokens = self._tokens + ids.numel() - (places == 0).sum() + begun
            return
        self.sequences = self.sequences + ids.shape[0]
        seen = mask.sum() if isinstance(mask, torch.Tensor) and mask.shape == ids.shape else ids.numel()
        self._tokens = self._tokens + seen  # stays on the device until it is asked for

    @property
    def tokens(self) -> int:
        return int(self._tokens)

    def total(self, accelerator: Any) -> tuple[int, int]:
        """The sequences and tokens of all processes; each of them has to ask."""
        import torch

        mine = torch.tensor([int(self.sequences), self.tokens], device=accelerator.device)
        sequences, tokens = accelerator.reduce(mine, "sum").tolist()
        return sequences, tokens


def read_curve(state: Any) -> list[Point]:
    """The logged steps of a trainer's state so far."""
    return [_point(one) for one in state.log_history if "loss" in one]


def _point(logged: dict[str, float]) -> Point:
    values = name_figures(logged)
    return Point(step=int(logged["step"]), loss=logged["loss"], learning_rate=logged["learning_rate"], values=values)


def diverged(job: TrainingJob, what: str) -> TrainingError:
    """What to say of a training that no longer computes with numbers."""
    settings = job.settings
    lower = [f"'learning_rate' ({settings.learning_rate:g})"]
    lower += [f"'clip' ({settings.clip:g})" if settings.clip else "'clip' (0 clips nothing: set it to 1)"]
    wider = "; float16 overflows where bfloat16 and float32 do not" if job.dtype == "float16" else ""
    return TrainingError(
        f"{job.output}: the training diverged: {what}; nothing of it is kept; lower {' or '.join(lower)}{wider}"
    )


def watch_callback(job: TrainingJob, report: Report | None, counter: Counter, processes: int) -> object:
    """A trainer's callback that writes the curve, reports each step, and raises TrainingError where a loss is NaN."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.logged: dict[str, float] = {}
            self.started = 0.0

        def on_train_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
            self.started = time.perf_counter()
            # What a killed process logged after the checkpoint that training goes on from is trained again.
            self.write_curve(state)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            loss = (logs or {}).get("loss")
            if loss is not None and not math.isfinite(loss):
                raise diverged(job, f"the loss is {loss} at step {state.global_step} of {state.max_steps}")
            figures = name_figures(logs or {})
            shown = {key: logs[key] for key in ("loss", "learning_rate") if logs and key in logs}
            if "reward" in figures:  # the loss of RL is about 0 by construction
                shown.pop("loss", None)
            self.logged = {**shown, **{name: one for name, one in figures.items() if name not in QUIET}}
            self.write_curve(state)

        def write_curve(self, state: Any) -> None:
            """The curve so far, for whoever looks at the run: a few dozen points, the file whole or not at all."""
            if not state.is_world_process_zero:
                return
            partial = (job.workspace / CURVE).with_suffix(".partial")
            with suppress(OSError):  # no reason to stop training
                partial.write_text(Curve(steps=state.max_steps, curve=read_curve(state)).model_dump_json())
                partial.rename(job.workspace / CURVE)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if report:
                speed = counter.tokens * processes / (time.perf_counter() - self.started)
                report(state.global_step, state.max_steps, {**self.logged, "tokens per second": speed})

    return Watch()


def check_saved(job: TrainingJob, folder: Path) -> None:
    """Raise TrainingError where weights that were just saved hold a value that is no number."""
    from selfimprove.engines.tensors import find_unusable

    if found := find_unusable(folder):
        raise diverged(job, f"the trained weights hold values that are no finite numbers ('{found}')")
