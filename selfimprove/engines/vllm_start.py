"""Starting vLLM in this process, and undoing what it does to the process beside that."""

import gc
import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfimprove.engines.base import check_installed
from selfimprove.engines.checkpoints import Adapter
from selfimprove.engines.models import read_config
from selfimprove.engines.quiet import no_standard_error
from selfimprove.errors import EngineError
from selfimprove.recipe import Model
from selfimprove.recipe.engine_settings import EngineSettings

EXTENSION = "selfimprove.engines.vllm_worker.WeightsExtension"
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM has memory layouts for
DEFAULTS = {
    "VLLM_LOGGING_LEVEL": "CRITICAL",  # the log goes to the standard output; what goes wrong is raised as well
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # workers on a CPU would ask for a memory node each
}
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
CPU_CACHE = 4 << 30  # bytes; the most that is taken of a CPU's memory unless the recipe says more
CPU_BLOCK = 32  # tokens in a block of the cache on a CPU: what prompts share is found in whole blocks
CPU_TOKENS = 4096  # tokens computed in one step on a CPU, at least


def import_vllm() -> None:
    """Import vLLM, which takes seconds; raises EngineError with what to install where it is missing."""
    check_installed("vllm")
    # With the engine in this process there is no second one that could die alone, hang its parent or outlive it.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        with undo_side_effects():
            import vllm  # noqa: F401
    except ModuleNotFoundError as error:
        raise EngineError(f"engine 'vllm': vLLM lacks the package '{error.name}'; install it as well") from None
    except (ImportError, OSError) as error:
        raise EngineError(f"engine 'vllm': vLLM cannot be imported ({reason(error)})") from None


def on_cpu() -> bool:
    """Whether the installed vLLM computes on a CPU; raises EngineError where there is none."""
    import_vllm()
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def start(
    folder: Path,
    tokenizer: Path,
    *,
    model: Model,
    settings: EngineSettings,
    longest: int | None,
    adapter: Adapter | None = None,
) -> Any:
    """An `LLM` with the weights of a folder; raises EngineError.

    `longest` is the model's own limit of tokens, `adapter` the shape of the LoRA adapters to come.
    """
    cpu = on_cpu()
    from vllm import LLM, SamplingParams

    _check_device(model.device, cpu)
    arguments = choose_arguments(
        folder, tokenizer, model=model, settings=settings, longest=longest, cpu=cpu, adapter=adapter
    )
    arguments |= {"worker_extension_cls": EXTENSION, "use_tqdm_on_load": False}
    free_memory()
    llm: Any = None
    try:
        with undo_side_effects(settings.threads):
            llm = LLM(**arguments)
            # What a kernel does not know, such as heads of 16 or 24 on a CPU, is found by the first token only.
            llm.generate({"prompt_token_ids": [0]}, SamplingParams(max_tokens=1, detokenize=False), use_tqdm=False)
        return llm
    except Exception as error:  # vLLM raises whatever its parts raise
        stop(llm)
        raise EngineError(
            f"{folder}: vLLM cannot serve this model ({reason(error)}); VLLM_LOGGING_LEVEL=INFO shows what it says; "
            "--set engine.name=transformers does without it"
        ) from None


def choose_arguments(
    folder: Path,
    tokenizer: Path,
    *,
    model: Model,
    settings: EngineSettings,
    longest: int | None,
    cpu: bool,
    adapter: Adapter | None,
) -> dict[str, object]:
    """vLLM's arguments for a model, in this process or as a server; raises EngineError for an adapter it cannot serve.

    See `start`.
    """
    ours = settings.vllm
    arguments: dict[str, Any] = {
        "model": str(folder),
        "tokenizer": str(tokenizer),
        "dtype": model.dtype,
        "tensor_parallel_size": ours.gpus,
        "gpu_memory_utilization": ours.memory,
        "max_model_len": min((one for one in (ours.max_length, longest) if one), default=None),
        "enforce_eager": cpu if ours.eager is None else ours.eager,
        "enable_prefix_caching": True,
        "generation_config": "vllm",  # samples are drawn by the recipe's settings alone
    }
    if ours.cache:
        arguments["kv_cache_memory_bytes"] = parse_size(ours.cache)
    if adapter:
        arguments |= _lora_arguments(adapter)
    return arguments | (_cpu_arguments(folder, arguments) if cpu else {"enable_sleep_mode": True})


def _check_device(device: str, cpu: bool) -> None:
    if cpu and device.startswith("cuda"):
        raise EngineError(f"engine 'vllm': 'model.device' is {device}, and the vLLM installed here runs on CPUs only")
    if not cpu and device == "cpu":
        raise EngineError("engine 'vllm': 'model.device' is cpu, and the vLLM installed here runs on GPUs only")
    if ":" in device:
        raise EngineError(f"engine 'vllm': choose the GPU with CUDA_VISIBLE_DEVICES={device.split(':')[1]}")


def _lora_arguments(adapter: Adapter) -> dict[str, object]:
    rank = next((one for one in RANKS if one >= adapter.rank), None)
    # Where the head has an adapter too, vLLM takes no vocabulary over 258,048 and cannot score prompts.
    if rank is None or {"lm_head", "embed_tokens"} & set(adapter.targets):
        raise EngineError(
            f"engine 'vllm': cannot serve a LoRA adapter of rank {adapter.rank} on {', '.join(adapter.targets)}; "
            f"choose a rank of at most {RANKS[-1]} and 'lora.targets' without lm_head and embed_tokens"
        )
    return {"enable_lora": True, "max_lora_rank": rank, "lora_target_modules": list(adapter.targets)}


def _cpu_arguments(folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """What vLLM would choose badly on a CPU: the size of the cache, and how prompts are cut."""
    config = read_config(folder).get_text_config()
    longest = arguments["max_model_len"] or config.max_position_embeddings
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = getattr(torch, arguments["dtype"]).itemsize
    token = 2 * config.num_hidden_layers * heads * size * width  # bytes of keys and values
    return {
        # Room for 64 of the longest texts; its own default is a share of the memory that others need too.
        "kv_cache_memory_bytes": arguments.get("kv_cache_memory_bytes") or min(CPU_CACHE, 64 * (longest + 128) * token),
        "block_size": CPU_BLOCK,
        # Seeds and prompts cut over several steps do not go together on a CPU ("CPU Generator does not use offset").
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(longest, CPU_TOKENS),
    }


def parse_size(text: str) -> int:
    """Bytes of a size such as 512M."""
    return int(float(text[:-1]) * UNITS[text[-1]])


def reason(error: BaseException) -> str:
    """The first line of an error that says something."""
    details = getattr(error, "errors", None)
    text = details()[0]["msg"] if callable(details) and details() else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


@contextmanager
def undo_side_effects(threads: int | None = None) -> Iterator[None]:
    """Keep what vLLM changes in a process from reaching the rest of it.

    It seeds every generator with 0, replaces `torch.set_num_threads` by nothing on a CPU, writes warnings from C++ to
    the standard error, and sets variables that all children would inherit, LD_PRELOAD among them.
    """
    environment, set_threads, show = dict(os.environ), torch.set_num_threads, sys.excepthook
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    count = threads or torch.get_num_threads()
    try:
        with _quiet_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.excepthook = show  # a process group's would print "[rank0]:" before each line
        torch.set_num_threads = set_threads
        torch.set_num_threads(count)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        for name in set(os.environ) - set(environment):
            if not name.startswith(("VLLM_", "TORCHINDUCTOR_")):  # read again while it runs
                del os.environ[name]
        os.environ.update({name: value for name, value in environment.items() if not name.startswith("VLLM_")})


def _quiet_errors() -> AbstractContextManager[None]:
    """Send the standard error nowhere, unless the user asked for vLLM's log."""
    asked = os.environ.get("VLLM_LOGGING_LEVEL", "CRITICAL") != "CRITICAL"
    return nullcontext() if asked else no_standard_error()


def stop(llm: Any) -> None:
    """End an `LLM` with its workers, and what else vLLM leaves in the process: process groups and memory."""
    from vllm.distributed import cleanup_dist_env_and_memory

    if llm is not None:
        with suppress(Exception):  # of one that has failed some parts are gone
            llm.llm_engine.engine_core.shutdown()
    with undo_side_effects():
        cleanup_dist_env_and_memory()
    free_memory()


def free_memory() -> None:
    """Give back what torch keeps of a GPU's memory for later, such as a training's."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
