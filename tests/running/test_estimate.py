"""What a plan expects of real runs: before anything was measured a range, and after the first round within two."""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from small import SMALL, small_recipe

from selfimprove.engines.build import build_model
from selfimprove.recipe import Build, Recipe
from selfimprove.running.estimate import Estimate, estimate, measure
from selfimprove.running.loop import run_loop
from selfimprove.running.remarks import measure_sizes
from selfimprove.running.session import Session
from selfimprove.store import RunFolder

MINE = """
name: mine
rounds: 3
model: {path: PATH, device: cpu}
train: {name: jsonl, path: problems.jsonl, held_out: 12}
prompt: {style: zero-shot, hint: "{answer}?{question}"}
engine: {batch_size: 8, threads: 1}
stages:
  frontier: {problems: 24, policy: all}
  generate: {samples: 3, max_tokens: 40}
  select: {per_problem: 2, pool: cumulative}
  sft: {batch_size: 4, epochs: 2, learning_rate: 0.0001, fewest: 1, lora: {rank: 4}}
  evaluate: {max_tokens: 40}
  promote: {rule: always}
"""
OPEN = """
name: open
rounds: 3
model: {path: PATH, device: cpu}
constitution: short
train: {name: prompts/mine, path: prompts.jsonl, held_out: 6}
prompt: {style: zero-shot, question: "{question}"}
engine: {batch_size: 8, threads: 1}
stages:
  frontier: {problems: 12, policy: all}
  generate: {samples: 2, max_tokens: 32}
  critique: {max_tokens: 24}
  revise: {revisions: 2, max_tokens: 32}
  sft: null
  prefer: {feedback: {per_problem: 1, tie: 0.0}}
  dpo: {epochs: 3, batch_size: 4, beta: 0.1, lora: {rank: 4}}
  evaluate: {part_size: 6}
  promote: {rule: always}
"""
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+=#?.,:;'\"!()<>/_-|[]{} \n"
STARTED = 0.03  # CPU seconds a stage that hang on no token


def arithmetic(folder: Path) -> Recipe:
    return small_recipe(folder, "rounds=3", "generate.samples=4", "frontier.problems=24", text=SMALL)


def own_file(folder: Path) -> Recipe:
    """Problems of a file, by a model that has learnt to add a little."""
    teacher = RunFolder(folder / "runs" / "teacher")
    learnt = small_recipe(
        folder, "rounds=0", "warmup={steps: 200, examples: 300, optimizer: muon, learning_rate: 0.02}"
    )
    run_loop(learnt, teacher)
    rows = [{"question": f"{a}+{b}=", "answer": a + b} for a in range(8) for b in range(8)]
    return written(folder, MINE, "problems.jsonl", rows, teacher.path / "round-00/warmup/checkpoint")


def open_prompts(folder: Path) -> Recipe:
    rows = [
        {"prompt": f"What do {one}s eat at {at} in the morning?"} for one in ("cat", "cow", "owl") for at in range(9)
    ]
    shape = Build(hidden_size=64, intermediate_size=128, max_positions=4096, alphabet=LETTERS)
    build_model(shape, folder / "model", 1)
    return written(folder, OPEN, "prompts.jsonl", rows, folder / "model")


def written(folder: Path, text: str, name: str, rows: list[dict[str, Any]], model: Path) -> Recipe:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return small_recipe(folder, text=text.replace("PATH", str(model)))


def expect(recipe: Recipe, run: RunFolder, after: int) -> dict[tuple[int, str], Estimate]:
    """What the plan says of each stage after a round."""
    session = Session(recipe, run)
    rates, sizes = measure(recipe, run, session.plan), measure_sizes(session.inputs)
    return {key: estimate(one, sizes, rates) for key, one in session.plan.items() if key[0] > after}


def whole(found: Mapping[tuple[int, str], Estimate], what: str) -> tuple[float, float]:
    """The two ends of all together."""
    low, high = (sum(getattr(one, what)[end] for one in found.values()) for end in (0, 1))
    return low, high


def cut(run: RunFolder, folder: Path, after: int) -> RunFolder:
    """A copy of a run that has come so far, and whose times are those of the processor: this machine may be busy."""
    copy = RunFolder(Path(shutil.copytree(run.path, folder / f"after-{after}")))
    for path in copy.path.glob("round-*"):
        if int(path.name.removeprefix("round-")) > after:
            shutil.rmtree(path)
    for file in copy.path.glob("round-*/*/stage.json"):
        said = json.loads(file.read_text())
        seconds = said["seconds"]
        share = seconds["cpu"] / seconds["wall"]
        for name in ("wall", "model", "imports"):
            seconds[name] *= share
        file.write_text(json.dumps({**said, "seconds": {**seconds, "elapsed": None}, "hash": ""}))
    return copy


def real(run: RunFolder, after: int) -> tuple[int, float]:
    """The tokens and CPU seconds of what came after a round, imports aside."""
    found = [one for stage in run.stages() if (one := stage.manifest()) and one.round > after]
    share = sum(one.seconds.cpu * (1 - one.seconds.imports / one.seconds.wall) for one in found)
    return sum(sum(one.tokens.values()) for one in found), share


@pytest.mark.long
@pytest.mark.parametrize("make", [arithmetic, own_file, open_prompts])
def test_the_plan_of_a_real_run(make: Callable[[Path], Recipe], tmp_path: Path) -> None:
    recipe, run = make(tmp_path), RunFolder(tmp_path / "runs" / "real")
    run_loop(recipe, run)
    # Before the first round: the range holds what it came to.
    before = expect(recipe, cut(run, tmp_path, 0), 0)
    tokens, _ = real(run, 0)
    low, high = whole(before, "tokens")
    assert low <= tokens <= high
    # After it: within a factor of two, in tokens and in time.
    after = expect(recipe, cut(run, tmp_path, 1), 1)
    assert all(one.measured for one in after.values())
    tokens, seconds = real(run, 1)
    low, high = whole(after, "tokens")
    assert low <= tokens <= high
    assert tokens / 2 <= math.sqrt(low * high) <= 2 * tokens
    low, high = whole(after, "seconds")
    rest = STARTED * len(after)
    assert seconds / 2 - rest <= math.sqrt(low * high) <= 2 * seconds + rest
