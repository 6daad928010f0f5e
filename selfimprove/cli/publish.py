"""The command `selfimprove publish`."""

from pathlib import Path
from typing import Annotated

import typer


def publish(
    run: Annotated[str, typer.Argument(help="A run (its best checkpoint), or a round of it: mine/round-02.")],
    to: Annotated[Path, typer.Option(help="A folder that is not there yet.")],
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Only the LoRA adapter, on a base that others find on the hub.")
    ] = False,
    base: Annotated[str | None, typer.Option(help="The base model's name on the hub, owner/name.")] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="The licence; by default what the base model's own card says.")
    ] = None,
    control: Annotated[str | None, typer.Option(help="A control run whose figures are shown next to it.")] = None,
    data: Annotated[bool, typer.Option("--data/--no-data", help="Write the trained rows as well.")] = True,
    upload: Annotated[
        str | None, typer.Option(help="Put it on the hub under owner/name too, the rows under owner/name-data.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Where it is uploaded, for everybody to see.")] = False,
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
) -> None:
    """Write a checkpoint for others: safetensors, tokenizer, its training rows, and cards made from the records."""
    from selfimprove.results.publish import Wish
    from selfimprove.results.publish import publish as write

    wish = Wish(run, to, runs, adapter, base, license_, control, data, upload, public)
    for line in write(wish):
        typer.echo(line)
