"""The runs that are shown, each with its index; a URL names a run by a key of this table and by nothing else."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from selfimprove.constitution import Constitution, load_constitution
from selfimprove.constitution.adherence import FIGURES, TRIAL, Row, read_rows
from selfimprove.errors import SelfImproveError, StoreError
from selfimprove.recipe import Recipe
from selfimprove.recipe.flow import last_of_round
from selfimprove.records import Audit, Evaluation, Portion, Promotion, hash_text
from selfimprove.records.files import RECIPE
from selfimprove.records.stats import Accuracy, sum_up
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.evaluated import find_evaluating
from selfimprove.store.files import list_files, missing_files
from selfimprove.store.index import Index
from selfimprove.store.ledger import why_ended
from selfimprove.store.lookup import Records
from selfimprove.store.manifest import last_measured
from selfimprove.store.notes import Notes
from selfimprove.store.overlaps import describe_overlaps
from selfimprove.store.rankings import Rankings
from selfimprove.store.run import CONSTITUTION
from selfimprove.store.search import Search
from selfimprove.store.underway import CURVES, Underway

T = TypeVar("T")

MAX_OPEN = 6
PATIENCE = 3.0  # seconds that a page waits for an index before it shows what there is of it


@dataclass
class Figures:
    """What a run's manifests and small files say; nothing of its traces."""

    recipe: Recipe | None
    state: str
    working: bool
    manifests: list[Manifest]
    evaluations: dict[int, list[Evaluation]]
    promotions: dict[int, Promotion]
    problems: dict[str, str]
    """Files that are torn or missing, with the reason."""
    times: tuple[float, float] | None = None
    """When the first and the last of its files were written, in seconds since 1970."""
    audits: dict[int, list[Audit]] = field(default_factory=dict)
    underway: dict[tuple[int, str], Underway] = field(default_factory=dict)
    """The open stages that train, or were stopped at it, by round and stage."""
    evaluated: dict[int, str] = field(default_factory=dict)
    """The stage whose evaluation is what each round reached."""
    portions: dict[int, list[Portion]] = field(default_factory=dict)
    """What was drawn of a mixture, by round."""
    beside: dict[str, dict[int, list[Evaluation]]] = field(default_factory=dict)
    """What other stages of a round evaluated, such as the checkpoint before its DPO, by stage and round."""

    @property
    def rounds(self) -> list[Accuracy]:
        """The accuracy of each round over all its held-out problems; open prompts have none."""
        found = (sum_up(found, round_) for round_, found in self.evaluations.items())
        return [one for one in found if one.n]

    @property
    def done(self) -> int:
        """The last round that is closed to its end, 0 where none is."""
        last = last_of_round(self.recipe, 1) if self.recipe else None
        return max((one.round for one in self.manifests if one.round and one.stage == last), default=0)

    @property
    def measured(self) -> list[tuple[int, list[Row]]]:
        """What was measured by the constitution in each round, as the lines of a table."""
        found = [(one.round, read_rows(one.metrics[FIGURES])) for one in self.manifests if FIGURES in one.metrics]
        return [(round_, rows) for round_, rows in found if rows]

    @property
    def verifier_errors(self) -> dict[str, Any]:
        """How often the verifier was wrong on the recipe's labelled responses; empty where that was not measured."""
        return last_measured(self.manifests, "verifier")

    @property
    def overlaps(self) -> list[tuple[int, str, list[str]]]:
        """What was found of rows that share text with held-out problems, by round and stage."""
        found = ((one.round, one.stage, describe_overlaps(one.metrics)) for one in self.manifests)
        return [one for one in found if one[2]]

    @property
    def headline(self) -> list[tuple[str, str, str]]:
        """What is checked by the constitution: how much of it is followed now, and was in the first round; the trial of
        the judge is no principle."""
        first, last = (
            {row.principle: row.share for row in self.measured[at][1]} if self.measured else {} for at in (0, -1)
        )
        return [(name, share, first.get(name, "")) for name, share in last.items() if share and name != TRIAL][:5]

    @property
    def others(self) -> dict[str, list[Accuracy]]:
        """The accuracies that other stages found, by stage."""
        sums = {name: [sum_up(one, round_) for round_, one in found.items()] for name, found in self.beside.items()}
        return {name: [one for one in found if one.n] for name, found in sorted(sums.items())}

    def by(self, *names: str) -> list[Accuracy]:
        """The accuracies of each round by task, by task and level, or by task, level and group."""
        groups: dict[tuple[Any, ...], list[Evaluation]] = {}
        for round_, found in self.evaluations.items():
            for one in found:
                groups.setdefault((round_, *(getattr(one, name) for name in names)), []).append(one)
        sums = (sum_up(found, *key) for key, found in groups.items())
        return [one for one in sums if one.n]

    @property
    def best(self) -> Accuracy | None:
        return max(self.rounds, key=lambda one: one.accuracy, default=None)


class Run:
    """One run as it is shown."""

    def __init__(self, name: str, folder: RunFolder, cache: Path | None, patience: float = PATIENCE) -> None:
        self.name, self.folder, self.patience = name, folder, patience
        self.index = Index(folder, cache)
        self.search, self.records = Search(self.index), Records(self.index)
        self.notes, self.rankings = Notes(folder), Rankings(folder)
        self.error = ""
        self._work: threading.Thread | None = None
        self._starting = threading.Lock()
        self._kept: dict[str, tuple[int, Any]] = {}

    def refresh(self) -> None:
        """Have the index brought up to date; waits a little for it and goes on beside the request where it is long."""
        with self._starting:
            work, begins = self._work, self._work is None or not self._work.is_alive()
            if begins:
                if not self.index.due:
                    return
                work = self._work = threading.Thread(target=self._refresh, daemon=True)
                work.start()
        if work:
            # Who finds the work begun by another request waits less: its page shows what there is.
            work.join(self.patience if begins else self.patience / 10)

    @property
    def indexing(self) -> bool:
        """Whether there may be more in the run than its index holds so far."""
        return self._work is not None and self._work.is_alive()

    def _refresh(self) -> None:
        try:
            self.index.refresh()
            self.error = ""
        except (SelfImproveError, OSError) as error:  # a file that is taken away meanwhile is missed the next time
            self.error = str(error)

    def keep(self, name: str, make: Callable[[], T]) -> T:
        """A value that is made once for each state of the index."""
        kept: tuple[int, T] | None = self._kept.get(name)
        if kept is None or kept[0] != self.index.generation:
            kept = (self.index.generation, make())
            self._kept[name] = kept
        return kept[1]


class Library:
    """All runs under a folder, or the one run that the folder is."""

    def __init__(self, path: Path, cache: Path | None = None, patience: float = PATIENCE) -> None:
        self.path, self.cache, self.patience = path, cache, patience
        self._open: OrderedDict[str, Run] = OrderedDict()
        self._figures: dict[str, tuple[object, Figures]] = {}
        self._read: dict[Path, tuple[object, Any]] = {}
        self._lock = threading.Lock()
        self.listeners = 0

    def folders(self) -> dict[str, RunFolder]:
        """The runs by name."""
        if os.path.lexists(self.path / RECIPE):
            return {self.path.resolve().name: RunFolder(self.path)}
        # A recipe that is a link to nothing is no reason to hide the run: what is wrong is said where it is read.
        found = (path for path in sorted(self.path.glob("*")) if os.path.lexists(path / RECIPE))
        return {path.name: RunFolder(path) for path in found}

    def folder(self, name: str) -> RunFolder:
        try:
            return self.folders()[name]
        except KeyError:
            raise StoreError("there is no such run") from None

    def run(self, name: str) -> Run:
        """A run with its index; raises StoreError where there is none of that name."""
        folder = self.folder(name)
        with self._lock:
            if name not in self._open:
                self._open[name] = Run(name, folder, self.cache, self.patience)
                if len(self._open) > MAX_OPEN:
                    self._open.popitem(last=False)  # closed once the last request that uses it is done
            self._open.move_to_end(name)
            return self._open[name]

    def recipe(self, name: str) -> Recipe | None:
        """A run's recipe, or None where it cannot be read."""
        folder = self.folder(name)
        return self._reread(folder.path / RECIPE, folder.recipe)

    def constitution(self, name: str) -> tuple[float, Constitution] | None:
        """When a run's constitution was written and what it says, or None where there is none or it cannot be read."""
        folder = self.folder(name)
        return self._reread(folder.path / CONSTITUTION, lambda: read_constitution(folder))

    def _reread(self, path: Path, read: Callable[[], T]) -> T | None:
        """What a small file says, or None where it cannot be read; read again where it changed."""
        state = _stamp(path)
        kept: tuple[object, T | None] | None = self._read.get(path)
        if kept is None or kept[0] != state:
            kept = (state, None)
            with suppress(SelfImproveError, OSError):
                kept = (state, read() if state else None)
            self._read[path] = kept
        return kept[1]

    def figures(self, name: str) -> Figures:
        """A run's figures; read again where a file of it changed."""
        folder = self.folder(name)
        state = _fingerprint(folder)
        kept = self._figures.get(name)
        if kept is None or kept[0] != state:
            kept = (state, read_figures(folder))
            self._figures[name] = kept
        return kept[1]

    def stamp(self, name: str) -> str:
        """What changes whenever a run's figures do."""
        self.figures(name)
        return hash_text(repr(self._figures[name][0]))


def _fingerprint(folder: RunFolder) -> object:
    """What changes whenever a run's figures may."""
    stages = [stage.path for stage in folder.stages()]
    found = [_stamp(path) for path in (folder.path / RECIPE, folder.path / CONSTITUTION, folder.path / "lock")]
    for stage in stages:
        closed = _stamp(stage / "stage.json")
        # The losses of an open stage, while it trains.
        # A part that is taken away or put back changes the folder.
        found += [closed, _stamp(stage)] if closed else [_stamp(stage / name) for name in CURVES]
    # A lock that a killed process left names a process that is gone: look again now and then.
    return tuple(found), tuple(map(str, stages)), _is_working(folder) and time.time() // 5


def _stamp(path: Path) -> tuple[str, int, int] | None:
    """What changes with a file; None where there is none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return str(path), status.st_size, status.st_mtime_ns


def _is_working(folder: RunFolder) -> bool:
    """Whether a process is at work on a run."""
    try:
        return folder.working() is not None
    except StoreError:
        return False


def read_constitution(folder: RunFolder) -> tuple[float, Constitution] | None:
    """When a run's constitution was written and what it says, None where there is none; raises SelfImproveError."""
    path = folder.path / CONSTITUTION
    if not os.path.lexists(path):
        return None
    return path.lstat().st_mtime, load_constitution(folder.check_text(CONSTITUTION), alone=True)


def read_figures(folder: RunFolder) -> Figures:
    """Read a run's manifests, evaluations and promotions; what cannot be read is named and left out."""
    problems = missing_files(folder)
    manifests: list[Manifest] = []
    found: dict[int, dict[str, list[Evaluation]]] = {}
    promotions: dict[int, Promotion] = {}
    audits: dict[int, list[Audit]] = {}
    portions: dict[int, list[Portion]] = {}
    underway: dict[tuple[int, str], Underway] = {}
    for stage in folder.stages():
        try:
            manifest = stage.manifest()
            if manifest is None:
                if trains := stage.underway():
                    underway[stage.key] = trains
                elif curve := stage.curve_file():
                    problems[str(curve.relative_to(folder.path))] = "damaged: the loss so far is not shown"
                continue
            manifests.append(manifest)
            if "evaluation" in manifest.counts:
                found.setdefault(stage.key[0], {})[stage.key[1]] = stage.read(Evaluation)
            if "audit" in manifest.counts:
                audits.setdefault(stage.key[0], []).extend(stage.read(Audit))
            if "portion" in manifest.counts:
                portions.setdefault(stage.key[0], []).extend(stage.read(Portion))
            if "promotion" in manifest.counts:
                promotions[stage.key[0]] = stage.read(Promotion)[0]
        except (SelfImproveError, ValueError, IndexError, OSError) as error:
            problems[stage.name] = str(error)[:300]
    evaluated = {
        round_: names[-1] for round_, names in find_evaluating(folder).items() if names[-1] in found.get(round_, ())
    }
    beside: dict[str, dict[int, list[Evaluation]]] = {}
    for round_, by_stage in found.items():
        # Where the last one cannot be read, or is open, what there is of the round counts.
        last = evaluated.setdefault(round_, list(by_stage)[-1])
        for name in by_stage.keys() - {last}:
            beside.setdefault(name, {})[round_] = by_stage[name]
    evaluations = {round_: by_stage[evaluated[round_]] for round_, by_stage in found.items()}
    started: dict[tuple[int, str], float] = {}
    written: dict[Path, float] = {}
    for file in list_files(folder):
        key = (file.round, file.stage)
        written[file.path] = file.modified / 1e9
        started[key] = min(started.get(key, float("inf")), written[file.path])
    manifests.sort(key=lambda one: (one.round, started.get((one.round, one.stage), 0.0)))
    try:
        recipe = folder.recipe()
    except (SelfImproveError, OSError) as error:
        recipe, problems[RECIPE] = None, str(error)[:300]
    try:
        read_constitution(folder)
    except (SelfImproveError, OSError) as error:
        problems[CONSTITUTION] = str(error)[:300]
    working = _is_working(folder)
    times = (min(written.values()), max(written.values())) if written else None
    return Figures(recipe, _state(folder, recipe, working), working, manifests, evaluations, promotions, problems,
                   times, audits, underway, evaluated, portions, beside)  # fmt: skip


def _state(folder: RunFolder, recipe: Recipe | None, working: bool) -> str:
    if working:
        return "running"
    if recipe is None:
        return "unknown"
    last = folder.stage(recipe.rounds, last_of_round(recipe, recipe.rounds))
    if (last.path / "stage.json").exists():
        return "finished"
    if _ended_early(folder):
        return "finished early"
    open_ = [stage for stage in folder.stages() if not (stage.path / "stage.json").exists()]
    return f"stopped in {open_[-1].name}" if open_ else "stopped"


def _ended_early(folder: RunFolder) -> bool:
    try:
        return bool(why_ended(folder))
    except (SelfImproveError, ValueError, OSError):  # what is damaged is named where it is read
        return False
