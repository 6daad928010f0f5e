"""Whether the weights on disk are those that a run's records speak of."""

from pathlib import Path

from selfimprove.engines.model_folders import resolve_folder
from selfimprove.engines.tensors import hash_weights
from selfimprove.errors import StoreError
from selfimprove.records import OF_BASE, Checkpoint
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
        _check_base(run, checkpoint.base)


def _check(run: RunFolder, checkpoint: Checkpoint) -> None:
    if not checkpoint.weights:  # a judge's model, of which nothing is recorded
        return
    _check_own(run, checkpoint.path)
    folder = resolve_folder(str(locate_weights(run, checkpoint.path)))
    found = hash_weights(folder)
    if found == checkpoint.weights:
        return
    if not Path(checkpoint.path).is_absolute() and (run.path / checkpoint.path).exists():
        raise StoreError(
            f"{_describe(folder, found, checkpoint.weights)}); move this folder away and run the same command again: "
            "it is trained again"
        )
    raise _changed(folder, found, checkpoint.weights)


def _check_base(run: RunFolder, base: str) -> None:
    """The same of the model under the adapter that the run began with, whose hash stands in a manifest of round 0; runs
    of before have none."""
    manifests = (stage.manifest() for stage in run.stages() if stage.key[0] == 0)
    noted = next((one.metrics[OF_BASE] for one in manifests if one and OF_BASE in one.metrics), None)
    folder = resolve_folder(str(locate_weights(run, base)))
    if noted is not None and (found := hash_weights(folder)) != noted:
        raise _changed(folder, found, noted)


def _describe(folder: Path, found: str, recorded: str) -> str:
    return f"{folder}: its weights are not those that the run's records speak of ({found} instead of {recorded}"


def _changed(folder: Path, found: str, recorded: str) -> StoreError:
    return StoreError(
        f"{_describe(folder, found, recorded)}): the model was changed since the run began; put the old weights back, "
        "or choose another --name"
    )


def _check_own(run: RunFolder, path: str) -> None:
    """Raise StoreError that names the file where the checkpoint of a closed stage of the run is not what it was."""
    folder = run.path / path
    if folder.name == CHECKPOINT and folder.exists():
        StageFolder(folder.parent, "").check_checkpoint()
