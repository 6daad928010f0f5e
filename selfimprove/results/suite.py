"""Suites: models evaluated on many tasks, a run each that continues; their averages by group, compared in pairs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from selfimprove.recipe import Recipe
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.suite import Suite, choose_problems
from selfimprove.records import Outcome, Problem, Rationale, Verdict, Vote, derive_seed
from selfimprove.records.console import SafeConsole, make_table
from selfimprove.records.stats import holm, mcnemar
from selfimprove.running.display import show_time
from selfimprove.running.estimate import describe_total, estimate, guess_seconds, measure
from selfimprove.running.find_model import locate_model, with_model_found
from selfimprove.running.reading import count_read
from selfimprove.running.remarks import measure_sizes
from selfimprove.running.session import Session
from selfimprove.stages.asking import counted
from selfimprove.stages.evaluate import EVALUATE
from selfimprove.store import RunFolder

DRAWS = 10_000  # of the bootstrap
ALL = "all"


def suite_recipe(
    suite: Suite, model: str, *, name: str, runs: Path, data: str | None, limit: int | None, changes: Sequence[str]
) -> Recipe:
    """The recipe without rounds that asks a model all of a suite's problems; raises SelfImproveError."""
    path = locate_model(model, runs)
    tasks = [one.model_dump(mode="json", exclude_unset=True) for one in choose_problems(suite, data=data, limit=limit)]
    given = {"rounds": 0, "name": name, "open": None, "evaluate_on": tasks, "train": tasks[0], "warmup": None,
             "model.build": None, "model.path": path, "evaluate.unseen": True,
             "evaluate.controller": 0}  # fmt: skip
    return load_recipe(suite.recipe, [*(f"{key}={_as_yaml(value)}" for key, value in given.items()),
                                      *suite.settings, *changes])  # fmt: skip


def _as_yaml(value: object) -> str:
    import json

    return json.dumps(value)


def describe_cost(recipe: Recipe, folder: RunFolder) -> str:
    """What the evaluation is, and takes at most, before it begins; nothing where it is done."""
    session = Session(with_model_found(recipe, folder.path.parent), folder)
    stage = session.plan[0, EVALUATE.name]
    if folder.stage(*stage.key, stage.fingerprint).closed:
        return ""
    problems, sizes = session.inputs.held_out, measure_sizes(session.inputs)
    tasks = len({one.task for one in problems})
    rates = measure(recipe, folder, session.plan)
    total = describe_total(recipe, [estimate(stage, sizes, rates)], rates)
    read = count_read(session)
    # Where something was measured, the speed of writing has the reading in it.
    rough = "" if rates.written else f", roughly {show_time(guess_seconds(recipe, read, reads=True))}"
    return f"{len(problems):,} problems of {tasks} tasks, prompts of about {read:,} tokens{rough}; written are {total}"


@dataclass(frozen=True)
class ModelOutcomes:
    """A model's outcomes by problem, and the task of each problem."""

    model: str
    run: str
    outcomes: Mapping[str, Outcome]
    task_of: Mapping[str, str]


def read_answered(model: str, folder: RunFolder) -> ModelOutcomes:
    """What a closed evaluation says."""
    disk = folder.stage(0, EVALUATE.name)
    written = [one for one in disk.rows(Rationale).pick("parents", "origin", "sample") if one.origin == "sampled"]
    verdicts = {one.parents[0]: one.outcome for one in disk.rows(Verdict).pick("parents", "outcome")}
    outcomes = {one.parents[0]: verdicts[one.id] for one in counted(written, disk.read(Vote))}
    task_of = {one.id: one.task for one in folder.stage(0, "problems").rows(Problem).pick("task")}
    return ModelOutcomes(model, folder.called, outcomes, task_of)


@dataclass(frozen=True)
class Average:
    """An accuracy with its 95% interval by a bootstrap that draws within each task."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """A model on a group: `micro` counts each problem alike, `macro` each task. None where nothing is decided."""

    group: str
    model: str
    tasks: int
    n: int
    correct: int
    undecided: int
    micro: Average | None
    macro: Average | None


@dataclass(frozen=True)
class Pair:
    """Two models on the problems of a group that both decide; `won` are those that only the first one solves.

    `micro` and `macro` are the differences of the averages. `p_value` is McNemar's exact one over all problems,
    `adjusted` Holm's over the groups.
    """

    group: str
    first: str
    second: str
    n: int
    won: int
    lost: int
    micro: Average
    macro: Average
    p_value: float
    adjusted: float


def average(counts: Sequence[Sequence[int]], worth: Sequence[int], seed: int) -> tuple[Average, Average]:
    """The micro and the macro average of tasks whose problems fall into kinds, `counts` of each kind in each task, and
    are `worth` so much each; problems are drawn anew within each task."""
    found, values = np.array(counts, float), np.array(worth, float)
    sizes = found.sum(axis=1)
    rng = np.random.default_rng(seed)
    drawn = [rng.multinomial(int(n), row / n, DRAWS) @ values for n, row in zip(sizes, found, strict=True)]
    sums = np.stack(drawn, axis=1)
    own = found @ values
    return (
        _interval(float(own.sum() / sizes.sum()), sums.sum(axis=1) / sizes.sum()),
        _interval(float((own / sizes).mean()), (sums / sizes).mean(axis=1)),
    )


def _interval(value: float, draws: "np.ndarray[Any, Any]") -> Average:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Average(value, float(low), float(high))


def rows_of(answered: ModelOutcomes, group_of: Mapping[str, str]) -> list[Row]:
    """A model's averages of each group, and of all where there are several."""
    return [_row(name, answered, tasks) for name, tasks in _groups(group_of).items()]


def _groups(group_of: Mapping[str, str]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for task, group in group_of.items():
        groups.setdefault(group, set()).add(task)
    return {**groups, ALL: set(group_of)} if len(groups) > 1 else groups


def _row(group: str, answered: ModelOutcomes, tasks: set[str]) -> Row:
    by_task: dict[str, Counter[str]] = {}
    for problem, outcome in answered.outcomes.items():
        if (task := answered.task_of[problem]) in tasks:
            by_task.setdefault(task, Counter())[outcome] += 1
    decided = {name: one for name, one in sorted(by_task.items()) if one["correct"] + one["incorrect"]}
    counts = [(one["correct"], one["incorrect"]) for one in decided.values()]
    micro, macro = average(counts, (1, 0), derive_seed("suite", group)) if counts else (None, None)
    correct, n = sum(one for one, _ in counts), sum(map(sum, counts))
    undecided = sum(one["undecided"] for one in by_task.values())
    return Row(group, answered.model, len(decided), n, correct, undecided, micro, macro)


def compare_pairs(answered: Sequence[ModelOutcomes], group_of: Mapping[str, str]) -> list[Pair]:
    """Each model but the first beside the first, group by group, on the problems that both decide."""
    found = []
    for other in answered[1:]:
        pairs = [one for name, tasks in _groups(group_of).items() if (one := _pair(name, answered[0], other, tasks))]
        adjusted = holm([one.p_value for one in pairs])
        found += [Pair(**{**vars(one), "adjusted": value}) for one, value in zip(pairs, adjusted, strict=True)]
    return found


def _pair(group: str, first: ModelOutcomes, second: ModelOutcomes, tasks: set[str]) -> Pair | None:
    by_task: dict[str, Counter[int]] = {}
    for problem in first.outcomes.keys() & second.outcomes.keys():
        both = first.outcomes[problem], second.outcomes[problem]
        if first.task_of[problem] in tasks and "undecided" not in both:
            gain = (both[0] == "correct") - (both[1] == "correct")
            by_task.setdefault(first.task_of[problem], Counter())[gain] += 1
    if not by_task:
        return None
    counts = [(one[1], one[-1], one[0]) for _, one in sorted(by_task.items())]
    micro, macro = average(counts, (1, -1, 0), derive_seed("suite", group))
    won, lost = (sum(one[at] for one in counts) for at in (0, 1))
    p_value = mcnemar(won, lost)
    names = first.model, second.model
    return Pair(group, *names, sum(map(sum, counts)), won, lost, micro, macro, p_value, p_value)


def tasks_of(answered: ModelOutcomes) -> dict[str, dict[str, int]]:
    """The counts of each task."""
    found: dict[str, Counter[str]] = {}
    for problem, outcome in answered.outcomes.items():
        found.setdefault(answered.task_of[problem], Counter())[outcome] += 1
    return {
        name: {"n": one["correct"] + one["incorrect"], "correct": one["correct"], "undecided": one["undecided"]}
        for name, one in sorted(found.items())
    }


def to_json(name: str, answered: Sequence[ModelOutcomes], group_of: Mapping[str, str]) -> dict[str, object]:
    """All of it as plain data."""
    return {
        "suite": name,
        "models": [
            {"model": one.model, "run": one.run, "averages": [asdict(row) for row in rows_of(one, group_of)],
             "tasks": tasks_of(one)}
            for one in answered
        ],
        "pairs": [asdict(one) for one in compare_pairs(answered, group_of)],
    }  # fmt: skip


def print_suite(
    name: str, answered: Sequence[ModelOutcomes], group_of: Mapping[str, str], console: Console | None = None
) -> None:
    """Print the averages of each group and model, and the models beside the first one."""
    console = console or SafeConsole()
    columns = ("group", "model", "tasks", "n", "micro", "95% interval", "macro", "95% interval")
    table = make_table(f"{name}: micro is over problems, macro over tasks", *columns, left=("group", "model"))
    rows = [rows_of(one, group_of) for one in answered]
    for of_group in zip(*rows, strict=True):
        for row in of_group:
            counts = (str(row.tasks), f"{row.n:,}")
            table.add_row(row.group, row.model, *counts, *_shown(row.micro), *_shown(row.macro))
    console.print(table)
    if pairs := compare_pairs(answered, group_of):
        console.print(_pairs_table(pairs))
    undecided = {row.model: row.undecided for of_model in rows for row in of_model[-1:] if row.undecided}
    for model, count in undecided.items():
        console.print(f"{model}: {count:,} answers could not be judged and are in no average", highlight=False,
                      markup=False)  # fmt: skip


def _shown(one: Average | None, sign: str = "") -> tuple[str, str]:
    return (f"{one.value:{sign}.1%}", f"{one.low:{sign}.1%} to {one.high:{sign}.1%}") if one else ("", "")


def _pairs_table(pairs: Iterable[Pair]) -> object:
    columns = (
        "group",
        "model",
        "beside",
        "n",
        "won",
        "lost",
        "micro",
        "95% interval",
        "macro",
        "95% interval",
        "p",
        "Holm",
    )
    table = make_table("The first model beside the others", *columns, left=("group", "model", "beside"))
    for one in pairs:
        counts = (f"{one.n:,}", str(one.won), str(one.lost))
        tests = (f"{one.p_value:.2g}", f"{one.adjusted:.2g}")
        table.add_row(
            one.group, one.first, one.second, *counts, *_shown(one.micro, "+"), *_shown(one.macro, "+"), *tests
        )
    return table
