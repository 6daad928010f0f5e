"""Stub servers as real processes, and engines that ask them."""

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfimprove.engines import Weights
from selfimprove.engines.server import ServerEngine
from selfimprove.engines.servers import Pace
from selfimprove.recipe import Model
from selfimprove.recipe.engine_settings import EngineSettings, ServerSettings

STUB = Path(__file__).with_name("stub_server.py")
QUICK = Pace(first=0.02, longest=0.2, failures=3, remind=0.5)


class Stub:
    """A stub server in a process of its own."""

    def __init__(self, settings: dict[str, Any], port: int = 0) -> None:
        command = [sys.executable, str(STUB), str(port), json.dumps(settings)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def _ask(self, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/stub", data), timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def set(self, **settings: Any) -> None:
        """Change settings; new faults count from now on."""
        self._ask(settings)

    def seen(self) -> dict[str, Any]:
        """What it was asked so far."""
        return self._ask()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def stub(**settings: Any) -> Iterator[Stub]:
    server = Stub(settings)
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def make_engine(
    model: Path, *urls: str, pace: Pace = QUICK, token_logprobs: bool = False, **settings: Any
) -> ServerEngine:
    given = {"concurrency": 8, "timeout": 20.0, "patience": 20.0, **settings}
    return ServerEngine(
        Weights(str(model)),
        settings=EngineSettings(
            name="server", server=ServerSettings(urls=urls, **given), token_logprobs=token_logprobs
        ),
        model=Model(path=str(model)),
        pace=pace,
    )
