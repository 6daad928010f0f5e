"""DuckDB with a bound on its memory: what does not fit is put on disk while a query runs."""

import itertools
import os
import tempfile
from pathlib import Path

import duckdb

MEMORY = "512MB"
THREADS = 2
_numbers = itertools.count()


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that spills into the folder for temporary files (TMPDIR)."""
    spill = Path(tempfile.gettempdir()) / f"selfimprove-{os.getpid()}-{next(_numbers)}"  # made when it is needed
    return duckdb.connect(config={"memory_limit": MEMORY, "threads": THREADS, "temp_directory": str(spill)})
