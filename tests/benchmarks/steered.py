"""A controller beside fixed settings at the same CPU seconds: the recipe `arithmetic-steered` for several seeds.

    python tests/benchmarks/steered.py --seeds 1001 1002 [--budget 5m] [--runs runs/steered] [--parallel 2] [--report]

Each arm is the recipe without `decide`, with settings that the shipped rules would choose, from the first round to the
last; "a random arm" is what one drawn at random reaches in expectation, and "the best arm in hindsight" the one with
the highest mean. Probing, where a rule asks for it, is paid from the budget. The final checkpoints answer up to 100
held-out problems of each shape, none of which promotes or steers. `--report` runs nothing.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from arithmetic import FINAL_PROBLEMS, answer_by_shape, diagonal, percent, print_table, run_processes

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

RECIPE = "arithmetic-steered"
CONTROLLER = "controller"
ARMS = {
    "fixed: as the recipe is": (),
    "fixed: select.hard_share 1": ("select.hard_share=1.0",),
    "fixed: repair.explore 16": ("repair.explore=16", "repair.limit=120"),
}
VARIANTS = {CONTROLLER: (), **{name: ("decide=null", *changes) for name, changes in ARMS.items()}}
ROUNDS = 60  # more than any budget has room for
AIM = 0.95  # of each shape


class Found(NamedTuple):
    """What a run came to."""

    shapes: dict[str, float]
    rounds: int
    cpu: float
    actions: dict[str, list[int]]
    """The rounds in which each rule acted."""
    ended: str

    @property
    def accuracy(self) -> float:
        return mean(self.shapes.values())

    @property
    def paper(self) -> float:
        """Both operands with n digits, n = 1 to 5, as in the STaR paper."""
        return diagonal(self.shapes)

    @property
    def worst(self) -> str:
        return min(self.shapes, key=lambda one: self.shapes[one])


def run_name(variant: str, seed: int) -> str:
    return f"{variant.removeprefix('fixed: ').replace(' ', '-')}-{seed}"


def run_all(options: argparse.Namespace) -> None:
    """Run each variant and seed in a process of its own, seed by seed."""
    waiting = []
    for seed in options.seeds:
        for variant in options.variants:
            command = [sys.executable, "-m", "selfimprove.cli", "run", RECIPE, "--name", run_name(variant, seed)]
            command += ["--runs", str(options.runs), "--budget", options.budget]
            for change in (f"seed={seed}", f"rounds={ROUNDS}", *VARIANTS[variant]):
                command += ["--set", change]
            waiting.append(command)
    run_processes(waiting, options.parallel)


def answer(folder: Path, round_: int) -> dict[str, float]:
    """Accuracy by shape of the checkpoint that was kept after a round, on problems that steered nothing."""
    from selfimprove.recipe.task_settings import ArithmeticTask
    from selfimprove.stages.split import controllers
    from selfimprove.store import RunFolder
    from selfimprove.tasks import Arithmetic

    recipe = RunFolder(folder).recipe()
    task = recipe.train
    assert isinstance(task, ArithmeticTask)
    steered = Arithmetic(task).held_out()
    ids = controllers(steered, recipe.stages.evaluate.controller)
    looked_at = {one.question for one in steered if one.id in ids}
    by_shape: dict[str, list[Any]] = defaultdict(list)
    for problem in Arithmetic(task.model_copy(update={"held_out": FINAL_PROBLEMS + len(looked_at)})).held_out():
        if problem.question not in looked_at and len(by_shape[problem.group]) < FINAL_PROBLEMS:
            by_shape[problem.group].append(problem)
    return answer_by_shape(folder, round_, [one for some in by_shape.values() for one in some])


def read_run(folder: Path) -> Found:
    from selfimprove.records import Action
    from selfimprove.results.status import to_json
    from selfimprove.store import RunFolder
    from selfimprove.store.ledger import why_ended

    run = RunFolder(folder)
    status: dict[str, Any] = to_json(run)
    rounds = max(one["round"] for one in status["stages"] if one["stage"] == "promote")
    actions: dict[str, list[int]] = defaultdict(list)
    for round_ in range(1, rounds + 1):
        if (decided := run.stage(round_, "decide")).closed:
            for rule in {one.rule for one in decided.read(Action) if one.rule}:
                actions[rule].append(round_)
    return Found(answer(folder, rounds), rounds, status["budget"]["spent"], dict(actions), why_ended(run) or "")


def interval(values: list[float]) -> str:
    """A mean with Student's 95% interval, in percent."""
    from selfimprove.records.stats import mean_interval

    if (found := mean_interval(values, (-1.0, 1.0))) is None:
        return percent(mean(values))
    low, high = found
    return f"{percent(mean(values))} ({percent(low)} to {percent(high)})"


def report(options: argparse.Namespace) -> None:
    found = {
        variant: {
            seed: read_run(options.runs / run_name(variant, seed))
            for seed in options.seeds
            if (options.runs / run_name(variant, seed)).exists()
        }
        for variant in options.variants
    }
    rows = []
    for variant, runs in found.items():
        for seed, one in runs.items():
            acted = ", ".join(f"{rule} ({', '.join(map(str, at))})" for rule, at in one.actions.items())
            rows.append([variant, str(seed), percent(one.accuracy), percent(one.paper),
                         f"{percent(one.shapes[one.worst])} ({one.worst})", str(one.rounds), f"{one.cpu:.0f}",
                         acted])  # fmt: skip
    head = ["", "seed", "all shapes", "n+n digits", "worst shape", "rounds", "CPU s", "rules that acted (rounds)"]
    print_table("Accuracy (%) of the last promoted checkpoint, by seed", head, rows)
    arms = {name: runs for name, runs in found.items() if name != CONTROLLER and runs}

    def row(name: str, runs: list[Found]) -> list[str]:
        worst = [one.shapes[one.worst] for one in runs]
        return [name, interval([one.accuracy for one in runs]), percent(min(one.accuracy for one in runs)),
                interval([one.paper for one in runs]), interval(worst), percent(min(worst)),
                f"{sum(one >= AIM for one in worst)} of {len(worst)}"]  # fmt: skip

    rows = [row(name, list(runs.values())) for name, runs in found.items() if runs]
    head = ["", "all shapes", "worst seed", "n+n digits", "worst shape", "of the worst seed", "every shape ≥ 95%"]
    print_table("The same over all seeds, with 95% intervals", head, rows)
    if not found.get(CONTROLLER) or not arms:
        return
    best = max(arms, key=lambda name: mean(one.accuracy for one in arms[name].values()))
    if len(arms) > 1:
        print(f"\nThe best arm in hindsight: {best}.")
    rows = []
    for figure, of in (("all shapes", lambda one: one.accuracy), ("n+n digits", lambda one: one.paper),
                       ("worst shape", lambda one: one.shapes[one.worst])):  # fmt: skip
        seeds = [seed for seed in options.seeds if all(seed in runs for runs in (found[CONTROLLER], *arms.values()))]
        mine = [of(found[CONTROLLER][seed]) for seed in seeds]
        besides = (
            ("the recipe's fixed settings", [of(next(iter(arms.values()))[seed]) for seed in seeds]),
            ("a random arm", [mean(of(runs[seed]) for runs in arms.values()) for seed in seeds]),
            ("the best arm in hindsight", [of(arms[best][seed]) for seed in seeds]),
        )
        for name, others in besides if len(arms) > 1 else besides[:1]:
            rows.append([figure, name, interval([one - other for one, other in zip(mine, others, strict=True)])])
    print_table("What the controller is worth, paired by seed", ["figure", "the controller less", "points"], rows)
    kept = {name: {seed: one._asdict() for seed, one in runs.items()} for name, runs in found.items()}
    (options.runs / "steered.json").write_text(json.dumps(kept, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--runs", type=Path, default=Path("runs/steered"))
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if not options.report:
        run_all(options)
    report(options)


if __name__ == "__main__":
    main()
