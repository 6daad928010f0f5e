"""`selfimprove serve`: vLLM servers of a checkpoint on this machine, for runs and for any client of OpenAI's API."""

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import ValidationError

from selfimprove.engines import Weights
from selfimprove.engines.canary import TOLERANCE
from selfimprove.engines.model_files import read_base
from selfimprove.engines.model_folders import resolve_folder
from selfimprove.engines.server_key import read_key
from selfimprove.engines.server_weights import name_adapter
from selfimprove.engines.tensors import hash_weights
from selfimprove.errors import EngineError, SelfImproveError, plain_words
from selfimprove.recipe import Model
from selfimprove.recipe.engine_settings import EngineSettings, VllmSettings
from selfimprove.records.files import RECIPE
from selfimprove.running.find_model import find_checkpoint, is_model
from selfimprove.store.weights import locate_weights


def read_settings(given: Mapping[str, object]) -> EngineSettings:
    """The engine's settings from those of the command line; raises EngineError."""
    try:
        return EngineSettings.model_validate({"name": "server", **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise EngineError(f"--{str(first['loc'][-1]).replace('_', '-')}: {plain_words(first['msg'])}") from None


def serve(
    target: str,
    *,
    runs: Path,
    servers: int | None,
    port: int,
    settings: EngineSettings,
    dtype: str | None,
    key: str | None = None,
) -> None:
    """Serve a checkpoint or the best one of a run until told to stop; raises EngineError where no server can live.

    `key` names the environment variable of the servers' key; only with one runs can give them the weights of a round.
    """
    from selfimprove.engines.supervisor import Supervisor

    signal.signal(signal.SIGTERM, _stop)
    weights, model = choose_weights(target, runs, dtype)
    count = servers or count_servers(model, settings.vllm)
    secret = read_key(key, "--key") if key else None
    supervisor = Supervisor(weights, model=model, settings=settings, count=count, port=port, key=secret)
    try:
        print(f"starting {count} vLLM server{'s' if count > 1 else ''} of {weights.path} …", flush=True)
        supervisor.wait()
        print(describe(supervisor.urls, key, name_adapter(weights) if supervisor.adapter else None), flush=True)
        while not supervisor.lost:
            time.sleep(0.5)
        raise EngineError(f"{weights.path}: vLLM cannot serve it: {supervisor.lost}")
    finally:
        supervisor.close()


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def describe(urls: Sequence[str], key: str | None = None, adapter: str | None = None) -> str:
    """How the servers are reached and used."""
    lines = [f"serving on {' '.join(urls)}; Ctrl-C ends it"]
    if adapter and key is None:
        lines.append(f"the adapter is the model '{adapter}'")
    needs = f", key: {key}" if key else ""
    lines.append(f"for a run: --set 'engine={{name: server, server: {{urls: [{', '.join(urls)}]{needs}}}}}'")
    if key is None:
        lines.append("they keep these weights: a run that trains needs servers with --key, or has its own started")
    return "\n".join(lines)


def count_servers(model: Model, settings: VllmSettings) -> int:
    """One for each GPU, or for so many GPUs as a copy of the model takes; one on a CPU."""
    import torch

    if model.device == "cpu" or not torch.cuda.is_available():
        return 1
    return max(1, torch.cuda.device_count() // settings.gpus)


def choose_weights(target: str, runs: Path, dtype: str | None) -> tuple[Weights, Model]:
    """The weights of a model's folder, a hub name, a run or a round of one; raises StoreError, ModelError."""
    found = find_checkpoint(target, runs)
    if found is None:
        if is_model(Path(target)) or (target.count("/") == 1 and not Path(target).exists()):
            return _describe(target, dtype)
        raise SelfImproveError(
            f"{target}: neither a model's folder, nor a hub name 'owner/name', nor a run in {runs}/ (with a {RECIPE})"
        )
    folder, checkpoint = found
    recipe = folder.recipe()
    base = None if checkpoint.base is None else str(locate_weights(folder, checkpoint.base))
    weights = Weights(str(locate_weights(folder, checkpoint.path)), base, hash=checkpoint.weights)
    return weights, recipe.model.model_copy(update={"build": None, "path": weights.path, **_chosen(dtype)})


def _chosen(dtype: str | None) -> dict[str, Any]:
    if dtype not in (None, *TOLERANCE):
        raise EngineError(f"--dtype {dtype}: choose {', '.join(TOLERANCE)}")
    return {"dtype": dtype} if dtype else {}


def _describe(target: str, dtype: str | None) -> tuple[Weights, Model]:
    folder = resolve_folder(target)
    model = Model(path=target, **_chosen(dtype))
    return Weights(str(folder), read_base(folder), hash=hash_weights(folder)), model
