"""Tokens a second of each engine beside the bare library under it, A B A B in one run.

    python tests/benchmarks/engines.py [MODEL FOLDER] [--engines vllm transformers] [--repeats 5] [--round RECIPE]

Cases: a tiny model built here and, where a folder is given, that model; each with short prompts and one greedy sample,
and with prompts that share a few-shot prefix and 8 samples each. Bare means `LLM.generate` with n samples in one
request, which gives text, or `model.generate` in batches, which gives tokens; neither is asked for seeds,
log-probabilities or an end. "The same" asks `LLM.generate` for seeds and log-probabilities too. On a CPU the tokens are
counted by CPU second, which other work disturbs least.

`--round` runs a recipe with each engine instead, and prints where the seconds of its stages go.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from selfimprove.engines import Engine, Request, Weights
from selfimprove.engines.build import build_model
from selfimprove.recipe import Build, Model, Sampling
from selfimprove.recipe.engine_settings import EngineSettings, VllmSettings
from selfimprove.recipe.file import load_recipe
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder

THREADS = 1
BATCH = 64
SHOTS = "Question: 12 + 30 = ?\nAnswer: 12 + 30 = 42. The answer is 42.\n\n"


@dataclass(frozen=True)
class Case:
    """What is written: so many prompts with so many samples each, of so many new tokens, after so many tokens that all
    prompts begin with (about)."""

    name: str
    prompts: int
    samples: int
    new: int
    prefix: int = 0

    @property
    def tokens(self) -> int:
        return self.prompts * self.samples * self.new

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=0.0 if self.samples == 1 else 1.0, max_tokens=self.new)


TINY = (Case("short prompts", 256, 1, 60), Case("few-shot, 8 samples", 32, 8, 60, prefix=300))
GIVEN = (Case("short prompts", 16, 1, 32), Case("few-shot, 8 samples", 2, 8, 24, prefix=200))
Run = Callable[[], int]  # writes a case and gives the number of tokens


def make_prompts(case: Case, count_tokens: Callable[[str], int]) -> list[str]:
    rng = random.Random(0)
    prefix = ""
    while case.prefix and count_tokens(prefix) < case.prefix:
        prefix += SHOTS if count_tokens(SHOTS) < 60 else "12+30=42\n"
    return [f"{prefix}{rng.randrange(1000, 9999)}+{rng.randrange(10, 999)}=" for _ in range(case.prompts)]


def ours(engine: Engine, prompts: list[str], case: Case) -> Run:
    requests = [Request(prompt, seed) for prompt in prompts for seed in range(case.samples)]
    return lambda: sum(one.tokens for one in engine.generate(requests, case.sampling))


# --- one function an engine: a context with a function that makes the runs of a case, ours first ---------------

Prepare = Callable[[Case], dict[str, Run]]


@contextmanager
def open_transformers(model: Path) -> Iterator[Prepare]:
    from selfimprove.engines.transformers import TransformersEngine

    engine = TransformersEngine(model, batch_size=BATCH, threads=THREADS)
    engine.ends = []  # equal work: nothing ends early

    def prepare(case: Case) -> dict[str, Run]:
        prompts = make_prompts(case, lambda text: len(engine.tokenizer(text)["input_ids"]))

        def bare() -> int:
            written = 0
            for start in range(0, len(prompts), max(1, BATCH // case.samples)):
                batch = engine.tokenizer(
                    prompts[start : start + max(1, BATCH // case.samples)],
                    return_tensors="pt",
                    padding=True,
                    padding_side="left",
                ).to(engine.device)
                batch.pop("token_type_ids", None)
                found = engine.model.generate(
                    **batch,
                    do_sample=case.samples > 1,
                    top_k=0,
                    num_return_sequences=case.samples,
                    max_new_tokens=case.new,
                    min_new_tokens=case.new,
                )
                written += found[:, batch["input_ids"].shape[1] :].numel()
            return written

        return {"ours": ours(engine, prompts, case), "bare": bare}

    yield prepare
    engine.close()


@contextmanager
def open_vllm(model: Path) -> Iterator[Prepare]:
    from vllm import SamplingParams

    from selfimprove.engines.vllm import VllmEngine

    settings = EngineSettings(name="vllm", threads=THREADS, vllm=VllmSettings(max_length=512))
    engine = VllmEngine(Weights(str(model)), settings=settings, model=Model())
    engine.ends = []

    def prepare(case: Case) -> dict[str, Run]:
        prompts = make_prompts(case, lambda text: len(engine.tokenizer(text)["input_ids"]))
        ids = [{"prompt_token_ids": engine.tokenizer(prompt)["input_ids"]} for prompt in prompts]

        def bare(**more: Any) -> int:
            engine.llm.reset_prefix_cache()
            params = SamplingParams(
                n=case.samples,
                temperature=case.sampling.temperature,
                max_tokens=case.new,
                ignore_eos=True,
                **more,
            )
            found = engine.llm.generate(ids, params, use_tqdm=False)
            return sum(len(one.token_ids) for output in found for one in output.outputs)

        def run() -> int:
            engine.llm.reset_prefix_cache()  # each run computes its prompts anew
            return ours(engine, prompts, case)()

        return {"ours": run, "bare": bare, "the same": lambda: bare(seed=0, logprobs=0)}

    yield prepare
    engine.close()


ENGINES = {"vllm": open_vllm, "transformers": open_transformers}


# --- measuring -------------------------------------------------------------------------------------------------


def measure(runs: dict[str, Run], tokens: int, repeats: int) -> dict[str, list[float]]:
    """Tokens a second by run, a list of repeats each; all run once before."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            started = clock()
            assert run() == tokens
            if repeat:
                speeds[name].append(tokens / (clock() - started))
    return speeds


def report(title: str, speeds: dict[str, list[float]]) -> None:
    shown = ", ".join(f"{name} {median(found):.0f}" for name, found in speeds.items())
    print(f"{title:46} tokens/s: {shown}", flush=True)
    for name in list(speeds)[1:]:
        ratios = [one / other for one, other in zip(speeds["ours"], speeds[name], strict=True)]
        print(
            f"{'':46} ours / {name}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, n={len(ratios)})",
            flush=True,
        )


def compare_rounds(name: str, engines: list[str], changes: list[str], folder: Path) -> None:
    """Run a recipe with each engine and print the seconds of its stages side by side."""
    found: dict[str, dict[str, float]] = {}
    for engine in engines:
        run = RunFolder(folder / engine)
        run_loop(load_recipe(name, [f"engine.name={engine}", f"engine.threads={THREADS}", *changes]), run)
        stages = [(one.path.name, one.manifest()) for one in run.stages()]
        found[engine] = {}
        for stage, manifest in stages:
            if manifest:
                found[engine][stage] = found[engine].get(stage, 0.0) + manifest.seconds.wall - manifest.seconds.imports
    for stage in next(iter(found.values())):
        print(f"{stage:16}" + "".join(f"{engine} {times.get(stage, 0.0):9.1f} s   " for engine, times in found.items()))
    print(f"{'in all':16}" + "".join(f"{engine} {sum(times.values()):9.1f} s   " for engine, times in found.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, help="the folder of a model to measure beside the tiny one")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--round", metavar="RECIPE", help="run this recipe with each engine instead")
    parser.add_argument("--set", action="append", default=[], help="a change of that recipe, such as rounds=1")
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        if given.round:
            compare_rounds(given.round, given.engines, given.set, Path(folder))
            return
        tiny = Path(folder) / "tiny"
        build_model(Build(alphabet="".join(map(chr, range(32, 127))) + "\n"), tiny, seed=0)
        for name in given.engines:
            for model, cases in ((tiny, TINY), (given.model, GIVEN)):
                if model is not None:
                    with ENGINES[name](model) as prepare:
                        for case in cases:
                            repeats = given.repeats if model == tiny else min(2, given.repeats)
                            report(f"{name}, {model.name}, {case.name}", measure(prepare(case), case.tokens, repeats))


if __name__ == "__main__":
    main()
