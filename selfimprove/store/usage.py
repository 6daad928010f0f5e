"""What the parts of a stage cost, noted before each is finished."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt

from selfimprove.errors import StoreError
from selfimprove.records.files import open_regular, parse_json
from selfimprove.store.journal import LETTERS, seal_line, unseal_line
from selfimprove.store.parts import named_errors

USAGE = "usage.jsonl"
COUNTED = "counted"
"""Under this name the metrics of a part hold figures of which the manifest has the sums."""
MAX_USAGE = 256 << 20
BEGIN = b'{"part": '
SEALED = re.compile(rb"[0-9a-f]{%d} " % LETTERS)
USAGE_ADVICE = "move it away and run the same command again: the parts are kept, and what they cost is not counted"


class Usage(BaseModel):
    """What a part cost; of `metrics` the last one of a name counts."""

    model_config = ConfigDict(extra="forbid", defer_build=True)
    part: int
    wall: FiniteFloat
    model: FiniteFloat = 0.0
    imports: FiniteFloat = 0.0
    cpu: FiniteFloat = 0.0
    elapsed: FiniteFloat | None = None
    loaded: FiniteFloat = 0.0
    idle: FiniteFloat = 0.0
    tokens: dict[str, NonNegativeInt]
    metrics: dict[str, Any]
    counts: dict[str, int]


def add_line(path: Path, part: int, usage: Mapping[str, object]) -> None:
    """Add a row to a file of usage, sealed, and on a line of its own also where a kill tore the last one."""
    line = seal_line(json.dumps({"part": part, **usage}))
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
            rows.append(_read(line))
        except ValueError as error:
            if _is_torn(line):
                continue
            reason = str(error).splitlines()[0][:80]
            raise StoreError(f"{path}:{number}: damaged ({reason}); {USAGE_ADVICE}") from None
    return rows


def sum_counted(rows: Iterable[Usage]) -> dict[str, int]:
    """The sums of what parts counted; a part that was made again before it was finished counts once."""
    by_part: dict[int, dict[str, int]] = {}
    for row in rows:
        if COUNTED in row.metrics:
            by_part[row.part] = row.metrics.pop(COUNTED)
    names = dict.fromkeys(name for found in by_part.values() for name in found)
    return {name: sum(found.get(name, 0) for found in by_part.values()) for name in names}


def _read(raw: bytes) -> Usage:
    # A stage that an older version left open has lines without a seal, and what they tell was paid for.
    line = raw if raw.startswith(BEGIN) else unseal_line(raw)
    if line is None:
        raise ValueError("its hash is not the one that it begins with")
    return Usage.model_validate_json(line)


def _is_torn(raw: bytes) -> bool:
    """Whether a line was begun as one of usage is and not written to its end."""
    sealed = SEALED.match(raw)
    if not sealed and not raw.startswith(BEGIN):
        return bool(re.fullmatch(rb"[0-9a-f]*", raw))
    line = raw[sealed.end() :] if sealed else raw
    try:
        parse_json(line)
    except ValueError:
        return (line.startswith(BEGIN) or BEGIN.startswith(line)) and not line.endswith(b"}}")
    return False
