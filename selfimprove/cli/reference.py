"""The commands that say what there is: settings, documents, extensions; and the one that writes an extension."""

from pathlib import Path
from typing import Annotated

import typer

from selfimprove.cli.options import Json, Runs


def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it as tables for people.")] = False,
) -> None:
    """Print the JSON Schema of recipes, for editors, or every setting with its default and meaning."""
    import json

    from selfimprove.recipe import compose
    from selfimprove.results.reference import settings_reference

    schema = settings_reference(compose({})) if markdown else json.dumps(compose({}).model_json_schema(), indent=2)
    typer.echo(schema.rstrip())


def docs(
    topic: Annotated[
        str | None, typer.Argument(help="Such as settings or verifiers; by default all are listed.")
    ] = None,
) -> None:
    """Read the documents in the terminal; `selfimprove view` shows them in a browser, under /docs."""
    from selfimprove.results.read_documents import print_document, print_topics
    from selfimprove.shipping.documents import find_document

    if topic is None:
        print_topics()
    else:
        print_document(find_document(topic))


def extensions() -> None:
    """List what installed packages and --import add: name, version, hash, and what each declares."""
    from selfimprove.recipe.catalog import GROUP, declared_by, discover
    from selfimprove.recipe.catalog import extensions as loaded

    discover()
    for one in loaded():
        version = f" {one.version}" if one.version else ""
        typer.echo(f"{one.name}{version} sha256:{one.hash[:12]} {one.path or 'an installed package'}")
        for noun, names in declared_by(one).items():
            typer.echo(f"  {noun}: {', '.join(names)}")
    if not loaded():
        typer.echo(f"none: no installed package has an entry point '{GROUP}', and nothing was named by --import FILE")


def new(
    what: Annotated[str, typer.Argument(help="stage, task or verifier.")],
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits and _.")],
) -> None:
    """Write a stage, task or verifier that works, NAME.py, and its test, into this folder."""
    from selfimprove.cli.new import write_extension

    for path in write_extension(what, name, Path()):
        typer.echo(path)
    typer.echo(f"its test: pytest test_{name}.py; in a run: selfimprove run RECIPE --import {name}.py")


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="recipes, constitutions, suites, mixtures, tasks, stages, models, runs …; by default the kinds."
        ),
    ] = None,
    json_: Json = False,
    runs: Runs = Path("runs"),
) -> None:
    """List what there is of a kind, each with one line and where it is from."""
    import json
    from dataclasses import asdict

    from selfimprove.errors import SelfImproveError, suggest
    from selfimprove.records.columns import lay_out, terminal_width
    from selfimprove.results.listing import KINDS

    if kind is None:
        rows = [[name, said] for name, (said, _) in KINDS.items()]
        typer.echo("\n".join(lay_out(rows, terminal_width())))
        return
    if kind not in KINDS:
        raise SelfImproveError(f"list: there is no kind '{kind}'{suggest(kind, KINDS)}")
    found = list(KINDS[kind][1](runs))
    if json_:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    for line in lay_out([[one.name, f"{one.said} ({one.source})"] for one in found], terminal_width()):
        typer.echo(line)
    if not found:
        typer.echo(f"there are no {kind} in {runs}/" if kind in ("runs", "models") else f"there are no {kind}")
