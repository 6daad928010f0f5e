"""An event loop in a thread: requests go on while whoever takes the answers does something else."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
TOGETHER = 0.005  # seconds in which results are handed over together: a switch of threads for each costs more


class Background:
    """Runs coroutines in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="servers", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end; an exception of the waiting thread, such as Ctrl-C, cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C too: the coroutine would go on in its thread, and its request with it
            future.cancel()
            raise

    def stream(self, work: Callable[[int], Awaitable[T]], count: int, width: int) -> Iterator[T]:
        """Do `work` for the numbers below `count`, at most `width` at a time, and yield results as they come.

        No more than twice the width are under way or wait to be taken, so that memory does not depend on `count`.
        """
        results: _Results[T] = _Results(self.loop, 2 * width)
        task = asyncio.run_coroutine_threadsafe(results.fill(work, count, width), self.loop)
        try:
            yield from results.take()
            task.result()
        finally:
            task.cancel()
            results.ended.wait()

    async def _cancel(self) -> None:
        """End what is under way, so that nobody waits for it for ever."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self, last: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """End what is under way, do `last` once nothing uses what it closes, and end the loop and its thread."""
        if self.loop.is_closed():
            return
        self.run(self._cancel())
        if last:
            self.run(last())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class _Results(Generic[T]):
    """What is finished and not taken yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop, room: int) -> None:
        self._loop, self._room = loop, asyncio.Semaphore(room)
        self._finished: list[T] = []  # the loop's own
        self._ready: list[T] = []
        self._changed = threading.Condition()
        self.ended = threading.Event()

    async def fill(self, work: Callable[[int], Awaitable[T]], count: int, width: int) -> None:
        numbers = iter(range(count))

        async def worker() -> None:
            for number in numbers:
                await self._room.acquire()
                self._finished.append(await work(number))
                if len(self._finished) == 1:
                    self._loop.call_later(TOGETHER, self._hand_over)

        try:
            # The first error cancels the others.
            async with asyncio.TaskGroup() as group:
                for _ in range(min(width, count)):
                    group.create_task(worker())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._hand_over()
            with self._changed:
                self.ended.set()
                self._changed.notify()

    def _hand_over(self) -> None:
        with self._changed:
            self._ready += self._finished
            self._finished.clear()
            self._changed.notify()

    def take(self) -> Iterator[T]:
        while True:
            with self._changed:
                while not self._ready and not self.ended.is_set():
                    self._changed.wait()
                taken, self._ready = self._ready, []
                # Under the lock, so that the loop is open: it is closed only after the end, which needs the lock too.
                if taken and not self.ended.is_set():
                    self._loop.call_soon_threadsafe(self._release, len(taken))
            if not taken:
                return
            yield from taken

    def _release(self, count: int) -> None:
        for _ in range(count):
            self._room.release()
