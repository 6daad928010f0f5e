"""A process of its own in which templates that others wrote are rendered, and which the kernel ends at its bounds."""

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

SECONDS = 2.0  # of computing for what is asked at once, and up to one more
MEMORY = 1 << 29  # bytes of address space


class SandboxError(Exception):
    """What was asked ended the process; its text goes on after the name of the template."""


class Sandbox:
    """The process, started when something is asked first; safe for threads and forks.

    `sandbox_worker.py` says what can be asked: one JSON object for another. What took too long once is refused at once
    from then on, for each time costs seconds.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock, self._process, self._owner = threading.Lock(), None, 0
        self._too_slow: set[str] = set()

    _process: "subprocess.Popen[str] | None"

    def ask(self, asked: Mapping[str, object]) -> dict[str, Any]:
        """The answer; raises SandboxError where there is none."""
        source = json.dumps(asked.get("chat", asked.get("templates")))
        with self._lock:
            if source in self._too_slow:
                raise SandboxError(self._describe(slow=True))
            if self._process is None or self._owner != os.getpid():
                self._start()
            process = self._process
            assert process is not None and process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(json.dumps(asked) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except OSError:
                line = ""
            if line:
                answer: dict[str, Any] = json.loads(line)
                return answer
            self._process = None
            _end(process)
            slow = process.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
            if slow:
                self._too_slow.add(source)
            raise SandboxError(self._describe(slow=slow))

    def _start(self) -> None:
        worker = Path(__file__).with_name("sandbox_worker.py")
        command = [sys.executable, "-P", str(worker), str(self._seconds), str(MEMORY)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for whoever asks
        )
        self._owner = os.getpid()
        weakref.finalize(self, _end, self._process)

    def _describe(self, *, slow: bool) -> str:
        return f"did not end within {self._seconds:g} seconds" if slow else "ended the process that ran it"


def _end(process: "subprocess.Popen[str]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(OSError):
                pipe.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
