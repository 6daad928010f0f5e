"""Judging with limits: worker processes that are killed and replaced when they take too long or too much memory."""

import asyncio
import atexit
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from selfimprove.errors import VerifierError
from selfimprove.recipe.catalog import extensions
from selfimprove.recipe.task_settings import Limits
from selfimprove.records import Problem, Rationale, Step, Verdict, digest
from selfimprove.verifiers.base import Verifier, make_verdict
from selfimprove.verifiers.worker import Frames, frame

Judged = tuple[Verifier, Problem, Rationale]
WINDOW = 256  # verdicts that wait for one before them
STARTS = 3  # a task that outlives so many servers is given up


class Memory(Protocol):
    """What was written down by name, and outlives this process."""

    @property
    def known(self) -> Mapping[str, Mapping[str, Any]]: ...

    def add(self, asked: str, text: Mapping[str, Any]) -> None: ...


@dataclass
class _Task:
    verifier: Verifier
    rationale: Rationale
    message: dict[str, Any]
    future: "Future[Verdict]" = field(default_factory=Future)
    starts: int = 0


class VerifierPool:
    """Judges in worker processes, from any thread and from asyncio; nothing is started before something needs it.

    Each verdict comes back: one that was cut off is `undecided`, with the limit in its reason. No signal is set in
    the calling process, and the workers live in a session of their own, so that Ctrl-C reaches only the caller.
    """

    def __init__(self, *, workers: int = 1, limits: Limits | None = None) -> None:
        self.workers, self.limits = workers, limits or Limits()
        self._numbers = itertools.count()
        self._closed = False
        self._begin()
        _POOLS.add(self)

    def _begin(self) -> None:
        """The state of a pool that has no server yet."""
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._places = threading.BoundedSemaphore(self.workers * 8)  # more would only wait in the server
        self._tasks: dict[int, _Task] = {}
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def verify(self, verifier: Verifier, *, problem: Problem, rationale: Rationale) -> Verdict:
        """One verdict, waited for."""
        return self.submit(verifier, problem=problem, rationale=rationale).result()

    def verify_all(self, judged: Iterable[Judged], memory: Memory | None = None) -> Iterator[Verdict]:
        """The verdicts in order; at most `WINDOW` of them wait for a slow one, and no more is read meanwhile.

        Those of workers are added to `memory`, and taken from it where they are known.
        """
        pending: deque[tuple[str, Verdict | Future[Verdict]]] = deque()

        def take() -> Verdict:
            name, found = pending.popleft()
            verdict = _wait(found)
            if memory and name:
                memory.add(name, verdict.model_dump(mode="json"))
            return verdict

        for verifier, problem, rationale in judged:
            name, verdict = "", verifier.quick(problem=problem, rationale=rationale)
            if memory and verdict is None:
                name = digest("verdict", verifier.name, verifier.version, problem.id, rationale.id)
                if name in memory.known:
                    name, verdict = "", Verdict.model_validate(memory.known[name])
            if verdict and not pending:
                yield verdict
                continue
            pending.append((name, verdict or self._submit(verifier, problem, rationale)))
            while pending and (len(pending) >= WINDOW or _is_done(pending[0][1])):
                yield take()
        while pending:
            yield take()

    async def verify_async(self, verifier: Verifier, *, problem: Problem, rationale: Rationale) -> Verdict:
        """One verdict, without keeping the event loop."""
        verdict = verifier.quick(problem=problem, rationale=rationale)
        if verdict:
            return verdict
        future = await asyncio.to_thread(self._submit, verifier, problem, rationale)
        return await asyncio.wrap_future(future)

    def submit(self, verifier: Verifier, *, problem: Problem, rationale: Rationale) -> "Future[Verdict]":
        """A verdict to come; waits for a free place where too many are under way."""
        verdict = verifier.quick(problem=problem, rationale=rationale)
        if verdict is None:
            return self._submit(verifier, problem, rationale)
        future: Future[Verdict] = Future()
        future.set_result(verdict)
        return future

    def _submit(self, verifier: Verifier, problem: Problem, rationale: Rationale) -> "Future[Verdict]":
        message: dict[str, Any] = {
            "settings": verifier.settings.model_dump(mode="json"),
            "problem": problem.model_dump(mode="json"),
            # The prompt may be long, and no verifier looks at it.
            "rationale": {**rationale.model_dump(mode="json", exclude={"token_ids"}), "prompt": ""},
        }
        places = self._places
        places.acquire()
        task = _Task(verifier, rationale, message)
        task.future.add_done_callback(lambda future: self._free(places, task, future.cancelled()))
        try:
            with self._lock:
                if self._closed:
                    raise VerifierError("the pool of verifiers is closed")
                if self._server is None:
                    self._start()
                sock = self._socket
                message["id"] = next(self._numbers)
                self._tasks[message["id"]] = task
            self._send(sock, task)
        except BaseException as error:
            self._tasks.pop(message.get("id", -1), None)
            if not task.future.done():
                task.future.set_exception(error)
            raise
        return task.future

    def _free(self, places: threading.BoundedSemaphore, task: _Task, cancelled: bool) -> None:
        """Give the place of a task that is done to the next; one that nobody waits for any more is not worked off."""
        if cancelled:
            with self._lock:
                known = self._tasks.pop(task.message.get("id", -1), None)
                sock = self._socket
            if known and sock:
                self._tell(sock, {"drop": task.message["id"]})
        places.release()

    def _send(self, sock: socket.socket | None, task: _Task) -> None:
        """Hand a task to a server. Whoever listens never needs this lock, so two full sockets cannot wait for each
        other; of a server that is gone the listener sends the task to the next one."""
        if sock is not None:
            self._tell(sock, task.message)

    def _tell(self, sock: socket.socket, message: dict[str, Any]) -> None:
        with self._sending, contextlib.suppress(OSError):
            sock.sendall(frame(message))

    def _start(self) -> None:
        """Start a server; under the lock."""
        ours, theirs = socket.socketpair()
        package = Path(__file__).resolve().parent.parent.parent
        paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(package)]))
        errors = tempfile.TemporaryFile()  # noqa: SIM115, read when the server is gone
        command = [sys.executable, "-P", "-m", "selfimprove.verifiers.worker", str(theirs.fileno()), str(self.workers)]
        try:
            server = subprocess.Popen(
                [*command, self.limits.model_dump_json(), json.dumps([one.path for one in extensions()])],
                pass_fds=[theirs.fileno()], start_new_session=True, env={**os.environ, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise VerifierError(f"the verifier's process did not start: {error}") from None
        finally:
            theirs.close()
        self._server, self._socket = server, ours
        atexit.register(self.close)
        threading.Thread(target=self._listen, args=(ours, server, errors), daemon=True).start()

    def _listen(self, sock: socket.socket, server: "subprocess.Popen[bytes]", errors: Any) -> None:
        """Settle tasks as their results come; when the server is gone, start another with what is left."""
        frames, ready = Frames(), False
        while True:
            try:
                data = sock.recv(1 << 16)
                messages = frames.feed(data)
            except (OSError, ValueError):
                data, messages = b"", []
            if not data:
                break
            for message in messages:
                if "ready" in message:
                    ready = True
                    continue
                with self._lock:
                    task = self._tasks.pop(message["id"], None)
                if task:
                    _settle(task, message)
        server.kill()
        server.wait()
        self._recover(ready, errors)

    def _recover(self, ready: bool, errors: Any) -> None:
        """Give what a server left behind to the next one, or give it up."""
        with self._lock:
            self._server = self._socket = None
            left = list(self._tasks.values())
            why = self._why_not_again(ready, errors)
            if left and not why:
                try:
                    self._start()
                except VerifierError as error:
                    why = str(error)
            if why:
                self._tasks.clear()
            sock = self._socket
        for task in left:
            task.starts += 1
            if why:
                if task.future.set_running_or_notify_cancel():
                    task.future.set_exception(VerifierError(why))
            elif task.starts >= STARTS:
                self._tasks.pop(task.message["id"], None)
                _settle(task, {"cut": f"the verifier's process ended {STARTS} times"})
            else:
                self._send(sock, task)

    def _why_not_again(self, ready: bool, errors: Any) -> str:
        if self._closed:
            return "the pool of verifiers was closed"
        if ready:
            return ""
        errors.seek(0)
        said = (errors.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        return f"the verifier's process did not start: {said[:200]}"

    def close(self) -> None:
        """End the workers; verdicts still to come fail."""
        with self._lock:
            self._closed = True
            server, sock = self._server, self._socket
        if server is None or sock is None:
            return
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        server.wait(timeout=10)

    def __enter__(self) -> "VerifierPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_POOLS: "weakref.WeakSet[VerifierPool]" = weakref.WeakSet()


def _begin_all() -> None:
    """In a fork: its pools have their parent's tasks, places and locks, but none of its threads, and no server."""
    for pool in list(_POOLS):
        pool._begin()


os.register_at_fork(after_in_child=_begin_all)


def _is_done(one: "Verdict | Future[Verdict]") -> bool:
    return isinstance(one, Verdict) or one.done()


def _wait(one: "Verdict | Future[Verdict]") -> Verdict:
    return one if isinstance(one, Verdict) else one.result()


def _settle(task: _Task, message: dict[str, Any]) -> None:
    if not task.future.set_running_or_notify_cancel():
        return  # nobody waits for it any more
    found = message.get("verdict")
    if found is None:
        verdict = make_verdict(task.verifier, task.rationale, "undecided", f"not judged: {message['cut']}")
    else:
        steps = tuple(Step.model_validate(step) for step in found["steps"])
        verdict = make_verdict(
            task.verifier, task.rationale, found["outcome"], found["reason"], steps, found["coverage"]
        )
    task.future.set_result(verdict)
