"""A run's folder: its recipe, its lock, its rounds."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from selfimprove.errors import StoreError
from selfimprove.recipe import Recipe
from selfimprove.recipe_file import load_recipe, write_recipe
from selfimprove.store.parts import named_errors, write_text
from selfimprove.store.stage import ROUND_NAME, StageFolder
from selfimprove.yaml_files import suggest

RECIPE = "recipe.yaml"
CONSTITUTION = "constitution.yaml"
RUNS = Path("runs")


class RunFolder:
    """A run on disk, as DESIGN draws it: recipe.yaml, round-NN/<stage>/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def stage(self, round_: int, name: str, fingerprint: str = "") -> StageFolder:
        return StageFolder(self.path / f"round-{round_:02d}" / name, fingerprint)

    def stages(self) -> Iterator[StageFolder]:
        """All stages that were begun."""
        for folder in sorted(self.path.glob("round-[0-9]*/*/")):
            if ROUND_NAME.fullmatch(folder.parent.name):
                yield StageFolder(folder, "")

    def recipe(self) -> Recipe:
        return load_recipe(str(self.path / RECIPE))

    def has_recipe(self) -> bool:
        return (self.path / RECIPE).is_file()

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the recipe with every default."""
        self._write(RECIPE, write_recipe(recipe))

    def write_constitution(self, text: str) -> None:
        """Keep the constitution that the run goes by, with what it inherits."""
        self._write(CONSTITUTION, text)

    def _write(self, name: str, text: str) -> None:
        path = self.path / name
        if not path.exists() or path.read_text() != text:
            write_text(path, text)

    def discard(self, stage: StageFolder) -> None:
        """Remove a stage that is to be done again."""
        shutil.rmtree(stage.path)

    def __enter__(self) -> "RunFolder":
        """Take the run's lock; raises StoreError with the pid of the process that has it.

        The kernel drops the lock with the process, however it ends, so a stale one is simply taken over.
        """
        with named_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            pid = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise StoreError(
                f"{self.path}: process {pid} is at work on this run; wait for it, stop it, or choose another --name"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock:
            self._lock.truncate(0)
            self._lock.close()

    def working(self) -> int | None:
        """The pid of the process that is at work on the run, if there is one."""
        path = self.path / "lock"
        if not path.exists():
            return None
        with path.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0)
        return None


def find_run(name: str, runs: Path = RUNS) -> RunFolder:
    """Find a run by name or path; raises StoreError with the nearest name."""
    for path in (runs / name, Path(name)):
        if (path / RECIPE).is_file():
            return RunFolder(path)
    known = [path.parent.name for path in runs.glob(f"*/{RECIPE}")]
    raise StoreError(f"no run '{name}' in {runs}/{suggest(name, known) or '; start one with: selfimprove run'}")
