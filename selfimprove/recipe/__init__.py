"""The recipe: its settings, its file, its flow, and the policies that it names."""

from selfimprove.recipe.recipe import (
    Answers,
    Build,
    Judge,
    Model,
    Presence,
    Prompting,
    Recipe,
    S,
    Sampling,
    Stages,
    TrackerName,
    compose,
    flow_names,
    stage_names,
    why_no_name,
)
from selfimprove.recipe.training_settings import Lora, PairTraining, RewardTraining, SupervisedTraining, Training

__all__ = [
    "Answers",
    "Build",
    "Judge",
    "Lora",
    "Model",
    "PairTraining",
    "Presence",
    "Prompting",
    "Recipe",
    "RewardTraining",
    "S",
    "Sampling",
    "Stages",
    "SupervisedTraining",
    "TrackerName",
    "Training",
    "compose",
    "flow_names",
    "stage_names",
    "why_no_name",
]
