"""The recipe file: how a model improves, as pydantic models with every policy switch that papers differ in.

What a stage can be told stands in the stage's own file; `compose` puts these together with what is here.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, create_model

from selfimprove.errors import RecipeError
from selfimprove.recipe.budget import BudgetText
from selfimprove.recipe.catalog import known as known_of
from selfimprove.recipe.catalog import known_stages, of_others
from selfimprove.recipe.engine_settings import EngineSettings, Ray
from selfimprove.recipe.task_settings import PromptsTask, TaskSettings
from selfimprove.recipe.task_type import Task, task_type
from selfimprove.recipe.training_settings import Collapse, Decontamination
from selfimprove.settings import Settings, added, unhashed

S = TypeVar("S", bound=Settings)
TrackerName = Literal["tensorboard", "trackio", "wandb", "mlflow"]
STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}")  # a stage's folder is called so, and a group of settings

# --- the model -----------------------------------------------------------------------------------------------


class Build(Settings):
    """A model of this shape with random weights and a character-level tokenizer, both plain transformers objects: a
    Llama, or a SmolLM3 with `nope_layers` or `rope_window`."""

    hidden_size: Annotated[PositiveInt, Field(le=65_536)] = 64
    """Width of the residual stream."""
    intermediate_size: Annotated[PositiveInt, Field(le=262_144)] = 256
    """Width of the feed-forward layers."""
    layers: Annotated[PositiveInt, Field(le=1000)] = 2
    """Decoder layers."""
    heads: Annotated[PositiveInt, Field(le=1024)] = 2
    """Attention heads of a layer."""
    head_size: Annotated[PositiveInt, Field(le=1024)] = 32
    """Width of an attention head; at least 32, so that vLLM can serve the model."""
    rope_theta: PositiveFloat = 10000.0
    """Base of the rotary position embeddings."""
    nope_layers: tuple[PositiveInt, ...] = added(())
    """These layers, counted from 1, have no position embeddings and attend by content alone (NoPE; Kazemnejad et al.,
    2023): the model is a SmolLM3, whose layers have that choice. By default all layers have them."""
    rope_window: PositiveInt | None = added(None)
    """The layers with position embeddings see only the last n tokens, so that no place in a text is known by how far
    it is from another: a SmolLM3 too. By default they see all."""
    max_positions: PositiveInt = 512
    """The longest sequence in tokens."""
    alphabet: str = "0123456789+=#? \n"
    """Every character that prompts and rationales use."""


class Model(Settings):
    """The model to start from: `path` (a folder or a hub name) or `build`."""

    path: str | None = None
    """A folder, a hub name, a run or a round of it; this or `build` is needed."""
    build: Build | None = None
    """Build a small model with random weights instead of loading one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision in which the weights are loaded, sampled from and trained."""
    device: str = unhashed("auto", "where the model is loaded: auto, cpu, cuda, cuda:1, …; auto: a GPU if there is one")
    overrule: tuple[str, ...] = unhashed(
        (), "run although `selfimprove doctor` finds these wrong: the names of its findings, such as begin"
    )


# --- prompts and sampling ------------------------------------------------------------------------------------


class Prompting(Settings):
    """How a problem is shown to the model."""

    style: Literal["zero-shot", "zero-shot-cot", "few-shot", "few-shot-cot"] = "zero-shot"
    """With or without exemplars; -cot: with reasoning, by the trigger or in the exemplars."""
    question: str = "{question}"
    """The template of a question."""
    hint: str = "{question} (the answer is {answer})"
    """The template of a question with its answer, for rationalization (STaR, section 3.2)."""
    cue: str = ""
    """The text between the question and the completion, such as "\\nA:"."""
    trigger: str = "Let's think step by step."
    """Zero-shot CoT's trigger (Kojima et al., 2022)."""
    exemplars: str | None = unhashed(
        None, "a YAML file of exemplars (question, rationale, answer), beside the recipe, by path, or by name"
    )
    shots: PositiveInt | None = None
    """Use only the first n exemplars; by default all."""
    answer: str = "{answer}"
    """How an exemplar states its answer, such as "The answer is {answer}."."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """A completion ends before any of these."""
    chat: Literal["auto", "never"] = "auto"
    """Use the tokenizer's chat template where it has one."""


class Sampling(Settings):
    """How completions are sampled."""

    temperature: NonNegativeFloat = 0.7
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Nucleus sampling: draw from the likeliest tokens that hold this probability together; 1 is off."""
    max_tokens: PositiveInt = 256
    """The longest completion in tokens; a longer one is cut off there and recorded as such."""


class Judge(Settings):
    """The model that judges for tasks with `compare: judge`, and as a second verifier."""

    path: str | None = None
    """A folder, a hub name, a run or a round of it; by default the run's first model judges."""
    prompt: str | None = unhashed(
        None, "a YAML file with the judge's prompt (its content counts); by default policies/judges/answer.yaml"
    )
    max_tokens: PositiveInt = 8
    """The longest judgement in tokens; one word is asked for."""


class Answers(Settings):
    """How an answer is read out of a text."""

    answer: Literal["any", "stated"] = "any"
    """any: the last number counts where no answer is announced; stated: it must be, by `####`, a box or "the answer
    is". A base model that copies the question ends on a number too."""


# --- stages --------------------------------------------------------------------------------------------------


class Stages(Settings):
    """The stages' settings; an optional stage that is left out does not run."""


class Recipe(Settings):
    """How a model improves itself."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", json_schema_extra={"hashed": False})
    """The run's name, and its folder under `runs/`."""
    description: str = unhashed("", "a sentence for people")
    seed: NonNegativeInt = 0
    """Decides every random choice of the run."""
    rounds: Annotated[int, Field(ge=0, le=1000)] = unhashed(
        4, "rounds after the first evaluation; raise it to go on with a finished run"
    )
    budget: BudgetText | None = unhashed(
        None,
        "what the run may spend before it ends early between two stages: '30m' (CPU time), '30m gpu' (time in which a "
        "model works), '2M tokens' (written, scored and trained) or '5 rounds'; raise it to go on",
    )
    model: Model
    """The model to start from."""
    constitution: str | None = unhashed(
        None, "a constitution file, or the name of one in policies/constitutions (its content counts)"
    )
    train: Task
    """The task that the run trains on."""
    open: PromptsTask | None = None
    """Open prompts that each round draws in addition to the training task's problems."""
    open_prompt: Prompting | None = None
    """How open prompts are shown; by default by `prompt`. A text ends before any stop mark of both formats."""
    evaluate_on: tuple[Task, ...] = ()
    """Tasks whose held-out problems are evaluated; by default the training task alone."""
    prompt: Prompting = Prompting()
    """How problems are shown to the model."""
    engine: EngineSettings = EngineSettings()
    """The program that generates text."""
    ray: Ray = Ray()
    """The cluster of `--on ray`."""
    judge: Judge = Judge()
    """The model that judges where a verdict or a comparison needs one."""
    decontaminate: Decontamination | None = added(None)
    """What is done about rows that share text with held-out problems; by default they are not compared."""
    stop_at_collapse: Collapse | None = unhashed(
        None, "end the run before the next round where its texts collapse; by default `status` warns, and nothing more"
    )
    report_to: tuple[TrackerName, ...] = unhashed(
        (), "trackers that the trainers' steps and each round's figures are reported to"
    )
    flow: tuple[str | dict[str, str], ...] | None = added(None)
    """The stages of a round in order, such as [frontier, generate, verify, select, sft, evaluate, promote]; an entry
    {again: generate} runs a stage under a second name, with settings of its own under that name. By default all stages
    that have settings run, in the order of the reference."""
    stages: Stages = Stages()
    """What a round does."""

    def find(self, kind: type[S]) -> S | None:
        """The first stage's settings of a class, None where the recipe has none."""
        return next((found for name in type(self.stages).model_fields
                     if isinstance(found := getattr(self.stages, name), kind)), None)  # fmt: skip

    def of(self, kind: type[S]) -> S:
        """The first stage's settings of a class, its defaults where the recipe has none."""
        return self.find(kind) or kind()

    @property
    def answer(self) -> str:
        """How answers are read: `any` or `stated`."""
        return self.of(Answers).answer


def flow_names(data: Mapping[str, object]) -> dict[str, str]:
    """The entries of a recipe's flow in order, the declared name of a stage by the name that it has in the run."""
    found: dict[str, str] = {}
    flow = data.get("flow")
    for entry in flow if isinstance(flow, (list, tuple)) else ():
        if isinstance(entry, str):
            found[entry] = entry
        elif isinstance(entry, dict):
            found |= {str(name): str(stage) for name, stage in entry.items()}
    return found


def why_no_name(name: str) -> str:
    """Why a stage cannot be called so in a run, or nothing."""
    if STAGE_NAME.fullmatch(name) and not hasattr(Stages, name):
        return ""
    return f"{name[:60]!r} cannot be the name of a stage; take letters, digits, '-' and '_', such as 'again'"


def stage_names(data: Mapping[str, object]) -> list[str]:
    """All groups of settings that a recipe may have under `stages`."""
    known, flow = known_stages(), flow_names(data)
    found = [name for stage in known.values() if stage.named for name in (*stage.sections, stage.name)]
    return [*found, *(name for name in flow if name not in found)]


def compose(data: Mapping[str, object], *, lenient: bool = False) -> type[Recipe]:
    """The type of a recipe: every known stage's settings, and those of stages that its flow runs under another name.

    With `lenient` the settings of unknown stages, which a run of others may have, stay plain data. Raises RecipeError
    where a stage is called what none can be.
    """
    flow, known, stages = flow_names(data), known_stages(), data.get("stages")
    plain = [str(name) for name in stages] if lenient and isinstance(stages, Mapping) else []
    if wrong := next((why for name in (*flow, *plain) if name not in known and (why := why_no_name(name))), None):
        raise RecipeError(wrong)
    fields: dict[str, tuple[Any, Presence]] = {}
    for name, stage in known.items():
        fields |= {section: (kind, "optional") for section, kind in stage.sections.items()}
        if stage.named:
            there: Presence = "default" if stage.by_default else "optional"
            fields[name] = (stage.settings, "needed" if name in flow or not stage.optional else there)
    for name, declared in flow.items():
        if name != declared and declared in known and name not in fields:
            fields[name] = (known[declared].settings, "needed")
    fields |= {name: (Any, "plain") for name in plain if name not in fields}
    tasks = tuple(settings for settings, _ in known_of("task").values()) if of_others("task") or lenient else ()
    unknown = tuple(sorted(_families(data))) if lenient else ()
    return _compose(tuple((name, *field) for name, field in fields.items()), tasks, unknown)


def _families(data: Mapping[str, object]) -> set[str]:
    """The families of the tasks that a recipe names."""
    others = data.get("evaluate_on")
    tasks = [data.get("train"), *(others if isinstance(others, (list, tuple)) else ())]
    return {str(one["name"]).partition("/")[0] for one in tasks if isinstance(one, Mapping) and "name" in one}


Presence = Literal["needed", "default", "optional", "plain"]


@lru_cache(maxsize=64)  # equal recipes are of one type
def _compose(
    fields: tuple[tuple[str, Any, Presence], ...], tasks: tuple[type[TaskSettings], ...], unknown: tuple[str, ...]
) -> type[Recipe]:
    """`tasks` are the settings that a task may have, where they are others than those of this package."""
    made: type[Stages] = create_model(
        "Stages", __base__=Stages, __doc__=Stages.__doc__, **{name: _field(kind, there) for name, kind, there in fields}
    )
    changed: dict[str, Any] = {"stages": (made, Field(default_factory=made, description="What a round does"))}
    if tasks:
        task, many = task_type(tasks, unknown), cast(Any, tuple)
        changed |= {"train": (task, ...), "evaluate_on": (many[task, ...], ())}
    return create_model("Recipe", __base__=Recipe, __doc__=Recipe.__doc__, **changed)


def _field(kind: Any, there: Presence) -> Any:
    if there == "plain":
        return Any, None
    said = " ".join((kind.__doc__ or "").split()).rstrip(".")
    if there == "optional":
        return kind | None, Field(None, description=said)
    if any(one.is_required() for one in kind.model_fields.values()):
        return kind, Field(..., description=said)
    return (kind if there == "needed" else kind | None), Field(kind(), description=said)
