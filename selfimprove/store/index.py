"""An index of a run's traces: a DuckDB file in the user's cache folder, disposable, extended as parts appear.

It holds the narrow columns that filters, facets and sorting need, and the texts for searching; prompts, steps and whole
records stay in the run's Parquet files and are read from there, one file for one record. A round whose files changed is
indexed again, the others are kept, so that a running run costs what its last round costs.
"""

import contextlib
import math
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from selfimprove.errors import StoreError
from selfimprove.records import hash_text
from selfimprove.records.files import cache_folder, hash_file_once
from selfimprove.store.files import TOO_LARGE, File, find_fault, is_readable, list_files, measure
from selfimprove.store.index_tables import TABLES, write_round
from selfimprove.store.rules import macros
from selfimprove.store.run import RunFolder

VERSION = 7  # another version of the index is made anew
MEMORY = 160  # megabytes
MORE = 8  # times as much for a round that does not fit, before files of it are left out


class Index:
    """The index of one run; any number of threads may read, one at a time extends it."""

    def __init__(self, folder: RunFolder, cache: Path | None = None, memory: int = MEMORY) -> None:
        """`memory`: the megabytes that it takes, but for a round that does not fit."""
        self.folder, self.memory = folder, memory
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self._checked = -1e9
        self._cost = 0.0
        self._known: dict[tuple[str, int, int], int] | None = None  # the files that the tables hold, with their round
        self.generation = 0
        """Changes whenever the tables do."""
        self.pending: list[int] = []
        """The rounds that are still to be indexed."""
        self.connection = self._open(cache or cache_folder("view"))

    def _open(self, cache: Path) -> duckdb.DuckDBPyConnection:
        path = cache / f"{hash_text(str(self.folder.path.resolve()))}.duckdb"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            return self._prepare(path)
        except (duckdb.Error, OSError):
            # Another viewer has it, it is damaged, or the folder cannot be written: an index for this process alone.
            self._private = tempfile.TemporaryDirectory(prefix="selfimprove-view-")
            return self._prepare(Path(self._private.name) / path.name)

    def _prepare(self, path: Path) -> duckdb.DuckDBPyConnection:
        settings = {"memory_limit": f"{self.memory}MB", "threads": str(min(4, os.cpu_count() or 1)),
                    "temp_directory": str(path.with_suffix(".tmp")), "preserve_insertion_order": "true",
                    "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}  # fmt: skip
        connection = duckdb.connect(str(path), config=settings)
        try:
            known = connection.execute("SELECT version FROM meta").fetchone() == (VERSION,)
        except duckdb.CatalogException:
            known = False
        if not known:
            connection.close()
            path.unlink(missing_ok=True)
            connection = duckdb.connect(str(path), config=settings)
            connection.execute(TABLES)
            connection.execute("INSERT INTO meta VALUES (?)", [VERSION])
        for statement in macros(self.folder):
            connection.execute(statement)
        connection.execute("ATTACH ':memory:' AS scratch")
        return connection

    def close(self) -> None:
        """Close the file, and remove it where it was made for this process alone."""
        self.connection.close()
        if self._private:
            self._private.cleanup()

    def rows(self, sql: str, *values: object, seconds: float = 20.0) -> list[dict[str, Any]]:
        """The rows of a query on the index; raises StoreError where it is refused or takes longer than `seconds`."""
        with contextlib.closing(self.connection.cursor()) as cursor:
            return self._ask(cursor, sql, values, seconds)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Callable[..., list[dict[str, Any]]]]:
        """`rows` on the tables as they are now, also where the index is extended in between."""
        with contextlib.closing(self.connection.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT version FROM meta")  # a transaction sees what there is at its first query
            yield lambda sql, *values, seconds=20.0: self._ask(cursor, sql, values, seconds)

    def _ask(
        self, cursor: duckdb.DuckDBPyConnection, sql: str, values: Sequence[object], seconds: float
    ) -> list[dict[str, Any]]:
        timer = threading.Timer(seconds, cursor.interrupt)
        timer.start()
        try:
            cursor.execute(sql, list(values))
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except duckdb.InterruptException:
            raise StoreError(f"{self.folder.path}: the query took longer than {seconds:g} s") from None
        except duckdb.Error as error:
            raise StoreError(f"{self.folder.path}: {str(error).splitlines()[0][:200]}") from None
        finally:
            timer.cancel()

    @property
    def due(self) -> bool:
        """Whether it is time to look at the files again: what takes long is done less often."""
        return time.monotonic() - self._checked >= max(1.0, 5 * self._cost)

    # --- extending -------------------------------------------------------------------------------------------

    def refresh(self, *, force: bool = False, report: Callable[[int], object] = lambda _: None) -> bool:
        """Bring the index up to the run's files; looks at most once a second; gives whether something changed.

        A file that cannot be read is noted with its reason and left out; it is tried again when it changes.
        """
        if not force and not self.due:
            return False
        if not self._lock.acquire(blocking=force):
            return False
        try:
            started = time.monotonic()
            changed = self._extend(report)
            self._checked = time.monotonic()
            self._cost = self._checked - started
            return changed
        finally:
            self._lock.release()

    def _extend(self, report: Callable[[int], object]) -> bool:
        found = list(list_files(self.folder))
        if self._known is None:
            rows = self.rows("SELECT path, size, modified, round FROM part")
            self._known = {(row["path"], row["size"], row["modified"]): row["round"] for row in rows}
        known = self._known
        keys = {file.key for file in found}
        stale = {round_ for key, round_ in known.items() if key not in keys}
        new = [file for file in found if file.key not in known]
        # What later rounds wrote for a problem takes its task and level from it.
        first = min((file.round for file in new if file.kind == "problem"), default=math.inf)
        later = {round_ for round_ in known.values() if round_ > first}
        self.pending = sorted(stale | later | {file.round for file in new})
        if not self.pending:
            return False
        self._known = None
        for round_ in list(self.pending):
            self._index_round(round_, [file for file in found if file.round == round_])
            self.pending.remove(round_)
            self.generation += 1
            report(round_)
        return True

    def _index_round(self, round_: int, files: list[File]) -> None:
        """Index a round anew in one transaction, without the files that cannot be read."""
        expected = self._hashes(files)
        errors = {file.path: error for file in files if (error := find_fault(file))}
        for file in files:
            if file.path not in errors and not _is_as_written(file, expected):
                errors[file.path] = "damaged (its hash is not the one in stage.json)"
        try:
            self._write_what_fits(round_, files, errors)
        finally:
            with contextlib.suppress(duckdb.Error):  # what is still in use stays there
                self.connection.execute(f"SET memory_limit = '{self.memory}MB'")

    def _write_what_fits(self, round_: int, files: list[File], errors: dict[Path, str]) -> None:
        """Write a round's rows, with more memory where they do not fit, and then without the files that cannot be
        read or held; adds these to `errors`."""
        memory = self.memory
        while True:
            try:
                self._write_round(round_, files, errors)
                return
            except duckdb.Error as error:
                large = isinstance(error, duckdb.OutOfMemoryException)
                if large and memory < MORE * self.memory:
                    memory = min(4 * memory, MORE * self.memory)
                    self.connection.execute(f"SET memory_limit = '{memory}MB'")
                    continue
                # Its footer is whole and its inside is not: find which one, and go on without it.
                left = [file for file in files if file.path not in errors]
                broken = next((file for file in left if not is_readable(file)), None)
                if broken is None and large and left:
                    broken = max(left, key=measure)
                    errors[broken.path] = TOO_LARGE
                    continue
                if broken is None:
                    raise StoreError(f"{self.folder.path}: {str(error).splitlines()[0][:200]}") from None
                errors[broken.path] = "damaged inside"

    def _hashes(self, files: list[File]) -> dict[Path, str]:
        """The hashes of parts, as far as their stages are closed and their manifests can be read."""
        found: dict[Path, str] = {}
        for key in dict.fromkeys((file.round, file.stage) for file in files):
            stage = self.folder.stage(*key)
            with contextlib.suppress(StoreError):
                manifest = stage.manifest()
                found |= {stage.path / name: one for name, one in (manifest.files if manifest else {}).items()}
        return found

    def _write_round(self, round_: int, files: list[File], errors: dict[Path, str]) -> None:
        cursor = self.connection.cursor()
        try:
            cursor.execute("BEGIN")
            for statement in macros(self.folder):
                cursor.execute(statement)
            write_round(cursor, round_, files, errors)
            cursor.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                cursor.execute("ROLLBACK")
            raise
        finally:
            cursor.close()


def _is_as_written(file: File, expected: dict[Path, str]) -> bool:
    try:
        return file.path not in expected or hash_file_once(file.path) == expected[file.path]
    except OSError:  # taken away since it was listed
        return True


def key_of(identity: str) -> int:
    """The key that the index has for an id."""
    first = identity[:16]
    return int(first, 16) if re.fullmatch("[0-9a-f]+", first) else 0


def keys_of(ids: Iterable[str]) -> str:
    """The keys of ids as a list in SQL. A whole id is told from another by its key: 16 digits of a hash."""
    return ", ".join(str(key_of(one)) for one in dict.fromkeys(ids)) or "NULL"
