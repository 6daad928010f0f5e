"""Who writes text: one protocol, and an engine for each way to serve a checkpoint."""

import os
from collections.abc import Callable

from selfimprove.engines.base import (
    Completion,
    Departing,
    Engine,
    Noting,
    Request,
    Score,
    ScriptedEngine,
    Swapping,
    Weights,
    check_installed,
)
from selfimprove.recipe import Model
from selfimprove.recipe.catalog import find, register
from selfimprove.recipe.engine_settings import EngineSettings

__all__ = [
    "Completion",
    "Departing",
    "Engine",
    "Noting",
    "Request",
    "Score",
    "ScriptedEngine",
    "Swapping",
    "Weights",
    "check_installed",
    "declare_engine",
    "load_engine",
]

# Before a module of this package imports a library that reads models.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("USE_HUB_KERNELS", "NO")  # transformers would fetch compiled code for some architectures

Load = Callable[[EngineSettings, Model, Weights], Engine]


def declare_engine(name: str, load: Load) -> None:
    """Make an engine known; `load` starts it with a checkpoint, and finds what it is told in `EngineSettings.options`.

    Raises RecipeError where another one is called so.
    """
    register("engine", name, load, load)


def load_engine(settings: EngineSettings, model: Model, weights: Weights) -> Engine:
    """Load an engine with a checkpoint; raises EngineError."""
    load: Load = find("engine", settings.name)
    return load(settings, model, weights)


# The imports are inside because they take seconds.
def _load_transformers(settings: EngineSettings, model: Model, weights: Weights) -> Engine:
    from selfimprove.engines.transformers import TransformersEngine

    return TransformersEngine(
        weights.path,
        base=weights.base,
        dtype=model.dtype,
        device=model.device,
        batch_size=settings.batch_size,
        threads=settings.threads,
        chat=weights.chat,
        weigh=settings.token_logprobs,
    )


def _load_vllm(settings: EngineSettings, model: Model, weights: Weights) -> Engine:
    from selfimprove.engines.vllm import VllmEngine

    return VllmEngine(weights, settings=settings, model=model)


def _load_server(settings: EngineSettings, model: Model, weights: Weights) -> Engine:
    from selfimprove.engines.server import ServerEngine

    return ServerEngine(weights, settings=settings, model=model)


declare_engine("transformers", _load_transformers)
declare_engine("vllm", _load_vllm)
declare_engine("server", _load_server)
