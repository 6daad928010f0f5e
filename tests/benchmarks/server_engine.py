"""What the server engine costs beside a bare asyncio client: the same server, prompts and concurrency, A B A B.

    python tests/benchmarks/server_engine.py [--requests 4000] [--stub] [--vllm]

The bare client sends the prompts' token ids, 64 at a time, and reads the texts; ours does what a run needs besides.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from servers import make_engine, stub

from selfimprove.engines import Request, Weights
from selfimprove.engines.build import build_model
from selfimprove.engines.supervisor import NAME, Supervisor
from selfimprove.engines.tensors import hash_weights
from selfimprove.prompting.prompts import encode_prompt
from selfimprove.recipe import Build, Model, Sampling
from selfimprove.recipe.engine_settings import EngineSettings, VllmSettings

CONCURRENCY = 64
TURNS = 3


async def ask_bare(url: str, name: str, prompts: Sequence[list[int]], sampling: Sampling) -> int:
    """All prompts through a bare client; gives the characters that were written."""
    numbers, written = iter(range(len(prompts))), 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def worker() -> None:
            nonlocal written
            for number in numbers:
                body: dict[str, Any] = {
                    "model": name,
                    "prompt": prompts[number],
                    "max_tokens": sampling.max_tokens,
                    "temperature": sampling.temperature,
                    "seed": number,
                    "logprobs": 0,
                }
                async with session.post(f"{url}/v1/completions", json=body) as answer:
                    written += len((await answer.json())["choices"][0]["text"])

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return written


def compare(title: str, url: str, name: str, model: Path, count: int, sampling: Sampling) -> list[dict[str, Any]]:
    """Requests a second of both in turns, and the ratio of their medians; prints a line."""
    engine = make_engine(model, url, concurrency=CONCURRENCY, timeout=300.0)
    prompts = [f"{number}+{number % 89}=" for number in range(count)]
    ids = [encode_prompt(engine.tokenizer, prompt, chat=False) for prompt in prompts]
    requests = [Request(prompt, number) for number, prompt in enumerate(prompts)]
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    for turn in range(TURNS + 1):
        started = time.perf_counter()
        asyncio.run(ask_bare(url, name, ids, sampling))
        between = time.perf_counter()
        assert sum(1 for _ in engine.generate(requests, sampling)) == count
        ended = time.perf_counter()
        if turn:  # the first one warms both up
            rates["bare"].append(count / (between - started))
            rates["ours"].append(count / (ended - between))
    engine.close()
    ratio = median(rates["ours"]) / median(rates["bare"])
    shown = "; ".join(f"{who} " + " ".join(f"{rate:.0f}" for rate in found) for who, found in rates.items())
    print(f"{title}: ours / bare {ratio:.3f} ({shown} requests/s)", flush=True)
    return [{"case": title, "ratio": ratio, **rates}]


def run(requests: int, *, with_stub: bool = True, with_vllm: bool = True) -> list[dict[str, Any]]:
    """All cases; vLLM's takes a quarter of the requests."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        build_model(Build(), model, seed=1)
        if with_stub:
            for delay in (0.0, 0.05):
                sampling = Sampling(temperature=1.0, max_tokens=12)
                with stub(delay=delay) as server:
                    title = f"stub that takes {1000 * delay:.0f} ms"
                    rows += compare(title, server.url, "stub", model, requests, sampling)
        if with_vllm:
            weights = Weights(str(model), hash=hash_weights(model))
            settings = EngineSettings(name="server", threads=1, vllm=VllmSettings(cache="256M"))
            given = Model(path=str(model), device="cpu")
            supervisor = Supervisor(weights, model=given, settings=settings, count=1)
            try:
                supervisor.wait()
                url = supervisor.urls[0].removesuffix("/v1")
                sampling = Sampling(temperature=1.0, max_tokens=64)
                rows += compare("vLLM, tiny model, 64 tokens", url, NAME, model, requests // 4, sampling)
            finally:
                supervisor.close()
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--stub", action="store_true", help="only the stub")
    parser.add_argument("--vllm", action="store_true", help="only vLLM")
    given = parser.parse_args()
    run(given.requests, with_stub=not given.vllm, with_vllm=not given.stub)
