"""Instruction tuning on many clusters of tasks beside one cluster and one template, at equal tokens.

    python tests/benchmarks/mixture.py [--runs runs] [--seeds 0..2] [--tokens 200000] [--set KEY=VALUE]

A task is to give one letter of four: the prompt says which one by a word, and a cluster is a place (first, second,
third, last) among one kind of letters. Four clusters are held out and asked by all four templates: each place and each
kind of letters stands in other clusters, and these pairs of them in none that is trained. All runs train a tiny Llama
of random weights on as many tokens for as many steps.
"""

import argparse
import itertools
import json
import random
from pathlib import Path

import yaml

from selfimprove.engines.build import build_model
from selfimprove.recipe import Build
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Evaluation
from selfimprove.records.stats import describe_share, mean_interval
from selfimprove.running.loop import run_loop
from selfimprove.running.sweep import read_seeds
from selfimprove.store import RunFolder

KINDS = {one: one for one in ("01234567", "abcdefgh", "ijklmnop", "qrstuvwx", "ABCDEFGH", "IJKLMNOP", "QRSTUVWX")}
PLACES = {"first": 0, "second": 1, "third": 2, "last": 3}
HELD_OUT = ("first-abcdefgh", "second-IJKLMNOP", "third-01234567", "last-QRSTUVWX")
ONE = "first-01234567"
TEMPLATES = {
    "plain": "{{place}} of {{text}}?",
    "backwards": "{{text}}: {{place}}=",
    "asked for": "take {{text}}, say {{place}}>",
    "tight": "{{place}}{{text}}",
}
ARMS = {
    "24 clusters, four templates": ("many", ()),
    "one cluster, four templates": ("many", (f"mix.clusters=[{ONE}]",)),
    "24 clusters, one template": ("few", ()),
}
RECIPE = """
rounds: 1
flow: [mix, sft, evaluate]
engine: {batch_size: 512, threads: 1}
stages:
  sft: {epochs: 8, batch_size: 64, max_length: 64, optimizer: muon, learning_rate: 0.02, warmup_steps: 20}
  evaluate: {max_tokens: 3, part_size: 1000}
"""


def write_data(folder: Path) -> None:
    """The data sets, and the mixtures `many` and `few`, of which the second trains on one template alone."""
    rng = random.Random(0)
    sets = {}
    for (place, at), (kind, letters) in itertools.product(PLACES.items(), KINDS.items()):
        texts = ["".join(one) for one in itertools.product(letters, repeat=4)]
        rng.shuffle(texts)
        name = f"{place}-{kind}"
        found = [json.dumps({"place": place, "text": one, "answer": one[at]}) for one in texts]
        (folder / f"{name}.jsonl").write_text("\n".join(found))
        templates = {one: {"prompt": text, "completion": "{{answer}}"} for one, text in TEMPLATES.items()}
        sets[name] = {"cluster": name, "path": f"{name}.jsonl", "templates": templates}
    for mixture in ("many", "few"):
        if mixture == "few":
            for name in sets.keys() - {*HELD_OUT}:
                sets[name]["templates"] = {"plain": sets[name]["templates"]["plain"]}  # type: ignore[index]
        data = {"hold_out": list(HELD_OUT), "data_sets": sets}
        (folder / f"{mixture}.yaml").write_text(yaml.safe_dump(data, sort_keys=False))


def measure(folder: RunFolder, level: int) -> tuple[int, int]:
    """How many answers are right after training, of how many: level 1 is what is held out."""
    found = [one for one in folder.stage(1, "evaluate").read(Evaluation) if one.level == level]
    return sum(one.correct for one in found), sum(one.n for one in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", default="0..2")
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    data = given.runs / "mixture-data"
    data.mkdir(parents=True, exist_ok=True)
    write_data(data)
    print(
        "| seed | trained on | held-out clusters | trained clusters, new rows |\n| --- | --- | --- | --- |", flush=True
    )
    reached: dict[str, list[float]] = {name: [] for name in ARMS}
    alphabet = "".join(sorted({*"".join((*KINDS.values(), *PLACES, *TEMPLATES.values()))} - {*"{}"}))
    for seed in read_seeds(given.seeds):
        model = data / f"model-{seed}"
        if not model.exists():
            build_model(Build(alphabet=alphabet), model, seed)
        for at, (arm, (mixture, changes)) in enumerate(ARMS.items()):
            recipe = load_recipe(
                {
                    **yaml.safe_load(RECIPE),
                    "name": f"mixture-{at}-seed-{seed}",
                    "seed": seed,
                    "model": {"path": str(model), "device": "cpu"},
                    "train": {
                        "name": "mixture/mine",
                        "file": str(data / f"{mixture}.yaml"),
                        "held_out": 400,
                        "seen": 60,
                    },
                },
                [f"mix={{tokens: {given.tokens}}}", *changes, *given.set],
            )
            folder = RunFolder(given.runs / recipe.name)
            run_loop(recipe, folder)
            held, trained = measure(folder, 1), measure(folder, 0)
            reached[arm].append(held[0] / held[1])
            print(f"| {seed} | {arm} | {describe_share(*held)} | {describe_share(*trained)} |", flush=True)
    first, *others = ARMS
    for other in others:
        gains = [one - two for one, two in zip(reached[first], reached[other], strict=True)]
        interval = mean_interval(gains, (-1.0, 1.0))
        said = f" ({interval[0]:+.1%} to {interval[1]:+.1%})" if interval else ""
        print(f"\n{first} less {other}, seed by seed: {sum(gains) / len(gains):+.1%}{said}")


if __name__ == "__main__":
    main()
