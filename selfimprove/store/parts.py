"""Files that exist whole or not at all, and records as Parquet."""

import errno
import os
import re
import resource
import shutil
import tempfile
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, TypeAdapter

from selfimprove.errors import StoreError
from selfimprove.records import Record
from selfimprove.records.base import INT32
from selfimprove.records.files import is_special, sync_folder
from selfimprove.store.columns import decode, encode, plain

AnyRecord = TypeVar("AnyRecord", bound=Record)
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FULL_MESSAGE = "{path}: no room left on the disk; free some and run the same command again, nothing is lost"
PROBE = 1 << 20  # bytes; whoever cannot write as much has a full disk
PARTIAL = ".partial"
BATCH = 10_000  # records of one kind that wait to be written together


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
        if is_special(path):  # whoever may would put a file in place of /dev/null
            raise StoreError(f"{path}: is no regular file, and nothing was written; name another one")
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
    if origin is typing.Annotated:
        return pa.int32() if INT32 in arguments else _arrow_type(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return _arrow_type(next(one for one in arguments if one is not type(None)))
    if origin is tuple:
        return pa.list_(_arrow_type(arguments[0]))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct([(name, _arrow_type(field.annotation)) for name, field in annotation.model_fields.items()])
    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return plain[annotation]


def to_table(records: Sequence[Record], schema: pa.Schema) -> pa.Table:
    """Records as an Arrow table, column by column."""
    known = {"id": [one.id for one in records]}
    rows = [vars(one) for one in records]
    columns = [encode(known.get(field.name) or [row[field.name] for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


class PartFile:
    """A Parquet file of records of one kind that is there once `commit` has renamed it.

    At most `batch` records wait in memory, so that a file may be larger than memory. Nothing is opened before the first
    of them are written.
    """

    def __init__(self, path: Path, kind: type[Record], writer: str = "", *, batch: int = BATCH) -> None:
        self.path, self.kind, self.batch, self.rows = path, kind, batch, 0
        self._partial, self._schema = partial_of(path, writer), schema_of(kind)
        self._waiting: list[Record] = []
        self._file: BinaryIO | None = None
        self._parquet: pq.ParquetWriter | None = None

    @property
    def count(self) -> int:
        """Rows that were added."""
        return self.rows + len(self._waiting)

    def add(self, record: Record) -> None:
        self._waiting.append(record)
        if len(self._waiting) >= self.batch:
            self._flush()

    def add_batch(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Rows in the schema of the kind, but for what DuckDB calls the items of lists, which differs by version."""
        self._flush()
        self._write(pa.table(rows).cast(self._schema))

    def _flush(self) -> None:
        if self._waiting:
            self._write(to_table(self._waiting, self._schema))
            self._waiting = []

    def _write(self, table: pa.Table) -> None:
        with self._named():
            if self._parquet is None:
                self._file = os.fdopen(_open_own(str(self._partial), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")
                self._parquet = pq.ParquetWriter(self._file, self._schema, compression="zstd")
            self._parquet.write_table(table)
        self.rows += table.num_rows

    def commit(self) -> None:
        """Write what waits, fsync, rename, fsync the folder."""
        self._flush()
        if self._parquet is None:
            self._write(self._schema.empty_table())
        assert self._parquet is not None and self._file is not None
        with self._named():
            self._parquet.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.rename(self.path)
        with named_errors(self.path):
            sync_folder(self.path.parent)

    @contextmanager
    def _named(self) -> Iterator[None]:
        with named_errors(self.path):
            try:
                yield
            except OSError:
                self._partial.unlink(missing_ok=True)
                raise

    def close(self) -> None:
        """Let go of a file that will not be committed; nothing where it was."""
        if self._file is not None:
            self._file.close()


def write_part(path: Path, kind: type[Record], records: Iterable[Record], writer: str = "") -> None:
    """Write records of one kind as a Parquet file."""
    file = PartFile(path, kind, writer)
    try:
        for record in records:
            file.add(record)
        file.commit()
    finally:
        file.close()


def count_rows(path: Path) -> int:
    """The number of records in a Parquet file, from its footer."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, (str(error).splitlines() or [type(error).__name__])[0]) from None


def read_part(path: Path, kind: type[AnyRecord]) -> list[AnyRecord]:
    """Read the records of a Parquet file; raises StoreError that names it where it is damaged."""
    with named_damage(path):
        with pq.ParquetFile(path) as file:  # read_table would have pandas imported, which takes half a second
            table = file.read(use_threads=False)
        return [one for batch in table.to_batches() for one in to_records(batch, kind)]


def to_records(rows: pa.RecordBatch, kind: type[AnyRecord]) -> list[AnyRecord]:
    """Rows as records, which are checked; their ids are read, and the file's own hash vouches for them."""
    known = kind.model_fields
    names = rows.schema.names
    columns = [
        decode(column, known[name].annotation if name in known else None, plain)
        for name, column in zip(names, rows.columns, strict=True)
    ]
    ids = columns.pop(names.index("id"))
    names = [name for name in names if name != "id"]
    fields = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    records: list[AnyRecord] = _adapter(kind).validate_python(fields)
    for record, identity in zip(records, ids, strict=True):
        record.__dict__["id"] = identity
    return records


@lru_cache(maxsize=256)
def _adapter(kind: type[Record]) -> TypeAdapter[Any]:
    return TypeAdapter(list[kind])  # type: ignore[valid-type]


@contextmanager
def named_damage(path: Path) -> Iterator[None]:
    """Turn what is wrong inside a file into one line that names it."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise damaged(path, reason) from None


def damaged(path: Path, reason: str) -> StoreError:
    """The error that names a damaged file and says how to have it made again."""
    return StoreError(
        f"{path}: damaged ({reason[:120]}); move it away and run the same command again: only this part is made again"
    )
