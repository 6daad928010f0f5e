"""Training in child processes: one or two of them, whatever happens to one of them, and what the files say."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small import small_recipe
from test_sft import make_job, model, quick, read_curve

from selfimprove.engines.tensors import hash_weights
from selfimprove.errors import RecipeError, TrainingError
from selfimprove.recipe.launch import read_launch
from selfimprove.recipe.policies import POLICIES
from selfimprove.records.files import SEAL
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder
from selfimprove.trainers.launch import launch_command, launch_training, runs_in_child
from selfimprove.trainers.peaks import Phase, Phases, join_phases
from selfimprove.trainers.sft import train_sft

__all__ = ["model"]  # the fixture
FILES = sorted(one.stem for one in (POLICIES / "accelerate").glob("*.yaml"))


def children_of(marker: Path) -> list[int]:
    """The processes whose command line names a file."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(marker).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_until_gone(marker: Path, seconds: float = 20.0) -> list[int]:
    deadline = time.monotonic() + seconds
    while children_of(marker) and time.monotonic() < deadline:
        time.sleep(0.1)
    return children_of(marker)


# --- what is started -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_accelerate_reads_the_shipped_files(name: str) -> None:
    from accelerate.commands.config import load_config_from_file

    launch = read_launch(name, None)
    config = load_config_from_file(str(launch.config))
    assert config.distributed_type == launch.kind
    assert config.num_processes == launch.processes
    assert launch.sharded == (name in ("fsdp", "zero3"))


def test_without_a_name_the_plainest_file_is_taken(tmp_path: Path) -> None:
    assert read_launch(None, None).config.stem == "one-gpu"
    assert read_launch(None, 2).config.stem == "ddp"
    assert read_launch("ddp", 7).processes == 7
    mine = tmp_path / "mine.yaml"
    mine.write_text("distributed_type: TPU\n")
    with pytest.raises(RecipeError, match="distributed_type 'TPU' is not one of"):
        read_launch(str(mine), None)
    mine.write_text("num_processes: many\n")
    with pytest.raises(RecipeError, match="num_processes should be a number"):
        read_launch(str(mine), None)
    with pytest.raises(RecipeError, match="is for one process and not for 2"):
        read_launch("one-gpu", 2)


@pytest.mark.parametrize(
    ("settings", "child"),
    [
        ({}, torch.cuda.is_available()),
        ({"launch": "process"}, False),
        ({"launch": "accelerate"}, True),
        ({"processes": 2}, True),
        ({"launch_config": "one-gpu"}, True),
        ({"launch_arguments": ("--num_machines", "2")}, True),
    ],
)
def test_where_training_runs(settings: dict[str, object], child: bool) -> None:
    assert runs_in_child(quick(**settings)) is child


def test_ones_own_arguments_stand_alone(model: Path, tmp_path: Path) -> None:
    own = quick(launch="accelerate", launch_arguments=("--cpu",))
    command, processes = launch_command(make_job(model, tmp_path, own), tmp_path / "job.json")
    assert "--config_file" not in command and "--cpu" in command and processes == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["sft.processes=3"], "small.yaml:19: 4 rows cannot be shared out evenly among 3 processes"),
        (["sft.launch_config=fspd"], "no accelerate config 'fspd' .*did you mean 'fsdp'"),
        (["sft.launch_config=ddp", "sft.launch=process"], "'launch: process' trains in one process"),
        (["sft.launch_config=fsdp", "sft.processes=2", "sft.optimizer=muon"], "muon needs whole matrices"),
        (
            ["prefer={}", "reward.launch_config=fsdp"],
            "a reward model is not trained with its weights spread over processes .FSDP.",
        ),
    ],
)
def test_mistakes_are_found_before_anything_runs(changes: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        small_recipe(tmp_path, *changes)


# --- two processes -------------------------------------------------------------------------------------------


@pytest.mark.long
def test_two_processes_share_a_batch_and_train_what_one_does(model: Path, tmp_path: Path) -> None:
    # Whole batches: several processes fill up a short last one with rows from the beginning.
    one = make_job(model, tmp_path / "one", quick(), rows=12)
    train_sft(one)
    together = quick(launch_config="ddp", processes=2, checkpoint_every=None)
    two = make_job(model, tmp_path / "two", together, rows=12).model_copy(update={"save_after": 0.0})
    result = launch_training(two)
    assert list(two.workspace.glob("checkpoint-*/trainer_state.json"))  # by the first one's clock, all together
    assert (result.processes, result.steps) == (2, 6)
    assert read_curve(two).curve == result.curve  # of the first process alone
    assert result.peaks["ram"] > 50_000_000
    before, alone, both = (load_file(folder / "model.safetensors") for folder in (model, one.output, two.output))
    moved = max(float((alone[name] - before[name]).abs().max()) for name in before)
    apart = max(float((alone[name] - both[name]).abs().max()) for name in before)
    # The sums are taken in another order, so the last bits differ; other rows or another rate would be seen.
    assert apart < moved / 1000
    assert hash_weights(two.output) != hash_weights(model)
    assert not children_of(two.workspace)


@pytest.mark.long
def test_spread_weights_without_a_gpu_are_refused_and_not_trained_as_copies(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path, quick(launch_config="fsdp", processes=2))
    with pytest.raises(TrainingError, match=r"FSDP needs GPUs|see .*log\.txt"):
        launch_training(job)
    assert "FSDP needs GPUs" in (job.workspace / "log.txt").read_text()


# --- killed --------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("whom", ["launcher", "trainer"])
def test_a_killed_child_is_one_line_and_the_next_try_goes_on(whom: str, model: Path, tmp_path: Path) -> None:
    settings = quick(launch="accelerate", launch_config="one-gpu", checkpoint_every=1)
    job = make_job(model, tmp_path, settings, steps=300)

    def kill() -> None:
        while not list(job.workspace.glob(f"checkpoint-*/{SEAL}")):  # one without it is not gone on from
            time.sleep(0.05)
        launcher, *_, trainer = sorted(children_of(job.workspace))
        os.kill(launcher if whom == "launcher" else trainer, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(TrainingError, match="the training process ended with code"):
        launch_training(job)
    assert not wait_until_gone(job.workspace)
    result = launch_training(job.model_copy(update={"settings": settings.model_copy(update={"checkpoint_every": 300})}))
    assert 0 < result.resumed_from < result.steps == 300


@pytest.mark.long
def test_no_trainer_outlives_the_program_that_started_it(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path, quick(launch_config="ddp", processes=2), steps=100_000)
    description = tmp_path / "mine.json"
    description.write_text(job.model_dump_json())
    program = (
        "import sys; from pathlib import Path; from selfimprove.trainers.job import SftJob; "
        "from selfimprove.trainers.launch import launch_training; "
        "launch_training(SftJob.model_validate_json(Path(sys.argv[1]).read_text()))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(description)])
    progress = job.workspace / "progress.json"
    deadline = time.monotonic() + 120
    while not progress.exists() and parent.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert progress.exists() and len(children_of(job.workspace)) >= 3
    parent.kill()
    parent.wait()
    assert not wait_until_gone(job.workspace)


# --- memory --------------------------------------------------------------------------------------------------


def test_a_phase_knows_the_most_memory_that_it_held() -> None:
    phases = Phases()
    phases.begin("small")
    phases.begin("large")
    held = bytearray(os.urandom(1 << 20) * 200)
    del held
    phases.begin("small again")
    small, large, *_ = (one.ram or 0 for one in phases.lap())
    assert large > small + 150_000_000
    assert [one.phase for one in phases.lap()] == ["small again"]


def test_phases_of_parts_become_one() -> None:
    parts = [Phase(phase="a", seconds=1, ram=5), Phase(phase="a", seconds=2, ram=9, gpu=1), Phase(phase="b", seconds=1)]
    assert join_phases(parts) == [Phase(phase="a", seconds=3, ram=9, gpu=1), Phase(phase="b", seconds=1)]


def test_the_record_says_what_held_the_memory_and_in_which_order(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "small")
    run_loop(small_recipe(tmp_path, "rounds=1"), folder)
    found = {stage.name: stage.manifest() for stage in folder.stages()}
    phases = {
        name: [one["phase"] for one in manifest.metrics.get("phases", ())]
        for name, manifest in found.items()
        if manifest
    }
    assert phases["round-01/generate"] == ["engine transformers"]
    assert phases["round-01/sft"] == ["engine transformers", "training in this process"]
    assert phases["round-01/evaluate"] == ["engine transformers"]
