"""Verification that runs while the engine still writes: a thread judges what is on disk already."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from selfimprove.records import Rationale, Record
from selfimprove.running.clock import Clock
from selfimprove.running.desk import StageDesk
from selfimprove.running.parts import Job, make_part
from selfimprove.running.plan import PlannedStage
from selfimprove.running.session import Session
from selfimprove.store import StageFolder

AHEAD = 16  # parts that wait in memory to be judged
Follow = Callable[[int, Sequence[Record] | None], None]


@contextmanager
def verify_beside(job: Job) -> Iterator[Follow]:
    """Make parts of the stage that may work beside this one while it goes on; where there is none nothing is done.

    What is given takes the number of a part that is on disk, and its records where they are at hand.
    """
    follower = _find_follower(job)
    if follower is None:
        yield lambda number, records: None
        return
    clock = job.session.clock
    clock.beside = follower.cpu_seconds
    try:
        yield follower.follow
        follower.finish()
    finally:
        follower.stop()
        clock.end_beside()
    if follower.parts:
        # What passed since the last part was written is time that both accounts would have.
        follower.target.add_usage(follower.parts[-1], {**clock.lap(), "wall": 0.0, "counts": {}})


def _find_follower(job: Job) -> "Follower | None":
    """What judges what a stage writes, where some stage may; it has not to be done already."""
    stage, session = job.stage, job.session
    beside = [one for one in session.plan.values()
              if one.round == stage.round and one.declared.beside == stage.declared.name
              and stage.key in one.reads]  # fmt: skip
    if not beside:
        return None
    size = beside[0].declared.at_once(StageDesk(beside[0], session))
    # Where it reads a second stage of the kind too, its parts are not those of this one alone.
    sources = [key for key in beside[0].reads if session.plan[key].declared.writes is stage.declared.writes]
    target = session.folder.stage(*beside[0].key, beside[0].fingerprint)
    if not size or job.total < size or sources != [stage.key] or target.closed:
        return None
    return Follower(beside[0], session, job.disk, target, size)


class Follower:
    """Judges rationales in the order of their parts, as soon as there are enough for a part of verdicts.

    An error ends it: the stage `verify`, which makes all parts that are missing, then meets the same error in its turn.
    """

    def __init__(
        self,
        stage: PlannedStage,
        session: Session,
        source: StageFolder,
        target: StageFolder,
        size: int,
    ) -> None:
        self.stage, self.source, self.target, self.size = stage, source, target, size
        self._job = Job(stage, session, target, Clock(cpu=time.thread_time))
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
        behind = self._written.qsize() >= AHEAD  # then it is read from there
        self._written.put((number, None if behind else records))

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
        # In the thread itself: its CPU seconds are counted from here on.
        self._job.clock = Clock(cpu=time.thread_time)
        try:
            for number, part in enumerate(self._parts()):
                if self._finishing.is_set():
                    return
                if not self.target.has_part(self.stage.main, number):
                    self._make(part, number)
        except _Stopped:
            pass  # what is left is judged by the stage itself
        except Exception as error:  # a thread's own would be lost: it is raised where the stage asks for its parts
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

    def _make(self, part: Sequence[Rationale], number: int) -> None:
        if not self.parts:
            self.target.begin(dict(self.stage.settings))
        self._job.clock.lap()  # what passed while it waited is nobody's time
        # What passed on the clock is counted where it was waited for, in the stage that writes.
        make_part(self._job, part, number, self._count, beside=True)
        self.parts.append(number)

    def _count(self, units: int) -> None:
        if self._stopping.is_set():
            raise _Stopped
        self._cpu = time.thread_time()


class _Stopped(Exception):
    """Whoever waited for the parts needs no more of them."""
