"""Suites, as `selfimprove evaluate` runs them: one run a model, what it takes said before, and averages of them all."""

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from selfimprove.cli.prompts import ask_settings, plain_name, watch


def evaluate_suite(
    name: str,
    models: Sequence[str],
    *,
    path: str | None,
    recipe: str,
    more: Sequence[str],
    limit: int | None,
    run: str | None,
    runs: Path,
    json_: bool,
) -> None:
    """Evaluate each model on a suite, or on one task; raises SelfImproveError."""
    from selfimprove.errors import RecipeError
    from selfimprove.recipe.policies import policy_names
    from selfimprove.recipe.suite import FILE, load_suite, one_task
    from selfimprove.results.judged import check_judged
    from selfimprove.results.suite import describe_cost, print_suite, read_answered, suite_recipe, to_json
    from selfimprove.running.loop import run_loop
    from selfimprove.store import RunFolder
    from selfimprove.store.parts import write_text

    is_suite = name in policy_names("suites") or name.endswith((".yaml", ".yml"))
    suite = load_suite(name) if is_suite else one_task(name)
    if not is_suite:
        suite = suite.model_copy(update={"settings": tuple(ask_settings(name.partition("/")[0], recipe))})
    if recipe != "ask":
        suite = suite.model_copy(update={"recipe": recipe})
    labels = [plain_name(one) for one in models]
    if not models or len(set(labels)) < len(labels):
        raise RecipeError(f"evaluate {name}: name {'each model once' if models else 'a model'} with --model")
    title = Path(name).stem if is_suite else name
    place = runs / (run or plain_name("suite", title))
    found = []
    for model, label in zip(models, labels, strict=True):
        folder = RunFolder(place / label)
        run_name = plain_name(place.name, label)
        loaded = suite_recipe(suite, model, name=run_name, runs=runs, data=path, limit=limit, changes=more)
        if cost := describe_cost(loaded, folder):
            typer.echo(f"{model}: {cost}", err=True)
        with watch(json_, folder) as report:
            run_loop(loaded, folder, report=report)
        check_judged(folder)
        found.append(read_answered(model, folder))
    values = json.dumps(to_json(title, found, suite.group_of), indent=2)
    write_text(place / FILE, values)
    drawn = draw_pictures(place, values)
    if json_:
        typer.echo(values)
        return
    print_suite(title, found, suite.group_of)
    typer.echo(f"of each task: selfimprove status {RunFolder(place / labels[0]).called}")
    if drawn:
        typer.echo(f"the pictures: {', '.join(map(str, drawn))}; as a page: selfimprove view {runs}")


def draw_pictures(place: Path, values: str) -> list[Path]:
    """Draw the averages and, of several models, their differences, beside the figures; none without the extra view."""
    from importlib.util import find_spec

    if not (find_spec("matplotlib") and find_spec("fastapi")):
        return []
    from selfimprove.store.parts import write_text
    from selfimprove.viewer.suites import PICTURES, Suite, draw_suite

    suite = Suite.model_validate_json(values)
    drawn = {place / f"{one}.svg": str(draw_suite(suite, one)) for one in PICTURES if any(suite.dots(one).values())}
    for path, picture in drawn.items():
        write_text(path, picture)
    return list(drawn)
