"""The model that a word names: a folder, a hub name, a run (its best checkpoint) or a round of a run."""

import re
from pathlib import Path

from selfimprove.engines.model_files import ADAPTER
from selfimprove.errors import StoreError
from selfimprove.recipe import Recipe
from selfimprove.recipe.flow import flow_of, last_of_round
from selfimprove.recipe.recipe import Judge, Model
from selfimprove.records import Checkpoint, Promotion
from selfimprove.records.files import RECIPE, is_file
from selfimprove.running.upkeep import check_freed
from selfimprove.store import RunFolder, StageFolder, find_run
from selfimprove.store.weights import check_weights, find_first, locate_weights

ROUND = re.compile(r"(.+)/round-(\d{1,4})/?")


def locate_model(target: str, runs: Path) -> str:
    """The folder of weights that is meant, or what was given where it names no run; raises StoreError."""
    found = find_checkpoint(target, runs)
    return target if found is None else str(locate_weights(found[0], found[1].path))


def with_model_found(recipe: Recipe, runs: Path) -> Recipe:
    """A recipe whose model and judge, where they name a run or a round of one, are the checkpoints that are meant."""
    found: dict[str, Model | Judge] = {}
    for name, owner in (("model", recipe.model), ("judge", recipe.judge)):
        if owner.path and (checkpoint := find_checkpoint(owner.path, runs)) is not None:
            path = str(locate_weights(checkpoint[0], checkpoint[1].path))
            found[name] = owner.model_copy(update={"path": path})
    return recipe.model_copy(update=found) if found else recipe


def find_checkpoint(target: str, runs: Path) -> tuple[RunFolder, Checkpoint] | None:
    """The run and the checkpoint that `NAME`, `NAME/round-02` or their paths mean, its weights checked; None where it
    names no run. Raises StoreError where a run has no such round or no checkpoint."""
    if is_model(Path(target)):
        return None
    named = ROUND.fullmatch(target)
    name, round_ = (named[1], int(named[2])) if named else (target.rstrip("/"), None)
    if not any(is_file(path / RECIPE) for path in (runs / name, Path(name))):
        return None
    folder = find_run(name, runs)
    checkpoint = find_best(folder) if round_ is None else find_of_round(folder, round_)
    check_freed(folder, checkpoint.path)
    check_weights(folder, checkpoint, find_first(folder))
    return folder, checkpoint


def is_model(path: Path) -> bool:
    """Whether a folder holds a model or an adapter."""
    return is_file(path / "config.json") or is_file(path / ADAPTER)


def find_of_round(folder: RunFolder, round_: int) -> Checkpoint:
    """The policy that a round trained last, whether or not it was promoted; raises StoreError where it trained none."""
    found = {stage.key[0]: one for stage in _closed_stages(folder) for one in _policies(stage)}
    if round_ not in found:
        known = ", ".join(f"round-{number:02d}" for number in sorted(found)) or "none"
        raise StoreError(f"{folder.path}: round {round_} has no checkpoint; rounds that have one: {known}")
    return found[round_]


def find_best(folder: RunFolder) -> Checkpoint:
    """The checkpoint that the last finished round kept (the one that it trained last, where no stage decides), or the
    first one; raises StoreError where there is none."""
    recipe = folder.recipe()
    decided = any(step.stage.decides for step in flow_of(recipe, lenient=True))
    found: dict[str, Checkpoint] = {}
    best = trained = ""
    for stage in _closed_stages(folder):
        for checkpoint in _policies(stage):
            found[checkpoint.id], trained = checkpoint, checkpoint.id
            best = best or trained
        for promotion in stage.read(Promotion):
            best = promotion.checkpoint
        if not decided and stage.key[1] == last_of_round(recipe, stage.key[0]):
            best = trained
    if not found:
        raise StoreError(f"{folder.path}: this run has no checkpoint yet")
    if best not in found:
        raise StoreError(
            f"{folder.path}: the checkpoint that was promoted last ({best[:10]}) is gone; the same recipe trains it "
            f"again, or name another round: {folder.called}/round-00"
        )
    return found[best]


def _closed_stages(folder: RunFolder) -> list[StageFolder]:
    """The closed stages in the order in which they ran."""
    place = {step.name: at for at, step in enumerate(flow_of(folder.recipe(), lenient=True))}
    return sorted(
        (stage for stage in folder.stages() if stage.closed),
        key=lambda stage: (stage.key[0], place.get(stage.key[1], len(place))),
    )


def _policies(stage: StageFolder) -> list[Checkpoint]:
    return [one for one in stage.read(Checkpoint) if one.role == "policy"]
