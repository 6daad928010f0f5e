"""Several commands at a time, each a process of its own, whose lines are passed on under its name."""

import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from selfimprove.engines.guard import die_with_parent

GRACE = 60.0  # seconds in which a run that is told to stop closes what it has


class SideBySide:
    """Runs commands, so many at a time; they end with this process, however it ends."""

    def __init__(self, at_once: int, say: Callable[[str], object]) -> None:
        self.at_once, self.say = at_once, say
        self._running: set[subprocess.Popen[str]] = set()
        self._lock, self._stopped = threading.Lock(), False

    def run(self, commands: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Run each command; gives the last line of those that failed, by name."""
        with ThreadPoolExecutor(self.at_once) as pool:
            asked = {name: pool.submit(self._run_one, name, command) for name, command in commands.items()}
            try:
                ended = {name: one.result() for name, one in asked.items()}
            except BaseException:  # Ctrl-C: each says what it has kept, as it would alone
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise
        return {name: last for name, (code, last) in ended.items() if code}

    def _run_one(self, name: str, command: Sequence[str]) -> tuple[int, str]:
        with self._lock:
            if self._stopped:
                return 0, ""
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace", start_new_session=True, preexec_fn=lambda: die_with_parent(signal.SIGINT),
            )  # fmt: skip
            self._running.add(child)
        last = "no output"
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip():
                last = line.strip()
                self.say(f"{name}: {line.rstrip()}")
        code = child.wait()
        with self._lock:
            self._running.discard(child)
        return code, last

    def _stop(self) -> None:
        with self._lock:
            self._stopped, running = True, [*self._running]
        for child in running:
            child.send_signal(signal.SIGINT)
        for child in running:
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
