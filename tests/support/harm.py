"""What may happen to a file on disk: each harm takes a file and leaves it damaged."""

import os
from collections.abc import Callable
from pathlib import Path

Harm = Callable[[Path], None]


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size * 2 // 3)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def zero(file: Path) -> None:
    """As many bytes as before, all of them zero: what a file system may leave after a power cut."""
    file.write_bytes(bytes(file.stat().st_size))


def flip(file: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(file.read_bytes())
    if content:
        content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def link_away(file: Path) -> None:
    """A link to what is no file of the run."""
    file.unlink()
    file.symlink_to("/etc/hostname")


def put_folder(file: Path) -> None:
    """A folder of the same name."""
    file.unlink()
    file.mkdir()


def swap_with(other: Path) -> Harm:
    """The bytes of another file in its place."""

    def swap(file: Path) -> None:
        file.write_bytes(other.read_bytes())

    swap.__name__ = f"swap with {other.parent.name}/{other.name}"
    return swap


HARMS: tuple[Harm, ...] = (truncate, empty, zero, flip, link_away, put_folder)
