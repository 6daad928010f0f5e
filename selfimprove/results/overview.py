"""The runs of a folder, a line each: where they are, how far, and what they reached."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from selfimprove.errors import SelfImproveError
from selfimprove.recipe import Recipe
from selfimprove.recipe.flow import last_of_round
from selfimprove.records import Evaluation
from selfimprove.records.files import RECIPE
from selfimprove.records.stats import wilson
from selfimprove.store import RunFolder, StageFolder
from selfimprove.store.evaluated import counts
from selfimprove.store.ledger import why_ended


@dataclass(frozen=True)
class RunLine:
    """What one line says of a run; where something cannot be read, `state` says what."""

    name: str
    state: str
    task: str
    model: str
    rounds: str
    """Those that are done of those that are asked for."""
    n: int
    correct: int
    """Of the held-out problems that the last evaluation decided."""
    evaluated: int | None
    """The round of that evaluation."""
    changed: float
    """When something was last written, in seconds since 1970."""

    @property
    def reached(self) -> str:
        """The accuracy with its interval."""
        if not self.n:
            return ""
        low, high = wilson(self.correct, self.n)
        return f"{self.correct / self.n:.1%} ({low:.1%} to {high:.1%}) of {self.n} in round {self.evaluated}"

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "accuracy": self.correct / self.n if self.n else None}

    def cells(self) -> list[str]:
        when = datetime.fromtimestamp(self.changed).strftime("%Y-%m-%d %H:%M")
        said = ", ".join(part for part in (self.state, self.rounds, self.reached, self.task, self.model) if part)
        return [self.name, when, said]


def list_runs(runs: Path) -> Iterator[RunLine]:
    """The runs of a folder and those inside its folders, the last changed first; one that is damaged says so."""
    paths = sorted({*runs.glob(f"*/{RECIPE}"), *runs.glob(f"*/*/{RECIPE}")})
    lines = [describe_run(RunFolder(path.parent), str(path.parent.relative_to(runs))) for path in paths]
    yield from sorted(lines, key=lambda one: (-one.changed, one.name))


def describe_run(folder: RunFolder, name: str) -> RunLine:
    """One run's line: it reads manifests and one evaluation, and nothing of its texts."""
    changed = max(filter(None, map(_changed, (folder.path, *folder.path.glob("round-*/*")))), default=0.0)
    try:
        recipe = folder.recipe()
        stages = list(folder.stages())
        closed = [stage for stage in stages if stage.manifest() is not None]
        evaluated = _last_evaluation(folder, closed)
        found = evaluated.read(Evaluation) if evaluated else []
        done = {stage.key[0] for stage in closed if stage.key[1] == last_of_round(recipe, stage.key[0])}
        state = _state(folder, recipe, stages, closed)
    except (SelfImproveError, OSError) as error:
        return RunLine(name, f"cannot be read: {error}", "", "", "", 0, 0, None, changed)
    return RunLine(
        name,
        state,
        recipe.train.name,
        _model(recipe),
        f"round {max(done, default=0)} of {recipe.rounds}" if recipe.rounds else "an evaluation",
        sum(one.n for one in found),
        sum(one.correct for one in found),
        evaluated.key[0] if evaluated else None,
        changed,
    )


def _changed(path: Path) -> float | None:
    """When something last changed in a folder; None where it was taken away since it was listed."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return None


def _last_evaluation(folder: RunFolder, closed: list[StageFolder]) -> StageFolder | None:
    mine = [stage for stage in closed if stage.files_of(Evaluation) and counts(folder, *stage.key)]
    return max(mine, key=lambda stage: stage.key[0], default=None)


def _model(recipe: Recipe) -> str:
    if recipe.model.path is None:
        return "a model built from nothing"
    return recipe.model.path if len(recipe.model.path) <= 40 else f"…/{Path(recipe.model.path).name}"


def _state(folder: RunFolder, recipe: Recipe, stages: list[StageFolder], closed: list[StageFolder]) -> str:
    working = folder.working()
    if working is not None:
        return f"running as process {working}" if working else "running"
    if any(stage.key == (recipe.rounds, last_of_round(recipe, recipe.rounds)) for stage in closed):
        return "finished"
    if why_ended(folder):
        return "finished early"
    keys = {stage.key for stage in closed}
    begun = [stage for stage in stages if stage.key not in keys]
    return f"stopped in {begun[-1].name}" if begun else "stopped"
