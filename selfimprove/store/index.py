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
import pyarrow as pa
import pyarrow.parquet as pq

from selfimprove.errors import StoreError
from selfimprove.records import KINDS, Record, hash_text
from selfimprove.records.files import hash_file_once
from selfimprove.store.files import PLAIN, TOO_LARGE, File, find_fault, is_readable, list_files, measure
from selfimprove.store.parts import schema_of
from selfimprove.store.rules import macros
from selfimprove.store.run import RunFolder

VERSION = 5  # another version of the index is made anew
MAX_SEARCHED = 100_000  # characters of one text that a search looks at
MAX_VALUE = 300  # characters of a value that traces are filtered by, such as a task's name
MEMORY = "160MB"
# What a trace is counted by; the cube holds the number of traces for each combination that occurs.
FACETS = (
    "round", "stage", "task", "level", "group", "outcome", "reasoning", "origin", "kept", "trained", "principle",
    "disputed", "finish",
)  # fmt: skip
COMBO = "hash(" + ", ".join(f'"{name}"' for name in FACETS) + ")"
"""A trace's combination of facets as a number, by which it finds its row of the cube."""
ROUND = 1 << 40  # the first trace of a round, in the order of all
APART = ("problem", "rationale", "verdict", "decision")  # kinds with a table or columns of their own
UNLINKED = ("evaluation", "frontier")  # their parents are all verdicts of a group
# Beside an id stands its key, its first 16 digits as a number: it is many times as fast to look for as a text.
TABLES = """
    CREATE TABLE meta (version INTEGER);
    CREATE MACRO key(id) AS coalesce(try_cast('0x' || id[:16] AS UBIGINT), 0);
    CREATE TABLE part (number INTEGER, path VARCHAR, kind VARCHAR, round INTEGER, stage VARCHAR, size BIGINT,
                       modified BIGINT, rows BIGINT, error VARCHAR);
    CREATE TABLE trace (seq BIGINT, key UBIGINT, id VARCHAR, round INTEGER, stage VARCHAR, task VARCHAR,
                        level INTEGER, "group" VARCHAR, problem_key UBIGINT, problem VARCHAR, checkpoint VARCHAR,
                        origin VARCHAR, sample INTEGER,
                        outcome VARCHAR, reasoning VARCHAR, reason VARCHAR, kept VARCHAR, decision VARCHAR,
                        trained VARCHAR, principle VARCHAR, disputed VARCHAR, answer VARCHAR, finish VARCHAR,
                        tokens INTEGER, logprob DOUBLE, steps INTEGER, wrong INTEGER,
                        verdict_key UBIGINT, verdict_id VARCHAR, decision_key UBIGINT, decision_id VARCHAR,
                        part INTEGER, verdict_part INTEGER, decision_part INTEGER, text VARCHAR);
    CREATE TABLE problem (key UBIGINT, id VARCHAR, round INTEGER, question VARCHAR, answer VARCHAR, task VARCHAR,
                          level INTEGER, "group" VARCHAR, part INTEGER);
    CREATE TABLE record (key UBIGINT, id VARCHAR, kind VARCHAR, round INTEGER, part INTEGER);
    CREATE TABLE link (parent_key UBIGINT, parent VARCHAR, child_key UBIGINT, child VARCHAR, kind VARCHAR,
                       place INTEGER, round INTEGER);
    CREATE TABLE apart (key UBIGINT, id VARCHAR, role VARCHAR, round INTEGER);
    CREATE TABLE cube (round INTEGER, stage VARCHAR, task VARCHAR, level INTEGER, "group" VARCHAR, outcome VARCHAR,
                       reasoning VARCHAR, origin VARCHAR, kept VARCHAR, trained VARCHAR, principle VARCHAR,
                       disputed VARCHAR, finish VARCHAR, traces BIGINT, combo UBIGINT);
    CREATE TABLE health (round INTEGER, problems BIGINT, samples BIGINT, most BIGINT, pass_1 DOUBLE, pass_k DOUBLE,
                         different DOUBLE, tokens DOUBLE, nats DOUBLE, different_valid BIGINT);
"""
INSERT_TRACES = """
    INSERT INTO trace
    SELECT {round}::BIGINT * {apart}
               + row_number() OVER (ORDER BY r.stage, p.level, r.parents[1], r.origin, r.sample, r.id),
           key(r.id), r.id, {round}, r.stage, coalesce(p.task, 'unknown'), coalesce(p.level, 0),
           coalesce(p."group", ''), key(r.parents[1]), coalesce(r.parents[1], '') AS problem,
           coalesce(r.parents[2], ''), r.origin, r.sample,
           coalesce(v.outcome, 'none'),
           CASE WHEN v.id IS NULL THEN 'none'
                ELSE reasoning_of(v.steps) END,
           v.reason[:400],
           CASE d.kept WHEN true THEN 'kept' WHEN false THEN 'turned away' ELSE 'none' END, d.reason[:400],
           'no', coalesce(n.principle[:{value}], ''),
           CASE WHEN c.id IS NULL THEN 'none' WHEN c.first <> c.second THEN 'yes' ELSE 'no' END,
           r.answer[:400], r.finish, r.tokens, CASE WHEN isfinite(r.logprob) THEN r.logprob END, len(v.steps),
           len(list_filter(v.steps, lambda s: s.outcome = 'incorrect')), key(v.id), v.id, key(d.id), d.id,
           r.part, v.part, d.part, r.text[:{searched}]
    FROM ({rationale}) r
    LEFT JOIN (SELECT DISTINCT ON (parents[1]) * FROM ({verdict})) v ON v.parents[1] = r.id
    LEFT JOIN (SELECT DISTINCT ON (parents[1]) * FROM ({decision})) d ON d.parents[1] = r.id
    LEFT JOIN (SELECT DISTINCT ON (parents[1]) * FROM ({crosscheck}) ORDER BY parents[1], first = second) c
      ON c.parents[1] = r.id
    LEFT JOIN (SELECT DISTINCT ON (parents[1]) * FROM ({revision})) n ON n.parents[1] = r.id
    LEFT JOIN (SELECT DISTINCT ON (id) * FROM problem) p ON p.id = r.parents[1]
    ORDER BY 1
"""
# Before a round is indexed anew: what only its checkpoints of before trained is not trained any more.
UNMARK_TRAINED = """
    UPDATE trace SET trained = 'no' WHERE round <> $1 AND trained <> 'no' AND key IN (
        SELECT made.parent_key FROM link made JOIN link used
            ON used.parent_key = made.child_key AND used.parent = made.child AND used.kind = 'checkpoint'
        WHERE used.round = $1 AND made.kind IN ('example', 'preference')
    )
"""
# What a policy's checkpoint names among its parents was trained: an example, or a preference of the chosen over the
# rejected. What a reward model or a judge was trained on is no part of the policy.
MARK_TRAINED = """
    UPDATE trace SET trained = how FROM (
        SELECT made.parent_key, made.parent, ['example', 'chosen', 'rejected'][min(
               CASE WHEN made.kind = 'example' THEN 1 WHEN made.place = 1 THEN 2 ELSE 3 END)] AS how
        FROM link made JOIN link used
            ON used.parent_key = made.child_key AND used.parent = made.child AND used.kind = 'checkpoint'
            AND used.child_key NOT IN (SELECT key FROM apart)
        WHERE ((made.kind = 'example' AND made.place = 1) OR (made.kind = 'preference' AND made.place <= 2)) AND {which}
        GROUP BY ALL
    ) WHERE parent_key = key AND parent = id
        AND list_position(['example', 'chosen', 'rejected', 'no'], how)
          < list_position(['example', 'chosen', 'rejected', 'no'], trained)
"""
COUNT_CUBE = f"""
    INSERT INTO cube SELECT {", ".join(f'"{name}"' for name in FACETS)}, count(*), {COMBO}
    FROM trace WHERE round = ? OR ? GROUP BY ALL
"""
# Of what was sampled for training problems: pass@1, pass@k with k the samples of a problem (of what is judged
# so far; undecided counts as not solved), different texts a
# problem, and the mean negative log-probability of a token, an estimate of the policy's entropy at temperature 1.
# Means of fractions are rounded: threads add them up in any order.
COUNT_HEALTH = """
    INSERT INTO health
    SELECT ?, count(*), sum(n), max(n), round(avg(c / judged) FILTER (judged > 0), 12),
           avg((c > 0)::INTEGER) FILTER (judged > 0), avg(different), sum(tokens) / sum(n),
           round(-sum(logprob) / nullif(sum(tokens), 0), 12), sum(valid)
    FROM (SELECT problem, count(*) AS n, count(*) FILTER (outcome = 'correct') AS c,
                 count(*) FILTER (outcome <> 'none') AS judged,
                 count(DISTINCT hash(text)) AS different, sum(tokens) AS tokens, sum(logprob) AS logprob,
                 count(DISTINCT hash(text)) FILTER (outcome = 'correct' AND reasoning <> 'incorrect') AS valid
          FROM trace WHERE round = ? AND origin = 'sampled' AND NOT is_held_out(stage) GROUP BY problem)
    HAVING count(*) > 0
"""


class Index:
    """The index of one run; any number of threads may read, one at a time extends it."""

    def __init__(self, folder: RunFolder, cache: Path | None = None) -> None:
        self.folder = folder
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self._checked = -1e9
        self._cost = 0.0
        self._known: dict[tuple[str, int, int], int] | None = None  # the files that the tables hold, with their round
        self.generation = 0
        """Changes whenever the tables do."""
        self.pending: list[int] = []
        """The rounds that are still to be indexed."""
        self.connection = self._open(cache or cache_folder())

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
        settings = {"memory_limit": MEMORY, "threads": str(min(4, os.cpu_count() or 1)),
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

    def rows(self, sql: str, *values: Any, seconds: float = 20.0) -> list[dict[str, Any]]:
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
        self, cursor: duckdb.DuckDBPyConnection, sql: str, values: Sequence[Any], seconds: float
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
        for _ in range(len(files) + 1):
            try:
                self._write_round(round_, files, errors)
                return
            except duckdb.Error as error:
                # Its footer is whole and its inside is not: find which one, and go on without it.
                left = [file for file in files if file.path not in errors]
                broken = next((file for file in left if not is_readable(file)), None)
                if broken is None and isinstance(error, duckdb.OutOfMemoryException) and left:
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
            unmarked = bool(cursor.execute(UNMARK_TRAINED, [round_]).fetchall()[0][0])
            for table in ("part", "trace", "problem", "record", "link", "health", "apart"):
                cursor.execute(f"DELETE FROM {table} WHERE round = ?", [round_])
            # All of it: a cursor with more to fetch takes no table, and a round that is gone has no rows to insert.
            number = cursor.execute("SELECT coalesce(max(number), 0) FROM part").fetchall()[0][0]
            rows = [
                (number + at, str(file.path), file.kind, round_, file.stage, file.size, file.modified,
                 None if file.path in errors else pq.read_metadata(file.path).num_rows, errors.get(file.path))
                for at, file in enumerate(files, start=1)
            ]  # fmt: skip
            if rows:
                cursor.executemany("INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            sources = {
                kind: _source(cursor, kind, [file for file in files if file.kind == kind and file.path not in errors])
                for kind in (*KINDS, *sorted({file.kind for file in files} - KINDS.keys()))
            }
            cursor.execute(
                f"INSERT INTO problem SELECT key(id), id, {round_}, question[:2000], answer[:400], "
                f'task[:{MAX_VALUE}], level, "group"[:{MAX_VALUE}], part FROM ({sources["problem"]})'
            )
            for kind in (kind for kind in sources if kind not in (*APART, *UNLINKED)):
                cursor.execute(
                    f"INSERT INTO record SELECT key(id), id, '{kind}', {round_}, part FROM ({sources[kind]})"
                )
                cursor.execute(
                    f"INSERT INTO link SELECT key(parent), parent, key(id), id, '{kind}', place, {round_} "
                    f"FROM (SELECT id, unnest(parents) AS parent, generate_subscripts(parents, 1) AS place "
                    f"FROM ({sources[kind]}))"
                )
            for kind in UNLINKED:
                cursor.execute(
                    f"INSERT INTO record SELECT key(id), id, '{kind}', {round_}, part FROM ({sources[kind]})"
                )
            cursor.execute(
                f"INSERT INTO link SELECT key(parents[3]), parents[3], key(id), id, 'rationale', 3, {round_} "
                f"FROM ({sources['rationale']}) WHERE len(parents) > 2"
            )
            cursor.execute(
                f"INSERT INTO apart SELECT key(id), id, role, {round_} FROM ({sources['checkpoint']}) "
                "WHERE role IS NOT NULL AND role <> 'policy'"
            )
            limits = {"apart": ROUND, "searched": MAX_SEARCHED, "value": MAX_VALUE}
            cursor.execute(INSERT_TRACES.format(round=round_, **limits, **sources))
            cursor.execute(MARK_TRAINED.format(which=f"made.round = {round_}"))
            # A cumulative pool trains on what earlier rounds wrote.
            cursor.execute(MARK_TRAINED.format(which=f"used.round = {round_} AND made.round <> {round_}"))
            others = bool(cursor.fetchall()[0][0])
            if unmarked:
                cursor.execute(MARK_TRAINED.format(which="TRUE"))
                others = True
            cursor.execute("DELETE FROM cube WHERE round = ? OR ?", [round_, others])
            cursor.execute(COUNT_CUBE, [round_, others])
            cursor.execute(COUNT_HEALTH, [round_, round_])
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


def cache_folder() -> Path:
    """The folder of indexes: `selfimprove/view` in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfimprove" / "view"


def key_of(identity: str) -> int:
    """The key that the index has for an id."""
    first = identity[:16]
    return int(first, 16) if re.fullmatch("[0-9a-f]+", first) else 0


def keys_of(ids: Iterable[str]) -> str:
    """The keys of ids as a list in SQL. A whole id is told from another by its key: 16 digits of a hash."""
    return ", ".join(str(key_of(one)) for one in dict.fromkeys(ids)) or "NULL"


def _source(cursor: duckdb.DuckDBPyConnection, kind: str, files: list[File]) -> str:
    """A SELECT of a kind's records with their stage and their part's number; of none where there are no files."""
    empty = f"no_{kind}"
    extra = [pa.field("part", pa.int32()), pa.field("stage", pa.string())]
    cursor.register(empty, pa.schema([*schema_of(KINDS.get(kind, Record)), *extra]).empty_table())
    if not files:
        return f"SELECT * FROM {empty}"
    listed = ", ".join("'" + str(file.path).replace("'", "''") + "'" for file in files)
    return (
        f"SELECT * FROM {empty} UNION ALL BY NAME "
        f"SELECT f.* EXCLUDE (filename), part.number AS part, part.stage AS stage "
        f"FROM read_parquet([{listed}], filename = true, union_by_name = true, {PLAIN}) f "
        f"JOIN part ON part.path = filename"
    )
