"""A run's parts as they lie on disk: which are there, which are missing, and what is wrong with one."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic.fields import FieldInfo

from selfimprove.errors import StoreError
from selfimprove.records import KINDS, Record
from selfimprove.records.files import is_folder, scan
from selfimprove.store.links import list_rounds
from selfimprove.store.parts import schema_of
from selfimprove.store.run import RunFolder

PLAIN = "hive_partitioning = false"
"""For DuckDB's read_parquet: a folder called `seed=77` is a folder, and no column of what lies in it."""
MAX_DECODED = 128 << 20  # bytes that the rows of one part may take in memory, to be shown
MAX_GROUPS = 10_000
MAX_GROUP = 512 << 20  # bytes of a row group that DuckDB is given to read; those written here have at most 10,000 rows
MAX_VALUES = 10_000_000  # of a column in a row group, those of its lists counted one by one
READ_WHOLE = ("evaluation", "promotion")  # kinds that are turned into objects all at once
ROWS_AT_ONCE = 16
TOO_LARGE = "too large to be shown"
PART = re.compile(r"^(?P<kind>[a-z][a-z0-9_]{0,60})-\d{5}\.parquet$")


@dataclass(frozen=True)
class File:
    """A part as it lies on disk."""

    path: Path
    kind: str
    round: int
    stage: str
    size: int
    modified: int

    @property
    def key(self) -> tuple[str, int, int]:
        return str(self.path), self.size, self.modified


def list_files(folder: RunFolder) -> Iterator[File]:
    """The parts of a run as they lie there now, in the order of rounds and paths."""
    for number, round_ in list_rounds(folder.path):
        for stage in scan(round_):
            for entry in scan(stage.path) if stage.is_dir(follow_symlinks=False) else ():
                named = PART.match(entry.name)
                if named is None:
                    continue
                with contextlib.suppress(FileNotFoundError):  # taken away by --redo since it was listed
                    status = entry.stat(follow_symlinks=False)
                    if not stat.S_ISREG(status.st_mode):
                        continue
                    path = Path(entry.path)
                    yield File(path, named["kind"], number, stage.name, status.st_size, status.st_mtime_ns)


def missing_files(folder: RunFolder) -> dict[str, str]:
    """Files that a stage's manifest names and that are not there, links, and manifests that cannot be read, with the
    reason."""
    found = {str(link.relative_to(folder.path)): "a link, which is not followed" for link in folder.links()}
    for stage in folder.stages():
        try:
            manifest = stage.manifest()
        except StoreError:
            found[f"{stage.name}/stage.json"] = "damaged"
            continue
        for name in manifest.sizes if manifest else ():
            if not os.path.lexists(stage.path / name):
                found[f"{stage.name}/{name}"] = "missing"
            elif is_folder(stage.path / name):
                found[f"{stage.name}/{name}"] = "a folder in place of a file"
    return found


def find_fault(file: File) -> str | None:
    """Why a file cannot be read, from its footer; None where it can."""
    try:
        footer = pq.read_metadata(file.path)
        schema = footer.schema.to_arrow_schema()
    except (OSError, pa.ArrowException) as error:
        return f"damaged ({(str(error).splitlines() or [type(error).__name__])[0][:120]})"
    if footer.num_row_groups > MAX_GROUPS or (footer.num_columns and _is_too_large(footer, file)):
        return TOO_LARGE
    kind = KINDS.get(file.kind, Record)  # of one that is not known here, what all records have
    expected, fields = schema_of(kind), kind.model_fields
    needed = ["id", "parents", *(name for name, field in fields.items() if field.is_required())]
    for name in needed:
        if name not in schema.names:
            return f"no column '{name}'"
    # What each record of ours has, pages and downloads rely on.
    empty = _with_nulls(footer) & {name for name in needed if name not in fields or not _optional(fields[name])}
    if empty:
        return f"column '{min(empty)}' has rows without a value"
    for field in schema:
        if field.name in expected.names and not _same(field.type, expected.field(field.name).type):
            return f"column '{field.name}' is of another type"
    return None


def check_shown(folder: RunFolder) -> None:
    """Raise StoreError that names a part that takes more memory than one that is shown may, by its footer."""
    for file in list_files(folder):
        try:
            footer = pq.read_metadata(file.path)
        except (OSError, pa.ArrowException):
            continue  # said by whoever reads it
        groups = [footer.row_group(at) for at in range(min(footer.num_row_groups, MAX_GROUPS))]
        excess = footer.num_row_groups > MAX_GROUPS or any(map(_is_enormous, groups))
        if excess or (file.kind in READ_WHOLE and footer.num_columns and _is_too_large(footer, file)):
            raise StoreError(f"{file.path}: {TOO_LARGE}; move it away to see the rest")


def _is_enormous(group: pq.RowGroupMetaData) -> bool:
    values = (group.column(at).num_values for at in range(group.num_columns))
    return group.total_byte_size > MAX_GROUP or max(values, default=0) > MAX_VALUES


def _with_nulls(footer: pq.FileMetaData) -> set[str]:
    """The plain columns in which a value is missing, by the footer's statistics."""
    found = set()
    for group in range(footer.num_row_groups):
        for at in range(footer.num_columns):
            column = footer.row_group(group).column(at)
            if column.is_stats_set and column.statistics.has_null_count and column.statistics.null_count:
                found.add(column.path_in_schema)
    return found


def _optional(field: FieldInfo) -> bool:
    return type(None) in get_args(field.annotation)


def _same(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether two types are the same, however their lists name what they hold; a struct may hold less or more."""
    if pa.types.is_list(one) and pa.types.is_list(other):
        return _same(one.value_type, other.value_type)
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        return True
    return bool(one == other) or pa.types.is_null(one)


def is_readable(file: File) -> bool:
    """Whether the whole inside of a file can be read."""
    try:
        for _ in pq.ParquetFile(file.path).iter_batches(batch_size=ROWS_AT_ONCE):
            pass
    except (OSError, pa.ArrowException):
        return False
    return True


def measure(file: File, most: int = MAX_DECODED) -> int:
    """How many bytes the rows of a file take in memory, counted no further than a little beyond `most`."""
    size = 0
    try:
        for batch in pq.ParquetFile(file.path).iter_batches(batch_size=ROWS_AT_ONCE):
            size += batch.nbytes
            if size > most:
                break
    except (OSError, pa.ArrowException):
        return size
    return size


def _is_too_large(footer: pq.FileMetaData, file: File) -> bool:
    """Whether the rows of a file take more memory than they are given; a text that is repeated is written once."""
    groups = [footer.row_group(at) for at in range(footer.num_row_groups)]
    if sum(one.total_byte_size for one in groups) > MAX_DECODED:
        return True
    columns = range(footer.num_columns)
    worst = sum(one.num_rows * max(one.column(at).total_uncompressed_size for at in columns) for one in groups)
    return worst > MAX_DECODED and measure(file) > MAX_DECODED
