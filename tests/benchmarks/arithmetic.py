"""The embedded recipe beside its control and without rationalization, for several seeds, as one table.

    python tests/benchmarks/arithmetic.py [--seeds 0 1 2] [--runs runs/benchmark] [--parallel 2] [--set rounds=12]

The control takes the same number of SFT steps on the seed rationales alone. The final checkpoints answer 100 held-out
problems of each shape (the runs themselves evaluate on 20), and the STaR paper's own test, both operands of n digits,
is the diagonal of that table.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfimprove.records import Problem

VARIANTS = {
    "STaR": (),
    "STaR without rationalization": ("rationalize=null",),
    "control: seeds only": ("select.sources=seed", "repair=null", "rationalize=null", "frontier.problems=16"),
}
SEEN_TOTAL = 6
FINAL_PROBLEMS = 100


def run_name(variant: str, seed: int) -> str:
    return f"{variant.split(':')[0].lower().replace(' ', '-')}-{seed}"


def run_all(options: argparse.Namespace) -> None:
    """Run each variant and seed in a process of its own, with one thread each."""
    waiting = []
    for variant, changes in VARIANTS.items():
        for seed in options.seeds:
            command = [sys.executable, "-m", "selfimprove.cli", "run", "arithmetic", "--name", run_name(variant, seed)]
            command += ["--runs", str(options.runs)]
            for change in (f"seed={seed}", *changes, *options.set):
                command += ["--set", change]
            waiting.append(command)
    run_processes(waiting, options.parallel)


def run_processes(commands: Sequence[Sequence[str]], parallel: int) -> None:
    """Run commands, so many at a time, with one thread each; the first one that fails ends them all."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    waiting, running = list(commands), list[subprocess.Popen[bytes]]()
    while waiting or running:
        while waiting and len(running) < parallel:
            running.append(subprocess.Popen(waiting.pop(0), env=environment, stdout=subprocess.DEVNULL))
        time.sleep(0.5)
        for process in [one for one in running if one.poll() is not None]:
            running.remove(process)
            if process.returncode:
                for other in running:
                    other.terminate()
                raise SystemExit(f"{process.args}: ended with code {process.returncode}")


def final_accuracy(folder: Path) -> dict[str, float]:
    """Greedy accuracy of a run's best checkpoint by shape, on more held-out problems than the run itself used."""
    from selfimprove.recipe.task_settings import ArithmeticTask
    from selfimprove.store import RunFolder
    from selfimprove.tasks import Arithmetic

    problems = Arithmetic(ArithmeticTask(held_out=FINAL_PROBLEMS)).held_out()
    return answer_by_shape(folder, RunFolder(folder).recipe().rounds, problems)


def answer_by_shape(folder: Path, round_: int, problems: "Sequence[Problem]") -> dict[str, float]:
    """Greedy accuracy by shape of the checkpoint that a run kept after a round."""
    from selfimprove.engines import Request
    from selfimprove.recipe import Sampling
    from selfimprove.running.engine_slot import load_with_recipe
    from selfimprove.running.session import Session
    from selfimprove.store import RunFolder

    run = RunFolder(folder)
    recipe = run.recipe()
    session = Session(recipe, run)
    engine = load_with_recipe(session.kept_after(round_), session)
    sampling = Sampling(temperature=0.0, max_tokens=recipe.stages.generate.max_tokens)
    right: dict[str, list[bool]] = defaultdict(list)
    for completion in engine.generate([Request(session.prompts.render(one), 0) for one in problems], sampling):
        problem = problems[completion.index]
        right[problem.group].append(session.judging.extract_answer(problem, completion.text) == problem.answer)
    engine.close()
    return {shape: mean(found) for shape, found in right.items()}


def read_run(folder: Path) -> dict[str, Any]:
    from selfimprove.results.status import to_json
    from selfimprove.store import RunFolder

    status = to_json(RunFolder(folder))
    rounds = {
        round_: {one["group"]: one["correct"] / one["n"] for one in found}
        for round_, found in status["evaluations"].items()
    }
    cpu: dict[str, float] = defaultdict(float)
    wall: dict[str, float] = defaultdict(float)
    tokens: dict[str, int] = defaultdict(int)
    model: dict[str, float] = defaultdict(float)
    for stage in status["stages"]:
        cpu[stage["stage"]] += stage["seconds"]["cpu"]
        wall[stage["stage"]] += stage["seconds"]["wall"] - stage["seconds"]["imports"]
        model[stage["stage"]] += stage["seconds"]["model"]
        tokens[stage["stage"]] += sum(stage["tokens"].values())
    return {
        "rounds": rounds,
        "funnels": status["funnels"],
        "cpu": cpu,
        "wall": wall,
        "model": model,
        "tokens": tokens,
        "imports": sum(one["seconds"]["imports"] for one in status["stages"]),
        "outside": status["seconds"]["outside the model"] / status["seconds"]["wall"],
        "final": final_accuracy(folder),
    }


def unseen(shapes: dict[str, float]) -> dict[str, float]:
    return {shape: value for shape, value in shapes.items() if sum(map(int, shape.split("+"))) > SEEN_TOTAL}


def diagonal(shapes: dict[str, float]) -> float:
    return mean(shapes[f"{n}+{n}"] for n in range(1, 6))


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def print_table(title: str, head: list[str], rows: list[list[str]]) -> None:
    print(f"\n{title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join(" --- " for _ in head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def report(options: argparse.Namespace) -> None:
    found = {
        (variant, seed): read_run(options.runs / run_name(variant, seed))
        for variant in VARIANTS
        for seed in options.seeds
    }
    rows = []
    for (variant, seed), run in found.items():
        first, final = unseen(run["rounds"][0]), unseen(run["final"])
        worst = min(final, key=lambda shape: final[shape])
        rows.append([
            variant, str(seed), percent(mean(first.values())), percent(mean(final.values())),
            f"{percent(final[worst])} ({worst})", percent(diagonal(run["final"])),
            f"{sum(run['cpu'].values()) - run['imports']:.0f}", f"{100 * run['outside']:.1f}%",
        ])  # fmt: skip
    print_table(
        f"Accuracy (%) on operand shapes that the seeds do not hold; final: {FINAL_PROBLEMS} held-out problems a shape",
        [
            "run",
            "seed",
            "after warm-up",
            "final",
            "worst shape",
            "n+n digits, n = 1 to 5",
            "CPU s",
            "outside the model",
        ],
        rows,
    )
    for variant in VARIANTS:
        mine = [found[variant, seed] for seed in options.seeds]
        levels = sorted({sum(map(int, shape.split("+"))) for shape in mine[0]["rounds"][0]})
        rows = []
        for round_ in mine[0]["rounds"]:
            cells = []
            for level in levels:
                values = [value for run in mine for shape, value in run["rounds"][round_].items()
                          if sum(map(int, shape.split("+"))) == level]  # fmt: skip
                cells.append(f"{100 * mean(values):.0f}")
            rows.append([str(round_), *cells])
        title = f"{variant}: accuracy (%) by digits in total after each round, mean over seeds {options.seeds}"
        print_table(title, ["round", *map(str, levels)], rows)
    shapes = sorted(unseen(found["STaR", options.seeds[0]]["rounds"][0]))
    rows = [
        [
            str(round_),
            *(
                f"{100 * mean(found['STaR', seed]['rounds'][round_][one] for seed in options.seeds):.0f}"
                for one in shapes
            ),
        ]
        for round_ in found["STaR", options.seeds[0]]["rounds"]
    ]
    print_table(
        f"STaR: accuracy (%) by unseen shape after each round, mean over seeds {options.seeds}",
        ["round", *shapes],
        rows,
    )
    sizes = range(1, 6)
    mine = [found["STaR", seed] for seed in options.seeds]
    for title, pick in (("after warm-up", lambda run: run["rounds"][0]), ("final", lambda run: run["final"])):
        rows = [
            [f"**{m}**", *(f"{100 * mean(pick(run)[f'{m}+{n}'] for run in mine):.0f}" for n in sizes)] for m in sizes
        ]
        print_table(f"STaR, accuracy (%) by operand shape, {title}", ["digits", *map(str, sizes)], rows)
    rows = []
    for stage in mine[0]["cpu"]:
        total = sum(run["tokens"][stage] for run in mine)
        seconds = sum(run["model"][stage] for run in mine)
        rows.append([
            stage, f"{mean(run['cpu'][stage] for run in mine):.1f}", f"{mean(run['wall'][stage] for run in mine):.1f}",
            f"{total / seconds:.0f}" if total and seconds else "",
        ])  # fmt: skip
    print_table("STaR, a run's cost by stage", ["stage", "CPU s (imports counted)", "wall s", "tokens/s"], rows)
    rows = []
    for round_ in mine[0]["funnels"]:
        sums = {name: sum(run["funnels"][round_][name] for run in mine) for name in mine[0]["funnels"][round_]}
        share = sums["wrong_reason"] / sums["correct"] if sums["correct"] else 0.0
        rows.append([
            str(round_), str(sums["sampled"]), str(sums["correct"]), f"{100 * share:.2f}%",
            f"{sums['repaired_correct']} of {sums['repaired']}", str(sums["kept_repaired"]),
            f"{sums['rationalized_correct']} of {sums['rationalized']}",
            f"{sums['kept_rationalized']} of {sums['kept']}",
        ])  # fmt: skip
    print_table(
        f"STaR, from sampled to trained, sums over seeds {options.seeds}",
        [
            "round",
            "sampled",
            "correct",
            "right answer, wrong step",
            "repaired",
            "kept by repair",
            "right by hint",
            "kept by hint",
        ],
        rows,
    )
    summary = {
        f"{variant} {seed}": {"final": run["final"], "rounds": run["rounds"]} for (variant, seed), run in found.items()
    }
    (options.runs / "benchmark.json").write_text(json.dumps(summary, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    run_all(options)
    report(options)


if __name__ == "__main__":
    main()
