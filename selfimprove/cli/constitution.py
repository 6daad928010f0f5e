"""The commands of `selfimprove constitution`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    suggest_commands=False, help="What a good answer is, in a file: check, show, compare and import constitutions."
)
NAMED = "A constitution file, or the name of one in policies/constitutions."


@app.command()
def check(
    names: Annotated[list[str], typer.Argument(metavar="FILE...", help=NAMED)],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors too.")] = False,
) -> None:
    """Look for mistakes: every error and every warning, each with its file and line."""
    from selfimprove.constitution.file import check_constitution
    from selfimprove.records.printable import printable

    failed = False
    for name in names:
        path, constitution, errors, warnings = check_constitution(name)
        for line in errors:
            typer.echo(f"{printable(line)} [error]")
        for line in warnings:
            typer.echo(f"{printable(line)} [warning]")
        holds = f"{len(constitution.principles)} principles, " if constitution else ""
        typer.echo(f"{printable(str(path))}: {holds}{len(errors)} errors, {len(warnings)} warnings")
        failed = failed or bool(errors) or (strict and bool(warnings))
    if failed:
        raise typer.Exit(2)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="FILE", help=NAMED)],
    principle: Annotated[
        str | None, typer.Option(help="Only this one, with all that the model is asked by it.")
    ] = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print it as one file, with what it inherits.")] = False,
) -> None:
    """Show a constitution as people read it, with what it inherits."""
    from selfimprove.constitution import load_constitution, write_constitution
    from selfimprove.constitution.show import describe
    from selfimprove.errors import RecipeError, suggest
    from selfimprove.records.printable import printable

    constitution = load_constitution(name)
    known = [one.id for one in constitution.principles]
    if principle is not None and principle not in known:
        raise RecipeError(f"{name}: no principle '{principle}'{suggest(principle, known)}")
    if yaml:
        typer.echo(write_constitution(constitution, defaults=False), nl=False)
    else:
        for line in describe(constitution, principle):
            typer.echo(printable(line))


@app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="A", help=NAMED)],
    new: Annotated[str, typer.Argument(metavar="B", help=NAMED)],
) -> None:
    """Say what changed from one constitution to another, by principle."""
    from selfimprove.constitution import load_constitution
    from selfimprove.constitution.show import compare
    from selfimprove.records.printable import printable

    lines = list(compare(load_constitution(old), load_constitution(new)))
    for line in lines or ["they say the same"]:
        typer.echo(printable(line))


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="JSON...", help="The files that make up one constitution.")],
    out: Annotated[Path, typer.Option(help="The constitution file to write; its name is the constitution's.")],
) -> None:
    """Make a constitution from JSON: the Constitutional AI paper's prompts, or the public recipes' format."""
    from selfimprove.constitution import write_constitution
    from selfimprove.constitution.imports import import_constitution
    from selfimprove.errors import RecipeError
    from selfimprove.records.printable import printable

    if out.suffix not in {".yaml", ".yml"} or out.exists():
        reason = "already there, and is not written over" if out.exists() else "expected a name that ends in .yaml"
        raise RecipeError(f"--out {out}: {reason}")
    constitution, said = import_constitution(files, out.stem)
    try:
        out.write_text(write_constitution(constitution, defaults=False), encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"--out {out}: {error.strerror or error}") from None
    for line in said:
        typer.echo(printable(line))
    typer.echo(f"{out}: {len(constitution.principles)} principles; next: selfimprove constitution check {out}")


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name in runs/, or its folder.")],
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data.")] = False,
) -> None:
    """Say for each principle how often it was drawn, what it changed, and show its best and its worst revision."""
    import json

    from selfimprove.results.principle_report import print_report
    from selfimprove.store import find_run
    from selfimprove.store.principles import read_report
    from selfimprove.store.query import Query

    query = Query(find_run(run, runs))
    if as_json:
        typer.echo(json.dumps(read_report(query), indent=2))
    else:
        print_report(query)


@app.command("try")
def try_(
    name: Annotated[str, typer.Argument(metavar="FILE", help=NAMED)],
    model: Annotated[str, typer.Option(help="A folder, a hub name, a run or a round of it.")],
    prompts: Annotated[
        str, typer.Option(help="Your prompts: a file of JSON lines with `prompt`, or a name in policies/prompts.")
    ],
    limit: Annotated[int, typer.Option(min=2, help="At most n prompts.")] = 32,
    samples: Annotated[int, typer.Option(min=2, help="Samples a prompt, of which rejection sampling draws.")] = 8,
    best_of: Annotated[int, typer.Option(min=2, max=16, help="Critiques of the form that tries several.")] = 3,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest response, and the longest revision.")] = 128,
    form: Annotated[
        list[str] | None, typer.Option(help="Try only these: principle, direct, checklist, one-turn, anew, best-of-N.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="A model that compares responses, or self: the same one.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Prompts whose responses are shown.")] = 10,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; revise.… of all forms.")
    ] = None,
    folder: Annotated[str | None, typer.Option("--name", help="The trial's name under the runs.")] = None,
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data.")] = False,
) -> None:
    """Try forms of critique on your own prompts before a run, next to rejection sampling with the same tokens.

    Every text is kept like those of a run (`selfimprove traces NAME`); the same command again goes on where it stopped.
    """
    import json

    from selfimprove.cli.prompts import plain_name, watch
    from selfimprove.results.constitution_trial import judge_trial, make_trial_recipe, run_trial
    from selfimprove.results.trial_table import print_trial
    from selfimprove.running.find_model import locate_model
    from selfimprove.store import RunFolder

    called = folder or plain_name("try", Path(name).stem)
    recipe, forms = make_trial_recipe(
        locate_model(model, runs), name, prompts, name=called, best_of=best_of, only=form or (), limit=limit,
        samples=samples, max_tokens=max_tokens, judge=judge and locate_model(judge, runs), changes=set_ or [],
    )  # fmt: skip
    place = RunFolder(runs / called)
    with watch(as_json, place) as report:
        run_trial(recipe, place, report=report)
    trial = judge_trial(recipe, place, forms, judge=judge is not None)
    if as_json:
        typer.echo(json.dumps(trial.to_json(), indent=2))
    else:
        print_trial(trial, examples=examples)
        typer.echo(f"all that was written: selfimprove traces {place.called}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of constitutions, for editors."""
    import json

    from selfimprove.constitution.file import ConstitutionFile

    typer.echo(json.dumps(ConstitutionFile.model_json_schema(), indent=2))
