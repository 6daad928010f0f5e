"""Files that exist whole or not at all, and records as Parquet."""

import errno
import os
import re
import resource
import shutil
import tempfile
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq
from pydantic import BaseModel, TypeAdapter

from selfimprove.errors import StoreError
from selfimprove.records import Record
from selfimprove.records.files import sync_folder

AnyRecord = TypeVar("AnyRecord", bound=Record)
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FULL_MESSAGE = "{path}: no room left on the disk; free some and run the same command again, nothing is lost"
PROBE = 1 << 20  # bytes; whoever cannot write as much has a full disk
PARTIAL = ".partial"


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden file into one line that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StoreError(FULL_MESSAGE.format(path=path)) from None
        raise StoreError(f"{path}: {error.strerror or error}") from None


@contextmanager
def named_full_disk(path: Path) -> Iterator[None]:
    """Turn a full disk into one line also where a library has wrapped the operating system's error in its own."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # safetensors, torch and arrow each raise a type of their own; all others pass
        if not (says_full(error) or is_full(path)):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise StoreError(f"{FULL_MESSAGE.format(path=path)} ({reason})") from None


def says_full(error: BaseException | None) -> bool:
    """Whether the operating system said so, to whatever raised this error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        # Rust's standard library puts the number into the text.
        if any(int(number) in FULL for number in re.findall(r"\(os error (\d{1,5})\)", str(error))):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_full(path: Path) -> bool:
    """Whether the disk takes no more: by what it has left, a file at the size that a process may write, or a try."""
    folder = next(one for one in (path, *path.absolute().parents) if one.is_dir())
    try:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY and any(_size(one) >= limit for one in folder.rglob("*")):
            return True
        # Without a name, so that nothing of it is left whatever happens.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in FULL
    return shutil.disk_usage(folder).free < PROBE


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def partial_of(path: Path, writer: str = "") -> Path:
    """The temporary name of a file that is being written."""
    return path.with_name(path.name + (f".{writer}" if writer else "") + PARTIAL)


def write_atomically(path: Path, write: Callable[[BinaryIO], object], writer: str = "") -> None:
    """Write under a temporary name, which is the writer's own, fsync, rename, fsync the folder."""
    partial = partial_of(path, writer)
    with named_errors(path):
        try:
            with open(partial, "wb", opener=_open_own) as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _open_own(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def schema_of(kind: type[Record]) -> pa.Schema:
    """The Parquet schema of a kind of record: `id` first, then its fields."""
    fields = [pa.field("id", pa.string(), nullable=False)]
    fields += [pa.field(name, _arrow_type(field.annotation)) for name, field in kind.model_fields.items()]
    return pa.schema(fields)


def _arrow_type(annotation: Any) -> pa.DataType:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return pa.string()
    if origin in (typing.Union, types.UnionType):
        return _arrow_type(next(one for one in arguments if one is not type(None)))
    if origin is tuple:
        return pa.list_(_arrow_type(arguments[0]))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct([(name, _arrow_type(field.annotation)) for name, field in annotation.model_fields.items()])
    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return plain[annotation]


def to_table(records: Sequence[Record], schema: pa.Schema) -> pa.Table:
    """Records as an Arrow table, by way of JSON lines, which both sides write and read without Python objects."""
    if not records:
        return schema.empty_table()
    lines = [f'{{"id":"{record.id}",{record.model_dump_json()[1:]}\n'.encode() for record in records]
    # A block holds whole lines only where it is larger than the longest one.
    read = pj.ReadOptions(use_threads=False, block_size=max(1 << 20, *(2 * len(line) for line in lines)))
    parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    return pj.read_json(pa.BufferReader(b"".join(lines)), read_options=read, parse_options=parse)


def write_part(path: Path, kind: type[Record], records: Sequence[Record], writer: str = "") -> None:
    """Write records of one kind as a Parquet file."""
    table = to_table(records, schema_of(kind))
    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"), writer)


def count_rows(path: Path) -> int:
    """The number of records in a Parquet file, from its footer."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, (str(error).splitlines() or [type(error).__name__])[0]) from None


def read_part(path: Path, kind: type[AnyRecord]) -> list[AnyRecord]:
    """Read the records of a Parquet file; raises StoreError that names it where it is damaged."""
    try:
        rows = pq.read_table(path).to_pylist()
        ids = [row.pop("id") for row in rows]
        records: list[AnyRecord] = TypeAdapter(list[kind]).validate_python(rows)  # type: ignore[valid-type]
        for record, identity in zip(records, ids, strict=True):
            # What a record's hash would give again; the file's own hash vouches for it.
            record.__dict__["id"] = identity
        return records
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise damaged(path, reason) from None


def damaged(path: Path, reason: str) -> StoreError:
    """The error that names a damaged file and says how to have it made again."""
    return StoreError(
        f"{path}: damaged ({reason[:120]}); move it away and run the same command again: only this part is made again"
    )


def is_link(path: Path) -> StoreError:
    """The error that names a link inside a run, which could lead anywhere."""
    return StoreError(f"{path}: is a link, and links inside a run are not followed; put the file itself there")
