"""Removing, moving and copying runs, and freeing what a run on disk needs no more."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from selfimprove.errors import SelfImproveError, StoreError
from selfimprove.records import Checkpoint, Promotion, hash_text
from selfimprove.records.files import RECIPE, read_bounded
from selfimprove.store import RunFolder, StageFolder
from selfimprove.store.links import ROUND_NAME, is_link
from selfimprove.store.manifest import MANIFEST, seal_manifest
from selfimprove.store.parts import PARTIAL, named_errors, write_text
from selfimprove.store.run import LOCK, MAX_TEXT, REPORTED, SEALED, runs_option
from selfimprove.store.stage import CHECKPOINT

FREED = "weights freed"
"""Among the metrics of a stage whose checkpoint was taken away to free space: its bytes."""
TRAINING = "training"
LATEST = 2  # rounds whose checkpoints always stay: what goes on starts from them or is compared with them
COPYING = ".copying"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files below a folder; links are not followed."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(Path(at, name).lstat().st_size for at, _, names in os.walk(path) for name in names)


def show_size(count: int) -> str:
    """Bytes for people."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def is_working(folder: RunFolder) -> bool:
    """Whether a process is at work on a run, or it cannot be told."""
    try:
        return folder.working() is not None
    except StoreError:
        return True


def used_by(folder: RunFolder, runs: Path) -> list[str]:
    """The other runs under a folder whose recipes or first checkpoints name something that lies in a run."""
    inside = folder.path.resolve()
    return [other.path.name for other, path in _named_by_others(folder, runs) if path.is_relative_to(inside)]


def _named_by_others(folder: RunFolder, runs: Path) -> Iterator[tuple[RunFolder, Path]]:
    """The paths that the recipes of other runs name."""
    for recipe in sorted({*runs.glob(f"*/{RECIPE}"), *runs.glob(f"*/*/{RECIPE}")}):
        other = RunFolder(recipe.parent)
        if other.path.resolve() != folder.path.resolve():
            yield from ((other, path) for path in _named_by(other))


def _named_by(run: RunFolder) -> Iterator[Path]:
    """The paths that a run's recipe names; none where it cannot be read."""
    try:
        data = run.recipe().model_dump(mode="json")
    except (SelfImproveError, OSError):
        return
    for text in _texts(data):
        if "/" in text and len(text) < 4096 and "\n" not in text:
            yield Path(os.path.realpath(text))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _check_unused(folder: RunFolder, runs: Path, what: str) -> None:
    if others := sorted(set(used_by(folder, runs))):
        raise StoreError(
            f"{folder.path}: cannot be {what}, because other runs began from a checkpoint of it: {', '.join(others)}; "
            f"remove those first, or copy this one with: selfimprove cp {folder.called} NEW{runs_option(runs)}"
        )


def check_run(folder: RunFolder) -> None:
    """Raise StoreError where a folder is none that a run has made: a recipe of a user's own may lie in any folder."""
    if folder.path.is_symlink():
        raise is_link(folder.path)
    with named_errors(folder.path / RECIPE):
        try:
            first = read_bounded(folder.path / RECIPE, MAX_TEXT).partition("\n")[0]
        except UnicodeDecodeError:
            first = ""
    if not first.startswith(SEALED):
        raise StoreError(f"{folder.path}: is no run, because no run wrote its {RECIPE}; nothing was done")


def remove_run(folder: RunFolder, runs: Path) -> None:
    """Remove a run; raises StoreError where a process is at work on it, or another run began from it."""
    check_run(folder)
    _check_unused(folder, runs, "removed")
    with folder, named_errors(folder.path):
        shutil.rmtree(folder.path)


def move_run(folder: RunFolder, name: str, runs: Path) -> Path:
    """Rename a run; raises StoreError where it is at work, another run needs it, or the name is taken."""
    check_run(folder)
    _check_unused(folder, runs, "moved")
    target = _free(name, runs)
    with folder, named_errors(target):
        folder.path.rename(target)
    _rename(target, name)
    return target


def copy_run(folder: RunFolder, name: str, runs: Path) -> Path:
    """Copy a run; raises StoreError where it is at work, or the name is taken."""
    check_run(folder)
    target = _free(name, runs)
    halfway = target.with_name(target.name + COPYING)

    def leave_out(at: str, names: list[str]) -> set[str]:
        """The lock, and what trackers were told: a copy is a run of its own to them."""
        return {LOCK, REPORTED} & {*names} if Path(at) == folder.path else set()

    with folder:
        try:
            shutil.copytree(folder.path, halfway, symlinks=True, ignore=leave_out)
            halfway.rename(target)
        except (OSError, shutil.Error) as error:
            raise StoreError(f"{target}: could not be copied ({str(error)[:200]})") from None
        finally:
            shutil.rmtree(halfway, ignore_errors=True)
    _rename(target, name)
    return target


def _free(name: str, runs: Path) -> Path:
    if not NAME.fullmatch(name):
        raise StoreError(f"'{name[:100]}': is no name for a run; letters, digits, '.', '_' and '-', at most 100")
    if os.path.lexists(runs / name):
        raise StoreError(f"{runs / name}: is there already; choose another name")
    return runs / name


def _rename(folder: Path, name: str) -> None:
    """Have the recipe say the run's new name, by which it is continued; one that somebody changed stays as it is."""
    path = folder / RECIPE
    first, _, text = read_bounded(path, MAX_TEXT).partition("\n")
    if first == SEALED + hash_text(text):
        text = re.sub(r"\Aname: [^\n]*\n(?! )", lambda _: f"name: {json.dumps(name)}\n", text)
        write_text(path, f"{SEALED}{hash_text(text)}\n{text}")


# --- what is not needed


@dataclass(frozen=True)
class Needless:
    """Something that can be taken away, and why."""

    path: Path
    size: int
    why: str
    stage: StageFolder
    weights: bool
    """Whether it is a checkpoint, whose stage must say afterwards that it is done all the same."""


def find_needless(folder: RunFolder, runs: Path, latest: int = LATEST) -> list[Needless]:
    """What neither going on, nor lineage, nor an evaluation of what the run keeps needs; raises StoreError where a run
    is damaged.

    Records stay, all of them. Checkpoints stay of round 0, of the `latest` rounds that were begun, of the one that was
    promoted last, of rewards and judges, of what these were trained on top of, and what another run began from.
    """
    check_run(folder)
    stages = list(folder.stages())
    closed = {stage.key: stage for stage in stages if stage.closed}
    named = {*_named_by(folder), *(path for _, path in _named_by_others(folder, runs))}
    keep = _kept_paths(folder, closed, max((stage.key[0] for stage in stages), default=0), latest, named)
    found: list[Needless] = []
    for stage in closed.values():
        for left in sorted(stage.path.glob(f"*{PARTIAL}")):
            found.append(Needless(left, size_of(left), "left by a process that was killed", stage, False))
        if (work := stage.path / TRAINING).is_dir():
            found.append(Needless(work, size_of(work), "a trainer's own, and its training is done", stage, False))
        weights = stage.path / CHECKPOINT
        if weights.is_dir() and not weights.is_symlink() and str(weights.relative_to(folder.path)) not in keep:
            why = f"the run goes on from a later round than {stage.key[0]}"
            found.append(Needless(weights, size_of(weights), why, stage, True))
    return found


def _kept_paths(
    folder: RunFolder, closed: dict[tuple[int, str], StageFolder], last: int, latest: int, named: set[Path]
) -> set[str]:
    """The checkpoints that stay, by their paths in the run; `named` are paths that recipes name."""
    promoted: str | None = None
    for key in sorted(closed):
        for promotion in closed[key].read(Promotion):
            promoted = promotion.checkpoint

    def stays(stage: StageFolder, one: Checkpoint) -> bool:
        place = (folder.path / one.path).resolve()
        recent = stage.key[0] == 0 or stage.key[0] > last - latest
        used = any(path.is_relative_to(place) for path in named)
        return recent or used or one.id == promoted or one.role != "policy"

    kept = [one for stage in closed.values() for one in stage.read(Checkpoint) if stays(stage, one)]
    paths = {one.path for one in kept} | {one.base for one in kept if one.base}
    root = str(folder.path.resolve()) + os.sep
    return {path.removeprefix(root) for path in paths}


def free(folder: RunFolder, needless: list[Needless], runs: Path, latest: int = LATEST) -> int:
    """Take away what was found and is still not needed, and give its bytes; raises StoreError where a process is at
    work on the run.

    A stage whose checkpoint goes is closed as before: first its manifest says so, so that a kill in between leaves a
    checkpoint that nothing names, and no stage that would be done again.
    """
    freed, asked = 0, {one.path for one in needless}
    with folder:
        for one in find_needless(folder, runs, latest):  # the run may have gone on since it was asked
            if one.path not in asked:
                continue
            if one.weights:
                _forget_weights(one)
            if one.path.is_dir():
                shutil.rmtree(one.path)
            else:
                one.path.unlink(missing_ok=True)
            freed += one.size
    return freed


def _forget_weights(one: Needless) -> None:
    """Have the stage be closed without its checkpoint; the hashes of what is gone stay in the manifest."""
    manifest = one.stage.manifest()
    assert manifest is not None
    sizes = {name: size for name, size in manifest.sizes.items() if not name.startswith(f"{CHECKPOINT}/")}
    changed = manifest.model_copy(update={"sizes": sizes, "metrics": {**manifest.metrics, FREED: one.size}})
    write_text(one.stage.path / MANIFEST, seal_manifest(changed))


def check_freed(folder: RunFolder, path: str) -> None:
    """Raise StoreError where a checkpoint of the run was taken away to free space."""
    parts = Path(path).parts
    if not parts or not ROUND_NAME.fullmatch(parts[0]) or (folder.path / path).exists():
        return
    stage = StageFolder(folder.path / Path(path).parent, "")
    manifest = stage.manifest()
    if manifest and FREED in manifest.metrics:
        raise StoreError(
            f"{folder.path / path}: its weights were removed by `selfimprove gc`; the same recipe trains them again "
            f"with --redo {stage.name}"
        )
