"""Reading a recipe: by path or by name, with overrides, and with the files that it names made absolute."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from selfimprove.accelerate_config import read_launch
from selfimprove.errors import RecipeError
from selfimprove.policy_files import find_policy
from selfimprove.recipe import STAGES, Recipe, Training
from selfimprove.yaml_files import Document, compose, dump, read_document, suggest, validate

TRAINING = ("warmup", "sft", "dpo")


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read and validate a recipe; each override is `key=value`, a stage's key may leave out `stages.`."""
    path = find_policy("recipes", name)
    document = read_document(path)
    for override in overrides:
        _override(document, override)
    _check_order(document)
    _resolve_paths(document, path.parent)
    recipe = validate(Recipe, document)
    _check(recipe, document)
    return recipe


def _override(document: Document, override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise RecipeError(f"--set {override}: expected key=value, such as generate.samples=8")
    if parts[0] in STAGES:
        parts = ["stages", *parts]
    elif parts[0] not in Recipe.model_fields:
        raise RecipeError(f"--set {key}: unknown key '{parts[0]}'{suggest(parts[0], [*Recipe.model_fields, *STAGES])}")
    try:
        _, value = compose(text, "--set")
    except RecipeError:
        raise RecipeError(f"--set {key}: {text!r} is not a YAML value") from None
    target: dict[str, Any] = document.data
    for part in parts[:-1]:
        if target.get(part) is None:
            target[part] = {}
        target = target[part]
        if not isinstance(target, dict):
            raise RecipeError(f"--set {key}: '{part}' is not a group of settings")
    target[parts[-1]] = value
    # A mistake in the value is then reported as of the override and not of a line of the file.
    location = tuple(parts)
    document.lines = {at: line for at, line in document.lines.items() if at[: len(location)] != location}
    document.overridden[location] = f"--set {override}"


def _check_order(document: Document) -> None:
    stages = document.data.get("stages")
    if not isinstance(stages, dict):
        return
    known = [name for name in stages if name in STAGES and ("stages", name) in document.lines]
    for before, after in pairwise(known):
        if STAGES.index(before) > STAGES.index(after):
            raise RecipeError(
                f"{document.where(('stages', after))}: stage '{after}' stands after '{before}', which comes later "
                f"in a round; the order is {', '.join(STAGES)}"
            )


def _resolve_paths(document: Document, folder: Path) -> None:
    """Make the files that a recipe names absolute, so that the run's own copy of the recipe finds them too.

    A path in a file is looked for beside the file first, one on the command line in the working folder first.
    """
    data = document.data
    others = data.get("evaluate_on")
    tasks: list[tuple[tuple[str | int, ...], Any]] = [(("train",), data.get("train"))]
    tasks += [(("evaluate_on", at), task) for at, task in enumerate(others if isinstance(others, list) else ())]
    owners: list[tuple[tuple[str | int, ...], Any, str]]
    owners = [(at, task, key) for at, task in tasks for key in ("path", "evaluate_path")]
    owners += [(("prompt",), data.get("prompt"), "exemplars"), (("model",), data.get("model"), "path")]
    owners += [((), data, "constitution"), (("open",), data.get("open"), "path")]
    owners += [(("open_prompt",), data.get("open_prompt"), "exemplars")]
    owners += [(("judge",), data.get("judge"), key) for key in ("path", "prompt")]
    prefer: Any = data
    for name in ("stages", "prefer", "files"):
        prefer = prefer.get(name) if isinstance(prefer, dict) else None
    owners += [(("stages", "prefer", "files"), prefer, "path")]
    stages = data.get("stages")
    for name in TRAINING:
        owner = stages.get(name) if isinstance(stages, dict) else None
        owners += [(("stages", name), owner, "launch_config")]
    for location, owner, key in owners:
        if not isinstance(owner, dict) or not isinstance(owner.get(key), str):
            continue
        candidates = [folder / owner[key], Path(owner[key]).expanduser()]
        if (*location, key) in document.overridden:
            candidates.reverse()
        found = next((one for one in candidates if one.exists()), None)
        if found:
            owner[key] = str(found.resolve())


def _check(recipe: Recipe, document: Document) -> None:
    if (recipe.model.path is None) == (recipe.model.build is None):
        raise RecipeError(
            f"{document.where(('model',))}: a model needs either 'path' (a folder or a hub name) or 'build'"
        )
    if recipe.model.build and recipe.stages.warmup is None:
        raise RecipeError(f"{document.where(('stages',))}: a model built from nothing needs the stage 'warmup'")
    if recipe.stages.warmup and recipe.train.name != "arithmetic":
        raise RecipeError(
            f"{document.where(('stages', 'warmup'))}: only the task 'arithmetic' has seed rationales; "
            f"leave 'warmup' out and start from a pretrained model"
        )
    if recipe.stages.sft is None and recipe.stages.dpo is None:
        raise RecipeError(
            f"{document.where(('stages', 'sft'))}: nothing trains: a round needs the stage 'sft' or 'dpo'"
        )
    if (recipe.stages.dpo is None) != (recipe.stages.prefer is None):
        alone, other = ("dpo", "prefer") if recipe.stages.dpo else ("prefer", "dpo")
        raise RecipeError(f"{document.where(('stages', alone))}: the stage '{alone}' needs the stage '{other}'")
    dpo = recipe.stages.dpo
    if dpo and dpo.lora and dpo.reference == "base":
        where = document.where(("stages", "dpo", "reference"))
        raise RecipeError(
            f"{where}: 'reference: base' is not there for LoRA: TRL holds an adapter to its own beginning"
        )
    if dpo and dpo.labels == "soft" and (dpo.loss != "sigmoid" or dpo.label_smoothing):
        where = document.where(("stages", "dpo", "labels"))
        raise RecipeError(f"{where}: soft labels need the loss 'sigmoid' without 'label_smoothing'")
    if dpo and dpo.label_smoothing and dpo.loss not in ("sigmoid", "robust"):
        where = document.where(("stages", "dpo", "label_smoothing"))
        raise RecipeError(f"{where}: 'label_smoothing' needs the loss 'sigmoid' (cDPO) or 'robust', not '{dpo.loss}'")
    _check_launch(recipe, document)
    _check_evaluation(recipe, document)
    _check_constitution(recipe, document)
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
        lacks = "needs {question} in its 'question'" if apart.exemplars else f"needs 'exemplars' for '{apart.style}'"
        raise RecipeError(f"{document.where(('open_prompt',))}: 'open_prompt' {lacks}")
    for name, fields in (("question", {"question"}), ("hint", {"question", "answer"}), ("answer", {"answer"})):
        template = getattr(recipe.prompt, name)
        missing = [field for field in sorted(fields) if "{" + field + "}" not in template]
        if missing:
            raise RecipeError(f"{document.where(('prompt', name))}: 'prompt.{name}' lacks {{{missing[0]}}}")


def _check_launch(recipe: Recipe, document: Document) -> None:
    """Whether the processes that shall train can."""
    for name in TRAINING:
        settings: Training | None = getattr(recipe.stages, name)
        if settings is None or (settings.launch_config is None and settings.processes is None):
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
        if launch.sharded and settings.optimizer == "muon":
            where = document.where(("stages", name, "optimizer"))
            raise RecipeError(
                f"{where}: muon needs whole matrices and {launch.kind} spreads them over processes; "
                f"choose adamw, or 'launch_config: ddp'"
            )


def _check_evaluation(recipe: Recipe, document: Document) -> None:
    settings = recipe.stages.evaluate
    if settings.samples > 1 and settings.temperature == 0:
        where = document.where(("stages", "evaluate", "samples"))
        raise RecipeError(f"{where}: {settings.samples} greedy samples are all the same; set 'evaluate.temperature'")
    if settings.training and (recipe.rounds or recipe.train.family == "scored"):
        where = document.where(("stages", "evaluate", "training"))
        raise RecipeError(f"{where}: 'evaluate.training' is for recipes without rounds: nothing would be held out")
    if settings.training and settings.standard:
        where = document.where(("stages", "evaluate", "training"))
        raise RecipeError(f"{where}: 'evaluate.standard' has prompts for held-out problems, not for training ones")
    if settings.extract and settings.samples > 1:
        where = document.where(("stages", "evaluate", "extract"))
        raise RecipeError(f"{where}: 'evaluate.extract' is for one sample, not for {settings.samples}")
    vote, generate = recipe.stages.select.vote, recipe.stages.generate
    if vote and (generate.samples < vote.votes or generate.temperature == 0):
        where = document.where(("stages", "select", "vote"))
        raise RecipeError(
            f"{where}: {generate.samples} samples at temperature {generate.temperature:g} have no majority of "
            f"{vote.votes}; raise 'generate.samples' and the temperature"
        )


def _check_constitution(recipe: Recipe, document: Document) -> None:
    """What the stages that go by a constitution need of the rest of the recipe."""
    stages = recipe.stages
    needs = {
        ("stages", "revise"): stages.revise is not None,
        ("stages", "warmup", "critiques"): stages.warmup is not None and stages.warmup.critiques > 0,
        ("stages", "prefer", "feedback"): stages.prefer is not None and stages.prefer.feedback is not None,
    }
    for location, used in needs.items():
        if used and recipe.constitution is None:
            name = ".".join(location[1:])
            raise RecipeError(f"{document.where(location)}: '{name}' needs a 'constitution', by path or by name")
    feedback = stages.prefer.feedback if stages.prefer else None
    if feedback and recipe.train.family != "prompts" and recipe.open is None:
        where = document.where(("stages", "prefer", "feedback"))
        raise RecipeError(f"{where}: 'prefer.feedback' compares responses to open prompts; name some with 'open'")
    if stages.revise is None:
        for location, used, name in (
            (("stages", "critique"), stages.critique is not None, "critique"),
            (("stages", "evaluate", "revise"), stages.evaluate.revise, "evaluate.revise"),
            (("open",), recipe.open is not None, "open"),
            (("train", "name"), recipe.train.family == "prompts", f"train.name: {recipe.train.name}"),
        ):
            if used:
                raise RecipeError(
                    f"{document.where(location)}: '{name}' needs the stage 'revise', which trains on what was revised"
                )
    elif stages.revise.lessons and recipe.train.family == "prompts":
        raise RecipeError(
            f"{document.where(('stages', 'revise', 'lessons'))}: 'revise.lessons' needs problems with answers, and "
            f"'{recipe.train.name}' has none"
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
    for at, name in enumerate(recipe.stages.promote.tasks):
        if name not in evaluated:
            where = document.where(("stages", "promote", "tasks", at))
            raise RecipeError(f"{where}: '{name}' is not evaluated{suggest(name, evaluated)}")


def write_recipe(recipe: Recipe) -> str:
    """A recipe as YAML with every default written out."""
    return dump(recipe.model_dump(mode="json"))
