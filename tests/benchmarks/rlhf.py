"""The InstructGPT pipeline beside best-of-n and DPO on the same comparisons: gold, proxy, KL and length.

    python tests/benchmarks/rlhf.py [--runs runs] [--seeds 0..2] [--kl 0.03,0.1,0.3,1] [--comparisons 2000]
                                    [--problems 40] [--samples 16] [--set KEY=VALUE]

Runs the recipes `rlhf` (once for each KL coefficient) and `rlhf-dpo`, those that are there already continued, and then
has every policy write texts for held-out problems: gold is what the rule gives them, proxy the reward model of that
seed in standard deviations, KL the mean of log policy - log start over whole texts, in nats. The start is the SFT model
on the demonstrations. Means over seeds stand with Student's 95% interval.
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from selfimprove.engines import Request
from selfimprove.recipe import Recipe, Sampling
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint, Problem, derive_seed
from selfimprove.records.stats import mean_interval
from selfimprove.results.overoptimise import Point, best_of_n_points
from selfimprove.running.loop import run_loop
from selfimprove.running.overoptimise import begin_as_copy, find_names, make_cells, measure_best_of_n
from selfimprove.running.session import Session
from selfimprove.running.sweep import read_seeds
from selfimprove.store import RunFolder
from selfimprove.trainers.rewarding import reward_model_function, rule_function

NOWHERE = (float("-inf"), float("inf"))


def measure_policy(
    recipe: Recipe, folder: RunFolder, models: Sequence[str], gold: str, problems: int, samples: int
) -> Point:
    """What the texts of a run's last policy are worth on held-out problems."""
    session = Session(recipe, folder)
    with closing(session):
        start = session.first_checkpoint()
        key = [one for one, stage in session.plan.items() if stage.declared.trains == "policy" and one[0]][-1]
        policy = session.read(key, Checkpoint)[-1]
        chosen = sorted(session.inputs.held_out, key=lambda one: derive_seed("rlhf", one.id))[:problems]
        asked: list[Problem] = [one for one in chosen for _ in range(samples)]
        prompts = [session.prompts.render(one) for one in asked]
        requests = [Request(prompt, derive_seed("rlhf", at)) for at, prompt in enumerate(prompts)]
        sampling = Sampling(temperature=1.0, max_tokens=25)
        written = sorted(session.engine(policy).generate(requests, sampling), key=lambda one: one.index)
        ratios = []
        for end in (True, False):
            some = [one for one in written if (one.finish == "stop") == end and (end or one.text)]
            pairs = [(prompts[one.index], one.text if one.token_ids is None else one.token_ids) for one in some]
            scores = session.engine(start).score(pairs, end=end) if pairs else []
            ratios += [(one.logprob or 0.0) - score.logprob for one, score in zip(some, scores, strict=True)]
    texts = [one.text for one in written]
    proxies = [one for one in reward_model_function(models, device="cpu")(prompts, texts, asked) if one is not None]
    golds = [one for one in rule_function(gold)(prompts, texts, asked) if one is not None]
    return Point(fmean(ratios), fmean(proxies), fmean(golds), 0.0, fmean(map(len, texts)))


def row(name: str, points: Sequence[Point]) -> str:
    cells = []
    for figure in ("gold", "reward", "kl", "length"):
        values = [getattr(one, figure) for one in points]
        interval = mean_interval(values, NOWHERE)
        cells.append(f"{fmean(values):.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""))
    return f"| {name} | {' | '.join(cells)} | {len(points)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", default="0..2")
    parser.add_argument("--kl", default="0.03,0.1,0.3,1")
    parser.add_argument("--comparisons", type=int, default=2000)
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    names, kls = find_names(load_recipe("rlhf", given.set)), [float(one) for one in given.kl.split(",")]
    cells = make_cells("rlhf", names, [given.comparisons], read_seeds(given.seeds), kls, False)
    found: dict[str, list[Point]] = {"start": [], f"best of {given.samples}": []}
    pool = (given.problems, given.samples)
    for cell in cells:
        recipe, folder = load_recipe("rlhf", [*given.set, *cell.changes]), RunFolder(given.runs / cell.name)
        begin_as_copy(cell, recipe, given.runs)
        run_loop(recipe, folder)
        models = [str(folder.path / one.path) for one in folder.stage(1, names.reward).read(Checkpoint)]
        if not cell.like:
            best = best_of_n_points(measure_best_of_n(recipe, folder, names.gold, given.runs / "rlhf-benchmark", *pool))
            found["start"].append(best[0])
            found[f"best of {given.samples}"].append(best[-1])
            changes = (f"name=rlhf-dpo-n-{cell.comparisons}-seed-{cell.seed}", *cell.changes[1:3])
            dpo = load_recipe(
                "rlhf-dpo", [*(one for one in given.set if not one.startswith(("rl", "reward"))), *changes]
            )
            begin_as_copy(replace(cell, name=dpo.name, like=cell.name), dpo, given.runs)
            run_loop(dpo, RunFolder(given.runs / dpo.name))
            point = measure_policy(dpo, RunFolder(given.runs / dpo.name), models, names.gold, *pool)
            found.setdefault("DPO on the same comparisons", []).append(point)
        name = f"RL, {cell.kl:g} a nat"
        found.setdefault(name, []).append(measure_policy(recipe, folder, models, names.gold, *pool))
    print("| policy | gold | proxy | KL | characters | seeds |\n| --- | --- | --- | --- | --- | --- |")
    for name, points in found.items():
        print(row(name, points))


if __name__ == "__main__":
    main()
