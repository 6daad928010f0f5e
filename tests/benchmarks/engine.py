"""Tokens a CPU second of the engine beside a plain static-cache loop, A B A B in one run, on the embedded tiny model.

    python tests/benchmarks/engine.py

The plain loop is greedy, knows no end token, no seeds, no log-probabilities and no stop strings.
"""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers.cache_utils import StaticCache

from selfimprove.engines import Request
from selfimprove.engines.build import build_model
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.recipe import Build, Sampling

BATCH, NEW_TOKENS, ROUNDS = 256, 60, 5


@torch.inference_mode()
def plain_loop(engine: TransformersEngine, prompts: list[str]) -> int:
    """Greedy decoding with transformers' static cache, and nothing else."""
    written = 0
    for start in range(0, len(prompts), BATCH):
        batch = engine.tokenizer(prompts[start : start + BATCH], return_tensors="pt", padding=True, padding_side="left")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        rows, length = ids.shape
        cache = StaticCache(config=engine.model.config, max_cache_len=length + NEW_TOKENS)
        mask = torch.cat([mask, mask.new_ones(rows, NEW_TOKENS)], dim=1)
        positions = (mask[:, :length].cumsum(1) - 1).clamp(min=0)
        step = {"attention_mask": mask[:, :length], "position_ids": positions}
        for at in range(NEW_TOKENS):
            logits = engine.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **step).logits
            ids = logits[:, -1].argmax(-1, keepdim=True)
            written += rows
            step = {"attention_mask": mask[:, : length + at + 1], "position_ids": positions[:, -1:] + at + 1}
    return written


def measure() -> dict[str, float]:
    """Tokens a CPU second, plain, greedy and sampled: the best of several rounds, which other work disturbed least."""
    torch.set_num_threads(1)
    rng = random.Random(0)
    prompts = [f"{rng.randrange(1000, 9999)}+{rng.randrange(10, 999)}=" for _ in range(2 * BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        build_model(Build(), Path(folder), seed=0)
        engine = TransformersEngine(folder, batch_size=BATCH, threads=1, device="cpu")
    engine.ends = []  # equal work: nothing ends early
    requests = [Request(prompt, seed) for seed, prompt in enumerate(prompts)]

    def ours(temperature: float) -> int:
        sampling = Sampling(temperature=temperature, max_tokens=NEW_TOKENS)
        return sum(one.tokens for one in engine.generate(requests, sampling))

    runs: dict[str, Callable[[], int]] = {
        "plain loop": lambda: plain_loop(engine, prompts),
        "engine, greedy": lambda: ours(0.0),
        "engine, temperature 1": lambda: ours(1.0),
    }
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.process_time()
            tokens = run()
            speeds[name].append(tokens / (time.process_time() - started))
    return {name: max(found) for name, found in speeds.items()}


if __name__ == "__main__":
    found = measure()
    for name, speed in found.items():
        print(f"{name:24} {speed:8.0f} tokens a CPU second, {speed / found['plain loop']:.2f} of the plain loop")
