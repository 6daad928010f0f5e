"""What recipes may name: stages, tasks, verifiers, engines and rewards of this package, of installed ones and of files.

Each is declared by its module when that is imported. A recipe, a constitution and a run's folder are data and load no
code: only an installed package and `--import FILE` on the command line do.
"""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from selfimprove.errors import RecipeError
from selfimprove.records import Record
from selfimprove.settings import Settings


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
    def about(self) -> str: ...
    @property
    def asks(self) -> str: ...
    @property
    def writes(self) -> type[Record]: ...
    @property
    def also(self) -> tuple[type[Record], ...]: ...
    @property
    def loss_tells(self) -> bool: ...
    @property
    def starts(self) -> bool: ...
    @property
    def trains(self) -> str: ...
    @property
    def beside(self) -> str: ...
    @property
    def figures(self) -> Callable[[Any], Mapping[str, float | None]]: ...
    @property
    def charts(self) -> str: ...
    @property
    def open(self) -> bool: ...
    @property
    def run(self) -> Callable[..., Any]: ...
    @property
    def enabled(self) -> Callable[[Any], bool]: ...
    @property
    def applies(self) -> Callable[[Any], bool]: ...
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


Noun = Literal["stage", "task", "verifier", "engine", "trainer", "reward"]
_DECLARED: dict[Noun, dict[str, tuple[Any, str]]] = {noun: {} for noun in get_args(Noun)}  # each with its module
_EXTENSIONS: dict[str, Extension] = {}  # by the name of the module
_discovered = False
HOMES: dict[Noun, str] = {
    "stage": "selfimprove.stages", "task": "selfimprove.tasks", "verifier": "selfimprove.verifiers",
    "engine": "selfimprove.engines",
}  # fmt: skip
"""Packages that declare what is built in when they are imported; named here, because they stand above recipes."""
GROUP = "selfimprove"
"""The group of entry points by which an installed package names the module that declares what it adds."""


def register(noun: Noun, name: str, thing: Any, source: Any) -> None:
    """Make a thing known under its name, `source` being a function or class of the module that declares it; raises
    RecipeError where another one is called so."""
    there = _DECLARED[noun].get(name)
    origin = (source.__module__, source.__qualname__)
    if there is not None and there[1] != ":".join(origin):
        first = there[1].partition(":")[0]
        raise RecipeError(f"two {noun}s are called '{name}': of {first} and {source.__module__}")
    _DECLARED[noun][name] = (thing, ":".join(origin))


def known(noun: Noun) -> dict[str, Any]:
    """All that is declared of a noun, by name and in the order of the declarations."""
    _load_own(noun)
    discover()
    return {name: thing for name, (thing, _) in _DECLARED[noun].items()}


def find(noun: Noun, name: str) -> Any:
    """What is declared under a name, None where nothing is; others are looked for only where it is not at hand."""
    if name not in _DECLARED[noun]:
        _load_own(noun)
    if name not in _DECLARED[noun]:
        discover()
    return _DECLARED[noun].get(name, (None, ""))[0]


def of_others(noun: Noun) -> list[str]:
    """The names that are declared beside this package."""
    discover()
    return [name for name, (_, origin) in _DECLARED[noun].items() if not origin.startswith("selfimprove.")]


def known_stages() -> dict[str, Declared]:
    """All stages by name, in the order that a recipe without a flow runs them in."""
    return known("stage")


def _load_own(noun: Noun) -> None:
    """Import what this package declares of a noun."""
    if noun in HOMES:
        importlib.import_module(HOMES[noun])


def discover() -> None:
    """Import the stages of this package and what installed ones declare, once; raises RecipeError that names a package
    that fails."""
    global _discovered
    if _discovered:
        return
    _discovered = True
    try:
        _load_own("stage")
        for entry in entry_points(group=GROUP):
            _load_package(entry)
    except BaseException:  # Ctrl-C too: half of what is declared would pass for all of it from then on
        _discovered = False
        raise


def _load_package(entry: EntryPoint) -> None:
    before = {(noun, name) for noun, names in _DECLARED.items() for name in names}
    try:
        module = entry.load()
    except Exception as error:  # whatever another's code raises: it is named, and nothing runs half extended
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise RecipeError(f"the package of the extension '{entry.name}' cannot be loaded ({said})") from None
    for noun, names in _DECLARED.items():
        for name in names:
            if (noun, name) not in before and not name.startswith(f"{entry.name}-"):
                raise RecipeError(
                    f"the {noun} '{name}' of the extension '{entry.name}' must be called '{entry.name}-…'"
                )
    _note(entry.name, entry.dist.version if entry.dist else "?", module)


def import_file(path: str) -> Extension:
    """Import a file that declares something, as `--import` asks; raises RecipeError where it cannot be."""
    discover()
    file = Path(path)
    name = f"imported_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file) if file.suffix == ".py" and file.is_file() else None
    if spec is None or spec.loader is None:
        raise RecipeError(f"--import {path}: no such Python file")
    there = _EXTENSIONS.get(name)
    if there is not None and there.path == str(file.resolve()):
        return there
    if there is not None:
        raise RecipeError(f"--import {path}: {there.path} has the same name; call one of the two something else")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises is a mistake with a place in it
        del sys.modules[name]
        raise RecipeError(_describe_failure(path, error)) from None
    return _note(file.name, str(getattr(module, "__version__", "")), module, str(file.resolve()))


def _describe_failure(path: str, error: Exception) -> str:
    """One line with the line of the file in which something was raised."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(Path(path))]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    said = str(error) if isinstance(error, RecipeError) else f"{type(error).__name__}: {error}"
    return f"--import {path}{f':{line}' if line else ''}: {' '.join(said.split())[:300]}"


def _note(name: str, version: str, module: ModuleType, path: str = "") -> Extension:
    source = Path(str(module.__file__)).read_bytes() if module.__file__ else b""
    made = Extension(name, version, hashlib.sha256(source).hexdigest(), path)
    _EXTENSIONS[module.__name__] = made
    return made


def extensions() -> list[Extension]:
    """What is declared beside this package, as far as it has been imported."""
    return list(_EXTENSIONS.values())


def declared_by(extension: Extension) -> dict[Noun, list[str]]:
    """What an extension declares, by noun."""
    roots = {module.split(".")[0] for module, one in _EXTENSIONS.items() if one == extension}
    return {
        noun: mine
        for noun, names in _DECLARED.items()
        if (mine := [name for name, (_, origin) in names.items() if origin.split(":")[0].split(".")[0] in roots])
    }


@dataclass(frozen=True)
class Named:
    """Annotates a setting that names something declared: one of `ours`, or any that others declare.

    Where the recipe of another's run is read (`lenient` in the validation's context) any name stands.
    """

    noun: Noun
    ours: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def _check(self, name: str, info: ValidationInfo) -> str:
        lenient = isinstance(info.context, dict) and info.context.get("lenient")
        if name in self.ours or lenient or name in of_others(self.noun):
            return name
        names = [*self.ours, *of_others(self.noun)]
        raise PydanticCustomError("not_known", "is no known {noun}", {"noun": self.noun, "known": names})

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "enum": [*self.ours, *of_others(self.noun)]}
