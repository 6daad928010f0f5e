"""A run that somebody else made: folders whose names look like columns, links, devices, enormous files, other locks."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from viewing import write_run

from selfimprove.cli import main
from selfimprove.constitution import Constitution, Principle, write_constitution
from selfimprove.errors import StoreError
from selfimprove.records import Rationale
from selfimprove.store import RunFolder
from selfimprove.store.export import jsonl_lines
from selfimprove.store.index import Index
from selfimprove.store.notes import Notes, write_note
from selfimprove.store.query import Query
from selfimprove.store.rankings import write_ranking
from selfimprove.store.search import Filters, Search
from selfimprove.viewer.library import Library

TEXTS = ("1+2=3\n#3", "1+2=4\n#4", "2+1=3\n#3")


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Indexes go to a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code of a command, and what it printed on both streams."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    code = int(str(ended.value.code))
    assert (code == 2) == bool(err) and err.count("\n") <= 1, err
    return code, out + err


# --- names that look like columns --------------------------------------------------------------------------------

NAMES = (
    "seed=77", "tokens=3", "outcome=correct", "completion=evil", "id=5", "part=1", "stage=x", "filename=y", "kept=true",
    "round=9", "parents=z", "text=t/answer=7/level=1", "task=%2e", "date=2024-01-01",
)  # fmt: skip


OTHERS = "0" * 20  # the id of a record of a kind that is not known here


def read_all(run: RunFolder, out: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What every command that reads says of a run, and what the viewer's index says."""
    out.mkdir()
    identity = run.stage(1, "generate").read(Rationale)[0].id
    commands = [
        ("status",), ("status", "--json"), ("traces", "--json", "--limit", "99"), ("traces", "--outcome", "incorrect"),
        ("traces", "--kept"), ("traces", "--text", "2+1"), ("show", identity),
        *(("export", str(out / f"{what}.jsonl"), "--what", what) for what in ("sft", "dpo", "traces", "notes")),
        ("export", str(out / "sft.parquet")), ("export", str(out / "logs"), "--inspect", "--what", "traces"),
        ("show", OTHERS), ("report", "--html", str(out / "report.html")),
        ("compare", str(run.path), "--json"),
    ]  # fmt: skip
    found = []
    named = [
        ("gc", "made"), ("cp", "made", "copy", "--yes"),
        ("mv", "copy", "moved", "--yes"), ("status", "moved", "--json"), ("rm", "moved", "--yes"),
    ]  # fmt: skip
    for command in (*commands, ("constitution", "report", "--json"), *named):
        first = command[:2] if command[0] == "constitution" else command[:1]
        where = (
            (*command[1:], "--runs", str(run.path.parent))
            if command in named
            else (str(run.path), *command[len(first) :])
        )
        code, text = said(capsys, *first, *where)
        assert code == 0, text
        found.append(re.sub(r"[\d.]+ MB", "", text).replace(str(out), ""))
    found += [path.read_text() for path in sorted(out.glob("*.jsonl"))]
    report = (out / "report.html").read_text()
    found.append(re.sub(r"<svg.*?</svg>|data:[^\"']*", "", report, flags=re.DOTALL))  # charts have ids of their own
    found.append(json.dumps(pq.read_table(out / "sft.parquet").to_pylist()))
    index = Index(run)
    index.refresh(force=True)
    for filters in (Filters(), Filters({"outcome": ("correct",)}), Filters({"outcome": ("incorrect",)})):
        found.append(b"".join(jsonl_lines(index, filters)).decode())
        found.append(str(Search(index).count(filters)))
    found.append(str(index.rows("SELECT path, error FROM part WHERE error IS NOT NULL")))
    index.close()
    # Lines are broken elsewhere, and columns are wider.
    return ["".join(text.replace("─", "").split()).replace(str(run.path.parent), "RUNS") for text in found]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = write_run(tmp_path_factory.mktemp("plain") / "runs", TEXTS, rounds=1)
    write_note(run, run.stage(1, "generate").read(Rationale)[0].id, "good", "", "me")
    rows = {"id": [OTHERS], "parents": [[run.stage(1, "generate").read(Rationale)[0].id]], "seed": [5], "round": [7]}
    pq.write_table(pa.table(rows), run.path / "round-01/generate/omen-00000.parquet")
    return run


def test_a_folders_name_is_no_column(plain: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(tmp_path.joinpath(*NAMES, "made"))
    shutil.copytree(plain.path, run.path)
    assert read_all(run, tmp_path / "one", capsys) == read_all(plain, tmp_path / "other", capsys)


# --- links and devices -------------------------------------------------------------------------------------------

SECRET = "name: stolen\nsecret: words of another file\n"


@pytest.fixture
def run(plain: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(plain.path, tmp_path / "runs" / "made")
    (tmp_path / "secret.yaml").write_text(SECRET)
    return RunFolder(tmp_path / "runs" / "made")


LINKED = (
    "recipe.yaml", "constitution.yaml", "notes", "rankings", "lock", "round-01", "round-01/generate", "round-02",
    "round-01/generate/stage.json", "round-01/generate/rationale-00000.parquet", "round-01/sft/checkpoint",
)  # fmt: skip
TARGETS: dict[str, Callable[[Path], Path]] = {
    "a file": lambda folder: folder / "secret.yaml",
    "a folder": lambda folder: folder / "elsewhere",
    "a device": lambda folder: Path("/dev/zero"),
    "nothing": lambda folder: folder / "nowhere",
}


def test_a_link_that_a_tracker_made_for_itself_does_not_stop_a_run(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = run.path / "trackers" / "wandb"
    kept.mkdir(parents=True)
    (kept / "latest-run").symlink_to(kept / "offline-run-1")
    assert said(capsys, "status", str(run.path))[0] == 0
    kept.parent.rename(run.path / "elsewhere")
    (run.path / "trackers").symlink_to(run.path / "elsewhere")
    assert said(capsys, "status", str(run.path))[0] == 2


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", LINKED)
def test_a_link_inside_a_run_is_named_and_not_followed(
    run: RunFolder, tmp_path: Path, name: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = run.path / name
    if path.is_dir():
        shutil.rmtree(elsewhere)
        path.rename(elsewhere)
    path.unlink(missing_ok=True)
    path.symlink_to(TARGETS[target](tmp_path))
    before = sorted(elsewhere.rglob("*"))
    for command in (("status",), ("traces",), ("export", str(tmp_path / "out.jsonl"))):
        code, text = said(capsys, command[0], str(run.path), *command[1:])
        assert code == 2 and f"{path}: is a link" in text, text
    library = Library(run.path.parent, tmp_path / "cache")
    figures = library.figures("made")
    assert any("link" in problem for problem in figures.problems.values())
    assert library.constitution("made") is None
    with pytest.raises(StoreError) if name == "notes" else nothing():
        write_note(run, "t", "good", "comment", "me")
    with pytest.raises(StoreError) if name == "rankings" else nothing():
        write_ranking(run, "p", ["t", "u"], [1, 2], "", "me", "browser")
    assert sorted(elsewhere.rglob("*")) == before
    if name in ("lock", "round-01", "round-01/generate"):
        with pytest.raises(StoreError, match=r"link|Too many levels"), run:
            run.stage(1, "generate").begin({})
    assert (tmp_path / "secret.yaml").read_text() == SECRET


class nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_a_linked_file_of_notes_and_a_temporary_name_are_not_followed(run: RunFolder, tmp_path: Path) -> None:
    before = Notes(run).all()
    note = write_note(run, "t", "good", "", "me")
    file = run.path / "notes" / f"note-{note.id}.json"
    file.rename(tmp_path / "away.json")
    file.symlink_to(tmp_path / "away.json")
    assert Notes(run).all() == before
    (run.path / "recipe.yaml.partial").symlink_to(tmp_path / "secret.yaml")
    recipe = run.recipe()
    (run.path / "recipe.yaml").unlink()
    with pytest.raises(StoreError, match=r"recipe.yaml: Too many levels of symbolic links"):
        run.write_recipe(recipe)
    assert (tmp_path / "secret.yaml").read_text() == SECRET


def test_a_runs_constitution_reads_no_other_file(run: RunFolder, tmp_path: Path) -> None:
    library = Library(run.path.parent, tmp_path / "cache")
    principle = Principle(id="kind", text="Be kind.")
    text = write_constitution(Constitution(name="mine", principles=(principle,)))
    (run.path / "constitution.yaml").write_text(text)
    assert library.constitution("made") is not None
    (tmp_path / "other.yaml").write_text(text)
    (run.path / "constitution.yaml").write_text(f"extends: {tmp_path / 'other.yaml'}\nname: mine\nversion: 2\n")
    assert library.constitution("made") is None


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: Path(path).write_bytes(bytes(20 << 20))])
@pytest.mark.parametrize("name", ["recipe.yaml", "lock", "round-01/generate/stage.json", "notes/note-x.json"])
def test_what_is_no_small_file_is_not_waited_for(
    run: RunFolder, tmp_path: Path, name: str, make: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    make(path)
    started = time.process_time()
    for command in ("status", "traces"):
        code, text = said(capsys, command, str(run.path))
        assert code == 0 or (code == 2 and str(path) in text), text
    figures = Library(run.path.parent, tmp_path / "cache").figures("made")
    assert name.startswith(("notes", "lock")) or figures.problems
    assert time.process_time() - started < 5


def test_one_damaged_run_leaves_the_others_alone(run: RunFolder, plain: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(plain.path, run.path.parent / "good")
    lines = ["a0: &a0 [x, x]", *(f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 12))]
    (run.path / "recipe.yaml").write_text("\n".join(lines))
    (run.path / "constitution.yaml").write_text("\n".join(lines))
    started = time.process_time()
    library = Library(run.path.parent, tmp_path / "cache")
    assert {name: bool(library.figures(name).problems) for name in library.folders()} == {"good": False, "made": True}
    assert library.constitution("made") is None and library.recipe("made") is None and library.recipe("good")
    assert time.process_time() - started < 2


@pytest.mark.parametrize("closed", [True, False])
def test_the_part_that_cannot_be_read_is_named(
    run: RunFolder, closed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    part = run.path / "round-01/generate/rationale-00000.parquet"
    content = bytearray(part.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[footer : footer + 40] = bytes(40)
    part.write_bytes(content)
    if not closed:
        (part.parent / "stage.json").unlink()
    for command in (("traces",), ("show", "0" * 40)):
        code, text = said(capsys, command[0], str(run.path), *command[1:])
        assert code == 2 and f"{part}: damaged" in text, text


# --- enormous parts ----------------------------------------------------------------------------------------------


def grow(run: RunFolder, name: str, column: str, rows: int, size: int) -> Path:
    """Put a text of so many characters into each of so many rows of a part: a file of a few kilobytes."""
    path = run.path / name
    table = pq.read_table(path).slice(0, 1).take(pa.array([0] * rows))
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * size]))
    ids = pa.array([f"{at:040x}" for at in range(rows)])
    named = {"id": ids, column: texts}
    table = pa.table([named.get(one, table[one]) for one in table.schema.names], names=table.schema.names)
    pq.write_table(table, path, compression="zstd", store_schema=False)
    (path.parent / "stage.json").unlink()
    assert path.stat().st_size < 1 << 20
    return path


def test_a_part_with_enormous_texts_is_left_out_and_said(run: RunFolder, tmp_path: Path) -> None:
    import resource

    grow(run, "round-01/generate/rationale-00000.parquet", "text", 1000, 1 << 20)
    script = (
        "import sys, resource; from pathlib import Path\n"
        "from selfimprove.store import RunFolder; from selfimprove.store.index import Index\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "index = Index(RunFolder(Path(sys.argv[1])), Path(sys.argv[2])); index.refresh(force=True)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
        "print(index.rows('SELECT path, error FROM part WHERE error IS NOT NULL'))"
    )
    command = [sys.executable, "-c", script, str(run.path), str(tmp_path / "cache")]
    grown, errors = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert int(grown) < 300_000, grown  # kilobytes
    assert "rationale-00000.parquet" in errors and "too large" in errors
    assert resource is not None


@pytest.mark.parametrize(("rows", "size"), [(2000, 1 << 20), pytest.param(40, 64 << 20, marks=pytest.mark.long)])
def test_enormous_texts_are_shown_in_bounded_memory(run: RunFolder, rows: int, size: int) -> None:
    """Of the first kind the beginnings of a few; for the second there is no room for one row beside the next."""
    grow(run, "round-01/generate/rationale-00000.parquet", "text", rows, size)
    script = (
        "import sys; from pathlib import Path; from selfimprove.cli import main\n"
        "for command in (['status'], ['traces'], ['show']):\n"
        "    more = ['0' * 40] if command == ['show'] else []\n"
        "    try: main([*command, sys.argv[1], *more])\n"
        "    except SystemExit as ended: print('ended', ended.code)\n"
        "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(run.path)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert int(lines[-1]) < 700_000, lines[-1]  # kilobytes, of which the program takes 170,000
    assert "Traceback" not in done.stderr and len(done.stdout) < 50_000
    ended = [line for line in lines if line.startswith("ended")]
    assert ended[0] == "ended 0" and set(ended) <= {"ended 0", "ended 2"}
    refused = [line for line in done.stderr.splitlines() if "holds more than 512MB of memory can show" in line]
    assert len(refused) == ended.count("ended 2"), done.stderr
    if size < 2 << 20:
        assert ended[1] == "ended 0" and f"({size - 600} more characters)" in done.stdout


@pytest.mark.parametrize(
    "name", ["round-01/generate/rationale-00000.parquet", "round-01/evaluate/evaluation-00000.parquet"]
)
def test_what_would_be_held_whole_is_refused_by_its_footer(
    run: RunFolder, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A list of more items than there is room for, and texts of a kind that is read whole."""
    if "rationale" in name:
        path = run.path / name
        table = pq.read_table(path).slice(0, 1)
        parents = pa.DictionaryArray.from_arrays(pa.array(bytes(10_000_001), pa.int8()), pa.array(["0"]))
        lists = pa.ListArray.from_arrays(pa.array([0, len(parents)], pa.int32()), parents)
        table = table.set_column(table.schema.get_field_index("parents"), "parents", lists)
        pq.write_table(table, path, compression="zstd", store_schema=False)
        (path.parent / "stage.json").unlink()
    else:
        path = grow(run, name, "task", 1000, 1 << 20)
    assert path.stat().st_size < 1 << 20
    for command in (["status"], ["traces"], ["show", "0"]):
        code, text = said(capsys, command[0], str(run.path), *command[1:])
        assert (code, text) == (2, f"selfimprove: {path}: too large to be shown; move it away to see the rest\n")


# --- files that cannot be written --------------------------------------------------------------------------------


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """This process may write no larger file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_an_export_that_cannot_be_written_is_not_put_on_the_run(plain: RunFolder, tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").touch()
    for out, message, size in (
        (tmp_path, "no room left on the disk", 100),
        (tmp_path / "a file", "Not a dir", 1 << 30),
    ):
        query = Query(plain)
        with files_of_at_most(size), pytest.raises(StoreError) as caught:
            query.copy("SELECT * FROM rationale", out / name)
        assert str(caught.value).startswith(f"{out / name}: ") and message in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == ["a file"]


# --- locks -------------------------------------------------------------------------------------------------------


def test_a_start_is_not_refused_because_somebody_looks(tmp_path: Path) -> None:
    """The lock names a process that is gone while others look at it without a pause."""
    run = RunFolder(tmp_path / "run")
    with run:
        pass
    gone = subprocess.Popen(["true"])
    gone.wait()
    look = (
        "import fcntl, sys\nwhile True:\n f = open(sys.argv[1]); "
        "\n try: fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)\n except BlockingIOError: pass\n f.close()"
    )
    lookers = [subprocess.Popen([sys.executable, "-c", look, str(run.path / "lock")]) for _ in range(2)]
    try:
        time.sleep(0.3)
        for _ in range(60):
            (run.path / "lock").write_text(str(gone.pid))
            with run:
                assert run.working() == os.getpid()
    finally:
        for one in lookers:
            one.kill()
            one.wait()


def test_a_run_at_work_is_refused_with_its_pid(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run, pytest.raises(StoreError, match=f"process {os.getpid()} is at work"), RunFolder(tmp_path / "run"):
        pass
    assert run.working() is None


def test_a_folder_in_place_of_the_lock_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "run" / "lock").mkdir(parents=True)
    for look in (RunFolder(tmp_path / "run").__enter__, RunFolder(tmp_path / "run").working):
        with pytest.raises(StoreError, match="run/lock: is a folder; move it away"):
            look()


def test_a_lock_that_names_nobody_who_lives_is_refused_without_a_name(tmp_path: Path) -> None:
    run, other = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    other.patience = 0.2
    with run:
        (run.path / "lock").write_text("no number")
        with pytest.raises(StoreError, match="on another machine, or one without a number, is at work"):
            other.__enter__()
