"""What trackers are told: each closed round once, whatever happens in between, and nothing stops a run."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_sft import make_job, model, quick
from viewing import BASE, write_run, write_stage

from selfimprove.cli import main
from selfimprove.engines.tensors import hash_weights
from selfimprove.errors import SelfImproveError
from selfimprove.records import Checkpoint, Promotion
from selfimprove.records.files import hash_file
from selfimprove.records.stats import wilson
from selfimprove.running.figures import closed_rounds, round_figures
from selfimprove.running.report_rounds import Reports
from selfimprove.store import RunFolder
from selfimprove.trainers.launch import launch_training
from selfimprove.trainers.reports import TrainerReports, _guarded
from selfimprove.trainers.sft import train_sft
from selfimprove.trainers.trackers import TRACKERS, Destination, Ledger, check_trackers

__all__ = ["model"]  # a fixture
TEXTS = ("1+2=3\n#3", "1+2=4\n#4", "2+1=3\n#3", "3")
Points = dict[int, float]


def need(name: str) -> None:
    """Skip where a tracker is missing; without an import, since trackio reads TRACKIO_DIR when it is imported."""
    if find_spec(name) is None:
        pytest.skip(f"needs the extra '{name}'")


def write_closed(path: Path, rounds: int) -> RunFolder:
    run = write_run(path, TEXTS, rounds=rounds)
    for round_ in range(1, rounds + 1):
        write_promotion(run, round_)
    return run


def write_promotion(run: RunFolder, round_: int, won: int = 1) -> None:
    trained = Checkpoint(parents=(), path=f"round-{round_:02d}/sft/checkpoint", method="sft", weights=str(round_))
    made = Promotion(parents=(trained.id, BASE.id), promoted=True, won=won, lost=0, p_value=0.5, reason="better")
    write_stage(run, round_, "promote", "promotion", [made])
    stage = run.stage(round_, "promote")
    manifest = stage.manifest()
    assert manifest is not None
    hashes = {file.name: hash_file(file) for file in stage.files()}
    (stage.path / "stage.json").write_text(manifest.model_copy(update={"files": hashes, "hash": ""}).model_dump_json())


def test_the_figures_of_a_round(tmp_path: Path) -> None:
    run = write_closed(tmp_path, 2)
    found = round_figures(run, 2)
    low, high = wilson(2, 4)
    wanted = {"eval/accuracy": 0.5, "eval/accuracy_low": low, "eval/accuracy_high": high, "eval/undecided": 0,
              "eval/arithmetic/level_2/accuracy": 0.5, "funnel/sampled": 4, "funnel/correct": 2, "funnel/kept": 2,
              "funnel/revise_written": 1, "samples/pass_at_1": 0.5, "samples/pass_at_k": 0.5, "promotion/promoted": 1,
              "promotion/won": 1, "seconds/generate": 1.5, "tokens/generate_written": 10}  # fmt: skip
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)
    assert "funnel/sampled" not in round_figures(run, 0)
    assert list(closed_rounds(run)) == [0, 1, 2]
    (run.stage(2, "promote").path / "stage.json").unlink()
    assert list(closed_rounds(run)) == [0, 1]


def test_an_unknown_tracker_and_a_missing_one_are_one_line() -> None:
    with pytest.raises(SelfImproveError, match="no tracker 'tensorbord'; there are tensorboard"):
        check_trackers(["tensorbord"])
    missing = [name for name in TRACKERS if find_spec(name) is None]
    if missing:
        with pytest.raises(SelfImproveError, match=rf"pip install 'selfimprove\[{missing[0]}\]'"):
            check_trackers([missing[0]])


def test_a_recipe_that_names_a_missing_tracker_ends_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = [name for name in TRACKERS if find_spec(name) is None]
    if not missing:
        pytest.skip("all trackers are installed")
    with pytest.raises(SystemExit) as end:
        main(["run", "arithmetic", "--set", f"report_to=[{missing[0]}]", "--runs", str(tmp_path)])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_the_ledger_knows_what_was_made_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    rounds = {0: "a", 1: "b"}
    ledger.compare(rounds)
    assert ledger.missing("wandb", rounds) == [0, 1]
    first = ledger.destination(["wandb"], "mine")
    ledger.note("wandb", rounds)
    again = Ledger(tmp_path)
    assert again.missing("wandb", {**rounds, 2: "c"}) == [2] and again.missing("mlflow", rounds) == [0, 1]
    assert again.destination(["wandb"], "mine") == first and first.run == "mine"
    again.compare({0: "a"})  # discarded, and not yet made again
    assert again.missing("wandb", {0: "a"}) == []
    again.compare({0: "a", 1: "other"})
    other = again.destination(["wandb"], "mine")
    assert again.missing("wandb", {0: "a", 1: "other"}) == [0, 1]
    assert (other.run, other.group) == ("mine-2", "mine") and other.id != first.id


def read_tensorboard(run: RunFolder, name: str = "made", tag: str = "eval/accuracy") -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "trackers" / "tensorboard" / name))
    events.Reload()
    points = [(one.step, one.value) for one in events.Scalars(tag)]
    assert len(dict(points)) == len(points), "a step twice"
    return dict(points)


def read_mlflow(run: RunFolder) -> Points:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.path}/trackers/mlflow.db")
    experiment = client.get_experiment_by_name("selfimprove")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "made" and found.info.status == "FINISHED"
    points = client.get_metric_history(found.info.run_id, "eval/accuracy")
    assert len(points) == len({one.step for one in points}), "a step twice"
    return {one.step: one.value for one in points}


def read_trackio(run: RunFolder) -> Points:
    with sqlite3.connect(run.path.parent / "trackio" / "selfimprove.db") as database:
        rows = database.execute("SELECT step, metrics FROM metrics WHERE run_name = 'made'").fetchall()
    assert len(dict(rows)) == len(rows), "a step twice"
    return {step: json.loads(metrics)["eval/accuracy"] for step, metrics in rows}


def read_wandb(run: RunFolder) -> Points:
    """The newest offline folder: what `wandb sync` leaves, as later folders of a run replace earlier ones."""
    found = sorted((run.path / "trackers" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len({one.name for one in found}) == 1
    return {int(row["round"]): float(row["eval/accuracy"]) for row in scan_wandb(found[-1])}


def scan_wandb(path: Path) -> list[dict[str, str]]:
    """The history of an offline file: records in blocks of 32 KiB, in the format of LevelDB's log."""
    from wandb.proto import wandb_internal_pb2

    data, at, rows, whole = path.read_bytes(), 7, [], b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, or the last of several
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            if record.WhichOneof("record_type") == "history":
                rows.append({one.key or "/".join(one.nested_key): one.value_json for one in record.history.item})
    return rows


READERS: dict[str, Callable[[RunFolder], Points]] = {
    "tensorboard": read_tensorboard, "mlflow": read_mlflow, "trackio": read_trackio, "wandb": read_wandb,
}  # fmt: skip


def send(run: RunFolder, *to: str, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "WANDB_MODE": "offline", "TRACKIO_DIR": str(run.path.parent / "trackio"), **more}
    command = [sys.executable, "-m", "selfimprove.cli", "report", "made", "--runs", str(run.path.parent)]
    return subprocess.run(
        [*command, *(word for name in to for word in ("--to", name))], env=environment, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip


@pytest.mark.parametrize("name", TRACKERS)
def test_each_round_is_reported_once(tmp_path: Path, name: str) -> None:
    need(name)
    run = write_closed(tmp_path, 1)
    first = send(run, name)
    assert (first.returncode, first.stdout, first.stderr) == (0, "2 reports sent\n", "")
    assert READERS[name](run) == {0: 0.0, 1: 0.25}
    write_closed(tmp_path / "longer", 2)
    (tmp_path / "longer" / "made" / "round-02").rename(run.path / "round-02")
    again = send(run, name)
    assert again.returncode == 0 and not again.stderr
    assert READERS[name](run) == {0: 0.0, 1: 0.25, 2: 0.5}
    assert send(run, name).stdout == "0 reports sent\n"


def test_rounds_that_were_made_again_get_a_name_of_their_own(tmp_path: Path) -> None:
    need("tensorboard")
    run = write_closed(tmp_path, 1)
    assert send(run, "tensorboard").stdout == "2 reports sent\n"
    run.discard(run.stage(1, "promote"))
    write_promotion(run, 1, won=2)
    assert send(run, "tensorboard").stdout == "2 reports sent\n"
    assert read_tensorboard(run) == read_tensorboard(run, "made-2") == {0: 0.0, 1: 0.25}


@pytest.mark.parametrize(
    ("name", "broken"),
    [("tensorboard", "TENSORBOARD_LOGGING_DIR"), ("mlflow", "MLFLOW_TRACKING_URI"), ("wandb", "WANDB_BASE_URL")],
)
def test_a_tracker_that_fails_is_a_warning_and_is_told_later(tmp_path: Path, name: str, broken: str) -> None:
    need(name)
    run = write_closed(tmp_path, 1)
    (tmp_path / "file").write_text("")
    where = {"TENSORBOARD_LOGGING_DIR": str(tmp_path / "file" / "x"), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
             "WANDB_BASE_URL": "http://127.0.0.1:9"}[broken]  # fmt: skip
    more = {"WANDB_MODE": "online", "WANDB_API_KEY": "0" * 40, "WANDB_INIT_TIMEOUT": "3"} if name == "wandb" else {}
    failed = send(run, name, **{broken: where, **more})
    assert failed.returncode == 0 and failed.stdout == "0 reports sent\n"
    assert f"selfimprove: {name}: " in failed.stderr and f"2 rounds are missing in {name}" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert send(run, name).returncode == 0
    assert READERS[name](run) == {0: 0.0, 1: 0.25}


class Slow:
    """A tracker that does not answer until it is let go."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.opened = 0
        self.go = threading.Event()

    def __call__(self, destination: Destination) -> "Slow":
        self.opened += 1
        return self

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.go.wait(30)
        self.told.append(step)

    def close(self) -> None:
        pass


def test_a_tracker_that_answers_late_is_waited_for_once_and_told_once(tmp_path: Path) -> None:
    need("tensorboard")
    slow = Slow()
    reports = Reports(["tensorboard"], write_closed(tmp_path, 1), limit=0.3, trackers={"tensorboard": slow})
    started = time.monotonic()
    for _ in range(10):
        assert reports.send() == 0
    assert time.monotonic() - started < 2 and slow.opened == 1
    slow.go.set()
    while len(slow.told) < 2:
        time.sleep(0.01)
    time.sleep(0.1)
    assert reports.send() == 0 and slow.told == [0, 1] and slow.opened == 1


def mlflow_losses(folder: Path) -> list[float]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/trackers/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("selfimprove").experiment_id])
    return [one.value for one in client.get_metric_history(found.info.run_id, "loss")]


def trackio_losses(folder: Path) -> list[float]:
    with sqlite3.connect(folder / "trackio" / "selfimprove.db") as database:
        rows = database.execute("SELECT metrics FROM metrics WHERE run_name = 'r-sft' ORDER BY id").fetchall()
    return [found["train/loss"] for (row,) in rows if "train/loss" in (found := json.loads(row))]


def wandb_losses(folder: Path) -> list[float]:
    found = sorted((folder / "trackers" / "wandb").glob("offline-run-*/run-i.wandb"))
    return [float(row["train/loss"]) for path in found for row in scan_wandb(path) if "train/loss" in row]


LOSSES: dict[str, Callable[[Path], list[float]]] = {
    "tensorboard": lambda folder: list(read_tensorboard(RunFolder(folder), "r-sft", "train/loss").values()),
    "mlflow": mlflow_losses,
    "trackio": trackio_losses,
    "wandb": wandb_losses,
}


def test_a_tracker_without_a_key_is_one_line(tmp_path: Path) -> None:
    need("wandb")
    run = write_closed(tmp_path, 1)
    ended = send(run, "wandb", WANDB_MODE="online", WANDB_API_KEY="", HOME=str(tmp_path), NETRC=str(tmp_path / "none"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "selfimprove: wandb has no API key; run `wandb login`, or set WANDB_MODE=offline\n"


def destination(folder: Path, *to: str) -> Destination:
    return Destination.model_validate(
        {"to": to, "folder": folder / "trackers", "run": "r-sft", "group": "r", "id": "i"}
    )


@pytest.mark.parametrize("name", ["trackio", "tensorboard", "mlflow", "wandb"])
def test_a_training_that_goes_on_reports_no_step_twice(
    model: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    need(name)
    if name == "trackio" and name in sys.modules:  # TRL imports it
        pytest.skip("trackio was imported before, and read TRACKIO_DIR then")
    job = make_job(model, tmp_path, quick()).model_copy(update={"reporting": destination(tmp_path, name)})

    class Stop(Exception):
        pass

    def stop(step: int, steps: int, logged: dict[str, float]) -> None:
        if step == 4:
            raise Stop

    with pytest.raises(Stop):
        train_sft(job, stop)
    resumed = train_sft(job)
    assert resumed.resumed_from == 2 and resumed.unreported == {}
    assert LOSSES[name](tmp_path) == pytest.approx([one.loss for one in resumed.curve])


@pytest.mark.parametrize("launch", ["process", pytest.param("accelerate", marks=pytest.mark.long)])
def test_a_trainer_reports_its_losses(model: Path, tmp_path: Path, launch: str) -> None:
    need("tensorboard")
    job = make_job(
        model, tmp_path, quick(launch=launch, **({"launch_config": "one-gpu"} if launch != "process" else {}))
    )
    job = job.model_copy(update={"reporting": destination(tmp_path, "tensorboard")})
    result = train_sft(job) if launch == "process" else launch_training(job)
    losses = read_tensorboard(RunFolder(tmp_path), "r-sft", "train/loss")
    assert losses == pytest.approx({one.step: one.loss for one in result.curve})
    assert result.unreported == {} and "TENSORBOARD_LOGGING_DIR" not in os.environ
    plain = make_job(model, tmp_path / "plain", quick())
    train_sft(plain)
    assert hash_weights(plain.output) == hash_weights(job.output), "reports change what is trained"


def test_a_trainer_goes_on_where_its_tracker_fails(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need("tensorboard")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "file" / "x"))
    job = make_job(model, tmp_path, quick()).model_copy(update={"reporting": destination(tmp_path, "tensorboard")})
    result = train_sft(job)
    assert result.steps == 6 and result.unreported["tensorboard"] > 3
    assert capsys.readouterr().err.count("the training goes on without its report") == 1


def test_what_a_tracker_took_after_a_failure_is_not_told_again(tmp_path: Path) -> None:
    from transformers import TrainerCallback, TrainerControl, TrainerState

    told: list[int] = []

    class Flaky(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: object, state: TrainerState, control: TrainerControl, **more: object) -> None:
            if state.global_step == 1:
                raise OSError("away")
            told.append(state.global_step)

    for _ in range(2):  # the second time after a kill, from the beginning
        callback = _guarded(Flaky(), "tensorboard", TrainerReports(("tensorboard",), tmp_path))
        for step in (1, 2, 3):
            callback.on_log(None, TrainerState(global_step=step), TrainerControl())
    assert told == [2, 3]
