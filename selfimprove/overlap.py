"""Verification that runs while the engine still writes: a thread judges what is on disk already."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from selfimprove.context import Clock, Context
from selfimprove.pipeline import verified_at_once, verify_part
from selfimprove.plan import PlannedStage
from selfimprove.records import Rationale, Record, Verdict
from selfimprove.store import StageFolder
from selfimprove.work import Records, Work, make_part

Follow = Callable[[int, Sequence[Record] | None], None]


@contextmanager
def verify_beside(stage: PlannedStage, work: Work, disk: StageFolder, context: Context) -> Iterator[Follow]:
    """Make parts of the round's stage `verify` while `generate` goes on; for other stages nothing is done.

    What is given takes the number of a part of `generate` that is on disk, and its records where they are at hand.
    """
    size, wanted = verified_at_once(context), context.recipe.stages.verify.overlap
    if stage.name != "generate" or not wanted or context.judging.asks or work.total < size:
        yield lambda number, records: None
        return
    verify = context.plan[stage.round, "verify"]
    target = context.folder.stage(*verify.key, verify.fingerprint)
    if target.closed:
        yield lambda number, records: None
        return
    follower = Follower(verify, disk, target, verify_part(verify, context), size)
    context.clock.beside = follower.cpu_seconds
    try:
        yield follower.follow
        follower.finish()
    finally:
        follower.stop()
        context.clock.end_beside()
    if follower.parts:
        # What passed since the last part was written is time that both accounts would have.
        target.add_usage(follower.parts[-1], {**context.clock.lap(), "wall": 0.0, "counts": {}})


class Follower:
    """Judges rationales in the order of their parts, as soon as there are enough for a part of verdicts.

    An error ends it: the stage `verify`, which makes all parts that are missing, then meets the same error in its turn.
    """

    def __init__(
        self,
        stage: PlannedStage,
        source: StageFolder,
        target: StageFolder,
        judge: Callable[[Sequence[Rationale]], Records],
        size: int,
    ) -> None:
        self.stage, self.source, self.target, self.judge, self.size = stage, source, target, judge, size
        self.parts: list[int] = []  # that were made
        self.error: Exception | None = None
        self._cpu = 0.0
        self._finishing = threading.Event()
        self._stopping = threading.Event()
        self._written: queue.SimpleQueue[tuple[int, Sequence[Record] | None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="verify", daemon=True)
        self._thread.start()

    def follow(self, number: int, records: Sequence[Record] | None) -> None:
        """A part of `generate` is on disk."""
        self._written.put((number, records))

    def cpu_seconds(self) -> float:
        """CPU seconds of the thread so far."""
        return self._cpu

    def finish(self) -> None:
        """Wait for the part that is being made; those that wait are left to the stage itself."""
        self._finishing.set()
        self._written.put(None)
        self._thread.join()

    def stop(self) -> None:
        """End at the next verdict."""
        self._stopping.set()
        self.finish()

    def _run(self) -> None:
        clock = Clock(cpu=time.thread_time)
        known: list[Sequence[Rationale]] = []
        work = Work(known, self._judge, Verdict)
        try:
            for number, part in enumerate(self._parts()):
                if self._finishing.is_set():
                    return
                there = self.target.has_part(self.stage.main, number)
                known.append([] if there else part)
                if not there:
                    self._make(work, number, clock)
        except _Stopped:
            pass
        except Exception as error:
            self.error = error
        finally:
            self._cpu = time.thread_time()

    def _parts(self) -> Iterator[list[Rationale]]:
        """Whole parts of rationales in order, each as soon as what it holds and all before it is written."""
        written: dict[int, Sequence[Record] | None] = {}
        waiting: list[Rationale] = []
        following = 0
        while (found := self._written.get()) is not None:
            written[found[0]] = found[1]
            while following in written:
                records = written.pop(following)
                if records is None:
                    records = self.source.read_part(Rationale, following)
                waiting += [one for one in records if isinstance(one, Rationale)]
                following += 1
            while len(waiting) >= self.size:
                yield waiting[: self.size]
                waiting = waiting[self.size :]

    def _make(self, work: Work, number: int, clock: Clock) -> None:
        if not self.parts:
            self.target.begin(dict(self.stage.settings))
        clock.lap()  # what passed while it waited is nobody's time
        # What passed on the clock is counted where it was waited for, in `generate`.
        make_part(self.stage, work, number, self.target, clock, self._count, beside=True)
        self.parts.append(number)

    def _judge(self, part: Sequence[Rationale]) -> Iterator[Record]:
        for record in self.judge(part):
            if self._stopping.is_set():
                raise _Stopped
            yield record

    def _count(self, units: int) -> None:
        self._cpu = time.thread_time()


class _Stopped(Exception):
    """Whoever waited for the parts needs no more of them."""
