"""Does a constitution change a model, and do the revisions do it? Two recipes on a chat model, with their controls.

    python tests/benchmarks/constitution.py --model FOLDER [--recipes concise as-asked] [--seeds 0..2] [--runs runs]
        [--set KEY=VALUE]

For each seed: the recipe up to SFT, the same run gone on with to DPO, SFT on the model's own first answers with as many
steps, and SFT on rejection sampling alone, with about as many tokens. What a row says of all seeds together is of all
their answers; the mean of the checks is a mean over the seeds, with the least and the most. A judge (the first model)
says of `comply.limit` prompts which answer follows all principles better, in both orders. A command that was stopped
goes on where it was.
"""

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from selfimprove.constitution.adherence import FIGURES, START, WHOLE
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.policies import find_policy
from selfimprove.records.stats import WinRate, describe_share
from selfimprove.running.loop import run_loop
from selfimprove.running.sweep import read_seeds
from selfimprove.store import RunFolder

NO_REVISIONS = (
    "revise=null", "prefer=null", "dpo=null", "rank.reward=constitution", "best.keep=1",
    "flow=[frontier, generate, verify, rank, best, sft, evaluate, comply, promote]",
)  # fmt: skip
ARMS: Mapping[str, Sequence[str]] = {
    "start": ("rounds=0",),
    "revised, SFT": ("prefer=null", "dpo=null"),
    "revised, SFT, DPO": (),
    "own answers, SFT": (*NO_REVISIONS, "generate.samples=1"),
    "rejection sampling, SFT": (*NO_REVISIONS, "generate.samples=3", "best.above=1"),
}
GOES_ON_WITH = {"revised, SFT, DPO": "revised, SFT"}
"""Of which arm's stages another one is a continuation; all go on with the evaluation of the start."""


def run_arm(given: argparse.Namespace, name: str, seed: int, arm: str) -> RunFolder:
    """The run of an arm, a copy of one that it goes on with where it is not there."""

    def place(arm: str) -> Path:
        return Path(given.runs / f"{name}-{seed}-{arm.replace(', ', '-').replace(' ', '-')}")

    if arm != "start" and not place(arm).exists():
        shutil.copytree(place(GOES_ON_WITH.get(arm, "start")), place(arm))
    changes = [f"seed={seed}", f"model.path={given.model}", f"name={place(arm).name}", *ARMS[arm], *given.set]
    run_loop(load_recipe(find_policy("recipes", name), changes), RunFolder(place(arm)), redo=("all",))
    return RunFolder(place(arm))


def figures_of(run: RunFolder, round_: int) -> dict[str, Any]:
    manifest = run.stage(round_, "comply").manifest()
    assert manifest
    found: dict[str, Any] = manifest.metrics[FIGURES]  # type: ignore[assignment]
    return found


def mean_of_checks(figures: Mapping[str, Any]) -> float:
    return mean(one["count"] / one["n"] for name, one in figures["checked"].items() if name != WHOLE)


def describe(name: str, found: Sequence[Mapping[str, Any]]) -> str:
    """One figure of an arm, of all seeds together."""
    shares = [one["checked"][name] for one in found if name in one["checked"]]
    return describe_share(sum(one["count"] for one in shares), sum(one["n"] for one in shares)) if shares else ""


def judged(found: Sequence[Mapping[str, Any]]) -> str:
    """How often a judge prefers an arm's answers to those of the start, by all principles together."""
    sides = [beside["judged"] for one in found if (beside := one["beside"].get(START))]
    rates = [next(iter(reversed(one.values()))) for one in sides if one]
    if not rates:
        return ""
    won, ties, lost = (sum(one[name] for one in rates) for name in ("won", "ties", "lost"))
    whole = WinRate(won, ties, lost, (0.0, 0.0, 0.0))
    low, high = whole.interval
    return f"{whole.rate:.1%} ({low:.1%} to {high:.1%}) of {whole.n}, {ties} ties, p = {whole.p_value:.2g}"


def print_table(name: str, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    names = list(dict.fromkeys(key for mine in found.values() for one in mine for key in one["checked"]))
    print(f"\n| {name} | {' | '.join([*names, 'mean of the checks', 'preferred to the start'])} |")
    print(f"|{' --- |' * (len(names) + 3)}")
    for arm, mine in found.items():
        means = [mean_of_checks(one) for one in mine]
        middle = f"{mean(means):.1%}" + (f" ({min(means):.1%} to {max(means):.1%})" if min(means) < max(means) else "")
        print(f"| {arm} | {' | '.join([*(describe(one, mine) for one in names), middle, judged(mine)])} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the folder of a chat model")
    parser.add_argument("--recipes", nargs="+", default=["concise", "as-asked"])
    parser.add_argument("--seeds", default="0..2")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    for name in given.recipes:
        found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
        for seed in read_seeds(given.seeds):
            for arm in ARMS:
                started = time.process_time()
                run = run_arm(given, name, seed, arm)
                print(f"{run.path.name}: {time.process_time() - started:.0f} CPU s", flush=True)
                found[arm].append(figures_of(run, 0 if arm == "start" else 1))
        print_table(name, found)


if __name__ == "__main__":
    main()
