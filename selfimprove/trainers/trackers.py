"""Trackers of experiments behind the few calls that a run needs; none is imported before a recipe asks for it.

Each follows its own environment variables where they are set. Without them its files lie in the run's folder under
`trackers/`; trackio's lie where its dashboard looks for those of all runs (TRACKIO_DIR, or its folder in ~/.cache).
"""

import importlib.util
import os
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from selfimprove.errors import SelfImproveError
from selfimprove.recipe import TrackerName
from selfimprove.store.run import REPORTED

PROJECT = "selfimprove"
TAG = "selfimprove.id"
# A tracker that cannot be reached holds the run up for seconds, not for minutes.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "WANDB_INIT_TIMEOUT": "30"}
QUIET = {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}  # what the run prints is nobody else's


class Destination(BaseModel):
    """One run of the trackers: the loop's own, or that of one training stage in the same group."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    to: tuple[TrackerName, ...]
    folder: Path
    run: str
    group: str
    id: str


class Tracker(Protocol):
    """Takes numbers at a step. What a tracker raises is its own."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in a folder of the run's name."""

    def __init__(self, destination: Destination) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(tensorboard_environment(destination)["TENSORBOARD_LOGGING_DIR"])

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Trackio:
    """A run in the database of trackio's project."""

    def __init__(self, destination: Destination) -> None:
        import trackio

        with redirect_stdout(StringIO()):
            self._run: Any = trackio.init(
                project=PROJECT, name=destination.run, group=destination.group, resume="allow", embed=False,
                auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        import trackio

        with redirect_stdout(StringIO()):
            trackio.finish()


class Wandb:
    """A run of Weights & Biases; without a network with WANDB_MODE=offline."""

    def __init__(self, destination: Destination) -> None:
        import wandb

        self._wandb: Any = wandb
        given = wandb_environment(destination)
        Path(given["WANDB_DIR"]).mkdir(parents=True, exist_ok=True)
        self._run: Any = wandb.init(
            project=given["WANDB_PROJECT"], dir=given["WANDB_DIR"], name=destination.run, id=destination.id,
            group=destination.group, resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )  # fmt: skip
        # Its own step can only grow; a round may be reported again.
        self._run.define_metric("round")
        self._run.define_metric("*", step_metric="round")

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "round": step}, step=step)

    def close(self) -> None:
        self._run.finish()
        self._wandb.teardown()  # which would keep this environment for a trainer's run


class Mlflow:
    """A run of the tracking server, or of a database file in the run's folder."""

    def __init__(self, destination: Destination) -> None:
        import logging

        from mlflow import MlflowClient

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)

        given = mlflow_place(destination)
        self._client: Any = MlflowClient(tracking_uri=given["MLFLOW_TRACKING_URI"])
        name = given["MLFLOW_EXPERIMENT_NAME"]
        experiment = self._client.get_experiment_by_name(name)
        artifacts = None if "MLFLOW_TRACKING_URI" in os.environ else (destination.folder / "mlflow").resolve().as_uri()
        number = experiment.experiment_id if experiment else self._client.create_experiment(name, artifacts)
        found = self._client.search_runs([number], f"tags.`{TAG}` = '{destination.id}'")
        tags = {TAG: destination.id, "group": destination.group}
        made = found[0] if found else self._client.create_run(number, run_name=destination.run, tags=tags)
        self.id: str = made.info.run_id
        self._client.update_run(self.id, status="RUNNING")

    def log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        for start in range(0, len(metrics), 500):  # the server takes 1000 at most
            self._client.log_batch(self.id, metrics=metrics[start : start + 500])

    def close(self) -> None:
        self._client.set_terminated(self.id)


def tensorboard_environment(destination: Destination) -> dict[str, str]:
    base = os.environ.get("TENSORBOARD_LOGGING_DIR") or destination.folder / "tensorboard"
    return {"TENSORBOARD_LOGGING_DIR": str(Path(base).expanduser() / destination.run)}


def wandb_environment(destination: Destination) -> dict[str, str]:
    return {
        "WANDB_PROJECT": os.environ.get("WANDB_PROJECT", PROJECT),
        "WANDB_DIR": os.environ.get("WANDB_DIR", str(destination.folder)),
        "WANDB_RUN_ID": destination.id,
        "WANDB_RUN_GROUP": destination.group,
        "WANDB_RESUME": "allow",
    }


def mlflow_place(destination: Destination) -> dict[str, str]:
    file = (destination.folder / "mlflow.db").resolve()
    return {
        "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{file}"),
        "MLFLOW_EXPERIMENT_NAME": os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
    }


def mlflow_environment(destination: Destination) -> dict[str, str]:
    return {**mlflow_place(destination), "MLFLOW_RUN_ID": Mlflow(destination).id}


TRACKERS: dict[str, Callable[[Destination], Tracker]] = {
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": Wandb,
    "mlflow": Mlflow,
}
# What transformers' own callbacks read, so that a trainer's curves end up beside the loop's.
ENVIRONMENTS: dict[str, Callable[[Destination], dict[str, str]]] = {
    "tensorboard": tensorboard_environment,
    "trackio": lambda _: {},  # the trainer's arguments say it all
    "wandb": wandb_environment,
    "mlflow": mlflow_environment,
}


def check_trackers(names: Collection[str]) -> None:
    """Raise SelfImproveError where a tracker is not known, not installed or not set up."""
    for name in names:
        if name not in TRACKERS:
            raise SelfImproveError(f"no tracker '{name}'; there are {', '.join(TRACKERS)}")
        if importlib.util.find_spec(name) is None:
            raise SelfImproveError(
                f"'report_to' names {name}, which is missing; install it with: pip install 'selfimprove[{name}]'"
            )
        if name == "wandb":
            check_login()


def check_login() -> None:
    """Raise SelfImproveError where W&B would ask for a key in the middle of a run."""
    import wandb

    if os.environ.get("WANDB_MODE", "online") != "online":
        return
    try:
        known = wandb.login(prompt=False, verify=False)
    finally:
        wandb.teardown()
    if not known:
        raise SelfImproveError("wandb has no API key; run `wandb login`, or set WANDB_MODE=offline")


class Reported(BaseModel):
    """What was reported of a run: how often its parts were begun, and by tracker the hash of each round."""

    id: str
    attempts: dict[str, int] = {}
    rounds: dict[str, dict[int, str]] = {}


class Ledger:
    """What was reported of a run so far, in `trackers/reported.json`: a kill loses it no more than the run."""

    def __init__(self, run: Path) -> None:
        self.folder = run / REPORTED
        self._path = self.folder / "reported.json"
        try:
            self._state = Reported.model_validate_json(self._path.read_text())
        except (OSError, ValueError):
            self._state = Reported(id=uuid.uuid4().hex[:12])

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_text(self._state.model_dump_json(indent=1))
        partial.rename(self._path)

    def destination(self, to: Collection[Any], run: str, part: str = "") -> Destination:
        """Where the run, or a part of it, reports to; what is done again gets a name of its own."""
        attempt = self._state.attempts.get(part, 1)
        names = [one for one in (part, str(attempt) if attempt > 1 else "") if one]
        # Both hold the same words; a name may stand twice in a project, an id may not.
        return Destination(to=tuple(to), folder=self.folder, run="-".join([run, *names]), group=run,
                           id="-".join([self._state.id, *names]))  # fmt: skip

    def begin(self, part: str) -> None:
        """A part begins from nothing: where it was begun before, under another name."""
        self._state.attempts[part] = self._state.attempts.get(part, 0) + 1
        self._write()

    def compare(self, rounds: Mapping[int, str]) -> None:
        """Begin anew, under another name, where a round is not the one that was reported."""
        had = [one for rounds_ in self._state.rounds.values() for one in rounds_.items()]
        if any(rounds.get(round_, state) != state for round_, state in had):
            self._state.rounds = {}
            self._state.attempts.setdefault("", 1)
            self.begin("")

    def missing(self, tracker: str, rounds: Mapping[int, str]) -> list[int]:
        """The rounds that a tracker does not have."""
        return [round_ for round_ in rounds if round_ not in self._state.rounds.get(tracker, {})]

    def note(self, tracker: str, rounds: Mapping[int, str]) -> None:
        """A tracker has taken these rounds."""
        self._state.rounds.setdefault(tracker, {}).update(rounds)
        self._write()
