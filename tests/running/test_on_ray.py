"""A run on a cluster: workers make parts as this process would, and may be lost at any moment."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from extending import EXTENSIONS, TRAINED, forgotten_afterwards, imports, run_tiny, save_classifier, tiny_recipe
from small import record_ids, small_recipe, weight_hashes

from selfimprove import errors
from selfimprove.cli import main
from selfimprove.recipe import Recipe
from selfimprove.running.cluster import TRIES, Worker, package_versions
from selfimprove.running.loop import run_loop
from selfimprove.running.parts import Advance, Job, Sequential
from selfimprove.store import RunFolder

ONE_ROUND = ("rounds=1", "rationalize=null", "repair.samples=1", "generate.part_size=3", "verify.overlap=false")
PATIENCE = 400.0  # seconds
# Ray's workers are polite, and would get next to nothing beside other tests.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "RAY_worker_niceness": "0"}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on this process alone."""
    folder = tmp_path_factory.mktemp("local")
    run = RunFolder(folder / "small")
    run_loop(small_recipe(folder, *ONE_ROUND), run)
    return run


# --- a worker, in this process ---------------------------------------------------------------------------------


@pytest.fixture
def opened(local: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the run in which `generate` is open again and two of its parts are missing."""
    shutil.copytree(local.path, tmp_path / "small")
    run = RunFolder(tmp_path / "small")
    disk = run.stage(1, "generate")
    fingerprint = disk.opened_as()
    (disk.path / "stage.json").unlink()
    for part in (1, 2):
        disk.file("rationale", part).unlink()
    run.stage(1, "generate", fingerprint or "").begin({})
    return run


def make_worker(made_in: RunFolder, made_by: Recipe, **changed: Any) -> Worker:
    fingerprint = made_in.stage(1, "generate").opened_as()
    given: dict[str, Any] = {
        "recipe": made_by.model_dump_json(),
        "run": str(made_in.path),
        "stage": (1, "generate", "rationale", fingerprint),
        "packages": package_versions(),
    }
    return Worker(**given | changed)


def test_a_worker_writes_the_part_that_this_process_would(local: RunFolder, opened: RunFolder, tmp_path: Path) -> None:
    worker = make_worker(opened, small_recipe(tmp_path, *ONE_ROUND))
    for part in (2, 1, 0):
        row = {name: value[0] for name, value in worker({"part": [part]}).items()}
        assert row["part"] == part and not row["error"] and row["worker"] == worker.name
        usage = json.loads(row["usage"])
        # Part 0 is there: it is what a worker that was lost had written before it could say so.
        assert usage["counts"] == ({"rationale": 6} if part else {})
        assert (usage["tokens"].get("written", 0) > 0) == (part > 0)
    found, expected = record_ids(opened), record_ids(local)
    assert found == expected
    assert not list(opened.path.glob("round-*/*/*.partial"))


def harm_nothing_shared(run: RunFolder) -> dict[str, Any]:
    return {"run": str(run.path.with_name("elsewhere"))}


def harm_other_packages(run: RunFolder) -> dict[str, Any]:
    return {"packages": {**package_versions(), "torch": "0.1"}}


def harm_taken_over(run: RunFolder) -> dict[str, Any]:
    return {"stage": (1, "generate", "rationale", "another")}


def harm_lost_before(run: RunFolder) -> dict[str, Any]:
    for number in range(TRIES):
        (run.path / f"round-01/generate/rationale-00001.parquet.worker-{number}.partial").touch()
    return {}


def harm_other_extension(run: RunFolder) -> dict[str, Any]:
    return {"extensions": [(str(EXTENSIONS / "doubles.py"), "0" * 64)]}


def harm_no_extension(run: RunFolder) -> dict[str, Any]:
    return {"extensions": [(str(run.path / "mine.py"), "0" * 64)]}


def harm_other_data(run: RunFolder) -> dict[str, Any]:
    held = run.recipe().model_copy(update={"train": run.recipe().train.model_copy(update={"held_out": 3})})
    return {"recipe": held.model_dump_json()}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (harm_nothing_shared, r"the worker on .* does not see .*elsewhere; keep the run in a folder that all machines"),
        (harm_other_packages, r"the worker on .* has torch .* and this machine 0.1; install the same packages"),
        (harm_taken_over, r"round-01/generate: another run has taken the folder over"),
        (harm_lost_before, rf"round-01/generate: part 1 lost {TRIES} workers .*all finished parts are kept"),
        (harm_other_extension, r"the worker on .* has another .*doubles.py than this machine; share the file"),
        (harm_no_extension, r"the worker on .* does not see .*mine.py; keep it in a folder that all machines share"),
        (harm_other_data, r"the worker on .* reads other problems, exemplars or prompts than this machine"),
    ],
)
def test_what_a_worker_cannot_do_comes_back_as_one_line(
    harm: Callable[[RunFolder], dict[str, Any]], message: str, opened: RunFolder, tmp_path: Path
) -> None:
    changed = harm(opened)
    with forgotten_afterwards():
        row = make_worker(opened, small_recipe(tmp_path, *ONE_ROUND), **changed)({"part": [1]})
    kind, said = json.loads(row["error"][0])
    assert kind == "ClusterError"
    with pytest.raises(errors.ClusterError, match=message):
        raise errors.ClusterError(said)
    assert "\n" not in said
    assert not (opened.path / "round-01/generate/rationale-00001.parquet").exists()


def test_parts_that_are_made_out_of_order_are_the_same(local: RunFolder, opened: RunFolder, tmp_path: Path) -> None:
    class Backwards(Sequential):
        def make(self, job: Job, numbers: Sequence[int], advance: Advance) -> Iterator[Any]:
            # What follows from all others stays the last.
            first, last = (numbers[:-1], numbers[-1:]) if job.stage.declared.gathers else (numbers, [])
            return super().make(job, [*first[::-1], *last], advance)

    run = RunFolder(tmp_path / "backwards")
    run_loop(small_recipe(tmp_path, *ONE_ROUND), run, runner=Backwards())
    assert record_ids(run) == record_ids(local)


@pytest.mark.parametrize("options", [("--on", "slurm"), ("--workers", "2")])
def test_options_that_say_nothing_are_refused(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", "arithmetic", *options])
    assert end.value.code == 2 and "--on takes 'ray'" in capsys.readouterr().err


def test_without_ray_one_line_says_how_to_install_it(tmp_path: Path) -> None:
    small_recipe(tmp_path)
    script = "import sys; sys.modules['ray'] = None; from selfimprove.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        script,
        "run",
        str(tmp_path / "small.yaml"),
        "--runs",
        str(tmp_path),
        "--on",
        "ray",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "selfimprove: Ray is not installed; install it with: pip install 'selfimprove[ray]'\n"


# --- a cluster of processes ------------------------------------------------------------------------------------


def start(folder: Path, *changes: str) -> "subprocess.Popen[str]":
    small_recipe(folder)
    options = [word for change in (*ONE_ROUND, *changes) for word in ("--set", change)]
    command = [sys.executable, "-m", "selfimprove.cli", "run", str(folder / "small.yaml"), "--runs", str(folder)]
    return subprocess.Popen(
        [*command, "--on", "ray", "--workers", "2", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )


def below(pid: int) -> dict[int, str]:
    """The processes below one, with their command lines."""
    parents, commands = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                commands[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return {one: commands[one] for one in found[1:]}


def await_(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)


def await_file(process: "subprocess.Popen[str]", file: Path) -> None:
    """Wait until a run has written a file; at once over where it ended without."""
    ended = False
    while not file.exists():
        assert not ended, process.communicate()
        ended = process.poll() is not None
        time.sleep(0.02)


def kill_worker(run: "subprocess.Popen[str]") -> None:
    workers = [pid for pid, command in below(run.pid).items() if "ray::" in command and "Worker" in command]
    assert workers, "no worker to kill"
    os.kill(workers[0], signal.SIGKILL)


@pytest.mark.long
def test_a_run_by_two_workers_has_the_records_of_a_local_one_though_some_are_killed(
    local: RunFolder, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    process, run = start(tmp_path), RunFolder(tmp_path / "small")
    for moment in ("round-00/evaluate/rationale-00000.parquet", "round-01/generate/rationale-00000.parquet"):
        await_file(process, run.path / moment)
        kill_worker(process)
    everything = below(process.pid)
    said, complained = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, complained
    assert record_ids(run) == record_ids(local)
    assert weight_hashes(run) == weight_hashes(local)
    assert complained == ""
    assert "raylet" not in said and "Traceback" not in said
    assert said.startswith("begins with round 0 problems")
    metrics = [
        manifest.metrics for stage in run.stages() if (manifest := stage.manifest()) and "ray" in manifest.metrics
    ]
    assert [one["ray"]["workers"] for one in metrics] == [2] * len(metrics)
    assert not list(run.path.glob("round-*/*/*.partial"))
    assert everything
    await_(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everything), "the end of all processes", 30)


@pytest.mark.long
def test_extensions_are_imported_by_the_workers(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    flow = ("frontier", "generate", "verify", "classify", "shortest", "grade", "neftune", "evaluate", "promote")
    recipe = tiny_recipe(
        tmp_path, flow, train="{name: doubles, largest: 40, held_out: 6}", classify=f"{{path: {tmp_path}/classifier}}",
        verify="{second: {verifier: contains, share: 1}, part_size: 6, overlap: false}", neftune=f"{{{TRAINED}}}",
        evaluate="{part_size: 3}",
    )  # fmt: skip
    save_classifier(tmp_path)
    names = ("doubles", "contains", "classify", "shortest", "brevity", "neftune")
    with forgotten_afterwards():
        expected = record_ids(run_tiny(recipe, *names))
    options = [*imports("adder", *names), "--on", "ray", "--workers", "2", "--set", "name=spread"]
    command = [sys.executable, "-m", "selfimprove.cli", "run", str(recipe), "--runs", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE,
                          env={**os.environ, **ENVIRONMENT})  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "spread")
    assert record_ids(run) == expected
    spread = {one.stage for stage in run.stages() if (one := stage.manifest()) and "ray" in one.metrics}
    assert {"generate", "verify", "classify", "evaluate"} <= spread


@pytest.mark.long
def test_a_driver_that_is_killed_leaves_no_process_and_a_local_run_goes_on(local: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    process, run = start(tmp_path, "generate.samples=2"), RunFolder(tmp_path / "small")
    await_file(process, run.path / "round-00/evaluate/rationale-00000.parquet")
    everything = below(process.pid)
    process.kill()
    process.wait()
    assert any("raylet" in command for command in everything.values())
    agents = {pid for pid, command in everything.items() if "Agent" in command}
    await_(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everything.keys() - agents), "their end", 30)
    # Ray's two agents notice within a minute that nobody is there any more; they hold no memory and no GPU.
    await_(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everything), "the end of Ray's agents", 200)
    kept = {path: path.stat().st_mtime_ns for path in run.path.glob("round-00/evaluate/*.parquet")}
    assert kept
    run_loop(small_recipe(tmp_path, *ONE_ROUND), run)
    assert record_ids(run) == record_ids(local)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.long
def test_ctrl_c_ends_what_was_started_and_says_how_to_go_on(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    process = start(tmp_path)
    await_file(process, tmp_path / "small/round-00/evaluate/rationale-00000.parquet")
    everything = below(process.pid)
    process.send_signal(signal.SIGINT)
    _, complained = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "all finished parts are kept; continue with: selfimprove run" in complained
    assert "Traceback" not in complained
    await_(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everything), "the end of all processes", 30)


@pytest.mark.long
def test_a_part_that_costs_each_worker_its_life_is_given_up(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    process, marks = start(tmp_path, "evaluate.part_size=32"), tmp_path / "small/round-00/evaluate"
    killed: set[int] = set()
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(marks.glob("rationale-00000.parquet.*.partial"))) > len(killed) < TRIES:
            for pid in [one for one, said in below(process.pid).items() if "ray::" in said and "Worker" in said]:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.01)
    _, complained = process.communicate(timeout=60)
    assert process.returncode == 2, complained
    assert complained.startswith(f"selfimprove: round-00/evaluate: part 0 lost {TRIES} workers (killed, or out of")
    assert complained.count("\n") == 1


@pytest.mark.long
def test_a_machine_that_is_lost_costs_its_part(local: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        other = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        process, run = start(tmp_path, f"ray.address={cluster.address}"), RunFolder(tmp_path / "small")
        await_file(process, run.path / "round-01/generate/rationale-00000.parquet")
        cluster.remove_node(other, allow_graceful=False)
        _, complained = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, complained
        assert record_ids(run) == record_ids(local)
    finally:
        cluster.shutdown()


@pytest.mark.long
def test_what_no_machine_has_is_said_before_anything_waits_for_it(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    process = start(tmp_path, "ray.gpus=1", "rounds=0")
    _, complained = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert complained.startswith("selfimprove: a worker needs 1 CPUs and 1 GPUs, and the cluster has ")
    away = start(tmp_path, "ray.address=127.0.0.1:1")
    _, complained = away.communicate(timeout=PATIENCE)
    assert away.returncode == 2 and complained.startswith("selfimprove: no Ray cluster at 127.0.0.1:1"), complained
