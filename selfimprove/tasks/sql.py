"""A query over Parquet: it reads the files that it was given, and can neither read nor write anything else."""

from collections.abc import Iterator
from pathlib import Path

from selfimprove.errors import TaskError

AT_ONCE = 1000  # rows
MEMORY = "4GB"
TABLE = "data"
CLOSED = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}


def query_parquet(path: Path, query: str) -> Iterator[dict[str, object]]:
    """The rows that one SELECT gives of the table `data`, which is a Parquet file or all of a folder; raises TaskError.

    One thread makes it, so that the same files give the same rows in the same order.
    """
    import duckdb

    files = sorted(map(str, path.resolve().glob("*.parquet"))) if path.is_dir() else [str(path.resolve())]
    if not files or not all(Path(one).is_file() and one.endswith(".parquet") for one in files):
        raise TaskError(f"{path}: 'sql' needs a .parquet file, or a folder that holds some")
    try:
        with duckdb.connect(":memory:", config={**CLOSED, "threads": "1", "memory_limit": MEMORY}) as connection:
            connection.read_parquet(files, union_by_name=True).create_view(TABLE)
            connection.execute("SET allowed_paths = $1", [files])
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise TaskError(f"{path}: 'sql' is not one SELECT; the table is called '{TABLE}'")
            found = connection.execute(statements[0])
            names = [column[0] for column in found.description or ()]
            while rows := found.fetchmany(AT_ONCE):
                yield from (dict(zip(names, row, strict=True)) for row in rows)
    except duckdb.Error as error:
        raise TaskError(f"{path}: 'sql' cannot be run ({str(error).strip().splitlines()[0][:200]})") from None
