"""Checkpoints that are whole or not used: the trainer's own, from which it goes on, and the finished one."""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfimprove.records.files import find_unsound, is_folder, seal_folder

UNSOUND = "unsound-"  # in front: what begins as a trainer's checkpoints do would be counted, and rotated, as one
SAVING = 10.0  # as long as saving takes it is trained at least, so many times


def newest_checkpoint(workspace: Path) -> Path | None:
    """The newest trainer checkpoint that is what was written, each file by its hash.

    One that is not, by a kill, a power cut or a fault of the disk, is set aside with a line, and the next older one is
    looked at. Several processes that look at the same time come to the same.
    """
    folders = [one for one in workspace.glob("checkpoint-*") if one.name.rsplit("-", 1)[1].isdigit()]
    for folder in sorted(folders, key=lambda one: int(one.name.rsplit("-", 1)[1]), reverse=True):
        reason = find_unsound(folder)
        if reason is None:
            return folder
        if _set_aside(folder):
            print(f"selfimprove: {folder}: is not used ({reason}); set aside", file=sys.stderr)
    return None


def is_finished(output: Path) -> bool:
    """Whether a finished checkpoint is there and is what was written; one that is not is set aside with a line."""
    if not output.exists() and not output.is_symlink():
        return False
    reason = find_unsound(output) if is_folder(output) else "it is no folder"
    if reason and _set_aside(output):
        print(f"selfimprove: {output}: is trained again ({reason}); set aside", file=sys.stderr)
    return reason is None


def _set_aside(folder: Path) -> bool:
    """Rename a folder; False where another process did it first."""
    aside = folder.with_name(UNSOUND + folder.name)
    try:
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        folder.rename(aside)
    except FileNotFoundError:
        return False
    return True


class Pace:
    """When a training saves its state: some seconds after the last time, but so that saving takes a tenth at most."""

    def __init__(self, every: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._every, self._clock, self._took = every, clock, 0.0
        self.begin(0)

    def begin(self, step: int) -> None:
        """The state after this step is on the disk, or is what the training begins with."""
        self._since, self._step, self._look = self._clock(), step, step + 1

    def is_due(self, step: int, agree: Callable[[float, float], tuple[float, float]]) -> bool:
        """Whether to save after this step.

        `agree` gives all processes what the first of them measured: they have to save together. It is asked at steps
        that follow from its answers, not at each one.
        """
        if step < self._look:
            return False
        passed, took = agree(self._clock() - self._since, self._took)
        wait, done = max(self._every, SAVING * took), step - self._step
        left = int((wait - passed) * done / passed) if passed else done
        self._look = step + max(1, min(done, left))  # the first steps say little of how fast the next ones are
        return passed >= wait

    def saved(self, step: int, took: float) -> None:
        self._took = took
        self.begin(step)


def save_callback(workspace: Path, every: float | None, boundary: int = 1) -> object:
    """A trainer's callback that has it save now and then, where `every` says after how many seconds, and makes each of
    its checkpoints whole: all on the disk, then a seal with the hashes.

    It saves after multiples of `boundary` steps only.
    """
    from transformers import TrainerCallback

    class Save(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.pace = None if every is None else Pace(every)
            self.asked = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if self.pace:
                self.pace.begin(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.asked = time.perf_counter()
            if state.global_step >= state.max_steps:
                # Resuming from a checkpoint of the last step would train one step more than was asked for.
                control.should_save = False
            elif self.pace and not state.global_step % boundary and self.pace.is_due(state.global_step, _agree):
                control.should_save = True

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            from accelerate import PartialState

            PartialState().wait_for_everyone()  # each process writes files of its own
            if state.is_world_process_zero:
                seal_folder(workspace / f"checkpoint-{state.global_step}")
            if self.pace:
                self.pace.saved(state.global_step, time.perf_counter() - self.asked)

    return Save()


def _agree(passed: float, took: float) -> tuple[float, float]:
    """What the first process measured."""
    from accelerate import PartialState

    state = PartialState()
    if state.num_processes == 1:
        return passed, took
    import torch
    from accelerate.utils import broadcast

    first, second = broadcast(torch.tensor([passed, took], device=state.device), from_process=0).tolist()
    return first, second
