"""What `status` printed of a run, printed again as long as no file of the run, no line of the code and nothing of the
terminal is another. Nothing here imports what reads a run."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console

import selfimprove
from selfimprove.records import hash_text
from selfimprove.records.files import cache_folder, read_bounded

GROUP = "selfimprove"
SETTLED = 0.1  # seconds; a file that was changed later than that may change again under the same time
MOST = 1 << 20  # bytes of a text
KEPT = 100  # runs, those that were printed last


class _Written:
    """A file that keeps what is written to it as well."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.texts: list[str] = []

    def write(self, text: str) -> int:
        self.texts.append(text)
        return self.file.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def print_again(run: Path, console: Console) -> bool:
    """Print what was printed of a run, if that still holds; gives whether it did."""
    try:
        key, _, text = read_bounded(_place(run), MOST).partition("\n")
        if key != make_key(run, console):
            return False
    except (OSError, UnicodeDecodeError, RuntimeError):  # the last where nobody has a home
        return False
    try:
        console.file.write(text)
        console.file.flush()
    except BrokenPipeError:
        console.on_broken_pipe()
    return True


def print_and_keep(run: Path, console: Console, show: Callable[[], None], working: Callable[[], int | None]) -> None:
    """Print a run by `show`, and keep the text where nothing changed meanwhile and nobody was at work on the run."""
    before = _key_of_resting(run, console, working)
    file = console.file
    written = _Written(file)
    console.file = cast(IO[str], written)
    try:
        show()
    finally:
        console.file = file
    if before and _key_of_resting(run, console, working) == before:
        # What cannot be kept is no loss: the next one is made from the records again.
        with suppress(OSError, UnicodeEncodeError, RuntimeError):
            _keep(_place(run), f"{before}\n{''.join(written.texts)}")


def _key_of_resting(run: Path, console: Console, working: Callable[[], int | None]) -> str | None:
    """The key of a run that nobody is at work on; one that ended just now is waited for."""
    if working() is not None:
        return None
    with suppress(OSError):  # somebody began to work on it
        if _age(run) < SETTLED:
            time.sleep(SETTLED)
        return make_key(run, console)
    return None


def make_key(run: Path, console: Console) -> str | None:
    """A hash of all that a printed text depends on; None where something of the run was changed just now, or where
    code of others takes part, of which nobody can say whether it is as it was."""
    known = sys.modules.get("selfimprove.recipe.catalog")
    if entry_points(group=GROUP) or (known and known.extensions()):
        return None
    if _age(run) < SETTLED:
        return None
    files = sorted(read_stamps(run))
    code = sorted(one for one in read_stamps(Path(selfimprove.__file__).parent) if one[0].endswith(".py"))
    packages = [(place, os.stat(place).st_mtime_ns) for place in sys.path if place.endswith("site-packages")]  # noqa: PTH116
    terminal = [console.width, console.color_system, console.encoding, console.is_terminal, console.no_color]
    return hash_text(repr([str(run), files, code, packages, sys.version, terminal]))


def _age(run: Path) -> float:
    """Seconds since something of a run was changed last."""
    return time.time() - max((changed for *_, changed in read_stamps(run)), default=0) / 1e9


def read_stamps(folder: Path) -> Iterator[tuple[str, int, int, int, int, int]]:
    """Each file and folder with what changes when it does: the time of the last change can be set by nobody."""
    for at, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = f"{at}/{name}"
            there = os.lstat(path)
            yield path, there.st_mode, there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns


def _place(run: Path) -> Path:
    return cache_folder("status") / hash_text(str(run.resolve()))


def _keep(place: Path, text: str) -> None:
    """Write a text whole or not at all, and drop what was printed longest ago."""
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(place)
    for one in sorted(place.parent.iterdir(), key=lambda one: one.stat().st_mtime_ns)[:-KEPT]:
        one.unlink(missing_ok=True)
