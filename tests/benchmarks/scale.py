"""What 8, 64 and 512 GPUs would need of the machines around them, from constants that are measured here.

    python tests/benchmarks/scale.py [--data FOLDER] [--rounds 3] [--tokenizer FOLDER]

Measured, as CPU seconds of one core, medians over the rounds: a run's own stages `generate`, `verify` and `select` on
GSM8K (with the solutions of the data set as the model's texts, three of four of another problem), and verdicts on
formulas, which need sympy in worker processes. Bytes are those of the run's files.

Assumed, because no GPU is measured: the tokens that a GPU writes a second (public figures for vLLM lie between about
3,000, a model of 14 billion parameters on an A100, and 12,500, one of 8 billion on an H100:
https://www.morphllm.com/vllm-benchmarks), the cores that a machine has for each GPU, and what shared storage takes in.
The driver is the one process that selects from a round while no GPU writes: `select` reads what it goes by itself, and
that is part of its time. Without --tokenizer a token is four characters.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from agreement import records
from pairs import DATA, read_data
from verify import empty_caches, judge, latex, measure

from selfimprove.engines import ScriptedEngine
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Checkpoint, Problem, Rationale
from selfimprove.running.loop import run_stage
from selfimprove.running.parts import Sequential
from selfimprove.running.session import Session
from selfimprove.store import RunFolder
from selfimprove.verifiers.math import MathVerifier
from selfimprove.verifiers.workers import VerifierPool

GPUS, RATES = (8, 64, 512), (2_000, 10_000)  # tokens a second and GPU
STAGES = ("problems", "base", "frontier", "generate", "verify", "select")
RECIPE = """
name: scale
rounds: 1
model: {path: nothing}
train: {name: gsm8k, path: %s, held_out: 10}
prompt: {style: zero-shot-cot, cue: "\\nA: ", chat: never}
stages:
  frontier: {problems: 1000, policy: all}
  generate: {samples: 4, part_size: 256}
  verify: {overlap: false}
  sft: {}
"""


@dataclass(frozen=True)
class Constants:
    """What one trace costs: CPU milliseconds of one core, bytes on disk, tokens."""

    generate: float
    verify: float
    formulas: float
    select: float
    bytes: float
    characters: float
    tokens: float


def run_stages(folder: Path, data: Path) -> tuple[RunFolder, Session]:
    """A run's round up to `select`, with an engine that knows GSM8K's solutions."""
    (folder / "scale.yaml").write_text(RECIPE % (data / "gsm8k"))
    run = RunFolder(folder / "run")
    solutions = {}
    for line in (data / "gsm8k" / "train.jsonl").read_text().splitlines():
        row = json.loads(line)
        solutions[row["question"].strip()] = row["answer"]
    texts = list(solutions.values())
    by_prompt: dict[str, str] = {}

    def write(prompt: str, seed: int) -> str:
        return by_prompt[prompt] if seed % 4 == 0 else texts[seed % len(texts)]

    session = Session(load_recipe(str(folder / "scale.yaml")), run, load=lambda *_: ScriptedEngine(write))
    with run:
        for stage in session.plan.values():
            if stage.name == "base":  # no model is there
                disk = run.stage(*stage.key, stage.fingerprint)
                disk.begin({})
                disk.write_part("checkpoint", 0, [Checkpoint(path="nothing", method="base", weights="")])
            elif stage.name in STAGES:
                if stage.name == "generate":
                    drawn: list[Problem] = session.read((1, "frontier"), Problem)
                    by_prompt.update({session.prompts.render(one): solutions[one.question] for one in drawn})
                session.clock.lap()
                run_stage(stage, run.stage(*stage.key, stage.fingerprint), session, Sequential())
    session.close()
    return run, session


def measure_constants(data: Path, rounds: int, count_tokens: Callable[[str], float]) -> Constants:
    rows: list[dict[str, float]] = []
    real, verifier, rng = read_data(data), MathVerifier(VerifierSettings(name="math")), random.Random(0)
    with VerifierPool() as pool:
        judge(pool, [records(pair, verifier) for pair in latex(real, rng, 20)])  # its workers are started
        for _ in range(rounds):
            empty_caches()
            with tempfile.TemporaryDirectory() as folder:
                run, _ = run_stages(Path(folder), data)
                seconds = {name: run.stage(1, name).manifest().seconds.cpu for name in STAGES[3:]}  # type: ignore[union-attr]
                rationales = run.stage(1, "generate").read(Rationale)
                size = sum(file.stat().st_size for name in STAGES[3:] for file in run.stage(1, name).files())
            n = len(rationales)
            pairs = [records(pair, verifier) for pair in latex(real, rng, 200)]
            formulas = measure(lambda pairs=pairs: judge(pool, pairs))  # type: ignore[misc]
            row = {name: 1000 * spent / n for name, spent in seconds.items()}
            row |= {"formulas": 1000 * formulas.cpu / formulas.verdicts, "bytes": size / n}
            row["characters"] = sum(len(one.text) for one in rationales) / n
            row["tokens"] = sum(count_tokens(one.text) for one in rationales) / n
            rows.append(row)
    return Constants(**{name: median(row[name] for row in rows) for name in Constants.__dataclass_fields__})


def describe(one: Constants) -> str:
    return (
        f"A trace: {one.characters:.0f} characters, {one.tokens:.0f} tokens, {one.bytes:.0f} bytes on disk with its "
        f"verdict, its decision and its example.\nCPU milliseconds a trace: {one.generate:.3f} to record and write it, "
        f"{one.verify:.3f} to judge it and write the verdict ({one.formulas:.2f} where the answer is a formula), "
        f"{one.select:.3f} to read it back and select it."
    )


def table(one: Constants, cores: float, storage: float) -> list[str]:
    """What each size of cluster needs while all of its GPUs write."""
    lines = [
        "| GPUs | tokens/s a GPU | traces/s | cores a GPU: record and write | judge | judge formulas | MB/s to disk | "
        "GB an hour | driver: s a second of generation | what is full |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for gpus in GPUS:
        for rate in RATES:
            traces = gpus * rate / one.tokens
            each = traces / gpus / 1000  # times CPU milliseconds: cores a GPU
            megabytes, driver = traces * one.bytes / 1e6, traces * one.select / 1000
            use = {
                "cores beside the GPUs": each * (one.generate + one.verify) / cores,
                "storage": megabytes / storage,
                "the driver": driver,
            }
            full = max(use, key=lambda name: use[name])
            lines.append(
                f"| {gpus} | {rate:,} | {traces:,.0f} | {each * one.generate:.2f} | {each * one.verify:.2f} | "
                f"{each * one.formulas:.2f} | {megabytes:.1f} | {megabytes * 3.6:.0f} | {driver:.2f} | "
                f"{full if use[full] >= 1 else f'the GPUs, then {full}'} ({use[full]:.0%}) |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokenizer", help="a folder, to count tokens by")
    parser.add_argument("--cores", type=float, default=12, help="cores that a machine has for each GPU")
    parser.add_argument("--storage", type=float, default=1000, help="MB/s that shared storage takes in")
    options = parser.parse_args()
    count_tokens: Callable[[str], float] = lambda text: len(text) / 4  # noqa: E731
    if options.tokenizer:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
        count_tokens = lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])  # noqa: E731
    found = measure_constants(options.data, options.rounds, count_tokens)
    print(describe(found), "\n")
    print("\n".join(table(found, options.cores, options.storage)))


if __name__ == "__main__":
    main()
