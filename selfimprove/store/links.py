"""What could lead out of a run's folder: links and what is no regular file, neither of which is followed."""

import itertools
import os
import re
from pathlib import Path

from selfimprove.errors import StoreError
from selfimprove.records.files import is_regular, scan

ROUND_NAME = re.compile(r"round-[0-9]{1,6}")  # the name of a round's folder, and not of a copy, such as "round-01 old"


def list_rounds(run: Path) -> list[tuple[int, str]]:
    """The rounds of a run in their order, each with its folder's path; a link to a folder is none."""
    found = (one for one in scan(run) if ROUND_NAME.fullmatch(one.name) and one.is_dir(follow_symlinks=False))
    # By number: the name of round 100 comes before that of round 99.
    return sorted((int(one.name.removeprefix("round-")), one.path) for one in found)


def is_link(path: Path) -> StoreError:
    """The error that names a link inside a run, which could lead anywhere."""
    return StoreError(f"{path}: is a link, and links inside a run are not followed; put the file itself there")


def find_detour(file: Path) -> str | None:
    """Why the path of a stage's file would lead elsewhere: a link in it below the run's folder."""
    names = file.parts[::-1]
    depth = next((at for at, name in enumerate(names) if ROUND_NAME.fullmatch(name)), 1)
    if any(one.is_symlink() for one in (file, *itertools.islice(file.parents, depth))):
        return "is a link, or lies below one, which is not followed"
    return None if is_regular(file) or not os.path.lexists(file) else "is no regular file"
