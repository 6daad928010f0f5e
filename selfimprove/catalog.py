"""What recipes may name: stages by their declarations, found in this package and in installed ones."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from selfimprove.errors import RecipeError
from selfimprove.settings import Settings

BUILT_IN = ("selfimprove.stages",)
"""Modules that declare stages when they are imported; named here, because they stand above recipes."""


@dataclass(frozen=True)
class Mistake:
    """What is wrong with a recipe, and where: a path of keys from its top."""

    at: tuple[str | int, ...]
    message: str


class Declared(Protocol):
    """What a recipe needs to know of a stage."""

    @property
    def name(self) -> str: ...
    @property
    def settings(self) -> type[Settings]: ...
    @property
    def sections(self) -> Mapping[str, type[Settings]]: ...
    @property
    def optional(self) -> bool: ...
    @property
    def by_default(self) -> bool: ...
    @property
    def named(self) -> bool: ...
    @property
    def when(self) -> str: ...
    @property
    def starts(self) -> bool: ...
    @property
    def trains(self) -> str: ...
    @property
    def beside(self) -> str: ...
    @property
    def figures(self) -> Callable[[Any], Mapping[str, float | None]]: ...
    @property
    def open(self) -> bool: ...
    @property
    def run(self) -> Callable[..., Any]: ...
    @property
    def enabled(self) -> Callable[[Any], bool]: ...
    @property
    def check(self) -> Callable[[Any, Any], Iterable[Mistake]]: ...


_STAGES: dict[str, Any] = {}


def register_stage(stage: Any) -> None:
    """Make a stage known under its name; raises RecipeError where that is taken."""
    there = _STAGES.get(stage.name)
    if there is not None and (there.run.__module__, there.run.__qualname__) != (
        stage.run.__module__,
        stage.run.__qualname__,
    ):
        raise RecipeError(f"two stages are called '{stage.name}': of {there.run.__module__} and {stage.run.__module__}")
    _STAGES[stage.name] = stage


def known_stages() -> dict[str, Any]:
    """All stages by name, in the order that a recipe without a flow runs them in."""
    for module in BUILT_IN:
        importlib.import_module(module)
    return _STAGES
