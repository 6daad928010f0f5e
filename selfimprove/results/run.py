"""`si.run` and `si.load`: a run from Python, its rounds and what was written in them."""

import os
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from selfimprove.errors import SelfImproveError, suggest
from selfimprove.recipe.yaml import read_document
from selfimprove.records import KINDS, Checkpoint, Evaluation, Origin, Outcome, Promotion, Record
from selfimprove.records.base import AnyRecord
from selfimprove.records.stats import Accuracy, sum_by_task, wilson
from selfimprove.results.rows import NESTED_TRACES, Rows, Sql, Trace, make_trace, to_record
from selfimprove.results.traces import CHOICES
from selfimprove.store import RunFolder, find_run
from selfimprove.store.evaluated import find_evaluating
from selfimprove.store.query import TRACE_ORDER, Query, select_traces

PathLike = str | os.PathLike[str]


def run(
    recipe: PathLike | Mapping[str, Any] = "arithmetic",
    *,
    runs: PathLike = "runs",
    redo: str | Collection[str] = (),
    quiet: bool = False,
    **settings: object,
) -> "Run":
    """Run a recipe to its end and give the run; the same call again continues where it stopped.

    `recipe` is a name, a file or a dictionary. `settings` change it, as `--set` does on the command line:
    `rounds=2, generate={"samples": 8}` or `**{"generate.samples": 8}`; `name` is the run's folder in `runs`, and
    `model` may be a folder or a hub name. `redo` names what is done again, such as "sft", "round-02/sft" or "all" that
    the recipe changed. What goes on is printed, a line a stage, unless `quiet`. Raises SelfImproveError.
    """
    from selfimprove.recipe.file import load_recipe
    from selfimprove.running.loop import run_loop
    from selfimprove.running.progress import watching

    if isinstance(settings.get("model"), (str, os.PathLike)):
        settings["model"] = {"build": None, "path": settings["model"]}
    loaded = load_recipe(recipe, settings)
    folder = RunFolder(Path(runs) / loaded.name)
    with nullcontext() if quiet else watching() as report:
        run_loop(loaded, folder, report=report, redo=[redo] if isinstance(redo, str) else redo)
    return Run(folder)


def load(run: PathLike, *, runs: PathLike = "runs") -> "Run":
    """A run on disk, by its name under `runs` or its folder; raises StoreError with the nearest name.

    It may be of another version or of somebody's extension: stages and kinds of record that are not known here are
    shown as they lie there.
    """
    return Run(find_run(os.fspath(run), Path(runs)))


@dataclass(frozen=True)
class Round:
    """What a round came to; round 0 is the model before it was trained. What is not known yet is None."""

    number: int
    checkpoint: str | None
    """Where the evaluated weights lie: a folder, or a hub name."""
    n: int
    """Held-out problems that were decided; `undecided` ones are counted beside them and lower nothing."""
    correct: int
    undecided: int
    evaluations: tuple[Evaluation, ...] = field(repr=False)
    """The same by task, level and group."""
    promotion: Promotion | None

    @property
    def accuracy(self) -> float | None:
        """The share of the decided held-out problems that was answered right; None where there are none."""
        return self.correct / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The Wilson 95% interval of the accuracy."""
        return wilson(self.correct, self.n) if self.n else None

    @property
    def tasks(self) -> list[Accuracy]:
        """The accuracy on each task."""
        return sum_by_task(self.evaluations, self.number)

    @property
    def promoted(self) -> bool | None:
        """Whether the next round starts from this round's checkpoint; None in round 0, and before it was decided."""
        return self.promotion.promoted if self.promotion else None


class Filters(TypedDict, total=False):
    """Which traces: each filter that is given must hold."""

    round: int | None
    stage: str | None
    """The stage that wrote it, such as generate or evaluate."""
    task: str | None
    level: int | None
    group: str | None
    outcome: Outcome | None
    reasoning: Outcome | None
    """The outcome of its steps."""
    origin: Origin | None
    kept: bool | None
    """Trained on, or turned away."""
    disputed: bool | None
    """Whether a second verifier differs."""
    problem: str | None
    """The id of a problem."""
    text: str | None
    """What the text holds, in whatever case."""


TYPES: dict[str, type] = {"round": int, "level": int, "kept": bool, "disputed": bool}


class Run:
    """A run on disk; it is read anew each time that something is asked, so one that goes on can be watched."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def path(self) -> Path:
        return self._folder.path

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe with every default written out, as plain data."""
        return read_document(self.path / "recipe.yaml").data

    @property
    def rounds(self) -> list[Round]:
        """The rounds that were begun, round 0 first; the last one is `rounds[-1]`."""
        query = Query(self._folder)
        last = {(round_, names[-1]) for round_, names in find_evaluating(self._folder).items()}
        evaluations = self._by_round(query, Evaluation, last)
        promotions = self._by_round(query, Promotion)
        paths = {one.id: one.path for found in self._by_round(query, Checkpoint).values() for one in found}
        numbers = sorted({stage.key[0] for stage in self._folder.stages()})
        return [self._round(at, evaluations.get(at, []), promotions.get(at, []), paths) for at in numbers]

    def _by_round(
        self, query: Query, kind: type[AnyRecord], stages: Collection[tuple[int, str]] = ()
    ) -> dict[int, list[AnyRecord]]:
        """The records of a kind, or those of some stages of rounds."""
        found: dict[int, list[AnyRecord]] = {}
        rows = query.rows(f"SELECT * FROM {kind.kind} ORDER BY round, stage, id")
        for row in (one for one in rows if not stages or (one["round"], one["stage"]) in stages):
            found.setdefault(row["round"], []).append(to_record(kind, row))
        return found

    def _round(
        self, number: int, evaluations: list[Evaluation], promotions: list[Promotion], paths: dict[str, str]
    ) -> Round:
        promotion = promotions[-1] if promotions else None
        evaluated = promotion.parents[0] if promotion else evaluations[-1].parents[0] if evaluations else ""
        mine = [one for one in evaluations if one.parents[0] == evaluated]
        return Round(
            number,
            checkpoint=self._locate(paths.get(evaluated)),
            n=sum(one.n for one in mine),
            correct=sum(one.correct for one in mine),
            undecided=sum(one.undecided for one in mine),
            evaluations=tuple(sorted(mine, key=lambda one: (one.task, one.level, one.group))),
            promotion=promotion,
        )

    def _locate(self, path: str | None) -> str | None:
        inside = self.path / path if path else None
        return str(inside.resolve()) if inside and inside.exists() else path

    def traces(self, **filters: Unpack[Filters]) -> Rows[Trace]:
        """What the model wrote, by round, stage and problem, and what became of it; raises SelfImproveError.

        All of it without filters: `traces(outcome="correct", round=2)`, `traces(kept=False, text="therefore")`.
        """
        self._check_filters(filters)
        flat, values = select_traces(filters)
        sql = Sql(flat, NESTED_TRACES.format(flat=flat), TRACE_ORDER, tuple(values))
        return Rows(self._folder, "traces", sql, make_trace)

    def _check_filters(self, filters: Mapping[str, object]) -> None:
        choices = {**CHOICES, "stage": {one.key[1] for one in self._folder.stages()}}
        for name, value in filters.items():
            if name not in Filters.__annotations__:
                raise SelfImproveError(f"traces: no filter '{name}'{suggest(name, Filters.__annotations__)}")
            kind = TYPES.get(name, str)
            if value is not None and type(value) is not kind:
                raise SelfImproveError(f"{name}={value!r}: expected a value of type {kind.__name__}")
            if value is not None and value not in choices.get(name, (value,)):
                raise SelfImproveError(f"{name}={value!r}: no such {name}{suggest(str(value), choices[name])}")

    @property
    def kinds(self) -> list[str]:
        """The kinds of record that the run holds, also those that are not known here."""
        return Query(self._folder).kinds()

    def records(self, kind: str) -> Rows[Any]:
        """All records of a kind, such as "evaluation", with the round and the stage that wrote them in their table.

        Those of a kind that is not known here are dictionaries. Raises SelfImproveError with the nearest kind.
        """
        query = Query(self._folder)
        known = {*query.kinds(), *KINDS}
        if kind not in known:
            raise SelfImproveError(f"no record of the kind '{kind}'{suggest(kind, known)}")
        record: type[Record] | None = KINDS.get(kind)
        flat = query.select_kind(kind)
        sql = Sql(flat, flat, "ALL" if record is None else "round, stage, id")
        return Rows(self._folder, f"{kind} records", sql, lambda row: to_record(record, row) if record else row)

    def record(self, prefix: str) -> Any:
        """The record whose id begins so, a dictionary where its kind is not known here; raises StoreError where it is
        none or several."""
        query = Query(self._folder)
        identity, kind = query.find(prefix)
        row = query.record(kind, identity)
        return to_record(KINDS[kind], row) if kind in KINDS else row

    def __repr__(self) -> str:
        rounds = self.rounds
        last = next((one for one in reversed(rounds) if one.n), None)
        reached = f", {last.correct} of {last.n} held-out problems correct in round {last.number}" if last else ""
        return f"<the run {self.name!r}, {max(0, len(rounds) - 1)} rounds{reached}>"
