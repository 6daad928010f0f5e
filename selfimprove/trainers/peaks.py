"""How much memory each phase of a stage took: an engine at work, training in this process or in a child."""

import sys
import time
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Phase(BaseModel):
    """What held the memory for how many seconds, and at most how many bytes of it.

    `ram` is the peak of the process, None where the system does not tell; `gpu` what its tensors reserved, `gpu_others`
    what everybody else held on the card at the end: an engine that was to give it back before training, for instance.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)
    phase: str
    seconds: float
    ram: int | None = None
    gpu: int | None = None
    gpu_others: int | None = None


class Phases:
    """The phases of a process one after the other; between two of them nothing is measured."""

    def __init__(self) -> None:
        self._name = ""
        self._started = 0.0
        self._done: list[Phase] = []

    def begin(self, name: str) -> None:
        """End the phase before and begin another; an empty name begins none."""
        if name == self._name:
            return
        self._end()
        self._name = name
        reset_peak()

    def add(self, phase: Phase) -> None:
        """Take in what another process measured."""
        self._done.append(phase)

    def lap(self) -> list[Phase]:
        """The phases since the last lap; the one under way goes on as a new one of the same name."""
        self._end()
        if self._name:
            reset_peak()
        done, self._done = self._done, []
        return done

    def _end(self) -> None:
        if self._name:
            seconds = time.perf_counter() - self._started
            self._done.append(Phase(phase=self._name, seconds=seconds, **read_peak()))
        self._started = time.perf_counter()


def join_phases(phases: list[Phase]) -> list[Phase]:
    """Phases of one name that follow each other, as parts make them, become one."""
    joined: list[Phase] = []
    for one in phases:
        last = joined[-1] if joined else None
        if last is None or last.phase != one.phase:
            joined.append(one)
            continue
        peaks = {name: _higher(getattr(last, name), getattr(one, name)) for name in ("ram", "gpu", "gpu_others")}
        joined[-1] = last.model_copy(update={"seconds": last.seconds + one.seconds, **peaks})
    return joined


def _higher(one: int | None, other: int | None) -> int | None:
    known = [value for value in (one, other) if value is not None]
    return max(known) if known else None


def reset_peak() -> None:
    """Measure peaks from now on."""
    with suppress(OSError):  # not Linux, or not allowed in this container: the peak is then that of the whole process
        Path("/proc/self/clear_refs").write_text("5")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def read_peak() -> dict[str, int]:
    """The peaks since `reset_peak` in bytes, by the names of Phase."""
    peak = {}
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        peak["ram"] = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        free, total = torch.cuda.mem_get_info()
        peak["gpu"] = torch.cuda.max_memory_reserved()
        peak["gpu_others"] = max(0, total - free - torch.cuda.memory_reserved())
    return peak
