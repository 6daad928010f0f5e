"""The loop's own figures for trackers: once for each closed round, whatever was killed in between.

Reports stop nothing: what a tracker raises, or does not answer in time, is a warning, and the round is tried again with
the next one. `selfimprove report RUN --to TRACKER` sends what is still missing.
"""

import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from selfimprove.errors import SelfImproveError
from selfimprove.running.figures import closed_rounds, round_figures
from selfimprove.store import RunFolder
from selfimprove.trainers.trackers import PATIENCE, TRACKERS, Destination, Ledger, Tracker, check_trackers

LIMIT = 60.0  # seconds that a tracker may take for one thing


@dataclass
class Attempt:
    """Rounds that a tracker is being told of beside the run, by their hashes."""

    rounds: dict[int, str]
    raised: list[str] = field(default_factory=list)
    """Once it is over: why it failed, or an empty text."""


class Reports:
    """Tells trackers of a run's closed rounds; raises SelfImproveError at once where one is not installed."""

    def __init__(
        self, to: Collection[str], folder: RunFolder, *, limit: float = LIMIT,
        trackers: Mapping[str, Callable[[Destination], Tracker]] = TRACKERS,
    ) -> None:  # fmt: skip
        check_trackers(to)
        self.to, self.folder = tuple(to), folder
        self.failures: dict[str, int] = {}
        self._limit, self._trackers = limit, trackers
        self._late: dict[str, Attempt] = {}
        if self.to:
            for name, value in PATIENCE.items():
                os.environ.setdefault(name, value)

    def follow(self) -> None:
        """A round is closed."""
        if self.to:
            try:
                self.send()
            except Exception as error:  # of a damaged stage, or a library's own: no run ends for a report
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                print(f"selfimprove: the round is not reported: {reason}", file=sys.stderr)

    def send(self) -> int:
        """Send the rounds that trackers do not have; gives how many reports were taken."""
        ledger, rounds, sent = Ledger(self.folder.path), closed_rounds(self.folder), 0
        self._settle(ledger)
        ledger.compare(rounds)
        destination = ledger.destination(self.to, self.folder.path.resolve().name)
        wanted = {name: ledger.missing(name, rounds) for name in self.to if name not in self._late}
        if wanted.get("wandb") and os.environ.get("WANDB_MODE") == "offline":
            # A run cannot be resumed there: `wandb sync` puts a later folder in the place of an earlier one.
            wanted["wandb"] = list(rounds)
        figures = {
            round_: round_figures(self.folder, round_) for round_ in {one for some in wanted.values() for one in some}
        }
        for name, missing in wanted.items():
            found = [(round_, figures[round_]) for round_ in missing]
            attempt = Attempt({round_: rounds[round_] for round_ in missing})
            if found and self._make(name, attempt, destination, found):
                ledger.note(name, attempt.rounds)
                sent += len(found)
        return sent

    def _settle(self, ledger: Ledger) -> None:
        """What was taken after its time is not told again, and a tracker that still works at it is left alone."""
        for name, attempt in list(self._late.items()):
            if attempt.raised:
                del self._late[name]
                if not attempt.raised[0]:
                    ledger.note(name, attempt.rounds)

    def _make(
        self, name: str, attempt: Attempt, destination: Destination, found: list[tuple[int, dict[str, float]]]
    ) -> bool:
        """Tell a tracker beside this thread, which waits for it no longer than the limit."""

        def work() -> None:
            try:
                # Opened and closed each time: a trainer in this process may open the same tracker in between.
                tracker = self._trackers[name](destination)
                for round_, figures in found:
                    tracker.log(figures, round_)
                tracker.close()
                attempt.raised.append("")
            except Exception as error:  # any library's own
                attempt.raised.append(" ".join(str(error).split())[:200] or type(error).__name__)

        thread = threading.Thread(target=work, name=f"report to {name}", daemon=True)
        thread.start()
        thread.join(self._limit)
        if attempt.raised:
            reason = attempt.raised[0]
        else:
            reason, self._late[name] = f"no answer within {self._limit:g} s", attempt
        if reason:
            self.failures[name] = self.failures.get(name, 0) + 1
            print(f"selfimprove: {name}: {reason}; the run goes on, and the round is reported later", file=sys.stderr)
        return not reason

    def close(self) -> None:
        """Say what the trackers did not take."""
        if not self.failures:
            return
        try:
            left = self._missing()
        except (SelfImproveError, OSError):  # a damaged stage: it is not here that a run ends for it
            return
        if left:
            command = f"selfimprove report {self.folder.called} --to TRACKER"
            print(f"selfimprove: {left}; send it with: {command}", file=sys.stderr)

    def _missing(self) -> str:
        ledger, rounds = Ledger(self.folder.path), closed_rounds(self.folder)
        self._settle(ledger)
        left = {name: len(ledger.missing(name, rounds)) for name in self.to}
        return ", ".join(f"{count} rounds are missing in {name}" for name, count in left.items() if count)


def send_figures(folder: RunFolder, to: Collection[str]) -> int:
    """Send the rounds of a run that trackers do not have; gives how many reports were taken."""
    reports = Reports(to, folder)
    with folder:
        try:
            return reports.send()
        finally:
            reports.close()
