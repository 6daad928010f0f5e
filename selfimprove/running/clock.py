"""Where the time of a run goes, and how many tokens were written, scored and trained."""

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from selfimprove.engines import Completion, Departing, Engine, Noting, Request, Score
from selfimprove.prompting.prompts import Continuation
from selfimprove.recipe import Sampling
from selfimprove.trainers.peaks import Phases


def cpu_seconds() -> float:
    """CPU seconds of this process, and of the children that it has waited for, such as one that trained."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


@dataclass
class Clock:
    """Where the time goes: `lap` gives what was spent since the last lap."""

    model: float = 0.0
    imports: float = 0.0
    tokens: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    phases: Phases = field(default_factory=Phases)
    cpu: Callable[[], float] = cpu_seconds
    """A thread that works beside others has a clock with `time.thread_time`."""
    beside: Callable[[], float] | None = None
    """CPU seconds of such a thread so far, which its own clock counts and this one does not."""
    _loaded: float = 0.0
    _worked: float = 0.0
    _held: float | None = None
    _elsewhere: float = 0.0
    _wall: float = field(default_factory=time.perf_counter)
    _cpu: float = field(init=False)

    def __post_init__(self) -> None:
        self._cpu = self.cpu()

    @contextmanager
    def time_model(self) -> Iterator[None]:
        yield from self._time("model")

    @contextmanager
    def time_imports(self) -> Iterator[None]:
        yield from self._time("imports")

    def _time(self, account: Literal["model", "imports"]) -> Iterator[None]:
        started = time.perf_counter()
        self._count_held(started)
        loaded = self._loaded
        try:
            yield
        finally:
            now = time.perf_counter()
            self._count_held(now)
            setattr(self, account, getattr(self, account) + now - started)
            self._worked += self._loaded - loaded  # an engine may have been closed or loaded meanwhile

    def hold(self) -> None:
        """An engine is loaded from now on: while it neither writes nor scores, it is idle."""
        if self._held is None:
            self._held = time.perf_counter()

    def release(self) -> None:
        """The engine is closed."""
        self._count_held(time.perf_counter())
        self._held = None

    def _count_held(self, now: float) -> None:
        if self._held is not None:
            self._loaded, self._held = self._loaded + now - self._held, now

    def end_beside(self) -> None:
        """The thread that worked beside is at its end."""
        self._elsewhere += self.beside() if self.beside else 0.0
        self.beside = None

    def count(self, **tokens: int) -> None:
        for name, count in tokens.items():
            self.tokens[name] = self.tokens.get(name, 0) + count

    def speed(self) -> str:
        """Tokens a second that a model wrote or scored since the last lap; nothing where it did neither."""
        tokens = self.tokens.get("written", 0) or self.tokens.get("scored", 0)
        return f"{tokens / self.model:,.0f} tokens/s" if tokens and self.model else ""

    def count_earlier(self, model: float, imports: float) -> None:
        """Count the seconds of a process that was killed before it could."""
        self.model += model
        self.imports += imports
        self._wall -= model + imports

    def lap(self) -> dict[str, Any]:
        wall, cpu = time.perf_counter(), self.cpu() - self._elsewhere - (self.beside() if self.beside else 0.0)
        self._count_held(wall)
        if phases := self.phases.lap():
            self.metrics["phases"] = [one.model_dump() for one in phases]
        lap = {
            "wall": wall - self._wall,
            "elapsed": wall - self._wall,
            "model": self.model,
            "imports": self.imports,
            "cpu": cpu - self._cpu,
            "loaded": self._loaded,
            "idle": max(0.0, self._loaded - self._worked),
            "tokens": self.tokens,
            "metrics": self.metrics,
        }
        self._wall, self._cpu = wall, cpu
        self.model, self.imports, self.tokens, self.metrics = 0.0, 0.0, {}, {}
        self._loaded = self._worked = 0.0
        return lap


class ClockedEngine:
    """An engine whose time and tokens are counted."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine, self.clock = engine, clock
        clock.hold()

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        completions = iter(self.engine.generate(requests, sampling, stop))
        while True:
            with self.clock.time_model():
                completion = next(completions, None)
            if completion is None:
                self._note()
                return
            self.clock.count(written=completion.tokens)
            yield completion

    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        with self.clock.time_model():
            scores = self.engine.score(pairs, end=end)
        self._note()
        self.clock.count(scored=sum(score.tokens for score in scores))
        return scores

    def depart(self, pairs: Sequence[tuple[str, str]], most: int) -> list[list[str]]:
        assert isinstance(self.engine, Departing)
        with self.clock.time_model():
            return self.engine.depart(pairs, most)

    def _note(self) -> None:
        if isinstance(self.engine, Noting):
            self.clock.metrics.update(self.engine.take_notes())

    def close(self) -> None:
        self.engine.close()
        self.clock.release()
