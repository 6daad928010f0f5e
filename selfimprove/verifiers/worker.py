"""The process that judges what may hang: it forks a child for each worker, holds it to its limits, and replaces it.

Started by `workers` as `python -m selfimprove.verifiers.worker FD WORKERS LIMITS FILES`. It has one thread, so forking
is safe, and it imports sympy once, so a new child is there in milliseconds. Messages are JSON behind their length in
four bytes: nothing that comes back from a child that parsed hostile text is more than data.
"""

import contextlib
import json
import os
import re
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, NoReturn

from selfimprove.recipe.catalog import discover, import_file
from selfimprove.recipe.task_settings import Limits, VerifierSettings
from selfimprove.records import Problem, Rationale
from selfimprove.verifiers import make_verifier
from selfimprove.verifiers.base import Verifier

HEADER = struct.Struct("!I")
MAX_MESSAGE = 16 << 20
SHORT_MB = 64  # a peak of memory this near to the limit may have been cut off by it
MAX_TRIES = 2  # a task whose worker was killed from outside is given to another one
FORBIDDEN = (
    "os.", "socket.", "subprocess.", "shutil.", "ctypes.", "sqlite3.", "pty.", "tempfile.", "webbrowser.", "urllib.",
    "ftplib.", "smtplib.", "imaplib.", "poplib.", "nntplib.", "telnetlib.", "signal.", "fcntl.", "mmap.",
)  # fmt: skip
ALLOWED = ("os.listdir", "os.scandir", "os.walk", "os.putenv", "os.unsetenv")  # what imports do, numpy's too


def frame(message: dict[str, Any]) -> bytes:
    """A message as it goes over a socket."""
    data = json.dumps(message).encode()
    return HEADER.pack(len(data)) + data


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        self._data += data
        messages = []
        while len(self._data) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._data)
            if size > MAX_MESSAGE:
                raise ValueError("a message over its limit")
            if len(self._data) < HEADER.size + size:
                break
            messages.append(json.loads(self._data[HEADER.size : HEADER.size + size]))
            del self._data[: HEADER.size + size]
        return messages


class Child:
    """A forked worker and what it is working on."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid, self.sock, self.frames = pid, sock, Frames()
        self.task: dict[str, Any] | None = None
        self.deadline = 0.0


class Server:
    """Gives tasks to children, at most one each, and their results back in any order."""

    def __init__(self, parent: socket.socket, workers: int, limits: Limits) -> None:
        self.parent, self.workers, self.limits = parent, workers, limits
        self.frames = Frames()
        self.waiting: deque[dict[str, Any]] = deque()
        self.children: list[Child] = []
        self.selector = selectors.DefaultSelector()
        self.selector.register(parent, selectors.EVENT_READ, None)

    def run(self) -> None:
        """Serve until the parent is gone."""
        warm_up()
        self.parent.sendall(frame({"ready": os.getpid()}))
        while True:
            self._assign()
            busy = [child.deadline for child in self.children if child.task]
            timeout = max(0.0, min(busy) - time.monotonic()) if busy else None
            for key, _ in self.selector.select(timeout):
                if key.data is None:
                    data = self.parent.recv(1 << 16)
                    if not data:
                        return
                    for message in self.frames.feed(data):
                        if "drop" in message:
                            self._drop(message["drop"])
                        else:
                            self.waiting.append(message)
                elif key.data in self.children:
                    self._hear(key.data)
            now = time.monotonic()
            for child in [one for one in self.children if one.task and one.deadline <= now]:
                self._replace(child, f"over the limit of {self.limits.wall_seconds:g} s on the clock")

    def _drop(self, number: int) -> None:
        """Leave a task that nobody waits for any more."""
        self.waiting = deque(task for task in self.waiting if task["id"] != number)
        for child in [one for one in self.children if one.task and one.task["id"] == number]:
            self._replace(child, "nobody waits for it")

    def _assign(self) -> None:
        while self.waiting:
            child = next((one for one in self.children if one.task is None), None)
            if child is None:
                if len(self.children) >= self.workers:
                    return
                child = self._fork()
            child.task = self.waiting.popleft()
            child.deadline = time.monotonic() + self.limits.wall_seconds
            try:
                child.sock.sendall(frame(child.task))
            except OSError:  # it was killed while it waited
                self._replace(child, "")

    def _fork(self) -> Child:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self.parent.close()
            for sibling in self.children:
                sibling.sock.close()
            self.selector.close()
            work(theirs, self.limits)
        theirs.close()
        child = Child(pid, ours)
        self.children.append(child)
        self.selector.register(ours, selectors.EVENT_READ, child)
        return child

    def _hear(self, child: Child) -> None:
        try:
            data = child.sock.recv(1 << 16)
            messages = child.frames.feed(data)
        except (OSError, ValueError):
            data, messages = b"", []
        if not data:
            self._replace(child, "")
            return
        for result in messages:
            task, child.task = child.task, None
            if task:
                self._answer(task, result)
            if "cut" in result:
                self._replace(child, "")

    def _replace(self, child: Child, cut: str) -> None:
        """End a child and settle its task: cut off, tried again, or given up."""
        os.kill(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        self.selector.unregister(child.sock)
        child.sock.close()
        self.children.remove(child)
        task = child.task
        if task is None:
            return
        killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if not cut and killer in (signal.SIGPROF, signal.SIGXCPU):
            cut = f"over the limit of {self.limits.cpu_seconds:g} s of CPU time"
        task["tries"] = task.get("tries", 0) + 1
        if not cut and killer in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT) and task["tries"] < MAX_TRIES:
            self.waiting.appendleft(task)
            return
        how = f"was ended by signal {killer}" if killer else "ended"
        self._answer(task, {"cut": cut or f"the worker {how} {task['tries']} times"})

    def _answer(self, task: dict[str, Any], result: dict[str, Any]) -> None:
        self.parent.sendall(frame({**result, "id": task["id"]}))

    def stop(self) -> None:
        for child in self.children:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)


def warm_up() -> None:
    """Import what the children need before they are forked, and parse once, which builds the parser's tables."""
    import logging

    from selfimprove.verifiers.symbolic import compare

    logging.disable(logging.CRITICAL)
    compare(gold=r"\frac{\sqrt{2}}{2}+x", answer=r"x+\frac{1}{\sqrt{2}}")
    compare(gold="(1,2)", answer="1+2*3")


def work(sock: socket.socket, limits: Limits) -> NoReturn:
    """A child's life: judge one task after the other; what it must not do ends it."""
    code = 1
    try:
        base = _confine(limits)
        verifiers: dict[str, Verifier] = {}
        frames = Frames()
        while data := sock.recv(1 << 16):
            for task in frames.feed(data):
                signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)
                result = _judge(task, verifiers, limits, base)
                signal.setitimer(signal.ITIMER_PROF, 0)
                sock.sendall(frame(result))
        code = 0
    finally:
        os._exit(code)


def _judge(task: dict[str, Any], verifiers: dict[str, Verifier], limits: Limits, base: int) -> dict[str, Any]:
    try:
        key = json.dumps(task["settings"])
        if key not in verifiers:
            verifiers[key] = make_verifier(VerifierSettings.model_validate(task["settings"]))
        problem = Problem.model_validate(task["problem"])
        rationale = Rationale.model_validate(task["rationale"])
        verdict = verifiers[key].verify(problem=problem, rationale=rationale)
        if verdict.outcome != "correct" and _memory("VmPeak") - base > (limits.memory_mb - SHORT_MB) << 20:
            raise MemoryError  # sympy goes on where its memory was refused, and then calls equal things unequal
    except MemoryError:
        return {"cut": f"over the limit of {limits.memory_mb} MB of memory"}
    except RecursionError:
        return {"cut": "nested too deeply for the parser"}
    except Exception as error:  # a parser of others raises whatever it likes, and each of it says "not judged"
        return {"cut": f"the parser failed ({type(error).__name__})"}
    return {"verdict": verdict.model_dump(mode="json", include={"outcome", "reason", "steps", "coverage"})}


def _confine(limits: Limits) -> int:
    """Set the limits of this process; gives the memory in bytes that it had before."""
    for number in (signal.SIGPROF, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    base = _memory("VmSize")
    _limit(resource.RLIMIT_AS, base + (limits.memory_mb << 20))
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _die_with_parent()
    sys.setrecursionlimit(3_000)
    sys.addaudithook(_refuse)
    return base


def _memory(name: str) -> int:
    """A size in bytes of this process' address space, from Linux; 0 elsewhere, where the limit counts from nothing."""
    with contextlib.suppress(OSError):
        found = re.search(rf"^{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        return int(found[1]) << 10 if found else 0
    return 0


def _limit(kind: int, value: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # a system that does not know this limit, or has a lower one
        resource.setrlimit(kind, (value, value))


def _die_with_parent() -> None:
    """Ask Linux to end this process when the server ends, however that happens."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    """A second wall behind the parsers: a child reads text and computes, and has no business with the machine."""
    if (event.startswith(FORBIDDEN) and event not in ALLOWED) or (event == "open" and _writes(arguments)):
        raise PermissionError(f"a worker must not call {event}")


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def main() -> None:
    """Serve the pool whose end of a socket pair is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = socket.socket(fileno=int(sys.argv[1]))
    for path in json.loads(sys.argv[4]):  # what others declare is there before a child is forked, and confined
        if path:
            import_file(path)
        else:
            discover()
    server = Server(parent, int(sys.argv[2]), Limits.model_validate_json(sys.argv[3]))
    try:
        server.run()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
