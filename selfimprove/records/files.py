"""Reading files that somebody else may have written, torn or replaced, and folders that are whole or not used."""

import errno
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

RECIPE = "recipe.yaml"  # what makes a folder a run
SEAL = "files.json"
MAX_SEAL = 1 << 24  # bytes


class UnsafeFileError(OSError):
    """A file that is not read because of what it is: a link, a folder, a device, or too large."""


def open_regular(path: Path, limit: int | None = None) -> BinaryIO:
    """Open a regular file for reading, without following a link in its own name and without waiting for a pipe.

    Raises OSError, or UnsafeFileError with the reason where it is another kind of file or larger than `limit` bytes.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnsafeFileError(errno.ELOOP, "is a link, which is not followed") from None
        raise
    status = os.fstat(handle)
    reason = None
    if not stat.S_ISREG(status.st_mode):
        reason = "is a folder" if stat.S_ISDIR(status.st_mode) else "is no regular file"
    elif limit is not None and status.st_size > limit:
        reason = f"is too large ({status.st_size} bytes, at most {limit} are read)"
    if reason:
        os.close(handle)
        raise UnsafeFileError(errno.EINVAL, reason)
    return os.fdopen(handle, "rb")


def read_bounded(path: Path, limit: int) -> str:
    """A UTF-8 text file of at most `limit` bytes; raises OSError, or UnicodeDecodeError."""
    with open_regular(path, limit) as file:
        return file.read(limit + 1).decode()


def cache_folder(name: str) -> Path:
    """A folder for what can be made again: `selfimprove/<name>` in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfimprove" / name


def find_folder(name: str, runs: Path) -> Path | None:
    """The folder of a run by name or path, None where there is none."""
    return next((path for path in (runs / name, Path(name)) if os.path.lexists(path / RECIPE)), None)


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says; raises ValueError, also where it is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_there(path: Path) -> bool:
    """Whether something is there; False too for a name that no file can have."""
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises where a name is too long)


def is_file(path: Path) -> bool:
    """Whether a file is there, or a link to one; False too for a name that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113 (for the same reason)


def is_regular(path: Path) -> bool:
    """Whether a regular file is there that is no link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def is_special(path: Path) -> bool:
    """Whether a device, a pipe or a socket is there."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def is_folder(path: Path) -> bool:
    """Whether a folder is there that is no link."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def scan(path: str | Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; nothing where there is none.

    Listing a run this way takes a tenth of the time that globbing for Paths does.
    """
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda one: one.name)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


Stamp = tuple[str, int, int, int, int]


def stamp_of(path: Path) -> Stamp:
    """What changes when a file is written or replaced: its path, size, times and inode; raises OSError."""
    status = path.stat()
    # A copy may bring its time of writing along, but not that of the change.
    return str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def hash_file(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_HASHES: dict[Stamp, str] = {}


def hash_file_once(path: Path) -> str:
    """The same, read again only where the file was written or replaced since."""
    stamp = stamp_of(path)
    if stamp not in _HASHES:
        _HASHES[stamp] = hash_file(path)
    return _HASHES[stamp]


def sync_folder(folder: Path) -> None:
    """Have a folder's entries on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal_folder(folder: Path) -> None:
    """Have all files below a folder on the disk, then write their sizes and hashes beside them, renamed last.

    A folder without this seal was not finished.
    """
    found: dict[str, list[int | str]] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_dir() or file == folder / SEAL:
            continue
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
            name = file.relative_to(folder).as_posix()
            found[name] = [file.stat().st_size, hashlib.file_digest(handle, "sha256").hexdigest()]
    for inner in [one for one in folder.rglob("*") if one.is_dir()]:
        sync_folder(inner)
    partial = folder / f"{SEAL}.partial"
    with partial.open("w") as text:
        json.dump(found, text, indent=1)
        text.flush()
        os.fsync(text.fileno())
    partial.rename(folder / SEAL)
    sync_folder(folder)


def find_unsound(folder: Path) -> str | None:
    """Why a sealed folder is not what was written; None where it is."""
    try:
        listed = parse_json(read_bounded(folder / SEAL, MAX_SEAL))
        for name, (size, expected) in listed.items():
            file = folder / name
            if not is_regular(file):
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} bytes instead of {size}"
            if hash_file(file) != expected:
                return f"{name} is not what was written"
    except FileNotFoundError:
        return "it was not finished"
    except (OSError, ValueError, TypeError, AttributeError):
        return f"{SEAL} is damaged"
    return None
