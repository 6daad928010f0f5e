"""Who writes text: one protocol, and an engine for each way to serve a checkpoint."""

from selfimprove.engines.base import (
    Completion,
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
from selfimprove.recipe.engine_settings import EngineSettings

__all__ = [
    "Completion",
    "Engine",
    "Noting",
    "Request",
    "Score",
    "ScriptedEngine",
    "Swapping",
    "Weights",
    "check_installed",
    "load_engine",
]


def load_engine(settings: EngineSettings, model: Model, weights: Weights) -> Engine:
    """Load an engine with a checkpoint; the imports are here because they take seconds."""
    if settings.name == "vllm":
        from selfimprove.engines.vllm import VllmEngine

        return VllmEngine(weights, settings=settings, model=model)
    if settings.name == "server":
        from selfimprove.engines.server import ServerEngine

        return ServerEngine(weights, settings=settings, model=model)
    from selfimprove.engines.transformers import TransformersEngine

    return TransformersEngine(
        weights.path,
        base=weights.base,
        dtype=model.dtype,
        device=model.device,
        batch_size=settings.batch_size,
        threads=settings.threads,
        chat=weights.chat,
    )
