"""What a person sees while a run goes on: bars on a terminal, one line an event elsewhere."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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

from selfimprove.errors import SelfImproveError
from selfimprove.records.console import SafeConsole
from selfimprove.running.plan import PlannedStage
from selfimprove.running.report import Report
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.journal import TEXTS, read_lines
from selfimprove.store.manifest import CUT_OFF
from selfimprove.trainers.tokens import describe_origins

FEW_STEPS = 3
"""Training steps from which nothing can be expected."""


def describe_manifest(manifest: Manifest, summary: str) -> str:
    """One line on a stage that is done."""
    seconds = manifest.seconds
    parts = [f"round {manifest.round} {manifest.stage}", f"{seconds.wall:.1f} s"]
    written, trained = manifest.tokens.get("written", 0), manifest.tokens.get("trained", 0)
    if written or trained:
        parts.append(f"{written or trained} tokens {'written' if written else 'trained'}")
    if cut := manifest.metrics.get(CUT_OFF):
        most = manifest.settings.get("max_tokens")
        what_next = f" (raise '{manifest.stage}.max_tokens', {most})" if most else ""
        parts.append(f"{cut} of {manifest.counts['rationale']} texts cut off at the longest length{what_next}")
    if manifest.metrics.get("curve"):
        first, last = manifest.metrics["curve"][0], manifest.metrics["curve"][-1]
        if "reward" not in first.get("values", {}):  # the loss of RL is about 0 by construction
            parts.append(f"loss {first['loss']:.3f} to {last['loss']:.3f}")
        parts.append(f"{manifest.metrics['tokens_per_second']:.0f} tokens/s")
    if origins := describe_origins(manifest.metrics.get("origins")):
        parts.append(origins)
    if 0 < (steps := manifest.metrics.get("steps", 0)) <= FEW_STEPS:
        rows = manifest.metrics.get("rows", 0)
        parts.append(
            f"only {steps} {'step' if steps == 1 else 'steps'} on {rows} {'row' if rows == 1 else 'rows'}: too few to "
            f"change what the model does"
        )
    return ", ".join([*parts, summary] if summary else parts)


def say(line: str) -> None:
    """Print a line at once; a run goes on where nobody reads it any more, and the rest goes nowhere."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


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
            say(f"{self._stage}: {done} of {total}{', ' + note if note else ''}")

    def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None:
        say(describe_manifest(manifest, summary))


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
    """A report that stops the run at the next event after Ctrl-C or SIGTERM.

    The exception that Python raises for Ctrl-C is lost where it falls into a library's clean-up code; the note that
    this handler takes is not.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._interrupted = False
        self._before = {one: signal.signal(one, self._interrupt) for one in (signal.SIGINT, signal.SIGTERM)}

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
        """Give both back to whoever had them."""
        for one, before in self._before.items():
            signal.signal(one, before)


@contextmanager
def watching(folder: RunFolder | None = None) -> Iterator[Report]:
    """What tells of a run that goes on: bars on a terminal, lines elsewhere; Ctrl-C and SIGTERM end it between events.

    A run in `folder` that goes on where it stopped says so at once.
    """
    where = where_it_is(folder) if folder else ""
    if where:
        say(where)
    with BarReport(SafeConsole()) if is_terminal() else nullcontext(LineReport()) as shown:
        if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
            yield shown
            return
        report = Interruptible(shown)
        try:
            yield report
        finally:
            report.restore()


def where_it_is(folder: RunFolder) -> str:
    """Where a run that was begun goes on, as far as its folder says; nothing where it was not begun."""
    try:
        stages = list(folder.stages())
        done = [stage for stage in stages if stage.closed]
    except SelfImproveError:  # damage is named where the stage is read
        return ""
    if not done:
        return ""
    line = f"{folder.path}: goes on; stages that are done: {len(done)}"
    for stage in stages:
        if stage not in done:
            parts = len({file.stem.rsplit("-", 1)[1] for file in stage.files()})
            line += f", parts of round {stage.key[0]} {stage.key[1]}: {parts}"
            if texts := sum(1 for file in stage.path.glob(TEXTS) for _ in read_lines(file)):
                line += f", texts of the next one: {texts}"
    return line


def is_terminal() -> bool:
    """Whether standard output shows bars."""
    return sys.stdout.isatty()
