"""Whether the weights on disk are those that a run's records speak of."""

from pathlib import Path

from selfimprove.engines.model_folders import resolve_folder
from selfimprove.engines.tensors import hash_weights
from selfimprove.errors import StoreError
from selfimprove.records import Checkpoint
from selfimprove.store.run import RunFolder
from selfimprove.store.stage import CHECKPOINT, StageFolder


def locate_weights(run: RunFolder, path: str) -> Path | str:
    """Where a checkpoint lies: relative paths are the run's own."""
    inside = run.path / path
    return inside if inside.exists() else path


def find_first(run: RunFolder) -> Checkpoint | None:
    """The model that a run began with; None where it has not begun."""
    return next((one for stage in run.stages() if stage.key[0] == 0 for one in stage.read(Checkpoint)), None)


def check_weights(run: RunFolder, checkpoint: Checkpoint, first: Checkpoint | None = None) -> None:
    """Raise StoreError where a checkpoint's weights, or those of its base, are not the recorded ones.

    `first` is the model that the run began with, of which a base's hash is known. Each file is read once, and again
    only where it was written or replaced since.
    """
    _check(run, checkpoint)
    if first is not None and checkpoint.base == first.path:
        _check(run, first)
    elif checkpoint.base is not None:
        _check_own(run, checkpoint.base)


def _check(run: RunFolder, checkpoint: Checkpoint) -> None:
    if not checkpoint.weights:  # a judge's model, of which nothing is recorded
        return
    _check_own(run, checkpoint.path)
    folder = resolve_folder(str(locate_weights(run, checkpoint.path)))
    found = hash_weights(folder)
    if found == checkpoint.weights:
        return
    said = f"{folder}: its weights are not those that the run's records speak of ({found} instead of "
    if not Path(checkpoint.path).is_absolute() and (run.path / checkpoint.path).exists():
        raise StoreError(
            f"{said}{checkpoint.weights}); move this folder away and run the same command again: it is trained again"
        )
    raise StoreError(
        f"{said}{checkpoint.weights}): the model was changed since the run began; put the old weights back, or choose "
        f"another --name"
    )


def _check_own(run: RunFolder, path: str) -> None:
    """Raise StoreError that names the file where the checkpoint of a closed stage of the run is not what it was."""
    folder = run.path / path
    if folder.name == CHECKPOINT and folder.exists():
        StageFolder(folder.parent, "").check_checkpoint()
