"""A run that is small enough for tests, with real parts: a real model, real training, real files."""

from pathlib import Path

import pyarrow.parquet as pq

from selfimprove.recipe import Recipe
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint
from selfimprove.store import RunFolder

SMALL = """
name: small
seed: 3
rounds: 2
model:
  build: {hidden_size: 32, intermediate_size: 64, layers: 1, heads: 1, head_size: 32}
  device: cpu
train: {name: arithmetic, max_digits: 2, seed_total_digits: 3, held_out: 4}
prompt: {hint: "{answer}?{question}"}
engine: {batch_size: 8, threads: 1}
stages:
  warmup: {examples: 24, steps: 6, batch_size: 4, hinted: 0.25, checkpoint_every: 2, learning_rate: 0.01}
  frontier: {problems: 12}
  generate: {samples: 2, max_tokens: 24, part_size: 5, temperature: 1.0}
  verify: {part_size: 10}
  repair: {samples: 2, part_size: 5}
  rationalize: {part_size: 5}
  select: {sources: seed+samples, pool: cumulative}
  sft: {start: last, steps: 6, batch_size: 4, checkpoint_every: 2, learning_rate: 0.01, fewest: 1}
  evaluate: {part_size: 6}
  promote: {rule: always}
"""


def small_recipe(folder: Path, *overrides: str, text: str = SMALL) -> Recipe:
    """The small recipe, read from a file as a user's would be."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.yaml"
    path.write_text(text)
    return load_recipe(str(path), overrides)


def record_ids(folder: RunFolder) -> dict[str, list[str]]:
    """The ids of all records by file."""
    return {
        str(file.relative_to(folder.path)): pq.read_table(file, columns=["id"])["id"].to_pylist()
        for file in sorted(folder.path.glob("round-*/*/*.parquet"))
    }


def weight_hashes(folder: RunFolder) -> list[str]:
    """The hashes of all checkpoints' weights, in order."""
    stages = [stage for stage in folder.stages() if stage.path.name in ("base", "warmup", "sft", "dpo", "reward", "rl")]
    return [checkpoint.weights for stage in stages for checkpoint in stage.read(Checkpoint)]
