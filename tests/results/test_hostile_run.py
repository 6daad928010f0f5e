"""What the command line prints of a run in which every text is hostile: nothing that a terminal would obey."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hostile_run import HOSTILE, NAME, write_hostile

from selfimprove.cli import main
from selfimprove.records import KINDS
from selfimprove.store import RunFolder
from selfimprove.store.query import Query

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ue000\U000e0041]")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_hostile(tmp_path_factory.mktemp("runs"))


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Indexes go to a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints on both streams."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert ended.value.code in (0, 2) and "Traceback" not in err
    assert (ended.value.code == 2) == bool(err), err
    assert err.count("\n") <= 1
    return out + err


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",), ("status", "--json"), ("traces", "--limit", "200"), ("traces", "--json", "--limit", "200"),
        ("traces", "--text", "\x1b["), ("show", "zz"), ("constitution", "report"), ("constitution", "report", "--json"),
        ("export", "nothing\x1b.txt"), ("export", "out.jsonl", "--what", "\x1b[31m"),
    ],
    ids=lambda one: ascii(" ".join(one)),
)  # fmt: skip
def test_no_command_prints_what_a_terminal_obeys(
    run: RunFolder, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    command, rest = (arguments[:2], arguments[2:]) if arguments[0] == "constitution" else (arguments[:1], arguments[1:])
    printed = said(capsys, *command, str(run.path), *rest)
    assert printed and OBEYED.search(printed) is None


@pytest.mark.parametrize(
    "kind", sorted(KINDS.keys() - {"note", "ranking"})
)  # notes are files of their own, which no stage writes
def test_no_record_is_shown_with_what_a_terminal_obeys(
    run: RunFolder, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    rows = Query(run).rows(f"SELECT id FROM {kind} ORDER BY id LIMIT 4")
    assert rows
    for row in rows:
        printed = said(capsys, "show", str(run.path), row["id"])
        assert row["id"] in printed and OBEYED.search(printed) is None


def test_the_constitution_is_printed_without_what_a_terminal_obeys(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(run.path / "constitution.yaml")
    for arguments in (("show", file), ("check", file), ("diff", file, "default")):
        printed = said(capsys, "constitution", *arguments)
        assert printed and OBEYED.search(printed) is None


@pytest.mark.parametrize("what", ["sft", "dpo", "traces", "notes"])
def test_every_export_reads_back_as_it_was_written(
    run: RunFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str
) -> None:
    rows = []
    for name in ("rows.jsonl", "rows.parquet"):
        printed = said(capsys, "export", str(run.path), str(tmp_path / name), "--what", what)
        rows.append(re.match(r"\d+", printed))
    assert rows[0] and rows[1] and rows[0][0] == rows[1][0]
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().split("\n") if line]
    table = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert len(lines) == len(table) == int(rows[0][0])
    texts = {"sft": "completion", "dpo": "chosen", "traces": "text", "notes": "chosen"}
    assert [line[texts[what]] for line in lines] == [row[texts[what]] for row in table]
    if what == "traces":
        assert {*HOSTILE} <= {row["text"] for row in table}


def test_the_run_is_found_by_its_name(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Rounds" in said(capsys, "status", NAME, "--runs", str(run.path.parent))
