"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer


def complete_runs(incomplete: str) -> list[str]:
    """The runs under runs/ whose names begin so, for a shell's completion."""
    return sorted(
        path.parent.name for path in Path("runs").glob("*/recipe.yaml") if path.parent.name.startswith(incomplete)
    )


def complete_recipes(incomplete: str) -> list[str]:
    """The recipes by name, and the files here, that begin so."""
    from selfimprove.recipe.policies import policy_names

    names = {*policy_names("recipes"), *map(str, Path().glob("*.yaml"))}
    return sorted(one for one in names if one.startswith(incomplete))


RECIPE = "A recipe file, or the name of one in policies/recipes."
RUN = "A run's name under runs/, or its folder."
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as generate.samples=8.")
]
ModelOption = Annotated[
    str | None, typer.Option(help="Start from this model: a folder, a hub name, a run or a round of it.")
]
NameOption = Annotated[str | None, typer.Option(help="The run's name; by default the recipe's own.")]
BudgetOption = Annotated[
    str | None, typer.Option(help="End early once it is spent: 30m (CPU time), '30m gpu', '2M tokens' or '5 rounds'.")
]
RecipeName = Annotated[str, typer.Argument(help=RECIPE, autocompletion=complete_recipes)]
RunName = Annotated[str, typer.Argument(help=RUN, autocompletion=complete_runs)]
Runs = Annotated[Path, typer.Option(help="The folder of runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
UsageError = typer.BadParameter.__bases__[0]  # what unknown options, commands and missing arguments are


def read_overrides(
    changes: list[str] | None, model: str | None, name: str | None, runs: Path, budget: str | None = None
) -> list[str]:
    """The changes of a recipe that these options ask for."""
    chosen = list(changes or [])
    if model:
        from selfimprove.running.find_model import locate_model

        model = locate_model(model, runs)
        chosen += ["model.build=null", f"model.path={_quote(model)}"]
    named = {"name": name, "budget": budget}
    return chosen + [f"{key}={_quote(value)}" for key, value in named.items() if value]


def _quote(text: str) -> str:
    import json

    return json.dumps(text)
