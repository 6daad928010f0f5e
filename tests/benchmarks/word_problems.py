"""A small model teaches itself word problems, beside as many steps on the equations that people wrote.

    python tests/benchmarks/word_problems.py --model FOLDER --data FOLDER [--recipe word-problems-chat] [--seeds 0..2]
        [--rounds 4] [--runs runs] [--set KEY=VALUE] [--equations STEPS ...]

`--data` is the folder of ASDiv.xml. For each seed: the recipe, and beside it SFT from the same model, with the settings
and as many steps as in the last round, on the equation of each training problem ("7 + 2 = 9. The answer is 9."), which
the loop never sees. Both are evaluated on the same held-out problems, which are those of all seeds, and the last round
counts, promoted or not. Tests are of single seeds; an interval of all seeds is Student's over the problems, each with
its mean over the seeds. A command that was stopped goes on where it was. `--equations` leaves out the loop and trains
on equations alone, for so many steps each: what more of them, or other settings of `sft`, would bring.
"""

import argparse
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq

from selfimprove.engines.shareable import write_whole
from selfimprove.recipe import Recipe
from selfimprove.recipe.file import change_recipe, load_recipe
from selfimprove.recipe.policies import find_policy
from selfimprove.records import Problem, Rationale, Verdict, derive_seed
from selfimprove.records.stats import describe_share, mcnemar, mean_interval
from selfimprove.running.loop import run_loop
from selfimprove.running.session import Session
from selfimprove.running.sweep import read_seeds
from selfimprove.store import RunFolder
from selfimprove.tasks.base import PoolTask
from selfimprove.trainers.checkpoints import is_finished
from selfimprove.trainers.job import SftJob
from selfimprove.trainers.sft import train_sft

EQUATION = re.compile(r"([\d.+\-*/()]+)=([\d.]+)(?:\D.*)?")


def read_equations(path: Path, problems: Mapping[str, Problem]) -> Iterator[tuple[Problem, str]]:
    """Training problems with a worked line from ASDiv's formula, where its result is the answer."""
    for node in ElementTree.parse(path / "ASDiv.xml").getroot().iter("Problem"):
        problem = problems.get(f"{node.findtext('Body', '').strip()} {node.findtext('Question', '').strip()}")
        formula = EQUATION.fullmatch(node.findtext("Formula", "").replace(" ", ""))
        if problem and formula and formula[2] == problem.answer:
            left = re.sub(r"([+\-*/])", r" \1 ", formula[1])
            yield problem, f" {left} = {problem.answer}. The answer is {problem.answer}."


def right_answers(session: Session, round_: int) -> dict[str, bool]:
    verdicts = {one.rationale: one.outcome == "correct" for one in session.read((round_, "evaluate"), Verdict)}
    return {one.problem: verdicts[one.id] for one in session.read((round_, "evaluate"), Rationale)}


def train_on_equations(recipe: Recipe, session: Session, data: Path, folder: Path, steps: int) -> tuple[Path, int]:
    """A model trained on equations alone, as a whole one, and on how many."""
    whole = folder / "whole"
    task = session.inputs.task
    assert isinstance(task, PoolTask)
    problems = {one.question: one for one in task.train()}
    rows = list(read_equations(data, problems))
    folder.mkdir(parents=True, exist_ok=True)
    table = {
        "prompt": [session.prompts.render_question(problem) for problem, _ in rows],
        "completion": [text for _, text in rows],
    }
    if whole.exists():
        return whole, len(rows)
    pq.write_table(pa.table(table), folder / "examples.parquet")
    settings = recipe.stages.sft
    assert settings is not None
    job = SftJob(
        model=str(recipe.model.path), examples=folder / "examples.parquet", output=folder / "checkpoint",
        settings=settings, steps=steps, seed=derive_seed(recipe.seed, "equations"), threads=recipe.engine.threads,
        device=recipe.model.device, dtype=recipe.model.dtype,
    )  # fmt: skip
    if not is_finished(job.output):
        train_sft(job)
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    write_whole(job.output, job.model if settings.lora else None, recipe.model.dtype, partial)
    partial.rename(whole)
    return whole, len(rows)


def compare(now: Mapping[str, bool], before: Mapping[str, bool]) -> str:
    won = sum(one and not before[name] for name, one in now.items())
    lost = sum(before[name] and not one for name, one in now.items())
    return f"{won} won, {lost} lost, p = {mcnemar(won, lost):.2g}"


def share(found: Mapping[str, bool]) -> str:
    return describe_share(sum(found.values()), len(found))


def run_control(given: argparse.Namespace, recipe: Recipe, session: Session, steps: int) -> tuple[dict[str, bool], int]:
    """Which held-out problems are right after so many steps on equations, and how many equations there are."""
    settings = recipe.stages.sft
    assert settings is not None
    made_by = sha256(f"{recipe.model.path} {settings.model_dump_json()}".encode()).hexdigest()[:8]
    control = given.runs / f"{session.folder.path.name}-equations-{steps}-{made_by}"
    model, equations = train_on_equations(recipe, session, given.data, control / "model", steps)
    alone = change_recipe(recipe, ("rounds=0", f"model.path={model}"))
    run_loop(alone, RunFolder(control / "run"))
    return right_answers(Session(alone, RunFolder(control / "run")), 0), equations


def run_equations(given: argparse.Namespace, seed: int) -> None:
    """What equations alone bring, by steps."""
    own = [f"seed={seed}", f"model.path={given.model}", f"train.path={given.data}", *given.set]
    recipe = load_recipe(find_policy("recipes", given.recipe), own)
    session = Session(recipe, RunFolder(given.runs / f"{given.recipe}-{seed}"))
    for steps in given.equations:
        gold, equations = run_control(given, recipe, session, steps)
        print(f"seed {seed}, {steps} steps on {equations} equations: {share(gold)}", flush=True)


def run_seed(given: argparse.Namespace, seed: int) -> list[dict[str, bool]]:
    """The start, the loop and the control: which held-out problems are right."""
    own = [f"seed={seed}", f"model.path={given.model}", f"train.path={given.data}", *given.set]
    started = time.process_time()
    recipe = load_recipe(find_policy("recipes", given.recipe), [*own, f"rounds={given.rounds}"])
    run = RunFolder(given.runs / f"{given.recipe}-{seed}")
    run_loop(recipe, run)
    session, spent = Session(recipe, run), time.process_time() - started
    rounds = [right_answers(session, at) for at in range(recipe.rounds + 1)]
    trained = run.stage(recipe.rounds, "sft").manifest()
    assert trained
    rows, steps = int(str(trained.metrics["rows"])), int(str(trained.metrics["steps"]))
    started = time.process_time()
    gold, equations = run_control(given, recipe, session, steps)
    print(
        f"| {seed} | {' | '.join(map(share, rounds))} | {compare(rounds[-1], rounds[0])} | {rows} | {steps} | "
        f"{spent:.0f} | {share(gold)} of {equations} equations | {compare(rounds[-1], gold)} | "
        f"{time.process_time() - started:.0f} |",
        flush=True,
    )
    return [rounds[0], rounds[-1], gold]


def print_head(rounds: int) -> None:
    names = [
        "seed", *(f"round {at}" for at in range(rounds + 1)), "last beside the start", "rows", "steps", "CPU s",
        "equations alone", "loop beside equations", "CPU s",
    ]  # fmt: skip
    print(f"| {' | '.join(names)} |\n|{' --- |' * len(names)}", flush=True)


def sum_up(found: Sequence[Sequence[Mapping[str, bool]]]) -> None:
    """Means over the seeds, with intervals over the problems."""
    start, last, gold = (
        {name: fmean(one[which][name] for one in found) for name in found[0][which]} for which in range(3)
    )

    def say(values: Sequence[float], low: float) -> str:
        interval = mean_interval(values, (low, 1.0))
        return f"{fmean(values):+.1%}" + (f" ({interval[0]:+.1%} to {interval[1]:+.1%})" if interval else "")

    print(
        f"\nmeans of {len(found)} seeds: start {say([*start.values()], 0.0)}, loop {say([*last.values()], 0.0)}, ",
        end="",
    )
    print(f"equations {say([*gold.values()], 0.0)}; ", end="")
    print(f"loop less start {say([last[one] - start[one] for one in start], -1.0)}, ", end="")
    print(f"loop less equations {say([last[one] - gold[one] for one in start], -1.0)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", default="word-problems-chat")
    parser.add_argument("--seeds", default="0..2")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--equations", type=int, nargs="+", metavar="STEPS")
    given = parser.parse_args()
    if given.equations:
        for seed in read_seeds(given.seeds):
            run_equations(given, seed)
        return
    print_head(given.rounds)
    sum_up([run_seed(given, seed) for seed in read_seeds(given.seeds)])


if __name__ == "__main__":
    main()
