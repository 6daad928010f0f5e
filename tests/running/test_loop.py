"""The whole loop on a small scale: it runs, resumes after any kill, and keeps what it has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import SUPPORT
from small import record_ids, small_recipe, weight_hashes

from selfimprove.errors import StoreError, TrainingError
from selfimprove.recipe import Recipe
from selfimprove.records import Checkpoint, Decision, Example, Problem, Rationale, Verdict
from selfimprove.records.lineage import ancestors, build_graph, cycles, orphans
from selfimprove.running.loop import run_loop
from selfimprove.running.session import Session
from selfimprove.store import RunFolder
from selfimprove.store.query import Query

MOMENTS = (
    "round-00/problems/problem-00000.parquet",
    "round-00/warmup/training/checkpoint-2",
    "round-00/warmup/training/checkpoint-4/trainer_state.json",
    "round-00/warmup/checkpoint",
    "round-00/evaluate/rationale-00000.parquet",
    "round-01/frontier/problem-00000.parquet",
    "round-01/generate/rationale-00001.parquet",
    "round-01/verify/verdict-00000.parquet",
    "round-01/repair/rationale-00000.parquet",
    "round-01/rationalize/rationale-00000.parquet",
    "round-01/select/open.json",
    "round-01/sft/training/checkpoint-2/optimizer.pt",
    "round-01/sft/checkpoint.partial",
    "round-01/evaluate/rationale-00001.parquet.partial",
    "round-02/sft/training/examples.parquet",
    "round-02/promote/promotion-00000.parquet",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run = RunFolder(folder / "small")
    run_loop(small_recipe(folder / "recipe"), run)
    return run


@pytest.fixture
def copy(whole: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the finished run to do harm to."""
    shutil.copytree(whole.path, tmp_path / "small")
    return RunFolder(tmp_path / "small")


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.mark.long
def test_a_run_killed_at_many_moments_ends_as_one_that_was_never_killed(whole: RunFolder, tmp_path: Path) -> None:
    killed = RunFolder(tmp_path / "small")
    command = [sys.executable, str(SUPPORT / "kill_run.py"), str(killed.path), *MOMENTS]
    done = subprocess.run(command, env=environment(), cwd=SUPPORT, capture_output=True, text=True, timeout=500)
    results = [line.split()[0] for line in done.stdout.splitlines() if line.split()[0] in ("killed", "finished")]
    assert len(results) == len(MOMENTS) + 1, done.stdout + done.stderr
    assert results[-1] == "finished"
    # The files that exist for a moment only may be missed, all others are hit.
    assert results.count("killed") >= 12, done.stdout
    assert record_ids(killed) == record_ids(whole)
    assert weight_hashes(killed) == weight_hashes(whole)


def test_a_finished_run_does_nothing_again(copy: RunFolder, tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in copy.path.glob("round-*/*/*")}
    run_loop(small_recipe(tmp_path / "recipe"), copy)
    assert {file: file.stat().st_mtime_ns for file in copy.path.glob("round-*/*/*")} == before


def test_more_rounds_go_on_with_a_finished_run(copy: RunFolder, tmp_path: Path) -> None:
    before = record_ids(copy)
    run_loop(small_recipe(tmp_path / "recipe", "rounds=3"), copy)
    after = record_ids(copy)
    assert {name: after[name] for name in before} == before
    assert any(name.startswith("round-03/promote") for name in after)


def test_a_changed_recipe_is_refused_and_names_the_stages(copy: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"made with another recipe.*round-01/generate.*--redo all"):
        run_loop(small_recipe(tmp_path / "recipe", "generate.temperature=0.5"), copy)
    assert record_ids(copy)  # nothing was thrown away


def test_redo_all_makes_what_a_fresh_run_would(copy: RunFolder, tmp_path: Path) -> None:
    changed = small_recipe(tmp_path / "recipe", "rounds=1", "rationalize=null")
    run_loop(changed, copy, redo=["all"])
    fresh = RunFolder(tmp_path / "fresh")
    run_loop(changed, fresh)
    kept = {name: ids for name, ids in record_ids(copy).items() if not name.startswith("round-02")}
    assert kept == record_ids(fresh)


def test_settings_of_speed_may_change_between_starts(copy: RunFolder, tmp_path: Path) -> None:
    run_loop(small_recipe(tmp_path / "recipe", "engine.batch_size=3", "sft.checkpoint_every=5"), copy)
    assert copy.recipe().engine.batch_size == 3


def test_a_missing_part_alone_is_made_again(copy: RunFolder, whole: RunFolder, tmp_path: Path) -> None:
    part = copy.path / "round-01/generate/rationale-00001.parquet"
    other = copy.path / "round-01/generate/rationale-00000.parquet"
    part.unlink()
    before = other.stat().st_mtime_ns
    run_loop(small_recipe(tmp_path / "recipe"), copy)
    assert record_ids(copy) == record_ids(whole)
    assert other.stat().st_mtime_ns == before


@pytest.mark.parametrize("harm", [lambda data: data[:-30], lambda data: data[:100] + b"\0" + data[101:]])
def test_a_damaged_part_is_named(copy: RunFolder, tmp_path: Path, harm: object) -> None:
    part = copy.path / "round-01/generate/rationale-00001.parquet"
    part.write_bytes(harm(part.read_bytes()))  # type: ignore[operator]
    (copy.path / "round-01/verify/verdict-00000.parquet").unlink()  # so that the damaged part is read again
    with pytest.raises(StoreError, match=r"round-01/generate/rationale-00001.parquet: damaged.*only this part"):
        run_loop(small_recipe(tmp_path / "recipe"), copy)
    assert part.exists()


def test_a_second_process_is_refused_with_the_pid_of_the_first(whole: RunFolder, tmp_path: Path) -> None:
    with whole, pytest.raises(StoreError, match=f"process {os.getpid()} is at work"):
        run_loop(small_recipe(tmp_path / "recipe"), RunFolder(whole.path))
    (whole.path / "lock").write_text("999999")  # left behind by a process that died
    run_loop(small_recipe(tmp_path / "recipe"), whole)


@pytest.mark.long
def test_a_full_disk_is_named_and_the_run_goes_on_later(whole: RunFolder, tmp_path: Path) -> None:
    script = (
        "import resource as r, sys; r.setrlimit(r.RLIMIT_FSIZE, (int(sys.argv.pop(1)), r.RLIM_INFINITY));"
        "from selfimprove.cli import main; main()"
    )
    recipe = tmp_path / "recipe"
    small_recipe(recipe)
    runs = tmp_path / "runs"
    for size in (1000, 30000):  # the first parts, the weights
        command = [sys.executable, "-c", script, str(size), "run", str(recipe / "small.yaml"), "--runs", str(runs)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)
        assert done.returncode == 2, done.stderr
        assert "no room left on the disk" in done.stderr
        assert "Traceback" not in done.stderr
    run_loop(small_recipe(recipe), RunFolder(runs / "small"))
    assert record_ids(RunFolder(runs / "small")) == record_ids(whole)


def test_every_trained_row_leads_back_to_its_problem(whole: RunFolder) -> None:
    query = Query(whole)
    graph = build_graph(query.nodes())
    assert not orphans(graph)
    assert not cycles(graph)
    last = whole.stage(2, "sft").read(Checkpoint)[0]
    kinds = {graph.nodes[one]["kind"] for one in ancestors(graph, last.id)}
    assert {"problem", "example", "checkpoint"} <= kinds
    examples = {row["id"] for row in query.rows("SELECT id FROM example")}
    assert set(last.parents) & examples


def test_nothing_is_dropped_on_the_way(whole: RunFolder) -> None:
    rationales = whole.stage(1, "generate").read(Rationale)
    assert len(rationales) == 24
    assert len(whole.stage(1, "verify").read(Verdict)) == 24
    hinted = whole.stage(1, "rationalize").read(Rationale)
    repaired = whole.stage(1, "repair").read(Rationale)
    assert len(whole.stage(1, "select").read(Decision)) == 24 + len(repaired) + len(hinted)


def test_no_hint_reaches_a_trained_prompt(whole: RunFolder) -> None:
    hinted = whole.stage(1, "rationalize").read(Rationale)
    assert hinted
    assert all("?" in one.prompt for one in hinted)
    for round_ in (1, 2):
        assert all("?" not in one.prompt for one in whole.stage(round_, "select").read(Example))


def test_training_and_held_out_problems_do_not_overlap(whole: RunFolder) -> None:
    held_out = {one.question for one in whole.stage(0, "problems").read(Problem)}
    for round_ in (1, 2):
        assert not held_out & {one.question for one in whole.stage(round_, "frontier").read(Problem)}
    assert not held_out & {one.question for one in whole.stage(0, "warmup").read(Problem)}


def test_a_round_that_keeps_nothing_says_how_to_see_why(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, "select.sources=samples", "warmup.steps=1", "rounds=1")
    run = RunFolder(tmp_path / "run")
    with pytest.raises(TrainingError, match=r"round-01/sft: no rationale was kept.*selfimprove traces") as said:
        run_loop(recipe, run)
    written = run.stage(1, "generate").read(Rationale)
    cut = sum(one.finish == "length" for one in written)
    found = f"; {cut} of {len(written)} samples are cut off: raise 'generate.max_tokens'; see why"
    assert cut and found in str(said.value)


def test_the_control_trains_on_the_seeds_alone(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run_loop(small_recipe(tmp_path, "select.sources=seed", "rounds=1"), run)
    seeds = {one.id for one in run.stage(0, "warmup").read(Example)}
    first, trained = run.stage(0, "warmup").read(Checkpoint)[0], run.stage(1, "sft").read(Checkpoint)[0]
    assert set(trained.parents) == {first.id, *seeds}


def test_sft_starts_from_the_checkpoint_that_the_recipe_names(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run_loop(small_recipe(tmp_path, "sft.start=base"), run)
    first, second = run.stage(0, "warmup").read(Checkpoint)[0], run.stage(2, "sft").read(Checkpoint)[0]
    assert second.parents[0] == first.id


def data_of(recipe: Recipe, folder: Path) -> str:
    session = Session(recipe, RunFolder(folder / "run"))
    return session.inputs.data(session.judging.identity())


def test_changed_problems_are_noticed(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    before = data_of(recipe, tmp_path)
    fewer = small_recipe(tmp_path, "train.held_out=3")
    assert data_of(fewer, tmp_path) != before
