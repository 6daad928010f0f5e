"""Reading a recipe: by path or by name, with overrides, and with the files that it names made absolute."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from selfimprove.errors import RecipeError, suggest
from selfimprove.recipe import Recipe, RewardTraining, Training, compose, flow_names, stage_names
from selfimprove.recipe.catalog import known_stages
from selfimprove.recipe.flow import check_flow, check_needs
from selfimprove.recipe.json_text import HalfCharacterError
from selfimprove.recipe.launch import read_launch
from selfimprove.recipe.policies import find_policy
from selfimprove.recipe.yaml import Document, dump, elsewhere, plain_data, read_document, validate
from selfimprove.recipe.yaml import compose as compose_yaml
from selfimprove.records.files import is_there

STAGE_PATHS = ("path", "launch_config", "labelled", "rules")  # keys of files and folders in the stages' settings
TASKS = ("train", "open")
SHOWN = 200  # characters of an override in a mistake


def load_recipe(
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    overrides: Iterable[str] | Mapping[str, Any] = (),
    *,
    lenient: bool = False,
) -> Recipe:
    """Read and validate a recipe: a name, a file or a dictionary; raises RecipeError.

    Overrides are texts `key=value`, or a dictionary whose keys may have dots and whose dictionaries are merged into
    the recipe's. A stage's key may leave out `stages.`. `lenient` reads the recipe of a run that others made: what it
    says of unknown stages stays plain data.
    """
    if isinstance(recipe, Mapping):
        document, folder = Document.from_data(recipe, "the recipe"), Path()
    else:
        path = find_policy("recipes", os.fspath(recipe))
        document, folder = read_document(path), path.parent
    if isinstance(overrides, Mapping):
        for key, value in _flatten(overrides):
            _set_value(document, key, plain_data(value, key), f"{key}={value!r}"[:120], key)
    else:
        for override in overrides:
            _override(document, override)
    if not lenient:
        check_flow(document)
    _resolve_paths(document, folder)
    loaded = validate(compose(document.data, lenient=lenient), document, lenient=lenient)
    if not lenient:
        _check(loaded, document)
    return loaded


def _flatten(overrides: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    """Nested overrides by their dotted keys; a task with its name stands for itself, not merged into the recipe's."""
    for name, value in overrides.items():
        key = f"{before}{name}"
        if isinstance(value, Mapping) and value and not (key in TASKS and "name" in value):
            yield from _flatten(value, f"{key}.")
        else:
            yield key, value


def change_recipe(recipe: Recipe, changes: Iterable[str]) -> Recipe:
    """A recipe with settings changed as by `--set`; raises RecipeError."""
    document = Document(write_recipe(recipe), f"recipe '{recipe.name}'")
    for change in changes:
        _override(document, change)
    changed = validate(compose(document.data), document)
    _check(changed, document)
    return changed


def parse_recipe(text: str) -> Recipe:
    """A recipe from the JSON that it was dumped as."""
    data = json.loads(text)
    return compose(data).model_validate(data)


def _override(document: Document, override: str) -> None:
    key, separator, text = override.partition("=")
    key = key.strip()
    if not separator or not all(key.split(".")):
        raise RecipeError(f"--set {override}: expected key=value, such as generate.samples=8")
    try:
        _, value = compose_yaml(text, "--set")
    except HalfCharacterError:
        raise RecipeError(f"--set {key}: {text!r} is no Unicode text") from None
    except RecipeError:
        raise RecipeError(f"--set {key}: {text!r} is not a YAML value") from None
    shown = override if len(override) <= SHOWN else f"{override[: SHOWN - 3]}..."
    _set_value(document, key, value, f"--set {shown}", f"--set {key[:SHOWN]}")


def _set_value(document: Document, key: str, value: object, shown: str, name: str) -> None:
    """Set what a dotted key names; `shown` names the override in later mistakes, `name` its key alone."""
    parts = key.split(".")
    stages = stage_names(document.data)
    if parts[0] in stages:
        parts = ["stages", *parts]
    elif parts[0] not in Recipe.model_fields:
        names = [*Recipe.model_fields, *stages]
        more = elsewhere(compose(document.data), parts[0], names) if len(parts) == 1 else ""
        raise RecipeError(f"{name}: unknown key '{parts[0]}'{more or suggest(parts[0], names)}")
    target: dict[str, Any] = document.data
    for part in parts[:-1]:
        if target.get(part) is None:
            target[part] = {}
        target = target[part]
        if not isinstance(target, dict):
            raise RecipeError(f"{name}: '{part}' is not a group of settings")
    target[parts[-1]] = value
    # A mistake in the value is then reported as of the override and not of a line of the file.
    location = tuple(parts)
    document.lines = {at: line for at, line in document.lines.items() if at[: len(location)] != location}
    document.overridden = {at: said for at, said in document.overridden.items() if at[: len(location)] != location}
    document.overridden[location] = shown


def _resolve_paths(document: Document, folder: Path) -> None:
    """Make the files that a recipe names absolute, so that the run's own copy of the recipe finds them too.

    A path in a file is looked for beside the file first, one on the command line in the working folder first.
    """
    data = document.data
    others = data.get("evaluate_on")
    tasks: list[tuple[tuple[str | int, ...], Any]] = [(("train",), data.get("train"))]
    tasks += [(("evaluate_on", at), task) for at, task in enumerate(others if isinstance(others, list) else ())]
    owners: list[tuple[tuple[str | int, ...], Any, str]]
    owners = [(at, task, key) for at, task in tasks for key in ("path", "evaluate_path", "file")]
    owners += [(("prompt",), data.get("prompt"), "exemplars"), (("model",), data.get("model"), "path")]
    owners += [((), data, "constitution"), (("open",), data.get("open"), "path")]
    owners += [(("open_prompt",), data.get("open_prompt"), "exemplars")]
    owners += [(("judge",), data.get("judge"), key) for key in ("path", "prompt")]
    owners += [(at, owner, key) for at, owner in _groups(data.get("stages"), ("stages",)) for key in STAGE_PATHS]
    for location, owner, key in owners:
        if not isinstance(owner, dict) or not isinstance(owner.get(key), str):
            continue
        if "\0" in owner[key]:
            place = (*location, key)
            named = ".".join(map(str, place))
            raise RecipeError(f"{document.where(place)}: '{named}' holds the character \\0, which no file's name has")
        given = os.path.expanduser(owner[key])  # noqa: PTH111 (an unknown ~user is no error, but a name)
        candidates = [folder / owner[key], Path(given)]
        if (*location, key) in document.overridden:
            candidates.reverse()
        found = next((one for one in candidates if is_there(one)), None)
        if found:
            owner[key] = str(found.resolve())


def _groups(data: object, location: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """All groups of settings below a place."""
    if isinstance(data, dict):
        yield location, data
        for name, inner in data.items():
            yield from _groups(inner, (*location, name))


def _check(recipe: Recipe, document: Document) -> None:
    if (recipe.model.path is None) == (recipe.model.build is None):
        raise RecipeError(
            f"{document.where(('model',))}: a model needs either 'path' (a folder or a hub name) or 'build'"
        )
    build = recipe.model.build
    if build and (beyond := [one for one in build.nope_layers if one > build.layers]):
        where = document.where(("model", "build", "nope_layers"))
        raise RecipeError(f"{where}: there is no layer {beyond[0]}; 'layers' is {build.layers}")
    for mistake in check_needs(recipe):
        raise RecipeError(f"{document.where(mistake.at)}: {mistake.message}")
    _check_launch(recipe, document)
    _check_restarts(recipe, document)
    _check_tasks(recipe, document)
    shown = [task for task in (recipe.train, *recipe.evaluate_on) if task.family not in ("scored", "prompts")]
    bring_their_own = all(task.family == "bbh" for task in shown)
    if recipe.prompt.style.startswith("few-shot") and recipe.prompt.exemplars is None and not bring_their_own:
        raise RecipeError(f"{document.where(('prompt',))}: style '{recipe.prompt.style}' needs 'exemplars'")
    apart = recipe.open_prompt
    if apart and apart.chat != recipe.prompt.chat:
        where = document.where(("open_prompt", "chat"))
        raise RecipeError(f"{where}: 'open_prompt.chat' must be what 'prompt.chat' is: one model reads both")
    if apart and ((apart.style.startswith("few-shot") and not apart.exemplars) or "{question}" not in apart.question):
        lacks = f"needs 'exemplars' for '{apart.style}'"
        if apart.exemplars or not apart.style.startswith("few-shot"):
            lacks = "needs {question} in its 'question'"
        raise RecipeError(f"{document.where(('open_prompt',))}: 'open_prompt' {lacks}")
    for name, fields in (("question", {"question"}), ("hint", {"question", "answer"}), ("answer", {"answer"})):
        template = getattr(recipe.prompt, name)
        missing = [field for field in sorted(fields) if "{" + field + "}" not in template]
        if missing:
            raise RecipeError(f"{document.where(('prompt', name))}: 'prompt.{name}' lacks {{{missing[0]}}}")


def _check_restarts(recipe: Recipe, document: Document) -> None:
    for name in type(recipe.stages).model_fields:
        settings = getattr(recipe.stages, name)
        if isinstance(settings, Training) and settings.restarts and settings.schedule != "cosine":
            where = document.where(("stages", name, "restarts"))
            raise RecipeError(f"{where}: only a cosine begins anew, not 'schedule: {settings.schedule}'")


def _check_launch(recipe: Recipe, document: Document) -> None:
    """Whether the processes that shall train can."""
    for name in type(recipe.stages).model_fields:
        settings = getattr(recipe.stages, name)
        if not isinstance(settings, Training) or (settings.launch_config is None and settings.processes is None):
            continue
        where = document.where(("stages", name, "launch_config"))
        if settings.launch == "process":
            raise RecipeError(f"{where}: 'launch: process' trains in one process; leave it out")
        launch = read_launch(settings.launch_config, settings.processes)
        if settings.batch_size % launch.processes:
            raise RecipeError(
                f"{document.where(('stages', name, 'batch_size'))}: {settings.batch_size} rows cannot be shared out "
                f"evenly among {launch.processes} processes"
            )
        if launch.sharded and isinstance(settings, RewardTraining):
            raise RecipeError(
                f"{where}: a reward model is not trained with its weights spread over processes ({launch.kind}); take "
                "'launch_config: ddp'"
            )
        if launch.sharded and settings.optimizer == "muon":
            where = document.where(("stages", name, "optimizer"))
            raise RecipeError(
                f"{where}: muon needs whole matrices and {launch.kind} spreads them over processes; "
                f"choose adamw, or 'launch_config: ddp'"
            )


def _check_tasks(recipe: Recipe, document: Document) -> None:
    if recipe.train.family == "scored" and recipe.rounds:
        where = document.where(("train", "name"))
        raise RecipeError(
            f"{where}: '{recipe.train.name}' is only evaluated, never trained on; name it in 'evaluate_on'"
        )
    evaluated = [task.name for task in recipe.evaluate_on] or [recipe.train.name]
    for at, task in enumerate(recipe.evaluate_on):
        if task.family == "scored" and task.name in evaluated[:at]:
            where = document.where(("evaluate_on", at, "name"))
            raise RecipeError(f"{where}: '{task.name}' is evaluated twice; give each file a name of its own")


def write_recipe(recipe: Recipe) -> str:
    """A recipe as YAML with every default written out."""
    data = recipe.model_dump(mode="json")
    if recipe.flow is None:
        del data["flow"]
    else:
        names = flow_names({"flow": recipe.flow})
        sections = {section for name in names.values() for section in known_stages()[name].sections}
        first = {name for name, stage in known_stages().items() if stage.when == "first"}
        data["stages"] = {key: value for key, value in data["stages"].items() if key in {*names, *sections, *first}}
    return dump(data)
