"""Ask the same held-out problems in several ways, each a run without rounds, and compare the outcomes in pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from selfimprove.engines import Completion, Engine, Request, Score
from selfimprove.errors import RecipeError, suggest
from selfimprove.prompting.prompts import Continuation
from selfimprove.prompting.triggers import Trigger
from selfimprove.recipe import Recipe, Sampling
from selfimprove.records import Checkpoint, Outcome, Rationale, Verdict, Vote, digest
from selfimprove.records.console import SafeConsole, make_table
from selfimprove.records.stats import holm, mcnemar, wilson
from selfimprove.running.engine_slot import load_with_recipe
from selfimprove.running.loop import run_loop
from selfimprove.running.report import Report
from selfimprove.running.session import Session
from selfimprove.stages.asking import counted
from selfimprove.stages.evaluate import EVALUATE, Evaluate
from selfimprove.store import RunFolder


@dataclass(frozen=True)
class Form:
    """One way to ask: a style of prompt, with its trigger where it has one."""

    name: str
    style: str
    trigger: Trigger | None = None

    def apply(self, recipe: Recipe, run: str) -> Recipe:
        """The recipe that asks in this way."""
        changes: dict[str, Any] = {"style": self.style}
        if self.trigger:
            changes["trigger"] = self.trigger.text
        plain: dict[str, Any] = {"standard": None}
        if not self.trigger:
            plain["extract"] = None
        evaluate = recipe.of(Evaluate).model_copy(update=plain)
        return recipe.model_copy(
            update={
                "name": f"{run}-{self.name}"[:100],
                "prompt": recipe.prompt.model_copy(update=changes),
                "stages": recipe.stages.model_copy(update={"evaluate": evaluate}),
            }
        )


def trigger_form(trigger: Trigger) -> Form:
    """Zero-shot chain of thought with a trigger; its name holds a hash, so that another text is another folder."""
    return Form(f"zero-shot-cot-{digest(trigger.text)[:6]}", "zero-shot-cot", trigger)


def make_forms(triggers: Sequence[Trigger], *, exemplars: bool) -> list[Form]:
    """Zero-shot first, which the others are compared with; those with exemplars only where there are any."""
    few = [Form("few-shot", "few-shot"), Form("few-shot-cot", "few-shot-cot")] if exemplars else []
    forms = [Form("zero-shot", "zero-shot"), *few, *map(trigger_form, triggers)]
    return list({one.name: one for one in forms}.values())


class SharedEngine:
    """Loads the model once for all forms; what a run closes stays open until `close`."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._which = ""

    def __call__(self, checkpoint: Checkpoint, session: Session) -> Engine:
        which = session.weights(checkpoint)
        if self._engine is None or self._which != which:  # a judge may be another model
            self.close()
            self._engine, self._which = load_with_recipe(checkpoint, session), which
        return _Kept(self._engine)

    def close(self) -> None:
        if self._engine:
            self._engine.close()
            self._engine = None


class _Kept:
    """An engine that somebody else closes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        return iter(self.engine.generate(requests, sampling, stop))

    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        return self.engine.score(pairs, end=end)

    def close(self) -> None:
        """Nothing: the next form asks the same model."""


@dataclass(frozen=True)
class Asked:
    """What came of one form: the outcome of each problem, by its id, and the tokens that all answers took."""

    form: Form
    outcomes: dict[str, Outcome]
    tokens: int

    @property
    def correct(self) -> int:
        return sum(one == "correct" for one in self.outcomes.values())

    @property
    def n(self) -> int:
        """Decided problems."""
        return sum(one != "undecided" for one in self.outcomes.values())

    @property
    def accuracy(self) -> float:
        return self.correct / self.n if self.n else 0.0


def ask(form: Form, recipe: Recipe, folder: RunFolder, *, load: SharedEngine, report: Report | None = None) -> Asked:
    """Ask all problems in one way; what was asked already is read. The run lies in the folder's own, by its name."""
    own = RunFolder(folder.path / form.name)
    run_loop(form.apply(recipe, folder.path.name), own, load=load, report=report)
    return read_asked(form, own)


def read_asked(form: Form, folder: RunFolder) -> Asked:
    """What a closed run without rounds says."""
    disk = folder.stage(0, EVALUATE.name)
    rationales = [one for one in disk.read(Rationale) if one.origin == "sampled"]
    verdicts = {one.rationale: one for one in disk.read(Verdict)}
    chosen = counted(rationales, disk.read(Vote))
    return Asked(form, {one.problem: verdicts[one.id].outcome for one in chosen}, sum(one.tokens for one in rationales))


@dataclass(frozen=True)
class Row:
    """A line of the table; `won` and `lost` count problems that only this form, or only the reference, solves.

    `p_value` is McNemar's exact one, `adjusted` Holm's over all forms beside the reference.
    """

    form: str
    trigger: str
    source: str
    n: int
    correct: int
    undecided: int
    accuracy: float
    low: float
    high: float
    tokens: float
    won: int | None = None
    lost: int | None = None
    p_value: float | None = None
    adjusted: float | None = None


def compare_forms(asked: Sequence[Asked], against: str) -> list[Row]:
    """The table, each form beside the one named `against` (`best`: the one with the highest accuracy).

    Only problems that both answers decide are paired. Raises RecipeError where there is no such form.
    """
    names = [one.form.name for one in asked]
    if against == "best":
        reference = max(asked, key=lambda one: one.accuracy)
    elif against in names:
        reference = asked[names.index(against)]
    else:
        raise RecipeError(f"--against {against}: no such form{suggest(against, [*names, 'best'])}")
    others = [one for one in asked if one is not reference]
    pairs = {one.form.name: _count_pairs(one.outcomes, reference.outcomes) for one in others}
    values = {name: mcnemar(*pair) for name, pair in pairs.items()}
    adjusted = dict(zip(values, holm(list(values.values())), strict=True))
    return [_row(one, pairs.get(one.form.name), values, adjusted) for one in asked]


def _count_pairs(mine: dict[str, Outcome], other: dict[str, Outcome]) -> tuple[int, int]:
    both = [one for one in mine if one in other and "undecided" not in (mine[one], other[one])]
    won = sum(mine[one] == "correct" and other[one] != "correct" for one in both)
    return won, sum(mine[one] != "correct" and other[one] == "correct" for one in both)


def _row(one: Asked, pair: tuple[int, int] | None, values: dict[str, float], adjusted: dict[str, float]) -> Row:
    name, trigger = one.form.name, one.form.trigger
    low, high = wilson(one.correct, one.n)
    return Row(
        form=name,
        trigger=trigger.text if trigger else "",
        source=trigger.source if trigger else "",
        n=one.n,
        correct=one.correct,
        undecided=len(one.outcomes) - one.n,
        accuracy=one.accuracy,
        low=low,
        high=high,
        tokens=one.tokens / len(one.outcomes) if one.outcomes else 0.0,
        **({"won": pair[0], "lost": pair[1]} if pair else {}),
        p_value=values.get(name),
        adjusted=adjusted.get(name),
    )


def to_json(rows: Sequence[Row], folder: RunFolder, **more: object) -> dict[str, object]:
    """The table as plain data."""
    return {"runs": str(folder.path), "forms": [asdict(one) for one in rows], **more}


def print_comparison(rows: Sequence[Row], title: str, console: Console | None = None) -> None:
    """Print the table, the reference without a test."""
    console = console or SafeConsole()
    columns = ("form", "n", "accuracy", "95% interval", "won", "lost", "p", "Holm", "tokens")
    table = make_table(title, *columns, left=("form",))
    for one in rows:
        accuracy = (f"{one.accuracy:.1%}", f"{one.low:.1%} to {one.high:.1%}") if one.n else ("", "")
        row = [one.form, str(one.n), *accuracy]
        tested = one.p_value is not None
        row += [str(one.won), str(one.lost), f"{one.p_value:.2g}", f"{one.adjusted:.2g}"] if tested else [""] * 4
        table.add_row(*row, f"{one.tokens:.1f}")
    console.print(table)
    for one in rows:
        if one.trigger:
            source = f"  ({one.source})" if one.source else ""
            console.print(f"{one.form}: {one.trigger}{source}", highlight=False, markup=False)
    undecided = sum(one.undecided for one in rows)
    if undecided:
        console.print(f"{undecided} answers could not be judged and are in no accuracy", highlight=False)
