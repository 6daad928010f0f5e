"""Rows of a data set, whatever form it has: text files, Parquet, Arrow, what `datasets` saved, and the hub.

Only values are read. No code of a data set is run: `datasets` runs none from version 4 on, and reads no pickled form.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import DatasetTask
from selfimprove.tasks.base import load_hub, read_text
from selfimprove.tasks.sql import query_parquet

FORMS = ".jsonl, .ndjson, .json, .csv, .tsv (also .gz), .parquet, .arrow, or a folder"
HUB = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"  # by which `datasets` knows what it saved
AT_ONCE = 1000  # rows of a table
MAX_CELL = 10_000_000  # characters of one value in a CSV file
SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class Unreadable:
    """In place of a row that could not be read."""

    reason: str


@dataclass(frozen=True)
class Columns:
    """The columns that are asked for, by their names at the top, each path with all that may be its name."""

    needed: tuple[tuple[str, ...], ...]
    optional: tuple[str, ...] = ()

    def choose(self, there: Sequence[str]) -> list[str]:
        """The columns of a table that are read, so that no others are decoded: all where one is not there, so that it
        can be said which there are."""
        if not all(any(one in there for one in names) for names in self.needed):
            return list(there)
        wanted = {*self.optional, *(one for names in self.needed for one in names)}
        return [one for one in there if one in wanted]


Rows = Iterator[tuple[str, object]]
"""Each with its place: `line 7`, or `row 7` where there are no lines."""


def read_rows(path: str, settings: DatasetTask, columns: Columns, split: str) -> Rows:
    """The rows of a file, a folder or a data set of the hub, one after the other; raises TaskError."""
    file = Path(path).expanduser()
    if settings.sql is not None:
        return _numbered(query_parquet(file, settings.sql))
    if file.is_dir():
        return _read_folder(file, settings, columns, split)
    if not file.exists():
        if HUB.fullmatch(path) and _form(file) is None:
            rows = load_hub(path, split, settings.config, settings.revision)
            return _numbered(_select(rows, columns))
        raise TaskError(f"{path}: there is no such file, and it is no name on the hub")
    read = _form(file)
    if read is None:
        raise TaskError(f"{path}: is of no known form; known are {FORMS}")
    return read(file, columns)


def read_cells(file: Path, names: Sequence[str], *, quoted: bool) -> Rows:
    """The rows of a .csv or .tsv file whose first line does not name its columns; raises TaskError.

    Without `quoted` a quotation mark is a character like any other.
    """
    return _cells(
        file, "\t" if ".tsv" in file.suffixes else ",", names, csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    )


def _form(file: Path) -> "Callable[[Path, Columns], Rows] | None":
    """How a file is read, by the end of its name."""
    suffixes = [one.lower() for one in file.suffixes]
    packed = suffixes[-1:] == [".gz"]
    last = suffixes[-2:-1] if packed else suffixes[-1:]
    return None if not last or (packed and last[0] not in TEXTS) else {**TEXTS, **TABLES}.get(last[0])


def has_splits(path: str) -> bool:
    """Whether it may have several: a data set of the hub, or a folder that is not a single saved one."""
    file = Path(path).expanduser()
    return not file.exists() or (file.is_dir() and not (file / SAVED).is_file())


# --- text


def _read_lines(file: Path, _: Columns) -> Rows:
    return _lines(read_text(file))


def _lines(text: str) -> Rows:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {number}", _parse(line)


def _parse(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"not JSON ({error})")


def _read_json(file: Path, _: Columns) -> Rows:
    """An array of objects, an object with one array of objects in it, or an object a line."""
    text = read_text(file)
    start = SPACE.match(text).end()  # type: ignore[union-attr]
    if text[start : start + 1] == "[":
        return _elements(file, text, start + 1)
    whole = _parse(text)
    if isinstance(whole, Unreadable):
        return _lines(text)
    lists = [one for one in whole.values() if isinstance(one, list)] if isinstance(whole, dict) else []
    if len(lists) == 1 and all(isinstance(one, dict) for one in lists[0]):
        return _numbered(lists[0])
    return _lines(text) if isinstance(whole, dict) and "\n" not in text.strip() else _refuse(file)


def _refuse(file: Path) -> Rows:
    raise TaskError(f"{file}: expected an array of objects, an object that holds one such array, or an object a line")


def _elements(file: Path, text: str, at: int) -> Rows:
    """The elements of a JSON array, each with the line that it begins in."""
    decoder, line, counted = json.JSONDecoder(), 1, 0
    while True:
        at = SPACE.match(text, at).end()  # type: ignore[union-attr]
        line, counted = line + text.count("\n", counted, at), at
        if text[at : at + 1] == "]":
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise TaskError(f"{file}:{line}: not JSON ({said})") from None
        yield f"line {line}", value
        at = SPACE.match(text, at).end()  # type: ignore[union-attr]
        if text[at : at + 1] not in (",", "]"):
            raise TaskError(f"{file}:{line}: not JSON (a comma or the array's end is missing)")
        at += text[at : at + 1] == ","


def _read_csv(file: Path, _: Columns) -> Rows:
    return _cells(file, ",")


def _read_tsv(file: Path, _: Columns) -> Rows:
    return _cells(file, "\t")


def _cells(file: Path, delimiter: str, header: Sequence[str] = (), quoting: Any = csv.QUOTE_MINIMAL) -> Rows:
    """The rows of a table of text, whose first line names the columns without a `header`; every cell is the text that
    it is."""
    before = csv.field_size_limit(MAX_CELL)
    try:
        reader = csv.reader(io.StringIO(read_text(file), newline=""), delimiter=delimiter, strict=True, quoting=quoting)
        names = list(header) or None
        while True:
            begin = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise TaskError(f"{file}:{begin}: not {'CSV' if delimiter == ',' else 'TSV'} ({error})") from None
            if row is None:
                return
            if not any(cell.strip() for cell in row):
                continue
            if names is None:
                names = [cell.strip() for cell in row]
                if repeated := next((one for at, one in enumerate(names) if one in names[:at]), None):
                    raise TaskError(f"{file}:{begin}: two columns are called '{repeated}'")
                continue
            if len(row) != len(names):
                yield f"line {begin}", Unreadable(f"{len(row)} cells instead of {len(names)}")
            else:
                yield f"line {begin}", dict(zip(names, row, strict=True))
    finally:
        csv.field_size_limit(before)


# --- tables


def _read_parquet(file: Path, columns: Columns) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            batches = table.iter_batches(batch_size=AT_ONCE, columns=columns.choose(table.schema_arrow.names))
            yield from _numbered(row for batch in batches for row in batch.to_pylist())
    except (pa.ArrowException, OSError) as error:
        raise TaskError(f"{file}: cannot be read as Parquet ({_first_line(error)})") from None


def _read_arrow(file: Path, columns: Columns) -> Rows:
    """Arrow's streams, as `datasets` writes them, and its files."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(file)) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else iter(reader)
            names = columns.choose(reader.schema.names)
            yield from _numbered(
                row
                for batch in batches
                for at in range(0, batch.num_rows, AT_ONCE)
                for row in batch.select(names).slice(at, AT_ONCE).to_pylist()
            )
    except (pa.ArrowException, OSError) as error:
        raise TaskError(f"{file}: cannot be read as Arrow ({_first_line(error)})") from None


TEXTS: dict[str, Callable[[Path, Columns], Rows]] = {
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
}
TABLES: dict[str, Callable[[Path, Columns], Rows]] = {".parquet": _read_parquet, ".arrow": _read_arrow}


# --- folders


def _read_folder(folder: Path, settings: DatasetTask, columns: Columns, split: str) -> Rows:
    """A folder that `datasets` saved, or one of data files, in which it finds the splits by their names."""
    from datasets import load_dataset, load_from_disk

    saved = [name for name in (SAVED_SPLITS, SAVED) if (folder / name).is_file()]
    try:
        if not saved:
            found = load_dataset(str(folder), settings.config, split=split)
        else:
            found = load_from_disk(str(folder / split if saved[0] == SAVED_SPLITS else folder))
    except Exception as error:  # `datasets` raises dozens of types for what is damaged, missing or unknown
        raise TaskError(f"{folder}: cannot be read ({_first_line(error)}); its split is '{split}'") from None
    return _numbered(_select(found, columns))


def _select(rows: Any, columns: Columns) -> Iterable[object]:
    there = getattr(rows, "column_names", None)
    return rows.select_columns(columns.choose(there)) if there else rows  # type: ignore[no-any-return]


def _numbered(rows: Iterable[object]) -> Rows:
    for number, row in enumerate(rows, 1):
        yield f"row {number}", row


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
