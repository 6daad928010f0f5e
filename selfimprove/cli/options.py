"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

RECIPE = "A recipe file, or the name of one in policies/recipes."
RUN = "A run's name under runs/, or its folder."
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as generate.samples=8.")
]
ModelOption = Annotated[
    str | None, typer.Option(help="Start from this model: a folder, a hub name, a run or a round of it.")
]
NameOption = Annotated[str | None, typer.Option(help="The run's name; the recipe's own without it.")]
RecipeName = Annotated[str, typer.Argument(help=RECIPE)]
RunName = Annotated[str, typer.Argument(help=RUN)]
Runs = Annotated[Path, typer.Option(help="The folder of runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
UsageError = typer.BadParameter.__bases__[0]  # what unknown options, commands and missing arguments are


def read_overrides(changes: list[str] | None, model: str | None, name: str | None, runs: Path) -> list[str]:
    """The changes of a recipe that these options ask for."""
    chosen = list(changes or [])
    if model:
        from selfimprove.running.find_model import locate_model

        model = locate_model(model, runs)
        chosen += ["model.build=null", f"model.path={_quote(model)}"]
    return chosen + ([f"name={_quote(name)}"] if name else [])


def _quote(text: str) -> str:
    import json

    return json.dumps(text)
