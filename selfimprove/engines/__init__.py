"""Who writes text: one protocol, and an engine for each way to serve a checkpoint."""

from selfimprove.engines.base import Completion, Engine, Request, Score, ScriptedEngine
from selfimprove.recipe import EngineSettings, Model

__all__ = ["Completion", "Engine", "Request", "Score", "ScriptedEngine", "load_engine"]


def load_engine(settings: EngineSettings, model: Model, weights: str, *, base: str | None, chat: bool) -> Engine:
    """Load an engine with a checkpoint; the import is here because it takes seconds."""
    from selfimprove.engines.transformers import TransformersEngine

    return TransformersEngine(
        weights,
        base=base,
        dtype=model.dtype,
        device=model.device,
        batch_size=settings.batch_size,
        threads=settings.threads,
        chat=chat,
    )
