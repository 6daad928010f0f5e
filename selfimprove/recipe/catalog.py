"""What recipes may name: stages by their declarations, of this package, of installed ones and of imported files.

A recipe, a constitution and a run's folder are data and load no code: only an installed package and `--import FILE` on
the command line do.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
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


@dataclass(frozen=True)
class Extension:
    """Code beside this package that declares something: an installed package's module, or a file."""

    name: str
    version: str
    hash: str
    path: str = ""
    """Of a file that `--import` named."""


_STAGES: dict[str, Any] = {}
_EXTENSIONS: dict[str, Extension] = {}  # by the name of the module
GROUP = "selfimprove"
"""The group of entry points by which an installed package names the module that declares what it adds."""


def register_stage(stage: Any) -> None:
    """Make a stage known under its name; raises RecipeError where that is taken."""
    there = _STAGES.get(stage.name)
    origin = (stage.run.__module__, stage.run.__qualname__)
    if there is not None and (there.run.__module__, there.run.__qualname__) != origin:
        raise RecipeError(f"two stages are called '{stage.name}': of {there.run.__module__} and {stage.run.__module__}")
    _STAGES[stage.name] = stage


def known_stages() -> dict[str, Any]:
    """All stages by name, in the order that a recipe without a flow runs them in."""
    discover()
    return _STAGES


def discover() -> None:
    """Import what this package and installed ones declare, once; raises RecipeError that names a package that fails."""
    if _EXTENSIONS or _STAGES:
        return
    for module in BUILT_IN:
        importlib.import_module(module)
    for entry in entry_points(group=GROUP):
        before = set(_STAGES)
        try:
            module_ = entry.load()
        except Exception as error:  # whatever another's code raises: it is named, and nothing runs half extended
            said = " ".join(str(error).split())[:200]
            raise RecipeError(f"the package of the extension '{entry.name}' cannot be loaded: {said}") from None
        for name in set(_STAGES) - before:
            if not name.startswith(f"{entry.name}-"):
                raise RecipeError(f"the stage '{name}' of the extension '{entry.name}' must be called '{entry.name}-…'")
        version = entry.dist.version if entry.dist else "?"
        _note(entry.name, version, module_)


def import_file(path: str) -> Extension:
    """Import a file that declares something, as `--import` asks; raises RecipeError where it cannot be."""
    discover()
    file = Path(path)
    name = f"imported_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file) if file.suffix == ".py" and file.is_file() else None
    if spec is None or spec.loader is None:
        raise RecipeError(f"--import {path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except RecipeError as error:
        raise RecipeError(f"--import {path}: {error}") from None
    return _note(file.name, str(getattr(module, "__version__", "")), module, str(file.resolve()))


def _note(name: str, version: str, module: ModuleType, path: str = "") -> Extension:
    source = Path(str(module.__file__)).read_bytes() if module.__file__ else b""
    made = Extension(name, version, hashlib.sha256(source).hexdigest(), path)
    _EXTENSIONS[module.__name__] = made
    return made


def extensions() -> list[Extension]:
    """What is declared beside this package."""
    return list(_EXTENSIONS.values())


def extension_of(stage: Any) -> Extension | None:
    """Where a stage comes from, where it is not from this package."""
    return _EXTENSIONS.get(stage.run.__module__)
