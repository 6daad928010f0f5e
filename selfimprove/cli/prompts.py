"""The commands of `selfimprove prompts`, and what they share with `selfimprove evaluate`."""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from selfimprove.prompting.triggers import Trigger
    from selfimprove.recipe import Recipe
    from selfimprove.running.report import Report
    from selfimprove.store import RunFolder

app = typer.Typer(suggest_commands=False, help="Ways to ask a model, compared on the same problems.")
WORD_PROBLEMS = ("gsm8k", "svamp", "asdiv")  # the exemplars of the recipe `ask` are of their kind
KOJIMA = "Therefore, the answer (arabic numerals) is"

TaskOrSuite = Annotated[
    str,
    typer.Argument(metavar="TASK", help="A task such as gsm8k, or a suite of them: mmlu, bbh, a file of one's own."),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="A folder, a hub name, a run or a round of it; several are compared in pairs."),
]
TaskName = Annotated[str, typer.Argument(metavar="TASK", help="gsm8k, svamp, asdiv, arithmetic, mmlu/…, bbh/… …")]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="A folder, a hub name, a run or a round of it; by default the recipe's own."),
]
DataPath = Annotated[str | None, typer.Option("--path", help="The task's data, where it is not loaded from the hub.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="The recipe whose prompt, engine and lengths count.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as engine.batch_size=8"),
]
Limit = Annotated[int, typer.Option(min=1, help="At most this many held-out problems.")]
Triggers = Annotated[str, typer.Option(help="A file of triggers, or the name of one in policies/triggers.")]
Own = Annotated[list[str] | None, typer.Option("--trigger", help="One more trigger, of your own.")]
Name = Annotated[str | None, typer.Option(help="The folder's name under the runs.")]
Runs = Annotated[Path, typer.Option(help="The folder of runs.")]
Against = Annotated[str, typer.Option(help="The form that the others are tested against, or best.")]
Extract = Annotated[bool, typer.Option("--extract", help=f"Ask zero-shot CoT's second prompt: {KOJIMA}.")]
Json = Annotated[bool, typer.Option("--json", help="Print plain data.")]


def load_ask(
    task: str,
    model: str | None,
    path: str | None,
    recipe: str,
    changes: list[str] | None,
    limit: int | None,
    name: str,
    more: list[str] | None = None,
    *,
    runs: Path = Path("runs"),
) -> "Recipe":
    """The recipe without rounds that asks a task's held-out problems; raises SelfImproveError."""
    from selfimprove.errors import RecipeError
    from selfimprove.recipe.file import load_recipe
    from selfimprove.running.find_model import locate_model

    family = task.partition("/")[0]
    asked = ["rounds=0", f"name={json.dumps(name)}", *_choose_task(task, path, recipe)]
    if model:
        model = locate_model(model, runs)
        asked += ["model.build=null", f"model.path={json.dumps(model)}", "warmup=null", "evaluate.unseen=true"]
    asked += ask_settings(family, recipe)
    if limit:
        asked += [f"evaluate.limit={limit}", *([] if family == "arithmetic" else [f"train.held_out={limit}"])]
    loaded = load_recipe(recipe, [*asked, *(more or []), *(changes or [])])
    if loaded.model.path is None:
        raise RecipeError(f"recipe '{recipe}' builds its model from nothing; name a trained one with --model")
    return loaded


def ask_settings(family: str, recipe: str) -> list[str]:
    """How the recipe `ask` asks tasks for which it has no exemplars."""
    if recipe != "ask" or family in WORD_PROBLEMS:
        return []
    return ["prompt.exemplars=null", f"prompt.style={'few-shot-cot' if family == 'bbh' else 'zero-shot-cot'}"]


def _choose_task(task: str, path: str | None, recipe: str) -> list[str]:
    """The recipe's own training task where it is the one that is asked, else a plain one; it alone is evaluated."""
    from selfimprove.recipe.policies import find_policy
    from selfimprove.recipe.yaml import read_document

    own = read_document(find_policy("recipes", recipe)).data.get("train")
    same = isinstance(own, dict) and own.get("name") == task
    changes = [] if same else [f"train={json.dumps({'name': task})}"]
    where = [f"train.path={json.dumps(path)}"] if path else []
    return ["evaluate_on=[]", "open=null", "evaluate.controller=0", *changes, *where]


def watch(quiet: bool, folder: "RunFolder | None" = None) -> "AbstractContextManager[Report | None]":
    """Who is told how far it is: nobody where plain data is printed."""
    if quiet:
        return nullcontext(None)
    from selfimprove.running.progress import watching

    return watching(folder)


def read_triggers(file: str, own: list[str] | None) -> "list[Trigger]":
    """The triggers of a file and one's own, each text once."""
    from selfimprove.prompting.triggers import Trigger, load_triggers

    given = [*load_triggers(file), *(Trigger(text=one, source="--trigger") for one in own or () if one.strip())]
    return list({one.text: one for one in given}.values())


def is_of_another_model(folder: "RunFolder", recipe: "Recipe") -> bool:
    """Whether a run is there that asked another model."""
    from selfimprove.errors import SelfImproveError

    try:
        return folder.recipe().model != recipe.model
    except SelfImproveError:  # none is there, or what is there is said where it is read
        return False


def plain_name(*parts: str) -> str:
    """A folder's name of a task, a model and the like."""
    import re

    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(part for part in parts if part)).strip("-.")[:80] or "run"


@app.command()
def compare(
    task: TaskName,
    model: ModelName = None,
    path: DataPath = None,
    recipe: RecipeName = "ask",
    triggers: Triggers = "published",
    trigger: Own = None,
    limit: Limit = 200,
    set_: Overrides = None,
    extract: Extract = False,
    against: Against = "zero-shot",
    name: Name = None,
    runs: Runs = Path("runs"),
    json_: Json = False,
) -> None:
    """Ask held-out problems zero-shot, few-shot, by few-shot CoT, and by zero-shot CoT with each trigger.

    Each form is a run of its own under runs/NAME, which `selfimprove traces NAME/FORM` lists; the same command again
    goes on where it stopped. Accuracy has Wilson's interval; each form is tested against one by McNemar's exact test
    on the same problems, and the p-values are corrected for their number by Holm.
    """
    from selfimprove.results.prompt_study import SharedEngine, ask, compare_forms, make_forms, print_comparison, to_json
    from selfimprove.store import RunFolder
    from selfimprove.tasks import load_task

    given = read_triggers(triggers, trigger)
    more = [f"evaluate.extract={json.dumps(KOJIMA)}"] if extract else []
    folder = RunFolder(runs / (name or plain_name("prompts", task)))
    loaded = load_ask(task, model, path, recipe, set_, limit, folder.path.name, more, runs=runs)
    own = loaded.train.family == "bbh" and bool(load_task(loaded.train).exemplars)  # the hub's copy has none
    shared, shown = SharedEngine(), loaded.prompt.exemplars is not None or own
    try:
        with watch(json_) as report:
            forms = make_forms(given, exemplars=shown)
            asked = [ask(one, loaded, folder, load=shared, report=report) for one in forms]
    finally:
        shared.close()
    rows = compare_forms(asked, against)
    if json_:
        typer.echo(json.dumps(to_json(rows, folder), indent=2))
        return
    print_comparison(rows, f"{task}, {len(asked[0].outcomes)} held-out problems")
    if not shown:
        typer.echo("few-shot and few-shot-cot were left out: this task has no exemplars (--set prompt.exemplars=FILE)")
    if against == "best":
        typer.echo("the reference was picked by these very figures: its own is too high, and the p-values are too low")
    typer.echo(f"all that was written: selfimprove traces {RunFolder(folder.path / forms[0].name).called}")


@app.command()
def search(
    task: TaskName,
    model: ModelName = None,
    path: DataPath = None,
    recipe: RecipeName = "ask",
    triggers: Triggers = "published",
    trigger: Own = None,
    limit: Limit = 200,
    training: Annotated[int, typer.Option(min=1, help="Training problems that each trigger is scored on.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="How often the model proposes.")] = 3,
    proposals: Annotated[int, typer.Option(min=1, max=256, help="Proposals a step.")] = 8,
    set_: Overrides = None,
    extract: Extract = False,
    name: Name = None,
    runs: Runs = Path("runs"),
    json_: Json = False,
) -> None:
    """Have the model search for a better trigger on training problems, and compare the best one on held-out ones.

    The model proposes triggers from worked problems (APE) and from the scored list of earlier ones (OPRO). Those that
    can be tried are scored on training problems; the best one then goes to the held-out problems beside the given ones.
    """
    from selfimprove.results.prompt_search import Search
    from selfimprove.results.prompt_search import search as find
    from selfimprove.results.prompt_study import (
        SharedEngine,
        ask,
        compare_forms,
        print_comparison,
        to_json,
        trigger_form,
    )
    from selfimprove.store import RunFolder

    given = read_triggers(triggers, trigger)
    more = [f"evaluate.extract={json.dumps(KOJIMA)}"] if extract else []
    folder = RunFolder(runs / (name or plain_name("search", task)))
    loaded = load_ask(task, model, path, recipe, set_, limit, folder.path.name, more, runs=runs)
    shared = SharedEngine()
    try:
        with watch(json_) as report:
            settings = Search(steps=steps, proposals=proposals, problems=training)
            found = find(loaded, folder, given, settings, load=shared, report=report)
            forms = [trigger_form(one) for one in dict.fromkeys([found.best, *given])]
            asked = [ask(one, loaded, folder, load=shared, report=report) for one in forms]
    finally:
        shared.close()
    rows = compare_forms(asked, forms[0].name)
    if json_:
        typer.echo(json.dumps(to_json(rows, folder, search=found.to_json()), indent=2))
        return
    typer.echo(found.describe())
    print_comparison(rows, f"{task}, {len(asked[0].outcomes)} held-out problems, tested against the trigger found")


def evaluate(
    task: TaskOrSuite,
    model: Models = None,
    path: DataPath = None,
    recipe: RecipeName = "ask",
    standard: Annotated[
        str | None, typer.Option(help="Ask as lm-evaluation-harness does: lm-eval or lm-eval-cot (gsm8k_cot).")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers a problem, of which the majority counts.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="Of several samples.")] = 0.7,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="At most this many held-out problems: 200 without it, of a suite's tasks all."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All problems of the task, those to train on too, whatever --limit says.")
    ] = False,
    set_: Overrides = None,
    name: Name = None,
    runs: Runs = Path("runs"),
    json_: Json = False,
) -> None:
    """Evaluate a model on the held-out problems of a task or of a suite of tasks, or compare several models on them.

    Each evaluation is a run without rounds, kept like every other; the same command again goes on where it stopped,
    and another model gets a folder of its own. Of a suite there are averages over problems (micro) and over tasks
    (macro), by group, and what it takes is said before it begins; several models are compared with the first one on
    the same problems.

    Of a run's checkpoint, problems that it was trained on are left out, and counted; --set evaluate.unseen=false asks
    them too.
    """
    from selfimprove.errors import RecipeError
    from selfimprove.recipe.policies import policy_names
    from selfimprove.results.judged import check_judged
    from selfimprove.results.status import print_status, to_json
    from selfimprove.running.loop import run_loop
    from selfimprove.store import RunFolder

    more: list[Any] = []
    if standard:
        more += [f"evaluate.standard={json.dumps(standard)}", "prompt.chat=never"]
    if samples > 1:
        more += [f"evaluate.samples={samples}", f"evaluate.temperature={temperature}"]
    models = model or []
    if task in policy_names("suites") or task.endswith((".yaml", ".yml")) or len(models) > 1:
        from selfimprove.cli.suite import evaluate_suite

        if everything:
            raise RecipeError(
                "evaluate: --all is for one task and one model; give each model a --name, and compare the runs with "
                "'selfimprove compare'"
            )
        evaluate_suite(
            task, models, path=path, recipe=recipe, more=[*more, *(set_ or [])], limit=limit, run=name, runs=runs,
            json_=json_,
        )  # fmt: skip
        return
    if everything:
        more.append("evaluate.everything=true")
    default = plain_name("evaluate", task, standard or "", str(samples) if samples > 1 else "")
    count = None if everything else limit or 200

    def load(called: str) -> "Recipe":
        return load_ask(task, models[0] if models else None, path, recipe, set_, count, called, more, runs=runs)

    folder = RunFolder(runs / (name or default))
    loaded = load(folder.path.name)
    if name is None and is_of_another_model(folder, loaded):
        asked = models[0] if models else str(loaded.model.path)
        folder = RunFolder(runs / plain_name(default, asked[-40:].strip("./-")))  # a path differs at its end
        loaded = load(folder.path.name)
    with watch(json_, folder) as report:
        run_loop(loaded, folder, report=report)
    if json_:
        typer.echo(json.dumps(to_json(folder), indent=2))
    else:
        print_status(folder)
    check_judged(folder)
