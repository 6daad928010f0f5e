"""vLLM servers of one checkpoint on this machine: started, watched, started again, and gone when this process is."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from selfimprove.engines import guard
from selfimprove.engines.base import Weights, check_installed
from selfimprove.engines.checkpoints import Adapter, full_folder, read_adapter
from selfimprove.engines.local import HOST, answers, ask, choose_gpus, choose_ports, end_of
from selfimprove.engines.model_folders import resolve_folder
from selfimprove.engines.models import read_longest
from selfimprove.engines.server_key import developer_mode, without_developer_mode
from selfimprove.engines.server_weights import name_adapter, name_weights
from selfimprove.engines.server_worker import WEIGHTS
from selfimprove.engines.vllm_start import choose_arguments
from selfimprove.errors import EngineError, SelfImproveError
from selfimprove.recipe import Model
from selfimprove.recipe.engine_settings import EngineSettings

NAME = "model"  # what the servers call what they serve
EXTENSION = "selfimprove.engines.server_worker.ServedWeights"
GUARD = "selfimprove.engines.server_key.NeedsKey"
READY = 900.0  # seconds that a server may take to start: a large model is read from a slow disk
POLL = 0.3
TRIES = 3  # a server that ends so often in a row is given up
LIVED = 30.0  # seconds after which a server that was ready counts as one that can live
WRITING = 120.0  # seconds for the first token, for which kernels may be compiled
LONGEST = 30.0  # seconds between starts
SETTLED = 5.0  # seconds between two looks at which weights are served


class Supervised:
    """One server's process."""

    def __init__(self, port: int, gpus: Sequence[str] | None, log: Path) -> None:
        self.port, self.gpus, self.log = port, gpus, log
        self.url = f"http://{HOST}:{port}/v1"
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.ready = False
        self.failures = 0  # starts in a row that came to nothing
        self.again = 0.0  # when to start it again
        self.given_up = ""


class Supervisor:
    """Keeps `count` vLLM servers of a checkpoint alive on ports of this machine from `port`, or on free ones.

    `weights` is what a server is started with, also again: whoever swaps weights sets it. Only servers with a `key`,
    which each request must bring, take other weights and can be sent to sleep. Raises EngineError where vLLM is
    missing, a port is taken, or no server comes up.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        model: Model,
        settings: EngineSettings,
        count: int,
        port: int | None = None,
        key: str | None = None,
        say: Callable[[str], None] = lambda message: print(f"selfimprove: {message}", file=sys.stderr, flush=True),
    ) -> None:
        check_installed("vllm")
        self.weights, self.model, self.settings, self.say = weights, model, settings, say
        self._key = key
        self.adapter: Adapter | None = read_adapter(weights)
        self.logs = Path(tempfile.mkdtemp(prefix="selfimprove-servers-"))
        gpus = choose_gpus(model, count, settings.vllm.gpus)
        self.cpu = gpus is None
        ports = choose_ports(count, port)
        self.servers = [
            Supervised(port, gpus[number] if gpus else None, self.logs / f"server-{port}.log")
            for number, port in enumerate(ports)
        ]
        self._ending = threading.Event()
        # A process started by a thread gets the signal of its parent's death when that thread ends.
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    @property
    def urls(self) -> list[str]:
        return [one.url for one in self.servers]

    def wait(self) -> None:
        """Wait until every server answers or is given up; raises EngineError where none is left."""
        deadline = time.monotonic() + READY
        while not all(one.ready or one.given_up for one in self.servers) and time.monotonic() < deadline:
            time.sleep(POLL)
        if not any(one.ready for one in self.servers):
            trouble = next((one.given_up for one in self.servers if one.given_up), f"not ready after {READY:g} s")
            self.close()
            raise EngineError(f"{self.weights.path}: vLLM cannot serve it: {trouble}")

    @property
    def lost(self) -> str:
        """Why there is no server any more, or nothing."""
        return self.servers[0].given_up if all(one.given_up for one in self.servers) else ""

    # --- the thread that starts and watches -----------------------------------------------------------------------

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self._ending.wait(POLL):
            for one in self.servers:
                self._look_after(one)
            if time.monotonic() - looked > SETTLED:
                looked = time.monotonic()
                self._learn_weights()
        self._end()

    def _look_after(self, one: Supervised) -> None:
        now = time.monotonic()
        if one.given_up:
            return
        if one.process is None:
            if now >= one.again:
                self._try_start(one)
        elif one.process.poll() is not None:
            self._bury(one)
        elif not one.ready and answers(one.port):
            # What a kernel does not know, such as heads of 16 or 24 on a CPU, is found by the first token only.
            body = {"model": NAME, "prompt": [0], "max_tokens": 1}
            one.ready = ask(one.port, "/v1/completions", body, timeout=WRITING, key=self._key) is not None
            one.started = time.monotonic()

    def _try_start(self, one: Supervised) -> None:
        """Start a server; one whose model cannot be read any more is given up, and the others are watched on."""
        try:
            self._start(one)
        except (SelfImproveError, OSError, ValueError, KeyError) as error:
            one.given_up = str(error)
            self.say(f"the server on port {one.port} cannot be started: {error}")

    def _start(self, one: Supervised) -> None:
        weights = self.weights  # a run may give others at any moment, and the name must be that of the folder
        command = [sys.executable, guard.__file__, str(os.getpid()), *self._command(one, weights)]
        with one.log.open("ab") as log:
            one.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(one, weights),
                start_new_session=True,
            )
        one.started, one.ready = time.monotonic(), False

    def _bury(self, one: Supervised) -> None:
        """Take note of a server that ended, and decide whether it is started again."""
        assert one.process is not None
        with suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGKILL)  # what it may have left
        lived = one.ready and time.monotonic() - one.started > LIVED
        one.failures = 1 if lived else one.failures + 1
        one.process, one.ready = None, False
        reason = f"{end_of(one.log)} ({one.log})"
        if one.failures >= TRIES:
            one.given_up = reason
            self.say(f"the server on port {one.port} ended {TRIES} times soon after its start: {reason}")
            return
        wait = min(LONGEST, 2.0 ** (one.failures - 1))
        one.again = time.monotonic() + wait
        self.say(f"the server on port {one.port} ended and is started again: {reason}")

    def _learn_weights(self) -> None:
        """Find out what a run has given the servers meanwhile, so that one that is started again begins with it."""
        for one in self.servers:
            if one.ready and self.adapter is None and self._key:
                found = ask(one.port, "/collective_rpc", {"method": "served_weights"}, key=self._key)
                with suppress(TypeError, KeyError, IndexError):
                    served = found["results"][0]
                    if served["folder"] and served["weights"] not in ("", name_weights(self.weights)):
                        self.weights = Weights(served["folder"], None, self.weights.chat, served["weights"])

    def _command(self, one: Supervised, weights: Weights) -> list[str]:
        folder = full_folder(weights)  # with its tokenizer: texts become tokens, and tokens texts, in the engine
        arguments: dict[str, Any] = {
            **choose_arguments(
                folder,
                folder,
                model=self.model,
                settings=self.settings,
                longest=read_longest(folder),
                cpu=self.cpu,
                adapter=self.adapter,
            ),
            "host": HOST,
            "port": one.port,
            "served_model_name": NAME,
            "uvicorn_log_level": "warning",
            "disable_uvicorn_access_log": True,
        }
        if self._key:
            arguments |= {"worker_extension_cls": EXTENSION, "middleware": GUARD}
        elif self.adapter:
            arguments["lora_modules"] = [f"{name_adapter(weights)}={resolve_folder(weights.path).resolve()}"]
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *to_flags(arguments)]

    def _environment(self, one: Supervised, weights: Weights) -> dict[str, str]:
        package = str(Path(guard.__file__).parents[2])
        paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        environment = {
            **without_developer_mode(os.environ),
            **developer_mode(self._key),
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
            # An engine in this process says nothing; a server's log must say why it ended.
            "VLLM_CONFIGURE_LOGGING": "1",
            "VLLM_LOGGING_LEVEL": "INFO",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            WEIGHTS: name_weights(weights),
        }
        environment.pop("VLLM_API_KEY", None)
        if one.gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(one.gpus)
        else:
            threads = self.settings.threads or max(1, (os.cpu_count() or 1) // len(self.servers))
            # Bound to cores, as vLLM does by itself, all servers would sit on the same ones.
            environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(threads)}
        return environment

    def _end(self) -> None:
        running = [one.process for one in self.servers if one.process is not None]
        for process in running:
            process.terminate()
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(guard.GRACE + 5)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        """End all servers; their logs stay where one was given up."""
        self._ending.set()
        for one in self.servers:  # the thread may wait for the first token of one
            if (process := one.process) is not None:
                with suppress(ProcessLookupError):
                    process.terminate()
        self._thread.join()
        if not any(one.given_up for one in self.servers):
            for log in self.logs.glob("*"):
                log.unlink()
            with suppress(OSError):
                self.logs.rmdir()


def to_flags(arguments: Mapping[str, object]) -> list[str]:
    """vLLM's arguments as its command line takes them."""
    flags: list[str] = []
    for name, value in arguments.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, (list, tuple)):
            flags += [flag, *map(str, value)]
        elif value is not None:
            flags += [flag, str(value)]
    return flags
