"""A status that is printed again: only as long as it would be the same, and without what reads a run."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from viewing import write_run

from selfimprove.cli import main
from selfimprove.recipe.catalog import import_file
from selfimprove.records.console import SafeConsole
from selfimprove.results.printed import SETTLED, make_key, print_again, print_and_keep, read_stamps
from selfimprove.store import RunFolder

EXTENSION = Path(__file__).resolve().parents[1] / "extensions" / "contains.py"
LOADED = """
import json, sys
sys.argv = ["selfimprove", *json.loads(sys.argv[1])]
from selfimprove.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "selfimprove" / "status"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path, ["1+2=3\n#3"] * 2, rounds=1)


def settle() -> None:
    """Wait until no file counts as changed just now."""
    time.sleep(SETTLED + 0.05)


def a_console(width: int = 80) -> SafeConsole:
    return SafeConsole(file=io.StringIO(), width=width)


def printed(run: RunFolder, console: SafeConsole) -> str | None:
    """What is printed again of a run, None where nothing is."""
    return console.file.getvalue() if print_again(run.path, console) else None  # type: ignore[attr-defined]


def keep(run: RunFolder, text: str = "as it was", working: int | None = None) -> None:
    console = a_console()
    print_and_keep(run.path, console, lambda: console.print(text), lambda: working)


def test_the_second_status_is_the_first_ones_text_and_loads_nothing_that_reads_runs(run: RunFolder) -> None:
    settle()

    def ask() -> tuple[str, set[str]]:
        arguments = json.dumps(["status", str(run.path)])
        told = subprocess.run([sys.executable, "-c", LOADED, arguments], capture_output=True, text=True, check=True)
        return told.stdout, set(json.loads(told.stderr))

    heavy = {"duckdb", "pyarrow", "numpy", "selfimprove.stages", "selfimprove.recipe", "selfimprove.store"}
    (first, before), (second, after) = ask(), ask()
    assert first == second and "Rounds" in first
    assert heavy <= before and not heavy & after


def test_each_file_of_a_run_is_looked_at_whatever_its_times_say(run: RunFolder) -> None:
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".yaml", ".json", ".parquet"}
    settle()
    before = set(read_stamps(run.path))
    for path in files:
        data, times = path.read_bytes(), path.stat()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # of the same length
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert {Path(stamp[0]) for stamp in before - set(read_stamps(run.path))} == set(files)


@pytest.mark.parametrize("change", ["part", "manifest", "recipe", "new", "gone"])
def test_what_changed_is_read_anew(run: RunFolder, capsys: pytest.CaptureFixture[str], change: str) -> None:
    settle()
    keep(run)
    assert printed(run, a_console()) == "as it was\n"
    part = next(run.path.glob("round-01/evaluate/evaluation-*.parquet"))
    path = {"manifest": part.with_name("stage.json"), "recipe": run.path / "recipe.yaml"}.get(change, part)
    data = path.read_bytes()
    if change == "new":
        (run.path / "round-02").mkdir()
    elif change == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for _ in range(2):  # right after the change, and later
        assert printed(run, a_console()) is None
        settle()
    with pytest.raises(SystemExit) as end:
        main(["status", str(run.path)])
    told = capsys.readouterr()
    assert "as it was" not in told.out
    named = f"WARNING: round-01/evaluate/{part.name}: missing, and what follows is without it; the same command"
    assert (named in " ".join(told.out.split())) == (change == "gone")
    assert end.value.code == (0 if change in ("new", "gone") else 2), told.err


def test_another_terminal_and_a_run_at_work_have_texts_of_their_own(run: RunFolder) -> None:
    settle()
    keep(run, working=1234)
    assert printed(run, a_console()) is None
    keep(run)
    assert printed(run, a_console(width=100)) is None
    assert printed(run, SafeConsole(file=io.StringIO(), width=80, force_terminal=True)) is None
    assert printed(run, a_console()) == "as it was\n"


def test_what_changed_just_now_is_waited_for_as_at_the_end_of_a_run(run: RunFolder) -> None:
    with run:
        pass
    assert make_key(run.path, a_console()) is None  # it may change again under the same time
    keep(run)
    assert printed(run, a_console()) == "as it was\n"


def test_nothing_is_kept_of_what_changed_meanwhile(run: RunFolder) -> None:
    settle()

    def change() -> None:
        (run.path / "round-01" / "note").write_text("meanwhile")
        settle()

    print_and_keep(run.path, a_console(), change, run.working)
    assert printed(run, a_console()) is None


def test_of_a_run_that_code_of_others_reads_nothing_is_kept(run: RunFolder) -> None:
    settle()
    assert make_key(run.path, a_console()) is not None
    import_file(str(EXTENSION))
    assert make_key(run.path, a_console()) is None


def test_a_mistake_keeps_what_was_printed_before_it_and_is_never_kept(run: RunFolder) -> None:
    settle()
    console = a_console()

    def show() -> None:
        console.print("the first table")
        raise ValueError("a part is damaged")

    with pytest.raises(ValueError):
        print_and_keep(run.path, console, show, run.working)
    assert console.file.getvalue() == "the first table\n"
    assert printed(run, a_console()) is None


def test_a_damaged_text_is_passed_over_and_old_ones_are_dropped(run: RunFolder, cache: Path) -> None:
    settle()
    keep(run)
    [place] = cache.iterdir()
    for at in range(150):
        (cache / str(at)).touch()
        os.utime(cache / str(at), (at, at))
    place.write_bytes(b"\xff\xfe")
    assert printed(run, a_console()) is None
    keep(run)
    assert len(list(cache.iterdir())) == 100 and printed(run, a_console()) == "as it was\n"
