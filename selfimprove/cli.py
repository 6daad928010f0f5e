"""The command line: commands only parse, call and print, and import what they need when they run."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="A language model teaches itself, and people can see how.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
RECIPE = "A recipe file, or the name of one in policies/recipes."
RUN = "A run's name under runs/, or its folder."
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as generate.samples=8.")
]
ModelOption = Annotated[str | None, typer.Option(help="Start from this model: a folder or a hub name.")]
NameOption = Annotated[str | None, typer.Option(help="The run's name; the recipe's own without it.")]
Runs = Annotated[Path, typer.Option(help="The folder of runs.")]


def _overrides(changes: list[str] | None, model: str | None, name: str | None) -> list[str]:
    chosen = list(changes or [])
    if model:
        chosen += ["model.build=null", f"model.path={_quote(model)}"]
    return chosen + ([f"name={_quote(name)}"] if name else [])


def _quote(text: str) -> str:
    import json

    return json.dumps(text)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help=RECIPE)] = "arithmetic",
    set_: Overrides = None,
    model: ModelOption = None,
    name: NameOption = None,
    runs: Runs = Path("runs"),
    redo: Annotated[
        list[str] | None, typer.Option(help="Do a stage again: 'sft', 'round-02/sft', or 'all' that the recipe changed.")
    ] = None,
) -> None:
    """Run a recipe; the same command again continues where it stopped."""
    from contextlib import nullcontext

    from rich.console import Console

    from selfimprove.loop import run_loop
    from selfimprove.progress import BarReport, LineReport, is_terminal
    from selfimprove.recipe_file import load_recipe
    from selfimprove.status import print_status
    from selfimprove.store import RunFolder

    loaded = load_recipe(recipe, _overrides(set_, model, name))
    folder = RunFolder(runs / loaded.name)
    with BarReport(Console()) if is_terminal() else nullcontext(LineReport()) as report:
        run_loop(loaded, folder, report=report, redo=redo or ())
    print_status(folder)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    import json

    from selfimprove.recipe import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=2))


def main() -> None:
    """Run the command line: a user's mistake is one line and exit code 2, Ctrl-C is 130 and says how to go on."""
    import shlex

    from selfimprove.errors import SelfImproveError

    try:
        app(prog_name="selfimprove")
    except SelfImproveError as error:
        print(f"selfimprove: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        command = shlex.join(["selfimprove", *sys.argv[1:]])
        print(f"\nselfimprove: stopped, all finished parts are kept; continue with: {command}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
