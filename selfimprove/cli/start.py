"""The command `selfimprove init`: a small folder to start from."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer


def init(
    name: Annotated[str, typer.Argument(help="The folder to make, and the run's name.")] = "start",
    model: Annotated[str | None, typer.Option(help="The model that its recipe starts from.")] = None,
) -> None:
    """Write a small folder to start from: a recipe, a constitution and problems, with comments."""
    for path in write_start(Path(name), model):
        typer.echo(path)
    typer.echo(f"next: cd {name} && selfimprove run {Path(name).resolve().name}.yaml")


def write_start(folder: Path, model: str | None) -> Iterator[Path]:
    """Write the files and give their paths; raises SelfImproveError where one is there already."""
    from selfimprove.errors import SelfImproveError
    from selfimprove.shipping.shipped import find_shipped

    called = folder.resolve().name
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,99}", called):
        raise SelfImproveError(f"init: '{called}' is no name for a run: letters, digits, '.', '_' and '-'")
    texts = {path.name: path.read_text("utf-8") for path in sorted(find_shipped("policies/start").iterdir())}
    # Not `recipe.yaml`: a folder that holds one is taken for a run's.
    recipe = (
        texts.pop("recipe.yaml")
        .replace("recipe.yaml", f"{called}.yaml")
        .replace("name: start", f"name: {json.dumps(called)}", 1)
    )
    recipe = recipe.replace("selfimprove status start", f"selfimprove status {called}")
    if model is not None:
        recipe = re.sub(r"^model: .*$", lambda _: f"model: {{path: {json.dumps(model)}}}", recipe, flags=re.MULTILINE)
    texts[f"{called}.yaml"] = recipe
    for file in texts:
        if (folder / file).exists():
            raise SelfImproveError(f"init: {folder / file} is there already, and nothing was written; name another one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            with (folder / file).open("x", encoding="utf-8") as opened:
                opened.write(text)
            yield folder / file
    except OSError as error:
        raise SelfImproveError(f"init: {folder}: {error.strerror or error}") from None
