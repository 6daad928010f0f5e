"""A run's folder: its recipe, its lock, its rounds."""

import fcntl
import os
import random
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from selfimprove.errors import SelfImproveError, StoreError, UnreachableError, suggest
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import known_stages
from selfimprove.recipe.file import load_recipe, write_recipe
from selfimprove.records import hash_text
from selfimprove.records.files import (
    RECIPE,
    Stamp,
    find_folder,
    is_folder,
    is_regular,
    open_regular,
    read_bounded,
    scan,
    stamp_of,
)
from selfimprove.store.links import is_link, list_rounds
from selfimprove.store.parts import named_errors, write_text
from selfimprove.store.stage import StageFolder

REPORTED = "trackers"  # the folder of what trackers keep beside the run, which nothing here reads as its record
LOCK = "lock"
LOOKING = 1.0  # seconds for which a start waits for a lock that names a living process
PATIENCE = 5.0  # the same where it names none
MAX_TEXT = 2 << 20  # bytes
SEALED = "# written by selfimprove; hash of what follows: "
REWRITTEN = "continue the run with the same command, which writes it anew"
CONSTITUTION = "constitution.yaml"
RUNS = Path("runs")


class RunFolder:
    """A run on disk: recipe.yaml, round-NN/<stage>/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.patience = PATIENCE
        self._lock: IO[bytes] | None = None
        self._recipe: tuple[Stamp, Recipe] | None = None

    @property
    def called(self) -> str:
        """What a command that is to be typed calls the run: its name where that is enough, else its path."""
        inside = self.path.parts[len(RUNS.parts) :] if self.path.parts[: len(RUNS.parts)] == RUNS.parts else ()
        return shlex.quote("/".join(inside) or str(self.path))

    def stage(self, round_: int, name: str, fingerprint: str = "") -> StageFolder:
        return StageFolder(self.path / f"round-{round_:02d}" / name, fingerprint)

    def stages(self) -> Iterator[StageFolder]:
        """All stages that were begun, in the order of rounds and names."""
        for _, round_ in list_rounds(self.path):
            for stage in scan(round_):
                if stage.is_dir(follow_symlinks=False):
                    yield StageFolder(Path(stage.path), "")

    def links(self) -> Iterator[Path]:
        """The links below the folder, none of which is followed; trackers' libraries make their own in theirs."""
        for folder, inner, files in os.walk(self.path):
            yield from (path for name in sorted((*inner, *files)) if (path := Path(folder, name)).is_symlink())
            inner[:] = [name for name in inner if Path(folder, name) != self.path / REPORTED]

    def recipe(self) -> Recipe:
        """The recipe, read once as long as its file stays as it is; raises StoreError where that is not what the run
        wrote, RecipeError where it is no recipe."""
        if self._recipe is None or self._recipe[0] != _stamp(self.path / RECIPE):
            path = self.check_text(RECIPE)
            self._recipe = stamp_of(path), load_recipe(str(path), lenient=True)
        return self._recipe[1]

    def check_text(self, name: str) -> Path:
        """Where a text file of the run lies; raises StoreError where it is not what the run wrote."""
        path = self.path / name
        try:
            first, _, text = read_bounded(path, MAX_TEXT).partition("\n")
        except UnicodeDecodeError:
            raise StoreError(f"{path}: is no UTF-8 text; {REWRITTEN}") from None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}; {REWRITTEN}") from None
        if first.startswith(SEALED) and first != SEALED + hash_text(text):
            raise StoreError(f"{path}: is not what the run wrote, by the hash in its first line; {REWRITTEN}")
        return path

    def has_recipe(self) -> bool:
        return is_regular(self.path / RECIPE)

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the recipe with every default."""
        self._write(RECIPE, write_recipe(recipe))

    def write_constitution(self, text: str) -> None:
        """Keep the constitution that the run goes by, with what it inherits."""
        self._write(CONSTITUTION, text)

    def _write(self, name: str, text: str) -> None:
        path, text = self.path / name, f"{SEALED}{hash_text(text)}\n{text}"
        try:
            there = read_bounded(path, MAX_TEXT)
        except (OSError, UnicodeDecodeError):
            there = None
        if there != text:
            write_text(path, text)

    def discard(self, stage: StageFolder) -> None:
        """Remove a stage that is to be done again."""
        shutil.rmtree(stage.path)

    @contextmanager
    def dropped_if_in_vain(self) -> Iterator[None]:
        """Leave no folder behind where there was none and a mistake ends all before anything was made in it."""
        new = not os.path.lexists(self.path)
        try:
            yield
        except UnreachableError:  # goes on once a server answers
            raise
        except SelfImproveError:
            if new and not any(map(_is_paid_for, self.stages())):
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    def __enter__(self) -> "RunFolder":
        """Take the run's lock; raises StoreError with the pid of the process that has it.

        The kernel drops the lock with the process, however it ends, so a stale one is simply taken over.
        """
        path = self.path / LOCK
        with named_errors(path):
            self.path.mkdir(parents=True, exist_ok=True)
            if is_folder(path):
                raise StoreError(f"{path}: is a folder; move it away")
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        self._lock = os.fdopen(handle, "r+b", buffering=0)
        started = time.monotonic()
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # Somebody who only looks holds the lock for a moment; a process that is gone holds it no longer.
                pid = _read_pid(self._lock)
                if time.monotonic() - started > (LOOKING if pid and _is_alive(pid) else self.patience):
                    self._lock.close()
                    raise StoreError(
                        f"{self.path}: {_who(pid)} is at work on this run; wait for it, stop it, or choose another "
                        f"--name"
                    ) from None
                time.sleep(random.uniform(0.0005, 0.01))
        with named_errors(path):
            self._lock.truncate(0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock:
            self._lock.truncate(0)
            self._lock.close()

    def working(self) -> int | None:
        """The pid of the process that is at work on the run, if there is one; 0 where it is not known."""
        path = self.path / LOCK
        try:
            file = open_regular(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}; move it away") from None
        with file:
            if not _read_pid(file):  # nobody is at work, and so as to block no start the lock is not touched
                return None
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read_pid(file)
        return None


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp_of(path)
    except OSError:
        return None


def _is_paid_for(stage: StageFolder) -> bool:
    """Whether a model was asked or trained for what a stage has made."""
    declared = known_stages().get(stage.path.name)
    if declared is None or stage.empty:
        return not stage.empty
    manifest = stage.manifest()  # of a stage that only notes a checkpoint that was there it has no tokens
    return bool(declared.asks or declared.trains) and (manifest is None or any(manifest.tokens.values()))


def _read_pid(file: IO[bytes]) -> int:
    """The pid that a lock names; 0 where it names none."""
    text = os.pread(file.fileno(), 20, 0).strip()
    return int(text) if text.isdigit() else 0


def _is_alive(pid: int) -> bool:
    """Whether a process of that number is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _who(pid: int) -> str:
    return f"process {pid}" if pid and _is_alive(pid) else "a process on another machine, or one without a number,"


def runs_option(runs: Path) -> str:
    """What a command needs after its name to find a folder of runs; nothing for the usual one."""
    return "" if runs == RUNS else f" --runs {shlex.quote(str(runs))}"


def start_command(runs: Path) -> str:
    """What to type to start a run in a folder of runs."""
    return f"selfimprove run{f' RECIPE{there}' if (there := runs_option(runs)) else ''}"


def find_run(name: str, runs: Path = RUNS) -> RunFolder:
    """Find a run by name or path; raises StoreError with the nearest name, or where a link lies in the run."""
    if path := find_folder(name, runs):
        run = RunFolder(path)
        for link in run.links():
            raise is_link(link)
        return run
    known = [path.parent.name for path in runs.glob(f"*/{RECIPE}")]
    advice = suggest(name, known) or f"; start one with: {start_command(runs)}"
    raise StoreError(f"no run '{name[:200]}' in {runs}/{advice}")
