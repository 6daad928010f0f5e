"""One stage of one round on disk: its parts, and the manifest that closes it."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from selfimprove.errors import StoreError
from selfimprove.records import KINDS, Record
from selfimprove.store.parts import (
    PARTIAL,
    PartFile,
    damaged,
    hash_file,
    named_errors,
    partial_of,
    read_part,
    write_text,
)
from selfimprove.store.rows import Rows

AnyRecord = TypeVar("AnyRecord", bound=Record)
MANIFEST = "stage.json"
OPEN = "open.json"
# While a stage trains, and once it has trained and is not closed yet.
CURVES = ("training/curve.json", "checkpoint/training.json")
MAX_CURVE = 1 << 20  # bytes


class Seconds(BaseModel):
    """Where a stage's time went; `model` is loading, generating, scoring and training, and is part of `wall`.

    `wall` sums over all who worked at the same time, `elapsed` is what passed on the clock (as much as `wall` where it
    is not known). In `loaded` seconds an engine was loaded, in `idle` ones of them it neither wrote nor scored.
    """

    model_config = ConfigDict(extra="forbid")
    wall: float = 0.0
    model: float = 0.0
    imports: float = 0.0
    cpu: float = 0.0
    elapsed: float | None = None
    loaded: float = 0.0
    idle: float = 0.0


class Moment(BaseModel):
    """The loss at a logged step."""

    step: int
    loss: float | None
    """None where it was no finite number."""

    @field_validator("loss")
    @classmethod
    def _finite(cls, loss: float | None) -> float | None:
        return loss if loss is not None and math.isfinite(loss) else None


class Underway(BaseModel):
    """How far a stage is that trains: the steps of the whole run, and what was logged so far."""

    steps: int
    curve: list[Moment]


class Manifest(BaseModel):
    """What closes a stage. Seconds and tokens sum over all processes that worked on it, up to what a kill took."""

    model_config = ConfigDict(extra="forbid")
    round: int
    stage: str
    version: int
    fingerprint: str
    settings: dict[str, Any]
    main: str
    counts: dict[str, int]
    parts: int
    seconds: Seconds
    tokens: dict[str, int]
    metrics: dict[str, Any]
    packages: dict[str, str]
    files: dict[str, str]
    """The hash of each file."""
    sizes: dict[str, int]
    declared: str = ""
    """The stage's declared name, where it has another one in this run."""


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
        path = self.path / MANIFEST
        if not path.exists():
            return None
        try:
            return Manifest.model_validate_json(path.read_text())
        except (ValidationError, ValueError, OSError) as error:
            raise StoreError(
                f"{path}: damaged ({type(error).__name__}); move it away and run the same command again: "
                f"the stage's parts are kept"
            ) from None

    def opened_as(self) -> str | None:
        """The fingerprint under which the stage was begun, closed or not."""
        manifest = self.manifest()
        if manifest:
            return manifest.fingerprint
        try:
            return str(json.loads((self.path / OPEN).read_text())["fingerprint"])
        except (OSError, ValueError, KeyError):
            return None

    @property
    def empty(self) -> bool:
        """Whether the stage was begun and nothing of it is worth keeping."""
        return not ((self.path / MANIFEST).exists() or self.files() or any(self.path.glob("*/checkpoint-*")))

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
            if not file.exists():
                return False
            if file.stat().st_size != size:
                raise damaged(file, f"{file.stat().st_size} bytes instead of {size}")
        return True

    def begin(self, settings: dict[str, Any]) -> None:
        """Create the folder and note under which settings its parts are made."""
        with named_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
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

    def write_part(self, main: str, part: int, records: Iterable[Record]) -> dict[str, int]:
        """Write a part as its records come, a file a kind, the main kind last; gives the counts by kind."""
        files = {main: PartFile(self.file(main, part), KINDS[main], self.writer)}
        self._write(files, part, records)
        return {kind: file.rows for kind, file in files.items() if file.rows}

    def keep(self, part: int, records: Iterable[Record]) -> None:
        """Write records of other kinds than the main one before their part is finished."""
        self._write({}, part, records)

    def _write(self, files: dict[str, PartFile], part: int, records: Iterable[Record]) -> None:
        """Add each record to the file of its kind, and finish the first one of `files` last."""
        try:
            for record in records:
                if record.kind not in files:
                    files[record.kind] = PartFile(self.file(record.kind, part), KINDS[record.kind], self.writer)
                files[record.kind].add(record)
            for file in reversed(files.values()):
                file.commit()
        finally:
            for file in files.values():
                file.close()

    def add_usage(self, part: int, usage: dict[str, Any]) -> None:
        """Note what a part cost, so that a kill does not lose the account."""
        with (self.path / "usage.jsonl").open("a") as file:
            file.write(json.dumps({"part": part, **usage}) + "\n")

    def usage(self) -> list[dict[str, Any]]:
        """What the parts cost so far; a torn last line is passed over."""
        path = self.path / "usage.jsonl"
        rows = []
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
        return rows

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
        write_text(self.path / MANIFEST, manifest.model_dump_json(indent=1))
        (self.path / OPEN).unlink(missing_ok=True)

    def underway(self) -> Underway | None:
        """How far the training of an open stage is; None where nothing of it lies there, or it cannot be read."""
        for name in CURVES:
            path = self.path / name
            try:
                if path.stat().st_size <= MAX_CURVE:
                    return Underway.model_validate_json(path.read_text())
            except (OSError, ValueError):  # taken away since, or torn
                continue
        return None

    def files(self) -> list[Path]:
        """The finished parts."""
        return sorted(self.path.glob("*-[0-9][0-9][0-9][0-9][0-9].parquet"))

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

    def checked_files(self, kind: type[Record]) -> Sequence[Path]:
        """The parts of a kind; raises StoreError where one of a closed stage is not what was written."""
        files = self.files_of(kind)
        new = [file for file in files if file not in self._checked]
        manifest = self.manifest() if new else None
        for file in new if manifest else ():
            expected = manifest.files.get(file.name) if manifest else None
            if expected is not None and hash_file(file) != expected:
                raise damaged(file, "its hash is not the one in stage.json")
            self._checked.add(file)
        return files
