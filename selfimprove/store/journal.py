"""The texts of a part that is being written: what a kill must not cost, because a model took minutes for it."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selfimprove.records import hash_text
from selfimprove.records.files import open_regular
from selfimprove.store.parts import named_errors

TEXTS = "texts-*.jsonl"
LETTERS = 16
LONGEST = 1 << 24  # bytes of a line


def seal_line(line: str) -> bytes:
    """A line of a file that is added to, begun with the hash of the rest."""
    return f"{hash_text(line)[:LETTERS]} {line}\n".encode()


def unseal_line(raw: bytes) -> str | None:
    """What was sealed; None where the line is torn or damaged."""
    seal, _, line = raw.decode(errors="replace").rstrip("\n").partition(" ")
    return line if seal and hash_text(line)[:LETTERS] == seal else None


class Journal:
    """Texts of a part in a stage's folder, by the hash of what was asked, until the part is finished.

    Each line begins with the hash of the rest: one that is torn or damaged is passed over, and asked for again.
    """

    def __init__(self, folder: Path, part: int, writer: str = "") -> None:
        """`writer` names one of several processes that make parts of the stage."""
        self._folder, self._name = folder, f"texts-{part:05d}"
        self._path = folder / (f"{self._name}.{writer}.jsonl" if writer else f"{self._name}.jsonl")
        self._handle: int | None = None
        self._known: dict[str, dict[str, Any]] | None = None

    @property
    def known(self) -> Mapping[str, dict[str, Any]]:
        """The texts that were written before, by whichever process."""
        if self._known is None:
            self._known = {}
            for path in self._files():
                self._known.update(read_lines(path))
        return self._known

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._name}.*jsonl"))

    def add(self, asked: str, text: Mapping[str, object]) -> None:
        """Write a text at once, so that it outlives this process; raises StoreError."""
        line = json.dumps([asked, text])
        with named_errors(self._path):
            if self._handle is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                self._handle = os.open(self._path, flags, 0o666)
                os.write(self._handle, b"\n")  # after a line that was torn
            os.write(self._handle, seal_line(line))

    def clear(self) -> None:
        """Forget the texts: their part is finished and holds them."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        for path in self._files():
            path.unlink(missing_ok=True)
        self._known = {}


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What was asked and the text, of each sound line."""
    try:
        with open_regular(path) as file:
            while raw := file.readline(LONGEST):
                if (line := unseal_line(raw)) is not None:
                    asked, text = json.loads(line)
                    yield asked, text
    except OSError:  # taken away, or no file of ours: then it is asked for again
        return
