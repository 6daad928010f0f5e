"""Checkpoints that are whole or not used: the trainer's own, from which it goes on, and the finished one."""

import shutil
import sys
from pathlib import Path

from selfimprove.records.files import find_unsound, is_folder, seal_folder

UNSOUND = ".unsound"


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
    aside = folder.with_name(folder.name + UNSOUND)
    try:
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        folder.rename(aside)
    except FileNotFoundError:
        return False
    return True


def seal_callback(workspace: Path) -> object:
    """A trainer's callback that makes each of its checkpoints whole: all on the disk, then a seal with the hashes."""
    from accelerate import PartialState
    from transformers import TrainerCallback

    class Seal(TrainerCallback):  # type: ignore[misc]
        def on_save(self, args: object, state: "object", control: object, **kwargs: object) -> None:
            PartialState().wait_for_everyone()  # each process writes files of its own
            if state.is_world_process_zero:  # type: ignore[attr-defined]
                seal_folder(workspace / f"checkpoint-{state.global_step}")  # type: ignore[attr-defined]

    return Seal()
