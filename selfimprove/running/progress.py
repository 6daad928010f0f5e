"""What a person sees while a run goes on: bars on a terminal, one line an event elsewhere."""

import signal
import sys
import time
from types import FrameType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from selfimprove.running.plan import PlannedStage
from selfimprove.running.report import Report
from selfimprove.store import Manifest
from selfimprove.trainers.tokens import describe_origins


def describe_manifest(manifest: Manifest, summary: str) -> str:
    """One line on a stage that is done."""
    seconds = manifest.seconds
    parts = [f"round {manifest.round} {manifest.stage}", f"{seconds.wall:.1f} s"]
    written, trained = manifest.tokens.get("written", 0), manifest.tokens.get("trained", 0)
    if written or trained:
        parts.append(f"{written or trained} tokens {'written' if written else 'trained'}")
    if manifest.metrics.get("curve"):
        first, last = manifest.metrics["curve"][0], manifest.metrics["curve"][-1]
        parts.append(f"loss {first['loss']:.3f} to {last['loss']:.3f}")
        parts.append(f"{manifest.metrics['tokens_per_second']:.0f} tokens/s")
    if origins := describe_origins(manifest.metrics.get("origins")):
        parts.append(origins)
    return ", ".join([*parts, summary] if summary else parts)


class LineReport:
    """One line for each stage that ends, and one a minute while a stage goes on."""

    EVERY = 60.0  # seconds

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._stage = ""

    def begin(self, stage: PlannedStage) -> None:
        self._stage = f"round {stage.round} {stage.name}"
        self._last = time.monotonic()

    def progress(self, done: int, total: int, note: str = "") -> None:
        if time.monotonic() - self._last >= self.EVERY:
            self._last = time.monotonic()
            print(f"{self._stage}: {done} of {total}{', ' + note if note else ''}", flush=True)

    def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None:
        print(describe_manifest(manifest, summary), flush=True)


class BarReport:
    """A bar for the stage that goes on; the lines of finished stages scroll away above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "BarReport":
        self._progress.start()
        self._task = self._progress.add_task("reading the recipe and its problems", total=None, note="")
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, stage: PlannedStage) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(f"round {stage.round} {stage.name}", total=1, note="")

    def progress(self, done: int, total: int, note: str = "") -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total, note=note)

    def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        self._console.print(Text(describe_manifest(manifest, summary)), highlight=False)


class Interruptible:
    """A report that stops the run at the next event after Ctrl-C.

    The exception that Python raises for Ctrl-C is lost where it falls into a library's clean-up code; the note that
    this handler takes is not.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._interrupted = False
        self._before = signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        raise KeyboardInterrupt

    def _check(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt

    def begin(self, stage: PlannedStage) -> None:
        self._check()
        self._report.begin(stage)

    def progress(self, done: int, total: int, note: str = "") -> None:
        self._check()
        self._report.progress(done, total, note)

    def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None:
        self._check()
        self._report.end(stage, manifest, summary)

    def restore(self) -> None:
        """Give Ctrl-C back to whoever had it."""
        signal.signal(signal.SIGINT, self._before)


def is_terminal() -> bool:
    """Whether standard output shows bars."""
    return sys.stdout.isatty()
