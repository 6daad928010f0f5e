"""The command line as a user meets it: what it prints, its exit codes, and that no mistake ends in a traceback."""

import contextlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from small import SMALL, record_ids, small_recipe

from selfimprove.cli import main
from selfimprove.records import Example
from selfimprove.running.loop import run_loop
from selfimprove.running.progress import watching
from selfimprove.store import RunFolder
from selfimprove.store.query import Query

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


def start(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    command = [sys.executable, "-m", "selfimprove.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)


def call(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which spares the imports."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(list(arguments), code, output.getvalue(), errors.getvalue())


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a finished run `small` in it."""
    folder = tmp_path_factory.mktemp("cli")
    run_loop(small_recipe(folder), RunFolder(folder / "runs" / "small"))
    return folder


def test_help_answers_in_under_half_a_second(folder: Path) -> None:
    """Counted in CPU seconds, which other work on the machine changes less than the clock."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "traces" in start("--help", folder=folder).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("arguments", [("status", "none"), ("run", "--wrong"), ("statu",), ("show", "small")])
def test_a_process_that_fails_says_so_in_one_line(folder: Path, arguments: Sequence[str]) -> None:
    done = start(*arguments, folder=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("selfimprove: ")


def test_an_output_that_is_closed_or_full_is_no_traceback(folder: Path) -> None:
    """Closed before the start, and on a full disk."""
    command = f"{sys.executable} -m selfimprove.cli"
    for arguments, code, errors in (
        ("status small >&-", 0, ""),
        ("status small > /dev/full", 2, "selfimprove: what this command prints cannot be written: No space left"),
        ("status small > /dev/null", 0, ""),  # and again, as it was printed
        ("status small > /dev/full", 2, "selfimprove: what this command prints cannot be written: No space left"),
    ):
        done = subprocess.run(
            ["bash", "-c", f"{command} {arguments}"], cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
        )
        assert done.returncode == code, (arguments, done.stderr)
        assert done.stderr.startswith(errors) and done.stderr.count("\n") == bool(errors), arguments


@pytest.mark.long  # it imports what trains
def test_a_run_goes_on_when_its_reader_has_seen_enough(folder: Path, tmp_path: Path) -> None:
    small_recipe(tmp_path)
    command = f"set -o pipefail; {sys.executable} -m selfimprove.cli run small.yaml --set rounds=1 | true"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "finished" in call("status", "small", folder=tmp_path).stdout


def test_run_prints_a_line_a_stage_and_the_status(folder: Path, tmp_path: Path) -> None:
    small_recipe(tmp_path)
    done = call("run", "small.yaml", "--set", "rounds=1", "--name", "printed", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for stage in ("warmup", "generate", "verify", "rationalize", "select", "sft", "evaluate", "promote"):
        assert any(re.match(rf"round [01] {stage}, [\d.]+ s", line) for line in lines), stage
    assert "\x1b" not in done.stdout
    assert re.search(r"outside the model [\d.]+ s \([\d.]+%: orchestration, store, verification\)", done.stdout)
    again = call("run", "small.yaml", "--set", "rounds=1", "--name", "printed", folder=tmp_path)
    assert not any(line.startswith("round 1 generate") for line in again.stdout.splitlines())


def test_ctrl_c_and_sigterm_stop_a_run_at_its_next_event() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.getsignal(number)
        with watching() as report:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
            with pytest.raises(KeyboardInterrupt):  # also where a library lost the first one
                report.progress(1, 2)
        assert signal.getsignal(number) is before


@pytest.mark.long
def test_sigterm_names_the_command_that_continues(folder: Path, tmp_path: Path) -> None:
    small_recipe(tmp_path)
    command = [sys.executable, "-m", "selfimprove.cli", "run", "small.yaml", "--set", "rounds=1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    moment = tmp_path / "runs/small/round-00/warmup/training/checkpoint-2"
    deadline = time.monotonic() + 120
    while not moment.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "continue with: selfimprove run small.yaml --set rounds=1" in errors
    assert "Traceback" not in errors
    again = call(*command[3:], folder=tmp_path)
    assert again.returncode == 0
    assert again.stdout.startswith("runs/small: goes on; stages that are done: 1, parts of round 0 warmup: 0\n")
    ours, whole = record_ids(RunFolder(tmp_path / "runs/small")), record_ids(RunFolder(folder / "runs/small"))
    assert ours == {name: ids for name, ids in whole.items() if not name.startswith("round-02")}


def test_status_shows_rounds_funnel_and_time(folder: Path) -> None:
    shown = call("status", "small", folder=folder).stdout
    for part in (
        "finished",
        "held-out accuracy",
        "95% interval",
        "From sampled to trained",
        "Time and tokens by stage",
        "engines were loaded for",
    ):
        assert part in shown
    data = json.loads(call("status", "small", "--json", folder=folder).stdout)
    assert list(data["evaluations"]) == ["0", "1", "2"]
    assert data["funnels"]["1"]["sampled"] == 24
    assert {"low", "high", "accuracy"} <= set(data["evaluations"]["2"][0])
    seconds = data["seconds"]
    assert 0 < seconds["engine idle"] < seconds["engine loaded"] < seconds["elapsed"]
    for stage in data["stages"]:
        assert 0 <= stage["seconds"]["idle"] <= stage["seconds"]["loaded"] <= stage["seconds"]["elapsed"], stage
    by_name = {one["stage"]: one["seconds"] for one in data["stages"]}
    assert by_name["generate"]["idle"] < by_name["generate"]["loaded"]
    assert by_name["verify"]["idle"] == by_name["verify"]["loaded"] > 0


def test_traces_filter_by_everything_and_agree_with_the_store(folder: Path) -> None:
    query = Query(RunFolder(folder / "runs" / "small"))
    every = [
        json.loads(line)
        for line in call("traces", "small", "--json", "--limit", "9999", folder=folder).stdout.splitlines()
    ]
    assert len(every) == query.rows("SELECT count(*) AS n FROM rationale")[0]["n"]
    for option, value, key in (
        ("--round", "1", "round"), ("--stage", "evaluate", "stage"), ("--task", "arithmetic", "task"),
        ("--level", "3", "level"), ("--group", "1+2", "group"), ("--outcome", "incorrect", "outcome"),
        ("--reasoning", "incorrect", "reasoning"), ("--origin", "rationalized", "origin"),
    ):  # fmt: skip
        found = call("traces", "small", option, value, "--json", "--limit", "9999", folder=folder).stdout.splitlines()
        expected = [row["id"] for row in every if str(row[key]) == value]
        assert expected
        assert [json.loads(line)["id"] for line in found] == expected
    needle = every[0]["text"][:3]
    found = call("traces", "small", "--text", needle, "--json", "--limit", "9999", folder=folder).stdout.splitlines()
    assert len(found) == sum(needle in row["text"] for row in every) > 0
    plain = call("traces", "small", "--limit", "2", folder=folder).stdout
    assert "2 of" in plain


def test_show_follows_any_record_by_the_beginning_of_its_id(folder: Path) -> None:
    run = RunFolder(folder / "runs" / "small")
    query = Query(run)
    for kind in (
        "problem",
        "rationale",
        "verdict",
        "decision",
        "example",
        "checkpoint",
        "evaluation",
        "promotion",
        "frontier",
    ):
        rows = query.rows(f"SELECT id FROM {kind} ORDER BY id LIMIT 1")
        if rows:
            done = call("show", "small", rows[0]["id"][:12], folder=folder)
            assert done.returncode == 0, done.stderr
            assert f"{kind} {rows[0]['id']}" in done.stdout
    hinted = query.rows("SELECT id FROM rationale WHERE origin = 'rationalized' LIMIT 1")[0]["id"]
    assert "with the answer as a hint" in call("show", "small", hinted, folder=folder).stdout


def test_plan_says_what_is_done_and_what_is_to_do(folder: Path) -> None:
    finished = call("plan", "small.yaml", folder=folder).stdout
    assert finished.count(" done") == finished.count("round-")
    more = call("plan", "small.yaml", "--set", "rounds=3", folder=folder).stdout
    assert re.search(r"round-02/sft +done", more)
    assert re.search(r"round-03/sft +to do +[\d,]+ to [\d,]+ +\d+ s", more)
    assert "at the speed of run 'small'" in " ".join(more.split())
    changed = call("plan", "small.yaml", "--set", "generate.samples=3", folder=folder).stdout
    assert "made with another recipe" in changed
    fresh = call("plan", "small.yaml", "--runs", "elsewhere", folder=folder).stdout
    assert "at most" in fresh
    assert "nothing was measured yet" in " ".join(fresh.split())


def test_exports_load_with_datasets(folder: Path) -> None:
    run = RunFolder(folder / "runs" / "small")
    kept = {one.id for round_ in (1, 2) for one in run.stage(round_, "select").read(Example)}
    kept |= {one.id for one in run.stage(0, "warmup").read(Example)}
    for name, loader in (("rows.jsonl", "json"), ("rows.parquet", "parquet")):
        assert call("export", "small", name, folder=folder).returncode == 0
        rows = datasets.load_dataset(
            loader, data_files=str(folder / name), split="train", cache_dir=str(folder / "cache")
        )
        assert set(rows["id"]) == kept
        assert {"prompt", "completion"} <= set(rows.column_names)
    assert call("export", "small", "all.parquet", "--what", "traces", "--round", "1", folder=folder).returncode == 0
    assert set(pq.read_table(folder / "all.parquet")["round"].to_pylist()) == {1}


def test_the_store_is_readable_by_others(folder: Path) -> None:
    files = str(folder / "runs/small/round-0[12]/generate/rationale-*.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "cache"))
    assert rows.num_rows == 48


def test_the_schema_describes_recipes(folder: Path) -> None:
    schema = json.loads(call("schema", folder=folder).stdout)
    assert set(schema["required"]) == {"name", "model", "train"}
    assert "STaR" in json.dumps(schema["$defs"]["Sft"]["properties"]["start"])
    settings = {f"{kind}.{name}": one for kind, found in {"Recipe": schema, **schema["$defs"]}.items()
                for name, one in found.get("properties", {}).items()}  # fmt: skip
    assert len(settings) > 400 and [name for name, one in settings.items() if not one.get("description")] == []


MISTAKES: Sequence[tuple[Sequence[str], str]] = (
    (("run", "arithmetik"), r"no recipe 'arithmetik' in policies/recipes; did you mean 'arithmetic'\?"),
    (("run", "none.yaml"), r"none.yaml: no such recipe"),
    (("run", "bad.yaml"), r"bad.yaml:4: unknown key 'rouns'; did you mean 'rounds'\?"),
    (("run", "small.yaml", "--set", "generate.sampels=2"), r"--set generate.sampels=2: unknown key 'sampels'"),
    (("run", "small.yaml", "--set", "generate.samples=many"), r"'stages.generate.samples' must be a whole number"),
    (("run", "small.yaml", "--set", "train.name=gsm9k"), r"unknown task 'gsm9k'; did you mean 'gsm8k'\?"),
    (("run", "words.yaml", "--set", "train.path=none.jsonl"), r"none.jsonl: No such file or directory"),
    (("run", "words.yaml"), r"empty.jsonl: holds no problem"),
    (("run", "words.yaml", "--set", "train.path=words.jsonl"), r"/nowhere: no such model; give a folder"),
    (("run", "words.yaml", "--set", "train.path=words.jsonl", "--model", "/tmp"), r"no config.json in this folder"),
    (
        ("run", "small.yaml", "--set", "generate.samples=3"),
        r"runs/small: was made with another recipe or other data \(generate\.samples was 2 and is 3\); \d+ of its "
        r"stages would have to be done again \(round-01/generate, .*\); go on as before with "
        r"--set generate\.samples=2, choose another --name, or discard them with --redo all",
    ),
    (("run", "small.yaml", "--set", "generate.samples=3", "--redo", "al"), r"--redo al: no such stage"),
    (("run", "small.yaml", "--redo", "stf"), r"--redo stf: no such stage"),
    (("recipes",), r"No such command 'recipes'\. Did you mean 'list recipes'\? See: selfimprove --help"),
    (("merge",), r"No such command 'merge'\. See: selfimprove --help"),
    (("constitution", "chek"), r"No such command 'chek'\. Did you mean 'check'\? See: selfimprove constitution --help"),
    (("constitution",), r"Missing command\. See: selfimprove constitution --help"),
    (("show", "small"), r"Missing argument 'ID'\. See: selfimprove show --help"),
    (("status", "smal"), r"no run 'smal' in runs/; did you mean 'small'\?"),
    (("show", "small", "zzz"), r"no record's id begins with 'zzz'"),
    (("show", "small", ""), r"no record's id begins with ''"),
    (("traces", "small", "--outcome", "right"), r"--outcome right: no such outcome"),
    (("export", "small", "rows.csv"), r"rows.csv: name a .parquet or a .jsonl file"),
    (("export", "small", "rows.jsonl", "--what", "rlhf"), r"--what rlhf: no such export"),
)  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(one) for one, _ in MISTAKES])
def test_a_mistake_is_one_line_and_exit_code_2(folder: Path, arguments: Sequence[str], message: str) -> None:
    (folder / "bad.yaml").write_text(SMALL.replace("rounds: 2", "rouns: 2"))
    (folder / "words.yaml").write_text(
        "name: words\nmodel: {path: /nowhere}\ntrain: {name: jsonl, path: empty.jsonl, held_out: 1}\n"
    )
    (folder / "empty.jsonl").write_text("\n")
    rows = [{"question": f"{at} plus 1?", "answer": at + 1} for at in range(4)]
    (folder / "words.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = call(*arguments, folder=folder)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert re.search(message, done.stderr), done.stderr
