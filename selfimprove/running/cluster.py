"""A run's parts made by a cluster through Ray Data: workers write them to the folder that all machines share."""

import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from selfimprove import errors
from selfimprove.engines.quiet import no_standard_error
from selfimprove.errors import ClusterError, SelfImproveError
from selfimprove.recipe.catalog import discover, extensions, import_file
from selfimprove.recipe.engine_settings import Ray
from selfimprove.recipe.file import parse_recipe
from selfimprove.running.clock import Clock
from selfimprove.running.parts import Advance, FinishedPart, Job, Sequential, make_part
from selfimprove.running.session import Session
from selfimprove.store import RunFolder, StageFolder

TRIES = 4  # a part that costs so many workers is given up
STARTS = 3  # so often Ray is started on this machine, where it gives itself 30 s
PATIENCE = 60.0  # seconds until the driver sees a file that a worker has written: shared folders cache their listings
PACKAGES = ("selfimprove", "torch", "transformers")
STORE = 100 << 20  # bytes of Ray's object store, which holds numbers of parts and what they cost
Stage = tuple[int, str, str, str]
_LOST = (
    "{why} (killed, or out of memory?); all finished parts are kept, and the same command again goes on; Ray's own "
    "logs are in /tmp/ray/session_latest/logs of each machine"
)


def needs_model(job: Job) -> bool:
    """Whether the parts of a stage ask a model."""
    declared, judges = job.stage.declared, job.session.judging.asks
    return (
        declared.asks in ("policy", "judge")
        or (declared.asks == "verifier" and judges)
        or declared.asks_too(job.stage.recipe)
    )


class OnRay:
    """Makes the parts of what writes, judges or selects on a cluster, and everything else in this process.

    Ray is started on this machine, and ended with the run, unless the settings name a cluster that is there already.
    Raises ClusterError.
    """

    def __init__(self, settings: Ray) -> None:
        self.settings = settings

    def __enter__(self) -> "OnRay":
        # Read when Ray is imported or started; its notes belong into its log files.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
        try:
            import ray
            import ray.data
        except ImportError:
            raise ClusterError("Ray is not installed; install it with: pip install 'selfimprove[ray]'") from None
        start: dict[str, Any] = {"address": self.settings.address}
        if self.settings.address is None:
            cpus = max(os.cpu_count() or 1, int((self.settings.workers or 1) * self.settings.cpus))
            start = {"address": "local", "num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE}
        self._start(start)
        quiet = ray.data.DataContext.get_current()
        quiet.enable_progress_bars = quiet.print_on_execution_start = False
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # What Ray's own debugger does too: no setting keeps a lost worker's paragraph off the terminal.
        ray._private.worker._worker_logs_enabled = False
        return self

    def _start(self, start: Mapping[str, object]) -> None:
        """Start Ray here, or find it where it is; raises ClusterError."""
        import ray

        for left in reversed(range(1 if self.settings.address else STARTS)):
            try:
                _knock(self.settings.address)
                with no_standard_error():  # Ray's C++ side says there that it was told to say nothing
                    ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **start)
                return
            except Exception as error:  # Ray's own is a bare one where a busy machine does not start it in its 30 s
                if not left:
                    where, said = self.settings.address or "this machine", (str(error).splitlines() or ["?"])[0][:200]
                    raise ClusterError(f"no Ray cluster at {where}: {said}") from None
                ray.shutdown()

    def __exit__(self, *_: object) -> None:
        import ray

        ray.shutdown()

    def make(self, job: Job, numbers: Sequence[int], advance: Advance) -> Iterator[FinishedPart]:
        asks, declared = needs_model(job), job.stage.declared
        last = [one for one in numbers[-1:] if declared.gathers and one == len(job.parts) - 1]
        first = [one for one in numbers if one not in last]
        if asks:
            job.session.slot.close()  # this process has none beside those of its workers
        groups = [(first, asks or (len(first) > 1 and (declared.apart or declared.asks == "verifier")))]
        # What follows from all others asks a model only for critiques, or to judge.
        groups.append((last, bool(last) and declared.gathering_asks(job.desk)))
        for some, apart in groups:
            here = [one for one in some if not apart or (not job.parts[one] and not declared.gathers)]
            there = [one for one in some if one not in here]
            yield from Sequential().make(job, here, advance)
            if there:
                yield from self._spread(job, there, advance, asks)

    def _spread(self, job: Job, numbers: Sequence[int], advance: Advance, asks: bool) -> Iterator[FinishedPart]:
        from ray.exceptions import RayActorError

        stage, disk, clock = job.stage, job.disk, job.clock
        share = self._share(asks)
        workers = min(len(numbers), share.workers)
        seen: dict[str, _Seen] = {}
        try:
            for row in _dataset(job, numbers, workers, share).iter_rows():
                if row["error"]:
                    raise _restore(json.loads(row["error"]))
                usage, lap = json.loads(row["usage"]), clock.lap()
                seen[row["worker"]] = _Seen(time.perf_counter(), usage["loaded"] > 0)
                number = int(row["part"])
                advance(job.units(number))
                mine = {"wall": 0.0, "elapsed": lap["elapsed"], "cpu": lap["cpu"]}
                disk.add_usage(number, {**mine, "tokens": {}, "metrics": {}, "counts": {}})
                yield FinishedPart(number, usage)
        except RayActorError as error:
            raise ClusterError(f"{stage}: {_LOST.format(why=(str(error).splitlines() or ['?'])[0][:200])}") from None
        _await_parts(disk, stage.main, numbers)
        disk.sweep()
        waited = sum(time.perf_counter() - one.since for one in seen.values() if one.loaded)
        told = {"ray": {"workers": workers, "processes": len(seen)}}
        lap = {**clock.lap(), "wall": waited, "loaded": waited, "idle": waited, "metrics": told, "counts": {}}
        disk.add_usage(numbers[-1], lap)

    def _share(self, asks: bool) -> "_Share":
        """What a worker reserves, and how many fit; raises ClusterError where none does."""
        import ray

        total = ray.cluster_resources()
        cpus, gpus = self.settings.cpus, 0.0
        if asks:
            gpus = self.settings.gpus if self.settings.gpus is not None else min(1.0, total.get("GPU", 0.0))
        fit = min(total.get("CPU", 0.0) / cpus, total.get("GPU", 0.0) / gpus if gpus else float("inf"))
        if fit < 1:
            raise ClusterError(
                f"a worker needs {cpus:g} CPUs and {gpus:g} GPUs, and the cluster has {total.get('CPU', 0):g} and "
                f"{total.get('GPU', 0):g}; change ray.cpus and ray.gpus, or start Ray on more machines first"
            )
        asked = self.settings.workers if asks else self.settings.verifiers or self.settings.workers
        return _Share(asked or int(fit), cpus, gpus)


def _knock(address: str | None) -> None:
    """Whether somebody listens at host:port, which Ray would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "://" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@dataclass(frozen=True)
class _Share:
    """How many workers there are, and what each reserves."""

    workers: int
    cpus: float
    gpus: float


@dataclass(frozen=True)
class _Seen:
    """When a worker gave back its last part, and whether it has an engine."""

    since: float
    loaded: bool


def _dataset(job: Job, numbers: Sequence[int], workers: int, share: _Share) -> Any:
    """The numbers of parts, and what comes back for each as soon as it is written."""
    import ray

    return ray.data.from_items([{"part": one} for one in numbers], override_num_blocks=len(numbers)).map_batches(
        Worker,
        fn_constructor_args=(
            job.session.recipe.model_dump_json(),
            str(job.session.folder.path.resolve()),
            (*job.stage.key, job.stage.main, job.stage.fingerprint),
            package_versions(),
            [(one.path or one.name, one.hash) for one in extensions()],
        ),
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        batch_size=1,
        num_cpus=share.cpus,
        num_gpus=share.gpus,
    )


class Worker:
    """Makes parts of one stage, in a process of its own on any machine that sees the run's folder."""

    def __init__(
        self, recipe: str, run: str, stage: Stage, packages: dict[str, str], extensions: Sequence[tuple[str, str]] = ()
    ) -> None:
        """`stage` is round, name, main kind and fingerprint; `extensions` are imported files and, by their names,
        packages, each with its hash."""
        self.extensions = extensions
        self.name = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self.here = f"the worker on {socket.gethostname()}"
        self.recipe, self.run, self.stage, self.packages = recipe, RunFolder(Path(run)), stage, packages
        round_, name, _, fingerprint = stage
        self.disk = StageFolder(self.run.stage(round_, name).path, fingerprint, self.name)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        number, usage, error = int(batch["part"][0]), "", ""
        try:
            usage = json.dumps(self.make(number))
        except SelfImproveError as mistake:
            error = json.dumps([type(mistake).__name__, str(mistake)])
        return {"part": [number], "worker": [self.name], "usage": [usage], "error": [error]}

    def make(self, number: int) -> dict[str, Any]:
        """Make one part and say what it cost; raises SelfImproveError."""
        round_, name, main, fingerprint = self.stage
        if not self.run.has_recipe():
            raise ClusterError(
                f"{self.here} does not see {self.run.path}; keep the run in a folder that all machines share (--runs)"
            )
        if self.disk.opened_as() != fingerprint:
            raise ClusterError(f"{self.disk.path}: another run has taken the folder over")
        if self.disk.has_part(main, number):  # written by one that was lost before it could say so
            return {**Clock().lap(), "counts": {}}
        if self.disk.mark(main, number) > TRIES:
            why = f"part {number} lost {TRIES} workers"
            raise ClusterError(f"round-{round_:02d}/{name}: {_LOST.format(why=why)}")
        job = self._job
        return make_part(job, job.parts[number], number, lambda units: None, beside=True).usage

    # Not in the constructor: Ray would wrap its errors, and would try it again and again.
    @cached_property
    def _job(self) -> Job:
        for name, found in package_versions().items():
            if found != self.packages[name]:
                raise ClusterError(
                    f"{self.here} has {name} {found} and this machine {self.packages[name]}; install the same packages "
                    f"on all machines"
                )
        discover()
        packages = {one.name: one.hash for one in extensions()}
        for name, expected in self.extensions:
            if name not in packages and not Path(name).is_file():
                how = "keep it in a folder that all machines share" if name.endswith(".py") else "install it there too"
                raise ClusterError(f"{self.here} does not see {name}; {how}")
            if (packages[name] if name in packages else import_file(name).hash) != expected:
                raise ClusterError(f"{self.here} has another {name} than this machine; share the file")
        session = Session(parse_recipe(self.recipe), self.run)
        round_, name, _, fingerprint = self.stage
        planned = session.plan[round_, name]
        if planned.fingerprint != fingerprint:
            raise ClusterError(
                f"{self.here} reads other problems, exemplars or prompts than this machine; share the files that the "
                f"recipe names"
            )
        return Job(planned, session, self.disk, session.clock)


def package_versions() -> dict[str, str]:
    """The versions that must be the same everywhere."""
    return {name: version(name) for name in PACKAGES}


def _restore(told: Sequence[str]) -> SelfImproveError:
    """The error that a worker met, as this process would have met it."""
    kind = getattr(errors, told[0], SelfImproveError)
    return kind(told[1]) if issubclass(kind, SelfImproveError) else SelfImproveError(told[1])


def _await_parts(disk: StageFolder, main: str, numbers: Sequence[int]) -> None:
    """Wait until parts that others have written are seen here too; raises ClusterError where they stay away."""
    deadline = time.monotonic() + PATIENCE
    while missing := [one for one in numbers if not disk.has_part(main, one)]:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{disk.file(main, missing[0])}: written by a worker and not seen here; is the folder a shared one?"
            )
        time.sleep(0.2)
