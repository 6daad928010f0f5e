"""CPU seconds and memory of the engine beside a plain static-cache loop, `generate` and another checkout, A B A B.

    python tests/benchmarks/engine.py
    python tests/benchmarks/engine.py --model FOLDER --beside CHECKOUT
    python tests/benchmarks/engine.py --model FOLDER --adapter FOLDER --sides engine vLLM "vLLM, adapter merged"

Without a model it is the embedded tiny one, in tokens a CPU second. The plain loop is greedy, knows no end token, no
seeds, no log-probabilities and no stop strings. A pretrained model answers word problems after 8 exemplars, each side
in a process of its own, whose peak and seconds are counted from when the model is loaded (vLLM takes its cache before).
`--beside` adds the engine of a checkout, and `--sides` names those to measure, vLLM where it is installed. `--adapter`
puts a LoRA adapter on the model, which vLLM is given as it is or merged.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers.cache_utils import StaticCache

from selfimprove.engines import Request, Weights
from selfimprove.engines.build import build_model
from selfimprove.engines.shareable import write_whole
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.recipe import Build, Sampling

BATCH, NEW_TOKENS, ROUNDS = 256, 60, 5
VLLM, MERGED = "vLLM", "vLLM, adapter merged"


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


def write_prompts(tokenizer: Any, count: int) -> list[str]:
    """Word problems, each after the same eight with their answers, by the model's chat template where it has one."""
    rng = random.Random(0)

    def problem() -> tuple[str, str]:
        name, other = rng.sample(["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gil", "Hana"], 2)
        thing, (a, b) = rng.choice(["apples", "books", "coins", "shells"]), rng.sample(range(2, 40), 2)
        asked = (
            f"{name} has {a} {thing} in a box and finds {b} more of them on the way home from school. In the evening "
            f"{name} gives 2 of the {thing} to {other}. How many {thing} does {name} have in the end?"
        )
        return asked, (
            f"{name} starts with {a} {thing}. After finding {b} more, {name} has {a} + {b} = {a + b} {thing}. After "
            f"giving away 2 of them, {name} has {a + b} - 2 = {a + b - 2} {thing}. The answer is {a + b - 2}."
        )

    shown = [
        {"role": role, "content": text}
        for pair in (problem() for _ in range(8))
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    prompts = []
    for _ in range(count):
        turns = [*shown, {"role": "user", "content": problem()[0]}]
        if not tokenizer.chat_template:
            said = (f"{'Q' if one['role'] == 'user' else 'A'}: {one['content']}\n" for one in turns)
            prompts.append("".join([tokenizer.bos_token or "", *said, "A:"]))
            continue
        prompts.append(str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)))
    return prompts


def load(side: str, model: str, adapter: str | None, dtype: str) -> Any:
    """The engine of a side, which `generate` takes its model from."""
    path, base = (adapter, model) if adapter and side != MERGED else (model, None)
    if side not in (VLLM, MERGED):
        return TransformersEngine(path, base=base, dtype=dtype, batch_size=64, threads=1, device="cpu", chat=True)
    from selfimprove.engines.vllm import VllmEngine
    from selfimprove.recipe import Model
    from selfimprove.recipe.engine_settings import EngineSettings, VllmSettings

    settings = EngineSettings(name="vllm", threads=1, vllm=VllmSettings(cache="1G"))
    return VllmEngine(Weights(path, base=base, chat=True), settings=settings, model=Model(device="cpu", dtype=dtype))


def answer(side: str, model: str, adapter: str | None, dtype: str, problems: int, tokens: int) -> dict[str, Any]:
    """What one side takes for greedy answers, in this process."""
    engine = load(side, model, adapter, dtype)
    prompts = write_prompts(engine.tokenizer, problems)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts anew
    loaded, before = read_status("VmRSS"), resource.getrusage(resource.RUSAGE_SELF)
    if side == "generate":
        batch = engine.tokenizer(
            prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
        )
        with torch.inference_mode():
            ids = engine.model.generate(**batch, max_new_tokens=tokens, do_sample=False)[
                :, batch["input_ids"].shape[1] :
            ]
        texts = engine.tokenizer.batch_decode(ids, skip_special_tokens=True)
    else:
        sampling = Sampling(temperature=0.0, max_tokens=tokens)
        found = {one.index: one for one in engine.generate([Request(prompt, 0) for prompt in prompts], sampling)}
        texts = [found[at].text for at in range(problems)]
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "user": after.ru_utime - before.ru_utime,
        "system": after.ru_stime - before.ru_stime,
        "peak": (read_status("VmHWM") - loaded) / 1024,
        "prompt": max(len(engine.tokenizer(prompt)["input_ids"]) for prompt in prompts),
        "texts": texts,
    }


def read_status(name: str) -> int:
    """Kilobytes that the kernel tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def compare(given: argparse.Namespace, merged: Path) -> None:
    """The sides in turn, and a table; the model with its adapter goes into the folder `merged`."""
    here = Path(__file__).parents[2]
    sides = dict.fromkeys(given.sides, here) | ({"engine beside": given.beside.resolve()} if given.beside else {})
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    if MERGED in sides:
        write_whole(given.adapter, given.model, given.dtype, merged)
    models = dict.fromkeys(sides, given.model) | {MERGED: str(merged)}
    for _ in range(given.rounds):
        for side, checkout in sides.items():
            command = [sys.executable, __file__, "--side", side, "--model", models[side]]
            command += ["--problems", str(given.problems), "--tokens", str(given.tokens), "--dtype", given.dtype]
            command += ["--adapter", given.adapter] if given.adapter else []
            # vLLM in this process, whose seconds would else be those of another one
            place = {
                **os.environ,
                "PYTHONPATH": str(checkout),
                "OMP_NUM_THREADS": "1",
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            }
            done = subprocess.run(command, env=place, stdout=subprocess.PIPE, text=True, check=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    texts = found[given.sides[0]][0]["texts"]
    print(f"{given.problems} answers of at most {given.tokens} tokens to prompts of at most ", end="")
    print(f"{found[given.sides[0]][0]['prompt']} tokens; least and most of {given.rounds} rounds\n")
    print("| side | user s | system s | peak MB over the model | equal texts |\n| --- | ---: | ---: | ---: | ---: |")
    for side, rounds in found.items():
        columns = [
            " to ".join(f"{choose(one[name] for one in rounds):.{digits}f}" for choose in (min, max))
            for name, digits in (("user", 1), ("system", 1), ("peak", 0))
        ]
        equal = sum(one.strip() == other.strip() for one, other in zip(rounds[0]["texts"], texts, strict=True))
        print(f"| {side} | {' | '.join(columns)} | {equal} of {len(texts)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="the folder of a chat model")
    parser.add_argument("--beside", type=Path, help="a checkout whose engine is measured too")
    parser.add_argument(
        "--sides", nargs="+", default=["engine", "generate"], choices=["engine", "generate", VLLM, MERGED]
    )
    parser.add_argument("--adapter", help="the folder of a LoRA adapter of the model")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--problems", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if MERGED in given.sides and not given.adapter:
        parser.error(f"'{MERGED}' needs --adapter")
    if given.side:
        print(json.dumps(answer(given.side, given.model, given.adapter, given.dtype, given.problems, given.tokens)))
    elif given.model:
        with tempfile.TemporaryDirectory() as folder:
            compare(given, Path(folder))
    else:
        found = measure()
        for name, speed in found.items():
            print(f"{name:24} {speed:8.0f} tokens a CPU second, {speed / found['plain loop']:.2f} of the plain loop")


if __name__ == "__main__":
    main()
