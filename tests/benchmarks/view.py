"""Milliseconds that the viewer's server takes on a store of a million traces, beside DuckDB on the same Parquet files.

    python tests/benchmarks/view.py [--traces 1000000] [--rounds 16] [--times 20] [--folder FOLDER] [--only PATTERN]

The store has the shapes and lengths of real runs (view_store.py). The server is a process of its own that is asked over
HTTP, each question in other words each time, so that nothing is answered from memory; the times are the whole answer's,
and the CPU time is the mean of all of the server's threads, which other work on the machine hardly lengthens. By hand
is the CPU time of the same question as one query of DuckDB on the Parquet files, with the joins of store/query.py. The
server is that of the checkout in which the script is started, so that two can be asked in turn about one store.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from view_store import NAMES, THINGS, write_store

from selfimprove.store import RunFolder
from selfimprove.store.query import TRACES, Query

AIMS = {"text search": 1000.0, "regular expression": 1000.0}
FACETS = ("round", "stage", "task", "level", "outcome", "reasoning", "origin", "kept")


class Server:
    """`selfimprove view` as a process of its own."""

    def __init__(self, runs: Path, cache: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from selfimprove.viewer.serve import listen, make_server; "
            "s = listen('127.0.0.1', 0); p = s.getsockname()[1]; print(p, flush=True); "
            "make_server(Path(sys.argv[1]), host='127.0.0.1', port=p, cache=Path(sys.argv[2])).run(sockets=[s])"
        )
        self.process = subprocess.Popen([sys.executable, "-c", code, str(runs), str(cache)], stdout=subprocess.PIPE)
        assert self.process.stdout
        self.address = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=600) as answer:
            data: bytes = answer.read()
        return data

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def indexing(self) -> bool:
        """Whether the index is still being made; on a busy machine a question may be put off meanwhile."""
        try:
            return bool(self.json("/api/runs/million")["indexing"])
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return True

    def cpu(self) -> float:
        """Milliseconds of processor time that the server has taken so far, in all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self, field: str = "VmHWM") -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def questions(server: Server, rounds: int, draw: random.Random) -> Iterator[tuple[str, Callable[[], tuple[str, str]]]]:
    """Each kind of question, as a function that gives an address and the same as SQL on the files."""
    base = "/runs/million/traces"

    def page(where: str, **asked: Any) -> tuple[str, str]:
        query = urllib.parse.urlencode(asked)
        sql = (
            f"SELECT * FROM ({TRACES}) WHERE {where} ORDER BY round, stage, level, problem, origin, sample, id LIMIT 50"
        )
        return f"{base}?{query}", sql

    def some() -> dict[str, Any]:
        offset = draw.randrange(900_000)
        row: dict[str, Any] = server.json(f"/api{base}?limit=1&offset={offset}")["traces"][0]
        return row

    def traces() -> tuple[str, str]:
        return page("TRUE", offset=50 * draw.randrange(200))

    def filtered(name: str, values: list[Any]) -> Callable[[], tuple[str, str]]:
        def make() -> tuple[str, str]:
            value, offset = draw.choice(values), 50 * draw.randrange(5)
            quoted = value if isinstance(value, int) else f"'{value}'"
            column = {"kept": "CASE WHEN kept THEN 'kept' ELSE 'turned away' END"}.get(name, f'"{name}"')
            return page(f"{column} = {quoted}", **{name: value}, offset=offset)

        return make

    def two() -> tuple[str, str]:
        round_ = draw.randint(1, rounds)
        return page(f"round = {round_} AND outcome = 'incorrect'", round=round_, outcome="incorrect", sort="longest")

    def search(*, regex: bool) -> tuple[str, str]:
        name, thing, count = draw.choice(NAMES), draw.choice(THINGS), draw.randint(2, 99)
        if regex:
            text = f"{name} gives away {count} of the [0-9]+ {thing}"
            return page(f"regexp_matches(text, '{text}', 'i')", text=text, regex="true")
        text = f"{thing} that {name} needs is therefore {count}".lower()
        return page(f"contains(lower(text), '{text}')", text=text)

    def trace() -> tuple[str, str]:
        row = some()
        return f"{base}/{row['id']}", f"SELECT * FROM ({TRACES}) WHERE id = '{row['id']}'"

    def problem() -> tuple[str, str]:
        rows = server.json(f"/api{base}?stage=evaluate&limit=1&offset={draw.randrange(100_000)}")["traces"]
        identity = rows[0]["problem"]
        return f"/runs/million/problems/{identity}", f"SELECT * FROM ({TRACES}) WHERE problem = '{identity}'"

    def facets() -> tuple[str, str]:
        round_ = draw.randint(1, rounds)
        counted = ", ".join(f'("{name}")' for name in FACETS)
        names = ", ".join(f'"{name}"' for name in FACETS)
        sql = f"SELECT {names}, count(*) FROM ({TRACES}) WHERE round = {round_} GROUP BY GROUPING SETS ({counted})"
        return f"/api/runs/million/facets?round={round_}", sql

    yield "first page of traces", traces
    yield "filter: round", filtered("round", list(range(1, rounds + 1)))
    yield "filter: stage", filtered("stage", ["generate", "rationalize", "evaluate"])
    yield "filter: task", filtered("task", ["gsm8k", "svamp", "asdiv"])
    yield "filter: level", filtered("level", list(range(2, 9)))
    yield "filter: group", filtered("group", [f"level {one}" for one in range(2, 9)])
    yield "filter: outcome", filtered("outcome", ["correct", "incorrect", "undecided"])
    yield "filter: steps", filtered("reasoning", ["correct", "incorrect"])
    yield "filter: origin", filtered("origin", ["sampled", "rationalized"])
    yield "filter: decision", filtered("kept", ["kept", "turned away"])
    yield "two filters, longest first", two
    yield "facets", facets
    yield "text search", lambda: search(regex=False)
    yield "regular expression", lambda: search(regex=True)
    yield "a trace", trace
    yield f"a problem across {rounds} rounds", problem


def timed(ask: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Milliseconds of a question, or of the processor time of this process in all its threads."""
    start = clock()
    ask()
    return 1000 * (clock() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--traces", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--by-hand", type=int, default=3, help="How often each query by hand is run.")
    parser.add_argument("--folder", type=Path, help="Keep the store and the index here, and take what is there.")
    parser.add_argument("--only", default="", help="Ask only the questions whose name this expression finds.")
    parser.add_argument("--seed", type=int, default=1, help="Of the questions' words and places.")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="selfimprove-view-"))
    path = folder / "runs" / "million"
    if not path.exists():
        seconds = timed(lambda: write_store(path, given.traces, given.rounds)) / 1000
        print(f"{given.traces:,} traces in {given.rounds} rounds, written in {seconds:.0f} s")
    size = sum(file.stat().st_size for file in path.rglob("*.parquet")) / 1e6
    print(f"{size:.0f} MB of Parquet in {len(list(path.rglob('*.parquet')))} files")
    server = Server(folder / "runs", folder / "cache")
    try:
        start = time.perf_counter()
        while server.indexing():
            time.sleep(1)
        index = sum(file.stat().st_size for file in (folder / "cache").glob("*.duckdb")) / 1e6
        print(f"index made in {time.perf_counter() - start:.0f} s, {index:.0f} MB; the server's memory at most "
              f"{server.megabytes():.0f} MB")  # fmt: skip
        measure(server, path, given)
        print(f"the server's memory: {server.megabytes('VmRSS'):.0f} MB now, at most {server.megabytes():.0f} MB")
    finally:
        server.process.terminate()
        server.process.wait(20)


def measure(server: Server, path: Path, given: argparse.Namespace) -> None:
    query = Query(RunFolder(path), memory="8GB")
    server.get("/runs/million/traces")
    print(f"{'':32} {'median ms':>10} {'95th ms':>10} {'CPU ms':>8} {'aim':>8} {'by hand, CPU':>13}")
    for name, make in questions(server, given.rounds, random.Random(given.seed)):
        if not re.search(given.only, name):
            continue
        asked = [make() for _ in range(given.times)]
        before = server.cpu()
        times = sorted(timed(lambda one=one: server.get(one[0])) for one in asked)
        cpu = (server.cpu() - before) / len(asked)
        by_hand = [timed(lambda one=one: query.rows(one[1]), time.process_time) for one in asked[: given.by_hand]]
        worst = times[min(len(times) - 1, round(0.95 * len(times)))]
        aim = AIMS.get(name, 100.0)
        late = "" if worst <= aim else "  over the aim"
        shown = f"{statistics.median(by_hand):13.0f}" if by_hand else ""
        print(
            f"{name:32} {statistics.median(times):10.1f} {worst:10.1f} {cpu:8.1f} {aim:8.0f} {shown}{late}", flush=True
        )


if __name__ == "__main__":
    main()
