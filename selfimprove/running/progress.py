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
from rich.live import Live
from rich.text import Text

from selfimprove.errors import SelfImproveError
from selfimprove.recipe.catalog import known_stages
from selfimprove.records.console import SafeConsole
from selfimprove.running.display import Display, count_rounds, describe_ahead, describe_stage, show_time
from selfimprove.running.outlook import Outlook
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
    seconds, declared = manifest.seconds, known_stages().get(manifest.declared or manifest.stage)
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
        if declared is None or declared.loss_tells:
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
    """One line for each stage that ends, one a minute while a stage goes on, and what is left after each round."""

    EVERY = 60.0  # seconds

    def __init__(self, folder: RunFolder | None = None) -> None:
        self._look = Outlook(folder)
        self._said = False
        self._last = time.monotonic()

    def begin(self, stage: PlannedStage) -> None:
        self._last = time.monotonic()
        self._look.begin(stage, self._last)
        if not self._said:
            self._said = True
            ahead = describe_ahead(self._look, self._last)
            say(", ".join(filter(None, (f"begins with round {stage.round} {stage.name}", ahead))))

    def progress(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        self._look.progress(done, total, note)
        if now - self._last >= self.EVERY:
            self._last = now
            say(describe_stage(self._look, now))

    def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None:
        say(describe_manifest(manifest, summary))
        ahead = self._look.ahead()
        self._look.end(manifest)
        if ahead and ahead[0][0] != manifest.round:
            seconds, whole = self._look.seconds_of(ahead)
            left = f"about {show_time(seconds)}" if whole else "how long is known once the first of them is done"
            say(f"{count_rounds(ahead[-1][0] - manifest.round)} to go, {left}")


class BarReport:
    """What goes on, in a few lines at the foot of the terminal; the lines of finished stages scroll away above it."""

    def __init__(self, console: Console, folder: RunFolder | None = None) -> None:
        self._look = Outlook(folder)
        self._live = Live(
            Display(self._look, time.monotonic), console=console, transient=True, refresh_per_second=4,
            vertical_overflow="crop",
        )  # fmt: skip

    def __enter__(self) -> "BarReport":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def begin(self, stage: PlannedStage) -> None:
        self._look.begin(stage, time.monotonic())

    def progress(self, done: int, total: int, note: str = "") -> None:
        self._look.progress(done, total, note)
        self._look.look()

    def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None:
        self._live.console.print(Text(describe_manifest(manifest, summary)), highlight=False)
        self._look.end(manifest)
        self._look.look()


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
    with BarReport(SafeConsole(), folder) if is_terminal() else nullcontext(LineReport(folder)) as shown:
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
    if not stages:
        return ""
    line = f"{folder.path}: goes on; stages that are done: {len(done)}"
    for stage in stages:
        if stage not in done:
            parts = len({file.stem.rsplit("-", 1)[1] for file in stage.files()})
            line += f", parts of round {stage.key[0]} {stage.key[1]}: {parts}"
            if texts := len({asked for file in stage.path.glob(TEXTS) for asked, _ in read_lines(file)}):
                line += f", texts of the next one: {texts}"
    return line


def is_terminal() -> bool:
    """Whether standard output shows bars."""
    return sys.stdout.isatty()
