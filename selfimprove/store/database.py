"""DuckDB with a bound on its memory: what does not fit is put on disk while a query runs."""

import itertools
import os
import tempfile
from pathlib import Path

import duckdb

_numbers = itertools.count()


def connect(*, memory: str = "512MB", threads: int = 2) -> duckdb.DuckDBPyConnection:
    """A database in memory that spills into the folder for temporary files (TMPDIR)."""
    spill = Path(tempfile.gettempdir()) / f"selfimprove-{os.getpid()}-{next(_numbers)}"  # made when it is needed
    return duckdb.connect(config={"memory_limit": memory, "threads": threads, "temp_directory": str(spill)})
