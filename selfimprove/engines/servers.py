"""Several servers as one: the least loaded is asked, a dead one is taken out and back in, what failed is asked again.

Everything here runs in one event loop.
"""

import asyncio
import math
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from selfimprove.engines.http import Busy, Failed, Http, Refused
from selfimprove.errors import EngineError, UnreachableError
from selfimprove.records.printable import printable

T = TypeVar("T")
NONSENSE = (ValueError, TypeError, KeyError, IndexError, AttributeError)  # of whoever reads an answer


@dataclass(frozen=True)
class Pace:
    """Seconds between tries, which grow from `first` to `longest` with full jitter; `failures` in a row take a server
    out; while none answers, that is said every `remind` seconds."""

    first: float = 0.5
    longest: float = 20.0
    failures: int = 3
    remind: float = 60.0

    def wait(self, attempt: int) -> float:
        """How long to wait before a try (exponential back-off with full jitter)."""
        return random.uniform(0.0, min(self.longest, self.first * 2.0 ** min(attempt, 16)))


class Server:
    """One server as the pool sees it."""

    def __init__(self, http: Http, concurrency: int) -> None:
        self.http = http
        self.model = ""
        self.concurrency = concurrency
        self.allowed = float(concurrency)  # halved where it says that it is asked too often, and slowly raised again
        self.busy = 0
        self.out = True  # until it was found to serve what it should
        self.failures = 0
        self.pauses = 0
        self.paused_until = 0.0
        self.trouble = "not asked yet"
        self.missed = False  # whether it was said that it is out

    def __str__(self) -> str:
        return f"{self.http.url} ({self.trouble})"

    def can_take(self, now: float) -> bool:
        return not self.out and self.busy < self.allowed and self.paused_until <= now


class Pool:
    """Asks servers; `admit` makes sure that one answers and serves what it should before it is asked for anything.

    Raises UnreachableError once nothing was answered for `patience` seconds, or once `lost` says why none will be.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        admit: Callable[[Server], Awaitable[None]],
        *,
        patience: float,
        pace: Pace,
        lost: Callable[[], str] = str,
    ) -> None:
        self.servers, self.pace, self.patience = list(servers), pace, patience
        self.counts: Counter[str] = Counter()
        self._admit, self._lost = admit, lost
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._watches: set[asyncio.Task[None]] = set()
        self._down_since: float | None = None
        self._said = -math.inf
        self.opened = False

    async def open(self) -> None:
        """Find out which servers are there; waits for the first of them. Raises EngineError where one refuses."""
        for server in self.servers:
            await server.http.open()
        await self.admit_all()
        self.opened = True

    async def admit_all(self, change: Callable[[], None] = lambda: None) -> None:
        """Let answers that are under way come, then take no server for granted: each is admitted anew.

        `change` is called once nobody is admitted by what held before.
        """
        while any(server.busy for server in self.servers):
            await self._wait(time.monotonic())
        await self._end_watches()
        change()
        for server in self.servers:
            server.out = True
        self._down_since = time.monotonic()
        tries = await asyncio.gather(*(self._try_admission(server) for server in self.servers), return_exceptions=True)
        refusal = next((one for one in tries if isinstance(one, BaseException)), None)
        if refusal:
            raise refusal
        for server in self.servers:
            if server.out:
                server.missed = True
                self._watch(server)
                if self._up():
                    self.say(f"{server} is left out until it answers")
        while not self._up():
            await self._wait(self._down_since)

    async def _end_watches(self) -> None:
        watches = list(self._watches)
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    async def close(self) -> None:
        await self._end_watches()
        for server in self.servers:
            await server.http.close()

    def _up(self) -> list[Server]:
        return [server for server in self.servers if not server.out]

    async def ask(self, path: str, body: Mapping[str, object], read: Callable[[Any], T]) -> T:
        """Post to the least loaded server until an answer is one that `read` understands; exactly one is taken.

        `read` raises one of NONSENSE for what makes no sense. Raises Refused where a
        server understood the request and will not answer it.
        """
        begun, failed_at, attempt = time.monotonic(), 0.0, 0
        while True:
            server = await self._take(failed_at or begun)
            server.busy += 1
            answer: Any = None
            try:
                answer = await server.http.post(path, {"model": server.model, **body})
                found = read(answer)
            except Busy as busy:
                self._pause(server, busy)
                trouble = str(busy)
            except (Failed, *NONSENSE) as failure:
                nonsense = f"an answer that makes no sense: {server.http.quote(answer)}"
                trouble = nonsense if isinstance(failure, NONSENSE) else str(failure)
                self._blame(server, trouble)
            else:
                self._praise(server)
                return found
            finally:
                server.busy -= 1
                self._wake(1)
            self.counts["asked again"] += 1
            now = time.monotonic()
            failed_at = failed_at or now
            if now - failed_at > self.patience and not self._down_since:
                raise UnreachableError(
                    f"{server.http.url}: one request got no good answer for {self.patience:g} s, the last was: "
                    f"{trouble}; nothing finished is lost"
                )
            await asyncio.sleep(self.pace.wait(attempt))
            attempt += 1

    async def _take(self, since: float) -> Server:
        """The least loaded of the servers that can take a request, once there is one."""
        while True:
            now = time.monotonic()
            free = [server for server in self.servers if server.can_take(now)]
            if free:
                return min(free, key=lambda one: one.busy / one.allowed)
            await self._wait(since)

    async def _wait(self, since: float) -> None:
        """Wait until something changes, at most a while; raises UnreachableError after `patience` without a server."""
        now = time.monotonic()
        if self._down_since is not None:
            since = max(since, self._down_since)
            if self._lost():
                raise UnreachableError(f"no server is left: {self._lost()}; nothing finished is lost")
            if now - since >= self.patience:
                servers = ", ".join(map(str, self.servers))
                raise UnreachableError(
                    f"no server answered for {self.patience:g} s: {servers}; nothing finished is lost"
                )
            if now - self._said >= self.pace.remind:
                servers = ", ".join(map(str, self.servers))
                self._said = now
                for server in self.servers:
                    server.missed = True
                self.say(f"no server answers: {servers}; waiting for up to {self.patience - (now - since):.0f} s more")
        pauses = [server.paused_until - now for server in self._up() if server.paused_until > now]
        until = min([*pauses, self.pace.remind, max(0.0, since + self.patience - now) or self.pace.remind])
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(waiting, max(0.001, until))
        with suppress(ValueError):
            self._waiting.remove(waiting)

    def _wake(self, count: int) -> None:
        while self._waiting and count:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                count -= 1

    def _praise(self, server: Server) -> None:
        server.failures = server.pauses = 0
        if server.allowed < server.concurrency:
            server.allowed = min(server.concurrency, server.allowed + 1 / server.allowed)

    def _pause(self, server: Server, busy: Busy) -> None:
        """Leave a server alone that is asked too often; of many such answers at a time the first one counts."""
        now = time.monotonic()
        server.failures = 0
        self.counts["told to wait"] += 1
        if server.paused_until > now:
            return
        wait = self.pace.wait(server.pauses) if busy.after is None else min(busy.after, self.patience)
        server.paused_until = now + wait
        server.allowed = max(1.0, server.allowed / 2)
        server.pauses += 1

    def _blame(self, server: Server, trouble: str) -> None:
        """Count a failure, and take the server out after too many in a row."""
        self.counts["failures"] += 1
        server.trouble = trouble
        server.failures += 1
        if server.failures >= self.pace.failures and not server.out:
            self.take_out(server, trouble)

    def take_out(self, server: Server, trouble: str) -> None:
        """Ask a server nothing more until it was admitted again."""
        server.out, server.missed, server.trouble = True, True, trouble
        self.counts["taken out"] += 1
        if self._up():
            self.say(f"{server} is left out until it answers again")
        elif self._down_since is None:
            self._down_since = time.monotonic()
            self._said = -math.inf  # the next request that waits says so
        self._watch(server)

    def _watch(self, server: Server) -> None:
        watch = asyncio.get_running_loop().create_task(self._bring_back(server))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def _bring_back(self, server: Server) -> None:
        """Try a server that is out now and then, and take it back in once it serves what it should."""
        attempt = 0
        while server.out:
            await asyncio.sleep(self.pace.wait(attempt))
            attempt += 1
            try:
                await self._try_admission(server)
            except (Refused, EngineError) as refusal:
                if server.trouble != str(refusal):
                    server.trouble, server.missed = str(refusal), True
                    self.say(f"{server.http.url} stays out: {refusal}")

    async def _try_admission(self, server: Server) -> None:
        try:
            await self._admit(server)
        except (Failed, Busy, *NONSENSE) as failure:
            nonsense = f"an answer that makes no sense ({type(failure).__name__}: {failure})"
            server.trouble = nonsense if isinstance(failure, NONSENSE) else str(failure)
            return
        if server.missed:
            self.say(f"{server.http.url} answers")
        server.missed = False
        server.out, server.failures, server.pauses, server.allowed = False, 0, 0, float(server.concurrency)
        self._down_since = None
        self._wake(len(self._waiting))

    def say(self, message: str) -> None:
        """Tell whoever watches; a progress bar moves out of the way of lines on standard error."""
        print(f"selfimprove: {printable(message)}", file=sys.stderr, flush=True)
