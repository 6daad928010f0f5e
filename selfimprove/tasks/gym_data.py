"""The data sets of reasoning-gym: the task generates their problems, and the verifier asks their scorers."""

import os
from collections.abc import Mapping
from typing import Any

from selfimprove.errors import TaskError, suggest
from selfimprove.recipe.task_settings import ReasoningGymTask

REFUSED: Mapping[str, str] = {
    "composite": "it mixes data sets; name each of them as a task of its own",
    "codeio": "its problems come from running code that a language model wrote",
    "list_functions": "it makes other problems each time",
}
# They draw from sets, whose order follows Python's hash seed: another process would make other problems.
HASHED = frozenset({"isomorphic_strings", "polynomial_multiplication", "ransom_note"})


def open_data(settings: ReasoningGymTask) -> Any:
    """The data set with all its problems; raises TaskError where it is unknown, refused or badly set up."""
    name = settings.subject
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise TaskError(f"task '{settings.name}' needs the extra 'gym': pip install 'selfimprove[gym]'") from None
    if name not in DATASETS:
        raise TaskError(f"unknown data set '{name}' of reasoning-gym{suggest(name, DATASETS)}")
    if name in REFUSED:
        raise TaskError(f"task '{settings.name}' is not offered: {REFUSED[name]}")
    if name in HASHED and os.environ.get("PYTHONHASHSEED", "random") == "random":
        raise TaskError(
            f"task '{settings.name}': its problems follow Python's hash seed; start with PYTHONHASHSEED=0 in the "
            "environment, so that every process makes the same ones"
        )
    for key in ("size", "seed"):
        if key in settings.config:
            raise TaskError(f"task '{settings.name}': 'config' holds '{key}'; use 'limit', 'held_out' and 'seed'")
    size = settings.held_out + settings.limit
    try:
        return reasoning_gym.create_dataset(name, size=size, seed=settings.seed, **settings.config)
    except Exception as error:  # generators check their settings by assertions, type errors and much else
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TaskError(f"task '{settings.name}': 'config' is not valid ({reason[:160]})") from None
