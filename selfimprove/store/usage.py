"""What the parts of a stage cost, noted before each is finished."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from selfimprove.errors import StoreError
from selfimprove.records.files import open_regular
from selfimprove.store.parts import named_errors

USAGE = "usage.jsonl"
MAX_USAGE = 256 << 20
USAGE_ADVICE = "move it away and run the same command again: the parts are kept, and what they cost is not counted"


class Usage(BaseModel):
    """What a part cost; of `metrics` the last one of a name counts."""

    model_config = ConfigDict(extra="forbid", defer_build=True)
    part: int
    wall: float
    model: float = 0.0
    imports: float = 0.0
    cpu: float = 0.0
    elapsed: float | None = None
    loaded: float = 0.0
    idle: float = 0.0
    tokens: dict[str, int]
    metrics: dict[str, Any]
    counts: dict[str, int]


def add_line(path: Path, part: int, usage: Mapping[str, object]) -> None:
    """Add a row to a file of usage, on a line of its own also where a kill tore the last one."""
    line = (json.dumps({"part": part, **usage}) + "\n").encode()
    with named_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with os.fdopen(handle, "rb+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            file.write(b"\n" + line if torn else line)


def read_lines(path: Path) -> list[Usage]:
    """The rows of a file of usage, without a line that was not written to its end; raises StoreError."""
    try:
        with open_regular(path, MAX_USAGE) as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; {USAGE_ADVICE}") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(Usage.model_validate_json(line))
        except ValueError as error:
            if _is_torn(line):
                continue
            reason = str(error).splitlines()[0][:80]
            raise StoreError(f"{path}:{number}: damaged ({reason}); {USAGE_ADVICE}") from None
    return rows


def _is_torn(line: bytes) -> bool:
    """Whether a line was begun as one of usage is and not written to its end."""
    try:
        json.loads(line)
    except ValueError:
        return line.startswith(b'{"part": ') and not line.endswith(b"}}")
    return False
