"""LoRA adapters that are trained: a new one on a model, or an old one that goes on as it is."""

from pathlib import Path
from typing import Any

from selfimprove.engines.model_files import ADAPTER, read_json
from selfimprove.errors import TrainingError
from selfimprove.recipe.training_settings import Lora


def add_adapter(model: Any, lora: Lora, *, base: str, seed: int, task: str = "CAUSAL_LM") -> Any:
    """Put a new adapter on a model, which says what it said before; raises TrainingError where it has no such layers.

    `base` is what the adapter's file will name as the model under it; `task` is peft's: SEQ_CLS trains a head, too.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        task_type=task,
    )
    config.base_model_name_or_path = model.name_or_path = base  # peft would put the model's own name in its place
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        said = str(error)
        if "arget modules" not in said and "target_modules" not in said:
            raise
        layers = [name for name, one in model.named_modules() if type(one).__name__ in ("Linear", "Conv1D")]
        there = sorted({name.rsplit(".", 1)[-1] for name in layers})
        asked = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
        raise TrainingError(
            f"'lora.targets': {base} has no layers called {asked}; choose from {', '.join(there)}, or all-linear"
        ) from None


def check_shape(folder: str | Path, lora: Lora) -> None:
    """Raise TrainingError where an adapter that is to be trained on has another shape than the recipe asks for."""
    found = read_json(Path(folder) / ADAPTER)
    asked: dict[str, Any] = {"rank": lora.rank, "alpha": lora.alpha, "dropout": lora.dropout}
    has = {name: found.get(key) for name, key in (("rank", "r"), ("alpha", "lora_alpha"), ("dropout", "lora_dropout"))}
    targets = found.get("target_modules")
    if not isinstance(lora.targets, str) and isinstance(targets, list):
        asked["targets"], has["targets"] = sorted(lora.targets), sorted(targets)
    differs = [name for name, value in asked.items() if has[name] != value]
    if differs:
        said = ", ".join(f"'lora.{name}: {has[name]}' instead of {asked[name]}" for name in differs)
        raise TrainingError(
            f"{folder}: is a LoRA adapter, which training goes on with as it is; write {said}; without 'lora' it is "
            "merged, and all weights are trained"
        )
