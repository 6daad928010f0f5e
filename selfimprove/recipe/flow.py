"""The flow of a recipe: which stages a run consists of, in which order, and what may be wrong with that."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from selfimprove.errors import RecipeError, not_known, suggest
from selfimprove.recipe import Recipe, flow_names, why_no_name
from selfimprove.recipe.catalog import Declared, Mistake, known_stages, of_others
from selfimprove.recipe.yaml import Document
from selfimprove.settings import Settings


@dataclass(frozen=True)
class Step:
    """An entry of a flow: a stage under the name that it has in the run."""

    name: str
    stage: Any
    """Its declaration (`stages.base.Stage`)."""


def trains_full_prompt(recipe: Recipe) -> bool:
    """Whether trained prompts hold the exemplars or the trigger that the samples were given."""
    training = (step for step in flow_of(recipe) if step.stage.trains == "policy" and step.stage.when == "later")
    settings = next((getattr(recipe.stages, step.name) for step in training), None)
    return getattr(settings, "prompt", "question") == "shown"


def trains_by_margins(recipe: Recipe) -> bool:
    """Whether a training of the flow goes by how sure its pairs are, and not by which text of each is chosen alone."""
    own = [own_settings(recipe, step) for step in flow_of(recipe)]
    return any(getattr(one, "labels", "hard") == "soft" or getattr(one, "margin", 0.0) > 0 for one in own)


@dataclass(frozen=True)
class UnknownStage:
    """A stage of a run that others made, which no package here declares."""

    name: str
    when: str = "later"
    about: str = "training"
    trains: str = ""
    starts: bool = False
    decides: bool = False
    named: bool = False


def flow_of(recipe: Recipe, *, lenient: bool = False) -> list[Step]:
    """The stages of a run in order, those of round 0 first; raises RecipeError for a name that is not known, unless
    `lenient` lets it stand."""
    known = known_stages()
    first = [stage for stage in known.values() if stage.when == "first"]
    start = next(stage for stage in sorted(first, key=_chosen(recipe), reverse=True) if stage.starts)
    found = [Step(stage.name, stage) for stage in first if stage is start or not (stage.starts or stage.optional)]
    if recipe.flow is None:
        names = {name: name for name, stage in known.items() if stage.when != "first"}
    else:
        names = flow_names({"flow": recipe.flow})
    for name, declared in names.items():
        if declared not in known and lenient:
            found.append(Step(name, UnknownStage(declared)))
            continue
        if declared not in known:
            raise RecipeError(not_known("stage", declared, known))
        settings = getattr(recipe.stages, name, None) if known[declared].named else Settings()
        if settings is not None and known[declared].enabled(settings) and known[declared].applies(recipe):
            found.append(Step(name, known[declared]))
    return found


def last_of_round(recipe: Recipe, round_: int) -> str:
    """The stage that ends a round."""
    flow = flow_of(recipe, lenient=True)
    return [step.name for step in flow if round_ or step.stage.when != "later"][-1]


def _chosen(recipe: Recipe) -> Callable[[Declared], bool]:
    """Whether a recipe has settings for a stage that is optional."""
    return lambda stage: stage.optional and getattr(recipe.stages, stage.name, None) is not None


def own_settings(recipe: Recipe, step: Step) -> Any:
    """The settings of a stage in a recipe."""
    return getattr(recipe.stages, step.name) if step.stage.named else step.stage.settings()


def check_flow(document: Document) -> None:
    """Check the names of a flow before its settings are read; raises RecipeError with the file and the line."""
    flow, known = document.data.get("flow"), known_stages()
    if not isinstance(flow, list):
        return  # of another type, which validation reports
    named: dict[str, str] = {}
    nameable = {name: stage for name, stage in known.items() if stage.when != "first"}
    aliases = flow_names(document.data)
    groups = {section for stage in known.values() for section in stage.sections}
    for at, entry in enumerate(flow):
        where = document.where(("flow", at))
        pairs = list(entry.items()) if isinstance(entry, dict) else [(entry, entry)]
        if len(pairs) != 1 or not all(isinstance(one, str) for pair in pairs for one in pair):
            raise RecipeError(f"{where}: an entry of the flow is a stage's name, or a name and a stage: {{again: sft}}")
        name, declared = pairs[0]
        if declared not in nameable:
            if name != declared and declared in aliases:
                raise RecipeError(f"{where}: '{name}' and '{declared}' name each other in a circle; name a stage")
            if declared in known:
                raise RecipeError(f"{where}: the stage '{declared}' runs before round 1 by itself; leave it out here")
            raise RecipeError(f"{where}: {not_known('stage', str(declared), nameable)}")
        if name != declared and (name in known or name in groups):
            what = "a stage" if name in known else "a group of settings"
            raise RecipeError(f"{where}: '{name}' is the name of {what}; call the second '{declared}' something else")
        if name != declared and (why := why_no_name(name)):
            raise RecipeError(f"{where}: {why}")
        if name in named:
            again = f"{{{name}-again: {declared}}}"
            raise RecipeError(f"{where}: '{name}' stands in the flow twice; give the second a name: {again}")
        named[name] = declared
    _check_settings(document, named)


def _check_settings(document: Document, named: dict[str, str]) -> None:
    """Settings of stages that do not run are a mistake, and not silence."""
    stages, known = document.data.get("stages"), known_stages()
    sections = {section for declared in named.values() for section in known[declared].sections}
    for name in [name for name in stages if stages[name] is not None] if isinstance(stages, dict) else ():
        known_elsewhere = name in known and known[name].when != "first"
        if known_elsewhere and name not in named and name not in sections:
            where = document.where(("stages", name))
            raise RecipeError(f"{where}: '{name}' has settings and does not stand in the flow{suggest(name, named)}")


def check_needs(recipe: Recipe) -> Iterator[Mistake]:
    """What is wrong with the stages of a recipe: what is missing, what comes too late, and what each one says."""
    flow, known = flow_of(recipe), list(known_stages().values())
    start = next(step.stage for step in flow if step.stage.starts)
    if recipe.model.build and not start.optional:
        builders = [stage.name for stage in known if stage.starts and stage.optional]
        yield Mistake(("stages",), f"a model built from nothing needs the stage {_either(builders)}")
    for stage in (stage for stage in known if stage.name in of_others("stage") and stage.when != "first"):
        if recipe.flow is None and getattr(recipe.stages, stage.name, None) is not None:
            yield Mistake(("stages", stage.name), f"'{stage.name}' needs a 'flow' that says where in a round it stands")
    yield from _check_parts(recipe, flow)
    for at, step in enumerate(flow):
        yield from _check_kinds(recipe, flow, at)
        if step.stage.named:
            yield from step.stage.check(recipe, getattr(recipe.stages, step.name))


def _check_parts(recipe: Recipe, flow: Sequence[Step]) -> Iterator[Mistake]:
    """What a recipe has that no stage of its flow makes anything of."""
    known = list(known_stages().values())
    trainers = [stage.name for stage in known if stage.trains == "policy" and stage.when != "first"]
    if not any(step.stage.name in trainers for step in flow):
        where = ("flow",) if recipe.flow is not None else ("stages", trainers[0])
        yield Mistake(where, f"nothing trains: a round needs the stage {_either(trainers)}")
    here = {step.stage.name for step in flow}
    for stage in known:
        for section in stage.sections if stage.name not in here else ():
            if getattr(recipe.stages, section, None) is not None:
                yield Mistake(("stages", section), f"'{section}' needs the stage '{stage.name}'")
    open_: dict[tuple[str, ...], str] = {
        ("open",): "open" if recipe.open is not None else "",
        ("train", "name"): f"train.name: {recipe.train.name}" if recipe.train.family == "prompts" else "",
    }
    if recipe.rounds and not any(step.stage.open for step in flow):
        able = [stage.name for stage in known if stage.open]
        for at, name in open_.items():
            if name:
                yield Mistake(at, f"'{name}' needs the stage {_either(able)}: open prompts have no answer to go by")


def _either(names: Sequence[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)


def _check_kinds(recipe: Recipe, flow: list[Any], at: int) -> Iterator[Mistake]:
    """Whether all that a stage needs is written before it."""
    step = flow[at]
    where = ("flow", _entry(recipe, step.name)) if recipe.flow is not None else ("stages", step.name)
    for kind in step.stage.needs:
        held_out = step.stage.about == "held out"
        writers = [one for one in flow if kind in (one.stage.writes, *one.stage.also) and one is not step]
        fit = [one for one in writers if held_out or one.stage.about == "training"]
        before = [one for one in flow[:at] if one in fit and one.stage.when != "first"]
        if before:
            continue
        if fit and fit[0] in flow[at:]:
            later = fit[0].name
            said = f"'{step.name}' reads what '{later}' writes, which stands after it; move '{later}' before it"
        elif [one for one in writers if one in flow[:at] and one.stage.when != "first"]:
            said = f"'{step.name}' would take held-out texts of '{writers[0].name}' for training; they are kept apart"
        else:
            known = known_stages().values()
            able = [one.name for one in known if kind in (one.writes, *one.also) and one.when == "later"]
            able = [name for name in able if name != step.stage.name]
            needed = f"the stage {_either(able)}" if able else f"a stage that writes a {kind.kind}"
            said = f"the stage '{step.name}' needs {needed}"
        yield Mistake(where, said)


def _entry(recipe: Recipe, name: str) -> int:
    names = list(flow_names({"flow": recipe.flow}))
    return names.index(name) if name in names else 0
