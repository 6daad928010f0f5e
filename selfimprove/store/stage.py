"""One stage of one round on disk: its parts, and the manifest that closes it."""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from selfimprove.errors import StoreError
from selfimprove.records import KINDS, Record
from selfimprove.records.files import (
    SEAL,
    hash_file,
    hash_file_once,
    is_folder,
    is_regular,
    parse_json,
    read_bounded,
    scan,
)
from selfimprove.store.journal import TEXTS
from selfimprove.store.links import find_detour, is_link
from selfimprove.store.manifest import MANIFEST, MAX_MANIFEST, Manifest, read_manifest, seal_manifest
from selfimprove.store.parts import PARTIAL, PartFile, damaged, named_errors, partial_of, read_part, write_text
from selfimprove.store.rows import Rows
from selfimprove.store.underway import CURVES, Underway, read_underway
from selfimprove.store.usage import USAGE, Usage, add_line, read_lines

AnyRecord = TypeVar("AnyRecord", bound=Record)
OPEN = "open.json"
FILES = (".json", ".jsonl", ".parquet")  # what no folder's name ends in
CHECKPOINT = "checkpoint"
PART = re.compile(r".*-[0-9]{5}\.parquet", re.DOTALL)


class StageFolder:
    """The folder of a stage."""

    def __init__(self, path: Path, fingerprint: str, writer: str = "") -> None:
        """`writer` tells processes apart that may write the same part, such as one that was taken for dead."""
        self.path = path
        self.fingerprint = fingerprint
        self.writer = writer
        self._checked: set[Path] = set()

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def key(self) -> tuple[int, str]:
        """Round and stage."""
        return int(self.path.parent.name.removeprefix("round-")), self.path.name

    def manifest(self) -> Manifest | None:
        """The manifest, whether or not its files are all there; raises StoreError where it cannot be read."""
        return read_manifest(self.path / MANIFEST, self.key)

    def opened_as(self) -> str | None:
        """The fingerprint under which the stage was begun, closed or not."""
        manifest = self.manifest()
        return manifest.fingerprint if manifest else self._opened("fingerprint", str)

    def opened_with(self) -> dict[str, Any]:
        """The settings under which the stage was begun, as plain data; empty where they cannot be read."""
        manifest = self.manifest()
        return manifest.settings if manifest else self._opened("settings", dict) or {}

    def _opened(self, what: str, kind: Callable[[Any], Any]) -> Any:
        """What was noted when the stage was begun; None where it cannot be read."""
        try:
            return kind(parse_json(read_bounded(self.path / OPEN, MAX_MANIFEST))[what])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def empty(self) -> bool:
        """Whether the stage was begun and nothing of it is worth keeping."""
        made = self.files() or any(self.path.glob("*/checkpoint-*")) or any(self.path.glob(TEXTS))
        return not ((self.path / MANIFEST).exists() or made)

    @property
    def closed(self) -> bool:
        """Whether the stage is finished and its files are all there in their right sizes.

        A missing file opens the stage again, and only that part is made again; a file of another size is an error.
        """
        manifest = self.manifest()
        if manifest is None:
            return False
        for name, size in manifest.sizes.items():
            file = self.path / name
            if not os.path.lexists(file):
                return False
            if reason := find_detour(file):
                raise damaged(file, reason)
            if file.stat().st_size != size:
                raise damaged(file, f"{file.stat().st_size} bytes instead of {size}")
        return True

    def begin(self, settings: Mapping[str, object]) -> None:
        """Create the folder and note under which settings its parts are made."""
        with named_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        for one in (self.path.parent, self.path, *self.path.iterdir()):
            if one.is_symlink():
                raise is_link(one)
            if one.suffix in FILES and is_folder(one):
                raise StoreError(f"{one}: is a folder in place of a file; move it away and run the same command again")
        self.sweep()
        if not (self.path / OPEN).exists():
            note = {"fingerprint": self.fingerprint, "settings": settings}
            write_text(self.path / OPEN, json.dumps(note, indent=1, default=str))

    def file(self, kind: str, part: int) -> Path:
        return self.path / f"{kind}-{part:05d}.parquet"

    def has_part(self, main: str, part: int) -> bool:
        """Whether a part is finished: its file of the main kind is renamed last."""
        return self.file(main, part).exists()

    def sweep(self) -> None:
        """Remove what was begun by processes that were killed."""
        for left in self.path.glob(f"*.parquet*{PARTIAL}"):
            left.unlink(missing_ok=True)

    def mark(self, main: str, part: int) -> int:
        """Note that this writer begins a part; how often it was begun and never finished, this time counted."""
        file = self.file(main, part)
        with named_errors(file):
            partial_of(file, self.writer).touch()
        return len(list(self.path.glob(f"{file.name}.*{PARTIAL}")))

    def whole(self, main: str, part: int) -> bool:
        """Whether a part is finished, and nothing of it that the manifest names is gone."""
        manifest = self.manifest()
        lost = [name for name in (manifest.sizes if manifest else ()) if not (self.path / name).exists()]
        mine = any("/" in name or name.endswith(f"-{part:05d}.parquet") for name in lost)
        return self.has_part(main, part) and not mine

    def write_part(
        self, main: str, part: int, records: Iterable[Record], before: Callable[[dict[str, int]], object] | None = None
    ) -> dict[str, int]:
        """Write a part as its records come, a file a kind, the main kind last; gives the counts by kind.

        `before` is called with the counts just before the main kind's file, which finishes the part, has its name.
        """
        files = {main: PartFile(self.file(main, part), KINDS[main], self.writer)}
        self._write(files, part, records, before)
        return {kind: file.rows for kind, file in files.items() if file.rows}

    def keep(self, part: int, records: Iterable[Record]) -> None:
        """Write records of other kinds than the main one before their part is finished."""
        self._write({}, part, records)

    def _write(
        self,
        files: dict[str, PartFile],
        part: int,
        records: Iterable[Record],
        before: Callable[[dict[str, int]], object] | None = None,
    ) -> None:
        """Add each record to the file of its kind, and finish the first one of `files` last."""
        try:
            for record in records:
                if record.kind not in files:
                    files[record.kind] = PartFile(self.file(record.kind, part), KINDS[record.kind], self.writer)
                files[record.kind].add(record)
            *others, last = reversed(files.values()) if files else (None,)
            for file in others:
                file.commit()
            if before:
                before({kind: file.count for kind, file in files.items() if file.count})
            if last:
                last.commit()
        finally:
            for file in files.values():
                file.close()

    def add_usage(self, part: int, usage: Mapping[str, object]) -> None:
        """Note what a part cost: before the part is finished, so that a kill does not lose the account."""
        path = self.path / (f"usage.{self.writer}.jsonl" if self.writer else USAGE)
        add_line(path, part, usage)

    def usage(self) -> list[Usage]:
        """What the parts cost so far; a line that a kill tore is passed over, other damage is a StoreError."""
        return [row for path in sorted(self.path.glob("usage*.jsonl")) for row in read_lines(path)]

    def close(self, manifest: Manifest) -> None:
        """Write the manifest; raises StoreError where a part that was made again is not what it was."""
        before = self.manifest()
        if before:
            changed = [name for name, hash_ in manifest.files.items() if before.files.get(name, hash_) != hash_]
            if changed:
                raise StoreError(
                    f"{self.path / changed[0]}: was made again and differs from the one that later stages were made "
                    f"from (another machine, batch size or number of threads?); run again with --redo {self.name}"
                )
        write_text(self.path / MANIFEST, seal_manifest(manifest))
        (self.path / OPEN).unlink(missing_ok=True)
        for left in self.path.glob(TEXTS):  # of a process that was lost, whose part another one made
            left.unlink(missing_ok=True)

    def underway(self) -> Underway | None:
        """How far the training of an open stage is; None where nothing of it lies there, or it cannot be read."""
        return read_underway(self.path)

    def curve_file(self) -> Path | None:
        """What says how far the training of an open stage is, whether or not it can be read."""
        return next((self.path / name for name in CURVES if os.path.lexists(self.path / name)), None)

    def files(self) -> list[Path]:
        """The finished parts."""
        return [
            Path(one.path) for one in scan(self.path) if PART.fullmatch(one.name) and one.is_file(follow_symlinks=False)
        ]

    def read(self, kind: type[AnyRecord]) -> list[AnyRecord]:
        """All records of a kind, in order; raises StoreError where a file is not what was written."""
        return [record for file in self.checked_files(kind) for record in read_part(file, kind)]

    def rows(self, kind: type[AnyRecord]) -> Rows[AnyRecord]:
        """The same, some at a time."""
        return Rows(kind, self.checked_files(kind))

    def read_part(self, kind: type[AnyRecord], part: int) -> list[AnyRecord]:
        """The records of a kind in one finished part of a stage that is still open."""
        return read_part(self.file(kind.kind, part), kind)

    def files_of(self, kind: type[Record]) -> Sequence[Path]:
        return [file for file in self.files() if file.name.rsplit("-", 1)[0] == kind.kind]

    def describe_files(self) -> tuple[dict[str, str], dict[str, int]]:
        """The hash and the size of all that the stage made: its parts and its checkpoint, but for accounts of time."""
        made = sorted(one for one in (self.path / CHECKPOINT).rglob("*") if is_regular(one))
        made = [one for one in made if one.name not in (Path(CURVES[1]).name, SEAL)]
        files = {str(file.relative_to(self.path)): file for file in (*self.files(), *made)}
        return (
            {name: hash_file(file) for name, file in files.items()},
            {name: file.stat().st_size for name, file in files.items()},
        )

    def check_checkpoint(self) -> None:
        """Raise StoreError where a file of the stage's checkpoint is not the one in its manifest."""
        manifest = self.manifest()
        for name, expected in manifest.files.items() if manifest else ():
            if name.startswith(f"{CHECKPOINT}/"):
                self._check_file(name, expected)

    def _check_file(self, name: str, expected: str) -> None:
        file = self.path / name
        reason = find_detour(file)
        try:
            if reason is None and hash_file_once(file) != expected:
                reason = f"its hash is not the one in {MANIFEST}"
        except FileNotFoundError:
            return  # the stage is opened again, or whoever reads it names it
        if reason:
            raise damaged(file, reason)

    def check_parts(self) -> None:
        """Raise StoreError where a part is not the one in the manifest."""
        manifest = self.manifest()
        for name, expected in manifest.files.items() if manifest else ():
            if name.endswith(".parquet"):
                self._check_part(name, expected)

    def _check_part(self, name: str, expected: str) -> None:
        """Check a part, once."""
        if self.path / name not in self._checked:
            self._check_file(name, expected)
            self._checked.add(self.path / name)

    def checked_files(self, kind: type[Record]) -> Sequence[Path]:
        """The parts of a kind; raises StoreError where one of a closed stage is not what was written."""
        files = self.files_of(kind)
        new = [file for file in files if file not in self._checked]
        manifest = self.manifest() if new else None
        for file in new if manifest else ():
            expected = manifest.files.get(file.name) if manifest else None
            if expected is not None:
                self._check_part(file.name, expected)
        return files
