"""A training's configuration on the shape of a model, without its weights: what would be refused is refused at once."""

from typing import Any

from selfimprove.engines.models import keeps_state
from selfimprove.errors import TrainingError
from selfimprove.recipe import RewardTraining, Training
from selfimprove.recipe.reinforcement import RlTraining
from selfimprove.trainers.adapters import add_adapter
from selfimprove.trainers.common import make_optimizer
from selfimprove.trainers.reward_model import keep_layers, sketch_reward_model


def rehearse(model: Any, settings: Training, *, base: str) -> None:
    """Adapter, checkpointing of activations and optimizer as a training makes them; raises TrainingError.

    `model` is on torch's meta device, and is changed; `base` is what it is called.
    """
    import torch

    if settings.gradient_checkpointing and not getattr(model, "supports_gradient_checkpointing", True):
        raise TrainingError(f"'gradient_checkpointing' is not there for {type(model).__name__}; leave it out")
    if isinstance(settings, RlTraining) and keeps_state(model.config):
        raise TrainingError(
            f"{base}: is a recurrent or hybrid model, whose texts cannot be written while it is trained"
        )
    rewards = isinstance(settings, RewardTraining)
    if isinstance(settings, RewardTraining):
        keep_layers(model, settings.layers)
        model = sketch_reward_model(model, pad=0)
    with torch.random.fork_rng(devices=[]):  # what is sampled next is none of a rehearsal's business
        if settings.lora:
            task = "SEQ_CLS" if rewards else "CAUSAL_LM"
            model = add_adapter(model, settings.lora, base=base, seed=0, task=task)
        make_optimizer(model, settings)
    if not any(one.requires_grad for one in model.parameters()):
        raise TrainingError(f"{base}: nothing of it would be trained")
