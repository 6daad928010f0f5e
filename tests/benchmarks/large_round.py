"""A round of a million samples, from its verdicts to the rows that are trained: memory and CPU seconds.

    python tests/benchmarks/large_round.py [--samples N] [--require answer] [--balance] [--pairs] [--rows N]
        [--folder FOLDER]

The round is written by a run's own store: problems, four samples each of 150 to 450 characters, verdicts of three steps
each, half of them right. Then a process of its own, whose peak of memory and CPU seconds are what the operating system
says (`getrusage`), does what the one process of a run does between `verify` and the training: the stage `select`, the
rows that `sft` trains, and the yields that the next round's frontier reads; with --pairs the stage `prefer` as well.
Training itself is not part of it. What each part of `select` took stands below: the first one holds what every process
looks over once, so that a worker of a cluster takes as long for its first part.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint, Problem, Rationale, Record, Step, Verdict, derive_seed
from selfimprove.running.desk import StageDesk
from selfimprove.running.loop import describe, run_stage
from selfimprove.running.parts import Sequential, collecting_rarely
from selfimprove.running.session import Session
from selfimprove.running.training import write_rows
from selfimprove.stages import round_parts
from selfimprove.stages.frontier import read_yields
from selfimprove.stages.sft import trained_examples
from selfimprove.store import RunFolder, StageFolder

SAMPLES, PART = 4, 4096
RECIPE = """
name: large
rounds: 2
model: {path: nothing}
train: {name: gsm8k, path: %s, held_out: 10}
prompt: {style: zero-shot-cot, cue: "\\nA: ", chat: never}
stages:
  frontier: {problems: 1000, policy: all}
  generate: {samples: 4}
  select: {require: %s, balance: %s}
  sft: {}%s
"""
WORDS = [
    "Each",
    "of",
    "them",
    "gives",
    "so",
    "many",
    "apples",
    "and",
    "pears",
    "to",
    "the",
    "others",
    "who",
    "then",
    "sell",
    "half",
    "of",
    "what",
    "they",
    "have",
    "left",
    "over",
]


def make_problems(count: int) -> Iterator[Problem]:
    for at in range(count):
        said = " ".join(WORDS[(at + place) % len(WORDS)] for place in range(40))
        yield Problem(question=f"{said}: {at}?", answer=str(at), task="gsm8k", level=at % 8, group=f"{at % 8} steps")


def make_sample(problem: str, at: int, prompt: str) -> tuple[Rationale, Verdict]:
    steps = "".join(f"{WORDS[(at + place) % len(WORDS)]} {at}+{place}={at + place}. " for place in range(8 + at % 16))
    text = f"{steps}#### {at}"
    rationale = Rationale(
        parents=(problem, "c0ffee"), prompt=prompt, text=text, answer=str(at), origin="sampled", round=1,
        sample=at % SAMPLES, seed=derive_seed(at), temperature=1.0, top_p=1.0, tokens=len(text) // 4, logprob=-9.5,
        finish="stop",
    )  # fmt: skip
    wrong = at % 5 == 0
    found = tuple(
        Step(start=9 * place, end=9 * place + 9, outcome="incorrect" if wrong and place == 2 else "correct",
             reason=f"{at}+{place}={at + place}", uses=(place - 1,) if place else ())
        for place in range(3)
    )  # fmt: skip
    outcome = "correct" if at % 2 else "incorrect"
    reason = f"{at} is {'' if at % 2 else 'not '}{at}"
    return rationale, Verdict(
        parents=(rationale.id,), outcome=outcome, reason=reason, steps=found, coverage=1.0, verifier="math", version=1
    )  # type: ignore[arg-type]


def load(folder: Path, data: Path, require: str, balance: bool, pairs: bool) -> Session:
    after = "\n  prefer: {}\n  dpo: {}" if pairs else ""
    (folder / "large.yaml").write_text(RECIPE % (data / "gsm8k", require, "{}" if balance else "null", after))
    return Session(load_recipe(str(folder / "large.yaml")), RunFolder(folder / "run"))


def write_round(session: Session, samples: int) -> None:
    """The records of round 1 up to `verify`, closed as a run closes them."""

    def close(name: str, parts: int, round_: int = 1) -> StageFolder:
        stage = session.plan[round_, name]
        disk = session.folder.stage(*stage.key, stage.fingerprint)
        disk.close(describe(stage, disk, parts, session.clock))
        return disk

    def begin(name: str, round_: int = 1) -> StageFolder:
        stage = session.plan[round_, name]
        disk = session.folder.stage(*stage.key, stage.fingerprint)
        disk.begin({})
        return disk

    begin("base", 0).write_part("checkpoint", 0, [Checkpoint(path="nothing", method="base", weights="")])
    close("base", 1, 0)
    begin("frontier").write_part("problem", 0, make_problems(samples // SAMPLES))
    close("frontier", 1)
    generated, verified = begin("generate"), begin("verify")
    waiting: list[tuple[Rationale, Verdict]] = []
    parts = 0

    def flush() -> None:
        nonlocal parts
        rationales: list[Record] = [one for one, _ in waiting]
        generated.write_part("rationale", parts, rationales)
        verified.write_part("verdict", parts, [one for _, one in waiting])
        parts += 1
        waiting.clear()

    for number, problem in enumerate(make_problems(samples // SAMPLES)):
        prompt = session.prompts.render(problem)
        waiting += (make_sample(problem.id, number * SAMPLES + sample, prompt) for sample in range(SAMPLES))
        if len(waiting) >= PART:
            flush()
    if waiting:
        flush()
    close("generate", parts)
    close("verify", parts)


def measure(session: Session) -> None:
    """What lies between `verify` and training, with what it cost so far after each step."""
    usage, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    start = usage.ru_utime + usage.ru_stime
    rows: list[dict[str, float | str]] = []
    cpu: dict[str, list[float]] = {}  # by part

    def note(name: str, count: int) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        rows.append({
            "step": name, "rows": count, "cpu": usage.ru_utime + usage.ru_stime - start,
            "clock": time.perf_counter() - began, "peak": usage.ru_maxrss / 2**20,
        })  # fmt: skip

    note("imports and plan", 0)

    def run(name: str) -> int:
        stage = session.plan[1, name]
        disk = session.folder.stage(*stage.key, stage.fingerprint)
        run_stage(stage, disk, session, Sequential())
        cpu[name] = [row.cpu for row in disk.usage()]
        manifest = disk.manifest()
        assert manifest is not None
        return manifest.counts[stage.main]

    with session.folder:
        note("select", run("select"))
        chosen = trained_examples(StageDesk(session.plan[1, "sft"], session))
        write_rows(session.folder.path / "examples.parquet", chosen)
        note("rows to train", len(tuple(dict.fromkeys(chosen.ids()))))
        with collecting_rarely():  # as while any part is made
            yields = read_yields(StageDesk(session.plan[2, "frontier"], session), 1)
        note("yields", sum(attempts for attempts, _ in yields.values()))
        if (1, "prefer") in session.plan:
            note("prefer", run("prefer"))
    print(json.dumps([rows, cpu]))


def describe_parts(cpu: list[float]) -> str:
    """The CPU seconds of the parts of a stage."""
    first, *others = cpu
    said = f"select in {len(cpu)} parts, {sum(cpu):.1f} CPU s in all: the first {first:.2f}"
    if len(others) < 2:
        return said
    *middle, last = others
    return f"{said}, the others {median(middle):.2f}, at most {max(middle):.2f}, and the last {last:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--require", default="answer", choices=["answer", "steps", "grounded"])
    parser.add_argument("--balance", action="store_true", help="cap and repeat groups")
    parser.add_argument("--pairs", action="store_true", help="the stage prefer too")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--folder", type=Path, help="keep the round here, or go on with the one that lies there")
    parser.add_argument("--rows", type=int, default=round_parts.ROWS, help="rationales in a part of select")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.measure:
            round_parts.ROWS = options.rows
            measure(load(folder, options.data, options.require, options.balance, options.pairs))
            return
        session = load(folder, options.data, options.require, options.balance, options.pairs)
        if not (folder / "run").exists():
            with session.folder:
                write_round(session, options.samples)
        command = [sys.executable, __file__, "--measure", "--folder", str(folder), "--require", options.require]
        command += ["--data", str(options.data), "--rows", str(options.rows)]
        command += ["--balance"] if options.balance else []
        command += ["--pairs"] if options.pairs else []
        shown = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        print("| step | rows | CPU s so far | s on the clock | peak GB |\n| --- | ---: | ---: | ---: | ---: |")
        rows, cpu = json.loads(shown.splitlines()[-1])
        for row in rows:
            print(f"| {row['step']} | {row['rows']:,} | {row['cpu']:.1f} | {row['clock']:.1f} | {row['peak']:.2f} |")
        print(f"\n{describe_parts(cpu['select'])}")


if __name__ == "__main__":
    main()
