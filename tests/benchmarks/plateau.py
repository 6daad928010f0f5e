"""Ways out of a plateau, each beside its control from the same checkpoint: a few rounds of the embedded recipe.

    python tests/benchmarks/plateau.py MODEL [--seeds 0 1] [--rounds 2] [--runs runs/plateau] [--set sft.steps=60]

MODEL is a checkpoint of the embedded recipe, such as `runs/arithmetic/round-00/warmup/checkpoint`. Each way goes on
from it for some rounds with the same seeds and numbers of problems and of SFT steps; what it adds to the control costs
more CPU, which stands beside it. The accuracy is that on all held-out problems, by greedy answers.
"""

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from selfimprove.recipe.file import load_recipe
from selfimprove.records import Evaluation
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder

COMMON = (
    "warmup=null", "rationalize=null", "select.sources=samples", "frontier.problems=300", "generate.part_size=300",
    "sft.steps=60", "promote.rule=always", "train.held_out=12", "repair.limit=100",
)  # fmt: skip
PAIRS = (
    "prefer={cut: step, per_problem: 2}",
    "dpo={steps: 20, batch_size: 16, learning_rate: 0.0003, nll: 5, measure: 0}",
)
DISTILL = "distill={{steps: 20, optimizer: muon, learning_rate: 0.003, of: {of}}}"
WAYS: dict[str, tuple[str, ...]] = {
    "control": (),
    "80 SFT steps": ("sft.steps=80",),
    "forced departures": ("repair.explore=16",),
    "Step-DPO pairs": PAIRS,
    "self-distillation, failed texts": (DISTILL.format(of="failed"),),
    "self-distillation, all texts": (DISTILL.format(of="all"),),
    "isolated steps": ("frontier.isolate=0.5",),
    "two restarts": ("sft.restarts=2",),
}


def accuracy(run: RunFolder, round_: int) -> float:
    found = run.stage(round_, "evaluate").read(Evaluation)
    return sum(one.correct for one in found) / sum(one.n for one in found)


def measure(name: str, seed: int, options: argparse.Namespace) -> tuple[float, float, float]:
    """The accuracy before and after, and the CPU seconds between."""
    changes = [*COMMON, f"model={{path: {options.model}}}", f"seed={seed}", f"rounds={options.rounds}", *options.set]
    folder = RunFolder(options.runs / f"{name.replace(' ', '-').replace(',', '')}-{seed}")
    began = time.process_time()
    run_loop(load_recipe("arithmetic", [*changes, *WAYS[name]]), folder)
    return accuracy(folder, 0), accuracy(folder, options.rounds), time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/plateau"))
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--ways", nargs="+", default=[*WAYS], choices=[*WAYS])
    options = parser.parse_args()
    options.model = options.model.resolve()
    found: Mapping[str, list[tuple[float, float, float]]] = {name: [] for name in options.ways}
    for seed in options.seeds:
        for name in options.ways:
            found[name].append(one := measure(name, seed, options))
            print(f"seed {seed}, {name}: {one[0]:.1%} to {one[1]:.1%}, {one[2]:.0f} CPU s", flush=True)
    print("\n| way | accuracy after, by seed | mean | CPU seconds |\n| --- | --- | --- | --- |")
    for name, rows in found.items():
        after = " / ".join(f"{100 * one[1]:.1f}" for one in rows)
        print(f"| {name} | {after} | {100 * mean(one[1] for one in rows):.1f} | {mean(one[2] for one in rows):.0f} |")


if __name__ == "__main__":
    main()
