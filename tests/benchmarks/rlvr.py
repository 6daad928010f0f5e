"""RL with verifiable rewards beside STaR on addition, at equal CPU seconds.

    python tests/benchmarks/rlvr.py [--runs runs] [--seeds 0..2] [--rounds 2] [--star-rounds 8] [--set KEY=VALUE]

Both begin with the warm-up of the recipe `rlvr` and draw the same kinds of problems. STaR samples as often as RL does,
trains on what is right, and goes on from its last checkpoint. CPU seconds are those of all stages of the rounds but the
evaluations, imports left out; of STaR the last round counts that ends within those of RLVR.
"""

import argparse
from pathlib import Path

from selfimprove.recipe.file import load_recipe
from selfimprove.records import Evaluation
from selfimprove.records.stats import describe_share, mean_interval
from selfimprove.running.figures import read_manifests
from selfimprove.running.loop import run_loop
from selfimprove.running.sweep import read_seeds
from selfimprove.store import RunFolder

STAR = (
    "flow=[frontier, generate, verify, select, sft, evaluate, promote]",
    "rl=null",
    "generate={samples: 8, temperature: 1.0, max_tokens: 36}",
    "select={sources: seed+samples, pool: cumulative}",
    "sft={start: last, steps: 100, batch_size: 64, learning_rate: 0.001, warmup_steps: 10}",
)
COUNTED_ELSEWHERE = ("evaluate",)


def cpu_by_round(folder: RunFolder) -> dict[int, float]:
    """CPU seconds from round 1 to the end of each round."""
    found: dict[int, float] = {0: 0.0}
    for one in read_manifests(folder):
        if one.round and one.stage not in COUNTED_ELSEWHERE:
            found.setdefault(one.round, found[one.round - 1])
            found[one.round] += one.seconds.cpu
    return found


def accuracy(folder: RunFolder, round_: int) -> tuple[int, int]:
    found = folder.stage(round_, "evaluate").read(Evaluation)
    return sum(one.correct for one in found), sum(one.n for one in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", default="0..2")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--star-rounds", type=int, default=8)
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    print("| seed | run | rounds | CPU s | before | after |\n| --- | --- | --- | --- | --- | --- |")
    gains = []
    for seed in read_seeds(given.seeds):
        kinds = {"rlvr": (f"rounds={given.rounds}",), "star": (f"rounds={given.star_rounds}", *STAR)}
        reached, limit = {}, 0.0
        for kind, changes in kinds.items():
            recipe = load_recipe("rlvr", [*given.set, *changes, f"seed={seed}", f"name=rlvr-{kind}-seed-{seed}"])
            folder = RunFolder(given.runs / recipe.name)
            run_loop(recipe, folder)
            seconds = cpu_by_round(folder)
            limit = limit or seconds[given.rounds]
            last = max(one for one, spent in seconds.items() if spent <= limit)
            before, after = accuracy(folder, 0), accuracy(folder, last)
            reached[kind] = after[0] / after[1]
            called = {"rlvr": "RLVR", "star": "STaR"}[kind]
            shares = f"{describe_share(*before)} | {describe_share(*after)}"
            print(f"| {seed} | {called} | {last} | {seconds[last]:.0f} | {shares} |")
        gains.append(reached["rlvr"] - reached["star"])
    interval = mean_interval(gains, (-1.0, 1.0))
    if interval:
        mean = sum(gains) / len(gains)
        print(f"\nRLVR less STaR, seed by seed: {mean:+.1%} ({interval[0]:+.1%} to {interval[1]:+.1%})")


if __name__ == "__main__":
    main()
