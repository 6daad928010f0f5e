"""Where a run is and what lies ahead of it, from what it has measured so far."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from selfimprove.errors import SelfImproveError
from selfimprove.recipe.flow import flow_of
from selfimprove.records import Evaluation, Rationale, Verdict
from selfimprove.records.stats import wilson
from selfimprove.running.plan import PlannedStage
from selfimprove.store import Manifest, RunFolder, StageFolder
from selfimprove.store.rows import Rows

LOOKING = 10.0  # seconds between looks for new verdicts on disk
FILES = 20  # newest files that a text is looked for in
Ahead = tuple[int, str]  # round, name of a stage


@dataclass(frozen=True)
class Reached:
    """The held-out accuracy of a round."""

    round: int
    n: int
    correct: int

    @property
    def share(self) -> float:
        return self.correct / self.n

    def __str__(self) -> str:
        low, high = wilson(self.correct, self.n)
        return f"{self.share:.1%} ({low:.1%} to {high:.1%}) of {self.n} in round {self.round}"


@dataclass
class Outlook:
    """What whoever watches a run is told; `folder` is where it lies, None where only what happens is told."""

    folder: RunFolder | None = None
    stage: PlannedStage | None = None
    done: int = 0
    total: int = 0
    note: str = ""
    began: float = 0.0
    reached: list[Reached] = field(default_factory=list)
    accepted: str = ""
    rejected: str = ""
    _before: int = 0
    """Units of the stage that were done before this process began it."""
    _took: dict[str, float] = field(default_factory=dict)
    _looked: float = 0.0
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin with what the stages that are closed already say."""
        try:
            for stage in self.folder.stages() if self.folder else ():
                if manifest := stage.manifest():
                    self._learn(manifest)
        except (SelfImproveError, OSError):  # damage is named where the stage is read
            return

    def begin(self, stage: PlannedStage, now: float) -> None:
        self.stage, self.done, self.total, self.note, self.began, self._before = stage, 0, 0, "", now, -1

    def progress(self, done: int, total: int, note: str) -> None:
        if self._before < 0:
            self._before = max(0, done - 1)
        self.done, self.total, self.note = done, total, note or self.note

    def end(self, manifest: Manifest) -> None:
        self._learn(manifest)
        if "verdict" in manifest.counts:
            self._looked = 0.0
        self.stage = None

    def _learn(self, manifest: Manifest) -> None:
        seconds = manifest.seconds
        took = seconds.wall if seconds.elapsed is None else seconds.elapsed
        # What is imported or loaded once in a run is no measure of the next time.
        self._took[manifest.stage] = max(0.0, took - seconds.imports)
        if self.folder and "evaluation" in manifest.counts:
            found = self.folder.stage(manifest.round, manifest.stage).read(Evaluation)
            n, correct = sum(one.n for one in found), sum(one.correct for one in found)
            if n:
                kept = [one for one in self.reached if one.round != manifest.round]
                self.reached = sorted([*kept, Reached(manifest.round, n, correct)], key=lambda one: one.round)

    # --- what lies ahead

    @property
    def rounds(self) -> int:
        return self.stage.recipe.rounds if self.stage else 0

    def ahead(self) -> list[Ahead]:
        """The stages after the one that goes on, in the order in which they will run."""
        if self.stage is None:
            return []
        found = []
        for number in range(self.stage.round, self.rounds + 1):
            for step in flow_of(self.stage.recipe):
                if step.stage.when == "always" or (step.stage.when == "first") == (number == 0):
                    found.append((number, step.name))
        return found[found.index(self.stage.key) + 1 :] if self.stage.key in found else []

    def seconds_of_stage(self, now: float) -> float | None:
        """What is left of the stage that goes on, by how fast it has been so far, or by how long it took before."""
        if self.stage is None:
            return None
        passed, mine = now - self.began, self.done - max(0, self._before)
        if mine > 0 and self.total:
            return passed * (self.total - self.done) / mine
        before = self._took.get(self.stage.name)
        return None if before is None else max(0.0, before - passed)

    def seconds_left(self, now: float) -> tuple[float, bool]:
        """What is left of the run, as far as it was measured, and whether all of it was."""
        mine, (later, known) = self.seconds_of_stage(now), self.seconds_of(self.ahead())
        return (mine or 0.0) + later, known and mine is not None

    def seconds_of(self, stages: list[Ahead]) -> tuple[float, bool]:
        """What these stages will take, as far as it was measured, and whether all of them were."""
        took = [self._took.get(name) for _, name in stages]
        return sum(one or 0.0 for one in took), None not in took

    # --- what was written lately

    def look(self, now: float | None = None) -> None:
        """Look for texts that were judged since the last look, at most every `LOOKING` seconds."""
        now = time.monotonic() if now is None else now
        if self.folder is None or now - self._looked < LOOKING:
            return
        self._looked = now
        try:
            self._read_latest(self.folder)
        except (SelfImproveError, OSError, ValueError):  # a file that is being made again; a later look finds it
            return

    def _read_latest(self, folder: RunFolder) -> None:
        stages = [stage for stage in folder.stages() if stage.files_of(Verdict)]
        if not stages:
            return
        files = [file for stage in stages for file in stage.files_of(Verdict)]
        newest = max(files, key=lambda one: one.stat().st_mtime)
        if str(newest) in self._seen:
            return
        self._seen.add(str(newest))
        wanted: dict[str, str] = {}
        for verdict in Rows(Verdict, [newest]).pick("parents", "outcome"):
            if verdict.outcome in ("correct", "incorrect"):
                wanted[verdict.outcome] = verdict.rationale
        mine = StageFolder(newest.parent, "").key[0]
        texts = self._texts(folder, mine, set(wanted.values()))
        self.accepted = texts.get(wanted.get("correct", ""), self.accepted)
        self.rejected = texts.get(wanted.get("incorrect", ""), self.rejected)

    def _texts(self, folder: RunFolder, round_: int, ids: set[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for file in self._rationale_files(folder, round_):
            for one in Rows(Rationale, [file]).pick("text"):
                if one.id in ids:
                    found[one.id] = one.text
            if len(found) == len(ids):
                break
        return found

    def _rationale_files(self, folder: RunFolder, round_: int) -> Iterator[Path]:
        files = [file for stage in folder.stages() if stage.key[0] == round_ for file in stage.files_of(Rationale)]
        yield from sorted(files, key=lambda one: one.stat().st_mtime, reverse=True)[:FILES]
