"""The command `selfimprove doctor`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from selfimprove.doctor import Use

WRONG = 1  # the exit code where something is wrong


def doctor(
    model: Annotated[str, typer.Argument(help="A model's folder or hub name, a run or a round of it.")],
    recipe: Annotated[
        str | None, typer.Argument(help="What it is to be used for: a recipe file, a name, or a run.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of the recipe.")
    ] = None,
    weights: Annotated[
        bool, typer.Option("--weights/--no-weights", help="Load the weights and measure a fixed text.")
    ] = True,
    json_: Annotated[bool, typer.Option("--json", help="Print plain data.")] = False,
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
) -> None:
    """Look whether a model is whole and used as it was trained: its tokens, template, ends, lengths, precision.

    Exit code 1 where something is wrong, 2 where it cannot be read at all. A run starts with the same checks.
    """
    from selfimprove.doctor import examine, plain_use, read_subject
    from selfimprove.doctor.likelihood import measure
    from selfimprove.doctor.show import print_findings, to_json
    from selfimprove.engines.models import load_model
    from selfimprove.running.find_model import locate_model

    model = locate_model(model, runs)
    use = _read_use(model, _find_recipe(recipe, runs), set_ or []) if recipe else None
    subject = read_subject(model)
    use = use or plain_use(subject.template)
    found = examine(subject, use)
    if weights and all(one.level != "wrong" for one in found if one.id in ("engine", "vocabulary")):
        loaded, tokenizer = load_model(model, base=None, dtype=use.dtype, device="auto")
        found = examine(subject, use, measure(loaded, tokenizer, subject.template))
    if json_:
        typer.echo(json.dumps(to_json(found, subject, use), indent=2))
    else:
        print_findings(found, subject, use)
    if any(one.level == "wrong" for one in found):
        raise typer.Exit(WRONG)


def _find_recipe(name: str, runs: Path) -> str:
    """The recipe of a run where one is named; a recipe's own name comes first."""
    from selfimprove.recipe.policies import policy_names
    from selfimprove.records.files import RECIPE
    from selfimprove.store.run import find_run

    is_run = any((path / RECIPE).is_file() for path in (runs / name, Path(name)))
    return str(find_run(name, runs).check_text(RECIPE)) if is_run and name not in policy_names("recipes") else name


def _read_use(model: str, recipe: str, changes: list[str]) -> "Use":
    """What the recipe does with the model."""
    from tempfile import TemporaryDirectory

    from selfimprove.recipe.file import load_recipe
    from selfimprove.running.model_check import make_use
    from selfimprove.running.session import Session
    from selfimprove.store import RunFolder

    given = ["model.build=null", f"model.path={json.dumps(model)}", "warmup=null"]
    loaded = load_recipe(recipe, [*given, *changes])
    with TemporaryDirectory() as folder:
        session = Session(loaded, RunFolder(Path(folder)))
        try:
            use = make_use(session)
            _ = use.sampled
        finally:
            session.close()
    return use
