"""Keeping a folder of runs in order: lists, a folder to start from, rm, mv, cp, and gc before a run goes on."""

import contextlib
import csv
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len
from small import record_ids, small_recipe, weight_hashes
from test_cli import call

from selfimprove.engines import ScriptedEngine
from selfimprove.engines.build import build_model
from selfimprove.errors import StoreError
from selfimprove.recipe import Build
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint, Problem, Promotion
from selfimprove.records.columns import lay_out
from selfimprove.running.figures import closed_rounds
from selfimprove.running.find_model import find_best, find_of_round, locate_model
from selfimprove.running.loop import run_loop
from selfimprove.running.upkeep import FREED, find_needless, remove_run, show_size
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.manifest import Seconds
from selfimprove.store.run import start_command

FEW = ("repair=null", "rationalize=null", "frontier.problems=4", "generate.samples=1", "sft.steps=2", "warmup.steps=2")
"""Changes that make the small recipe smaller still."""
ROUNDS = 3


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the run `small` of three rounds."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = small_recipe(folder, f"rounds={ROUNDS}", *FEW)
    run_loop(recipe, RunFolder(folder / "runs/small"))
    return folder


SETTINGS = [part for one in FEW for part in ("--set", one)]


def go_on(place: Path, name: str) -> RunFolder:
    run = RunFolder(place / "runs" / name)
    run_loop(load_recipe(str(place / "small.yaml"), [f"name={name}", "rounds=4", *FEW]), run)
    return run


# --- lists


def test_lists_say_what_there_is_and_where_it_is_from(place: Path, tmp_path: Path) -> None:
    (tmp_path / "policies/recipes").mkdir(parents=True)
    (tmp_path / "policies/recipes/arithmetic.yaml").write_text("name: mine\ndescription: My own sums. More of it.\n")
    (tmp_path / "policies/recipes/bad.yaml").write_text("a: [")
    shutil.copytree(place / "runs", tmp_path / "runs")
    by_kind = {
        kind: {one["name"]: one for one in json.loads(call("list", kind, "--json", folder=tmp_path).stdout)}
        for kind in ("recipes", "constitutions", "triggers", "tasks", "stages", "models", "runs")
    }
    mine = by_kind["recipes"]["arithmetic"]
    assert mine["said"] == "My own sums"
    assert mine["source"] == "policies/recipes, in place of the one that comes with the package"
    assert by_kind["recipes"]["bad"]["said"] == "cannot be read"
    assert by_kind["recipes"]["ask"]["source"] == "comes with the package"
    assert by_kind["constitutions"]["short"]["said"] == "Two principles, to show how a constitution is written"
    assert {"jsonl", "mmlu/…", "gsm8k"} <= set(by_kind["tasks"])
    assert by_kind["stages"]["rationalize"]["said"] == "Show the answer as a hint where the model failed"
    assert {"small/round-00", "small/round-03"} <= set(by_kind["models"])
    assert by_kind["runs"]["small"]["said"].startswith("finished, round 3 of 3, ")
    assert all(one["said"] and one["source"] for kind in by_kind.values() for one in kind.values())
    assert "recipes" in call("list", folder=tmp_path).stdout
    assert "known: constitutions" in call("list", "poems", folder=tmp_path).stderr


def test_status_without_a_run_lists_the_runs(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "runs", tmp_path / "runs")
    (tmp_path / "runs/torn").mkdir()
    (tmp_path / "runs/torn/recipe.yaml").write_text("name: [")
    shown = call("status", folder=tmp_path)
    assert shown.returncode == 0
    assert "small" in shown.stdout and "finished" in shown.stdout and "of 16 in round 3" in shown.stdout
    assert "torn" in shown.stdout and "cannot be read" in shown.stdout
    data = {one["name"]: one for one in json.loads(call("status", "--json", folder=tmp_path).stdout)}
    assert data["small"]["evaluated"] == 3 and 0 <= data["small"]["accuracy"] <= 1
    start = "start one with: selfimprove run RECIPE --runs none"
    assert start in call("status", "--runs", "none", folder=tmp_path).stdout
    assert start in call("status", "other", "--runs", "none", folder=tmp_path).stderr
    assert start_command(Path("runs")) == "selfimprove run"


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_rows_fit_any_terminal_and_lose_no_word(width: int) -> None:
    rows = [["short", "2026-01-01", "a b c d e f g " * 8], ["数学の問題", "", "x\x1b[31m " * 9]]
    lines = lay_out(rows, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "\x1b" not in "".join(lines)
    assert sum(line.split().count("g") for line in lines) == 8
    assert lay_out([], width) == []


# --- a folder to start from


def test_init_writes_a_folder_that_runs_as_it_is(tmp_path: Path) -> None:
    shape = Build(hidden_size=32, intermediate_size=32, layers=1, heads=1, alphabet="".join(map(chr, range(10, 127))))
    build_model(shape, tmp_path / "model", seed=1)
    done = call("init", "mine", "--model", str(tmp_path / "model"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "next: cd mine && selfimprove run mine.yaml" in done.stdout
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"mine.yaml", "constitution.yaml", "problems.csv"}
    assert call("constitution", "check", "constitution.yaml", "--strict", folder=tmp_path / "mine").returncode == 0
    # Somebody writes who knows every second answer; a real model is trained, with an adapter.
    with (tmp_path / "mine/problems.csv").open(newline="") as file:
        known = {row["question"]: row["answer"] for row in csv.DictReader(file)}

    def write(prompt: str, seed: int) -> str:
        asked = max(known, key=lambda one: prompt.rfind(one))
        answer = int(known[asked]) + seed % 2
        return f"{answer} + 0 = {answer}. The answer is {answer}."

    run = RunFolder(tmp_path / "runs/mine")
    recipe = load_recipe(str(tmp_path / "mine/mine.yaml"), ["rounds=1", "engine.threads=1", "sft.epochs=1"])
    run_loop(recipe, run, load=lambda checkpoint, session: ScriptedEngine(write))
    assert len(run.stage(0, "problems").read(Problem)) == 8
    closed = {stage.path.name for stage in run.stages() if stage.closed}
    assert {"generate", "rationalize", "revise", "select", "sft", "evaluate", "promote"} <= closed
    again = call("init", "mine", folder=tmp_path)
    assert again.returncode == 2 and "is there already, and nothing was written" in again.stderr
    assert call("init", "a b", folder=tmp_path).returncode == 2
    assert (
        "path: HuggingFaceTB/" in (call("init", "plain", folder=tmp_path), tmp_path / "plain/plain.yaml")[1].read_text()
    )


# --- rm, mv, cp


def test_runs_are_removed_renamed_and_copied(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "runs", tmp_path / "runs")
    shutil.copy(place / "small.yaml", tmp_path)
    asked = call("rm", "small", folder=tmp_path)
    assert asked.returncode == 2 and "Nobody can be asked here; add --yes" in asked.stderr
    assert (tmp_path / "runs/small").is_dir()
    (tmp_path / "runs/small/trackers").mkdir()
    with contextlib.chdir(tmp_path):
        before = record_ids(RunFolder(Path("runs/small")))
    assert call("cp", "small", "other", "--yes", folder=tmp_path).returncode == 0
    assert call("mv", "small", "newer", "--yes", folder=tmp_path).returncode == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"other", "newer"}
    assert (tmp_path / "runs/newer/trackers").is_dir() and not (tmp_path / "runs/other/trackers").exists()
    for name in ("other", "newer"):
        run = RunFolder(tmp_path / "runs" / name)
        assert record_ids(run) == before
        assert run.recipe().name == name
        shown = call("run", "small.yaml", *SETTINGS, "--set", f"rounds={ROUNDS}", "--name", name, folder=tmp_path)
        assert shown.returncode == 0 and "round 1 generate," not in shown.stdout
    assert call("rm", "other", "newer", "--yes", folder=tmp_path).returncode == 0
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_folder_of_ones_own_with_a_recipe_in_it_is_no_run(place: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/recipe.yaml").write_text("name: mine\nmodel: {path: m}\ntrain: {name: arithmetic}\n")
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    shutil.copytree(place / "runs", tmp_path / "elsewhere")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/link").symlink_to(tmp_path / "elsewhere/small")
    for arguments, message in (
        (("rm", "mine"), "mine: is no run, because no run wrote its recipe.yaml; nothing was done"),
        (("mv", "mine", "x"), "is no run"),
        (("cp", "mine", "x"), "is no run"),
        (("gc", "mine"), "is no run"),
        (("rm", "link"), "link"),
    ):
        done = call(*arguments, "--yes", folder=tmp_path)
        assert done.returncode == 2 and message in done.stderr, arguments
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"
    assert (tmp_path / "elsewhere/small/recipe.yaml").is_file() and (tmp_path / "runs/link").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cp", "small", "other"), "other: is there already; choose another name"),
        (("cp", "small", "../x"), "is no name for a run"),
        (("cp", "small", ".hidden"), "is no name for a run"),
        (("mv", "none", "x"), "no run 'none' in runs/"),
        (("rm", "small"), "cannot be removed, because other runs began from a checkpoint of it: other"),
        (("mv", "small", "x"), "cannot be moved, because other runs began from a checkpoint of it: other"),
        (("rm", "working"), "is at work on this run"),
        (("cp", "working", "x"), "is at work on this run"),
        (("gc", "working"), "is at work on this run"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_lost(
    place: Path, tmp_path: Path, arguments: Sequence[str], message: str
) -> None:
    shutil.copytree(place / "runs", tmp_path / "runs")
    shutil.copytree(tmp_path / "runs/small", tmp_path / "runs/working")
    other = RunFolder(tmp_path / "runs/other")
    recipe = RunFolder(tmp_path / "runs/small").recipe()
    start = str(tmp_path / "runs/small/round-01/sft/checkpoint")
    other.path.mkdir()
    other.write_recipe(
        recipe.model_copy(update={"model": recipe.model.model_copy(update={"path": start, "build": None})})
    )
    before = sorted(tmp_path.rglob("*"))
    with RunFolder(tmp_path / "runs/working"):
        done = call(*arguments, "--yes", folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


# --- gc


def test_a_run_goes_on_after_gc_as_if_nothing_had_gone(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "runs", tmp_path / "runs")
    shutil.copy(place / "small.yaml", tmp_path)
    runs = tmp_path / "runs"
    assert call("cp", "small", "freed", "--yes", folder=tmp_path).returncode == 0
    run = RunFolder(runs / "freed")
    (run.path / "round-01/sft/training").mkdir()
    (run.path / "round-01/sft/training/state.bin").write_bytes(bytes(2000))
    weights = run.path / "round-01/sft/checkpoint"
    refused = call("gc", "freed", folder=tmp_path)
    assert refused.returncode == 2 and "round-01/sft/checkpoint: the run goes on from a later round" in refused.stdout
    assert "2.0 kB" in refused.stdout and weights.is_dir()
    done = call("gc", "freed", "--yes", folder=tmp_path)
    assert done.returncode == 0 and " freed" in done.stdout
    assert not weights.exists() and not (run.path / "round-01/sft/training").exists()
    assert all((run.path / f"round-{at:02d}" / stage / "checkpoint").is_dir() for at, stage in
               ((0, "warmup"), (2, "sft"), (3, "sft")))  # fmt: skip
    manifest = run.stage(1, "sft").manifest()
    assert manifest is not None and manifest.metrics[FREED] > 0 and run.stage(1, "sft").closed
    assert any(name.startswith("checkpoint/") for name in manifest.files)  # their hashes stay
    assert closed_rounds(run) == closed_rounds(RunFolder(runs / "small"))  # trackers are told nothing anew
    assert call("gc", "freed", "--yes", folder=tmp_path).stdout == "nothing to free in 1 run\n"
    (runs / "torn").mkdir()
    (runs / "torn/recipe.yaml").write_text("name: [")
    others = call("gc", folder=tmp_path)
    assert "torn: is no run" in others.stderr and "runs/small/round-01/sft/checkpoint" in others.stdout
    # What it says of itself, its lineage, and its best checkpoint are as before.
    assert record_ids(run) == record_ids(RunFolder(runs / "small"))
    assert call("status", "freed", folder=tmp_path).returncode == 0
    example = record_ids(run)["round-00/warmup/example-00000.parquet"][0]
    assert call("show", "freed", example, folder=tmp_path).returncode == 0
    assert Path(locate_model("freed", runs)).is_dir()
    gone = call("doctor", "freed/round-01", folder=tmp_path)
    assert gone.returncode == 2
    assert "its weights were removed by `selfimprove gc`; the same recipe trains them again with --redo" in gone.stderr
    # It goes on to the same records and weights as the run that was left alone.
    whole, ours = go_on(tmp_path, "small"), go_on(tmp_path, "freed")
    assert record_ids(ours) == record_ids(whole)
    assert weight_hashes(ours) == weight_hashes(whole) and len(weight_hashes(ours)) == 5
    # What is gone can be trained again.
    again = ("--name", "freed", "--set", "rounds=1", "--redo", "round-01/sft")
    assert call("run", "small.yaml", *SETTINGS, *again, folder=tmp_path).returncode == 0
    assert weights.is_dir() and weight_hashes(ours) == weight_hashes(whole)


def make_stage(run: RunFolder, round_: int, name: str, record: Checkpoint | Promotion) -> None:
    """A closed stage with one record, and a checkpoint's folder where it is one of its own."""
    disk = run.stage(round_, name, "f")
    disk.begin({})
    disk.write_part(record.kind, 0, [record])
    if isinstance(record, Checkpoint) and record.path.startswith(f"round-{round_:02d}"):
        (run.path / record.path).mkdir()
        (run.path / record.path / "model.safetensors").write_bytes(bytes(100))
    files, sizes = disk.describe_files()
    disk.close(Manifest(round=round_, stage=name, version=1, fingerprint="f", settings={}, main=record.kind,
                        counts={record.kind: 1}, parts=1, seconds=Seconds(), tokens={}, metrics={}, packages={},
                        files=files, sizes=sizes))  # fmt: skip


def test_the_checkpoints_that_stay(tmp_path: Path) -> None:
    """Promoted in round 2 and rolled back since; a judge of round 1, the base of an adapter, another run's start."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_recipe(load_recipe("arithmetic"))
    trained = {at: Checkpoint(path=f"round-{at:02d}/sft/checkpoint", method="sft", weights=str(at)) for at in range(8)}
    trained[7] = trained[7].model_copy(update={"base": "round-03/sft/checkpoint"})
    trained[7] = Checkpoint(**trained[7].model_dump(exclude={"id"}))
    for at, one in trained.items():
        make_stage(run, at, "sft", one)
        if at:
            kept = trained[min(at, 2)]
            make_stage(run, at, "promote", Promotion(parents=(one.id, kept.id), promoted=at <= 2, won=0, lost=0,
                                                     p_value=1.0, reason="-"))  # fmt: skip
    judge = Checkpoint(path="round-01/reward/checkpoint", method="reward", weights="r", role="reward")
    make_stage(run, 1, "reward", judge)
    gone = [str(one.path.relative_to(run.path)) for one in find_needless(run, tmp_path)]
    assert find_best(run).id == trained[2].id
    assert gone == [f"round-{at:02d}/sft/checkpoint" for at in (1, 4, 5)]
    fewer = find_needless(run, tmp_path, latest=4)
    assert [str(one.path.relative_to(run.path)) for one in fewer] == ["round-01/sft/checkpoint"]
    other = RunFolder(tmp_path / "other")
    other.path.mkdir()
    start = f"name: o\nmodel: {{path: {run.path}/round-04/sft/checkpoint}}\ntrain: {{name: arithmetic}}\n"
    (other.path / "recipe.yaml").write_text(start)
    gone = [str(one.path.relative_to(run.path)) for one in find_needless(run, tmp_path)]
    assert gone == [f"round-{at:02d}/sft/checkpoint" for at in (1, 5)]
    shutil.rmtree(run.path / "round-02/sft")
    with pytest.raises(StoreError, match=r"the checkpoint that was promoted last .* is gone; .*/round-00"):
        find_best(run)
    (run.path / "recipe.yaml").write_bytes(b"\xff\xfe")
    for use in (lambda: find_needless(run, tmp_path), lambda: remove_run(run, tmp_path)):
        with pytest.raises(StoreError, match="is no run"):
            use()


def test_an_open_stage_keeps_what_its_trainer_left(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_recipe(load_recipe("arithmetic"))
    disk = run.stage(1, "sft", "f")
    disk.begin({})
    (disk.path / "training/checkpoint-2").mkdir(parents=True)
    (disk.path / "training/checkpoint-2/model.safetensors").write_bytes(bytes(10))
    assert find_needless(run, tmp_path) == []
    assert show_size(1_500_000_000) == "1.5 GB" and show_size(999) == "999 bytes"


# --- completion and version


def test_the_version_and_a_shells_completion(place: Path) -> None:
    assert call("--version", folder=place).stdout == "selfimprove 0.1.0\n"
    for words, found in (
        ("selfimprove status sm", ["small"]),
        ("selfimprove run arith", ["arithmetic", "arithmetic-steered"]),
        ("selfimprove list", ["list"]),
    ):
        asked = {"_SELFIMPROVE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        before = {name: os.environ.get(name) for name in asked}
        os.environ.update(asked)
        try:
            assert call(folder=place).stdout.split() == found
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def test_the_best_checkpoint_where_no_stage_decides_is_the_last_one(tmp_path: Path) -> None:
    """Three stages train a policy in a round; round 100 comes after round 11, and an unfinished one does not count."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    flow = ["frontier", "rl", {"more": "rl"}, {"again": "rl"}]
    recipe = {"name": "run", "model": {"path": "example/model"}, "train": {"name": "arithmetic"}, "flow": flow}
    run.write_recipe(load_recipe({**recipe, "rounds": 101}))
    before = Checkpoint(path="example/model", method="base", weights="0")
    make_stage(run, 0, "base", before)
    make_stage(run, 0, "evaluate", before.model_copy(update={"role": "judge"}))
    assert find_best(run).id == before.id
    for at, names in ((11, ("rl", "more", "again")), (100, ("rl", "more", "again")), (101, ("rl",))):
        for name in names:
            path = f"round-{at:02d}/{name}/checkpoint"
            before = Checkpoint(parents=(before.id,), path=path, method="rl", weights="-")
            make_stage(run, at, name, before)
    assert [stage.key[0] for stage in run.stages()] == [0, 0, 11, 11, 11, 100, 100, 100, 101]
    assert find_of_round(run, 11).path == "round-11/again/checkpoint"
    assert find_best(run).path == "round-100/again/checkpoint"
    shutil.rmtree(run.path / "round-100/again/checkpoint")
    assert find_best(run).path == "round-11/again/checkpoint"
