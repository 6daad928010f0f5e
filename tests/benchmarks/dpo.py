"""What DPO does to a checkpoint of the embedded recipe, setting by setting, beside more SFT on the same pairs.

    python tests/benchmarks/dpo.py RUN [--round 3] [--steps 80] [--pairs 400] [--seeds 0 1 2]

RUN is a finished run of `arithmetic`. All settings start from the round's SFT checkpoint (or its incumbent), take the
same number of steps of the same batch size on pairs of that round's samples, and answer the run's held-out problems
greedily. `NLL` is SFT on the chosen texts alone.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

from selfimprove.engines import Request
from selfimprove.recipe import Sampling, SupervisedTraining
from selfimprove.records import Example, Preference, Problem, Rationale, Verdict, by_id, derive_seed
from selfimprove.running.engine_slot import load_with_recipe
from selfimprove.running.session import Session
from selfimprove.stages.dpo import Dpo
from selfimprove.stages.prefer import Prefer, prefer
from selfimprove.store import RunFolder
from selfimprove.store.parts import write_part
from selfimprove.trainers.job import DpoJob, SftJob
from selfimprove.trainers.run import run_job


@dataclass(frozen=True)
class Variant:
    """One setting; without `dpo` it is SFT."""

    name: str
    training: dict[str, Any]
    dpo: dict[str, Any] | None = None


ADAMW, MUON = {"optimizer": "adamw"}, {"optimizer": "muon"}
VARIANTS = [
    Variant("NLL, AdamW 1e-3", {**ADAMW, "learning_rate": 1e-3}),
    Variant("NLL, AdamW 1e-4", {**ADAMW, "learning_rate": 1e-4}),
    Variant("DPO, Muon 1e-3, beta 0.1", {**MUON, "learning_rate": 1e-3}, {"nll": 0.0}),
    Variant("DPO+NLL, Muon 1e-3, beta 0.1", {**MUON, "learning_rate": 1e-3}, {"nll": 1.0}),
    *(
        Variant(f"DPO{f'+{nll:g} NLL' if nll else ''}, AdamW {rate:g}, beta {beta:g}",
                {**ADAMW, "learning_rate": rate}, {"nll": nll, "beta": beta})
        for nll in (0.0, 1.0, 20.0) for rate in (3e-5, 1e-4, 3e-4) for beta in (0.1, 0.5, 2.0)
    ),
    *(
        Variant(f"DPO by length+{nll:g} NLL, AdamW {rate:g}, beta {beta:g}",
                {**ADAMW, "learning_rate": rate}, {"nll": nll, "beta": beta, "loss": "sigmoid_norm"})
        for nll in (1.0,) for rate in (1e-4, 3e-4) for beta in (2.0, 10.0)
    ),
]  # fmt: skip


def open_run(folder: Path) -> Session:
    run = RunFolder(folder)
    recipe = run.recipe()
    return Session(recipe, run)


def read_pairs(session: Session, round_: int, limit: int, cut: Any) -> list[Preference]:
    stages = ("generate", "repair")
    written = [one for name in stages for one in session.read((round_, name), Rationale)]
    verdicts = {one.rationale: one for name in ("verify", "repair") for one in session.read((round_, name), Verdict)}
    judged = sorted(((one, verdicts[one.id]) for one in written), key=lambda one: one[0].problem)
    return list(
        prefer(
            (list(some) for _, some in groupby(judged, key=lambda one: one[0].problem)),
            problems=by_id(session.read((round_, "frontier"), Problem)),
            prompts=session.prompts,
            shown=False,
            require=session.recipe.stages.select,
            settings=Prefer(per_problem=2, limit=limit, cut=cut),
        )
    )


def accuracy(session: Session, folder: str) -> float:
    """Greedy accuracy on the run's held-out problems."""
    checkpoint = session.first_checkpoint().model_copy(update={"path": folder})
    engine = load_with_recipe(checkpoint, session)
    problems = session.inputs.held_out
    sampling = Sampling(temperature=0.0, max_tokens=session.recipe.stages.generate.max_tokens)
    right = [
        session.judging.extract_answer(problems[one.index], one.text) == problems[one.index].answer
        for one in engine.generate([Request(session.prompts.render(one), 0) for one in problems], sampling)
    ]
    engine.close()
    return mean(right)


def train(variant: Variant, pairs: Sequence[Preference], start: str, folder: Path, steps: int, seed: int) -> list[Any]:
    """Train a setting into `folder`; gives its curve."""
    shared: dict[str, Any] = {
        "model": start, "examples": folder / "rows.parquet", "output": folder / "checkpoint", "steps": steps,
        "seed": derive_seed(seed, "dpo"), "device": "cpu", "threads": 1,
    }  # fmt: skip
    settings = {"batch_size": 16, "warmup_steps": 8, "max_length": 512, **variant.training}
    if variant.dpo is None:
        rows = {one.chosen + one.prompt: one for one in pairs}.values()
        examples = [Example(prompt=one.prompt, completion=one.chosen, origin="sampled", group="") for one in rows]
        write_part(shared["examples"], Example, examples)
        return run_job(SftJob(settings=SupervisedTraining(**settings), **shared)).curve
    write_part(shared["examples"], Preference, pairs)
    return run_job(DpoJob(settings=Dpo(**settings, **variant.dpo), **shared)).curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--round", type=int, default=3)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--cut", choices=("whole", "step"), default="whole")
    parser.add_argument("--start", choices=("incumbent", "sft"), default="sft", help="the round's checkpoint")
    parser.add_argument("--only", nargs="+", default=[""], help="settings whose names hold one of these")
    options = parser.parse_args()
    session = open_run(options.run)
    session.import_models()
    pairs = read_pairs(session, options.round, options.pairs, options.cut)
    after = options.round - (options.start != "sft")
    start = str(Path(session.weights(session.kept_after(after))).resolve())
    before = accuracy(session, start)
    print(
        f"{len(pairs)} pairs of round {options.round}, {options.steps} steps of 16 from the {options.start} checkpoint "
        f"with {before:.3f}\n"
    )
    print("| setting | held-out accuracy | margin | log-probability of the chosen | of the rejected |")
    print("|---|---:|---:|---:|---:|")
    for variant in VARIANTS:
        if not any(one in variant.name for one in options.only):
            continue
        if options.cut == "step" and variant.dpo is None:
            continue  # SFT would teach it to end after a step
        found, curve = [], []
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as name:
                curve = train(variant, pairs, start, Path(name), options.steps, seed)
                found.append(accuracy(session, str(Path(name) / "checkpoint")))
        first, last = curve[0].values, curve[-1].values
        shown = [f"{last['margin']:.2f}", *(f"{first[name]:.1f} to {last[name]:.1f}" for name in (
            "chosen log-probability", "rejected log-probability"))] if last else ["", "", ""]  # fmt: skip
        print(f"| {variant.name} | {' '.join(f'{one:.3f}' for one in found)} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
