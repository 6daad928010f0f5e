"""The command that follows reward models too far, and shows what becomes of what they stand for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfimprove.cli.options import Json, NameOption, Overrides, RecipeName, Runs, UsageError, read_overrides

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from selfimprove.running.report import Report
    from selfimprove.store import RunFolder


LARGEST = 10**9  # comparisons


def overoptimise(
    recipe: RecipeName = "rlhf",
    comparisons: Annotated[
        str, typer.Option(metavar="N,N", help="Train a reward model from each of these numbers of comparisons.")
    ] = "50,250,2000",
    seeds: Annotated[str, typer.Option(help="Policies, comparisons and reward models of these seeds.")] = "0..2",
    kl: Annotated[
        str, typer.Option(metavar="X,X", help="Run RL at each of these costs of a nat; 0 is next to none.")
    ] = ("0,0.03,0.1,0.3"),
    layers: Annotated[
        str | None,
        typer.Option(metavar="N,N", help="Make reward models of the first n layers; by default as the recipe has it."),
    ] = None,
    controls: Annotated[
        bool, typer.Option(help="Also gold as reward, shuffled labels, and ensembles by mean and minimum.")
    ] = True,
    best_of: Annotated[
        int, typer.Option(min=2, max=65_536, help="Best-of-n among up to this many texts of each problem.")
    ] = 256,
    problems: Annotated[int, typer.Option(min=2, help="Held-out problems of best-of-n.")] = 40,
    set_: Overrides = None,
    name: NameOption = None,
    json_: Json = False,
    runs: Runs = Path("runs"),
) -> None:
    """Measure over-optimisation of reward models by best-of-n and RL; the same command again continues."""
    import json
    from contextlib import nullcontext
    from importlib.util import find_spec

    from selfimprove.errors import StoreError
    from selfimprove.recipe.file import load_recipe
    from selfimprove.records.columns import lay_out, terminal_width
    from selfimprove.results.overoptimise import describe, draw_lines, run_grid, to_json
    from selfimprove.running.overoptimise import find_names, make_cells
    from selfimprove.running.progress import watching
    from selfimprove.running.sweep import MOST, read_seeds
    from selfimprove.store.parts import write_text

    changes = read_overrides(set_, None, None, runs)
    loaded = load_recipe(recipe, changes)
    base, names = name or loaded.name, find_names(loaded)
    wanted = [int(one) for one in _read_numbers("--comparisons", comparisons, 2, whole=True)]
    sizes = [int(one) for one in _read_numbers("--layers", layers, 1, whole=True)] if layers else (None,)
    cells = make_cells(base, names, wanted, read_seeds(seeds), _read_numbers("--kl", kl, 0), controls, sizes)
    if len(cells) > MOST or len({one.name for one in cells}) < len(cells):
        raise UsageError(f"A grid has at most {MOST:,} runs, no two of them with the same numbers in six digits.")
    recipes = [load_recipe(recipe, [*changes, *one.changes]) for one in cells]  # all mistakes come first
    out = runs / f"{base}-overoptimise"
    if out.exists() and not out.is_dir():
        raise StoreError(f"{out}: is no folder, and the figures are kept in one of this name; move it away")

    def watch(folder: "RunFolder", at: int) -> "AbstractContextManager[Report | None]":
        typer.echo(f"{folder.path}: run {at} of {len(cells)}", err=json_)
        return nullcontext() if json_ else watching(folder)

    found = run_grid(list(zip(cells, recipes, strict=True)), names, out, problems, best_of, watch)
    write_text(out / "results.json", json.dumps(to_json(found), indent=1))
    if json_:
        typer.echo(json.dumps(to_json(found), indent=2))
        return
    for table in describe(found):
        typer.echo("\n".join(["", *lay_out(table, terminal_width())]))
    if find_spec("matplotlib"):
        from selfimprove.viewer.charts import rewards_chart

        write_text(out / "picture.svg", str(rewards_chart(draw_lines(found), "Gold and proxy rewards over √KL")))
        typer.echo(f"\nthe picture: {out / 'picture.svg'}; all figures: {out / 'results.json'}")


def _read_numbers(option: str, text: str, lowest: float, *, whole: bool = False) -> list[float]:
    """The numbers of `1,2,3`; raises UsageError."""
    import math

    try:
        found = [float(one) for one in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text[:100]}: expected numbers with commas between them.") from None
    if not all(math.isfinite(one) and one >= lowest for one in found) or len(set(found)) < len(found):
        raise UsageError(f"{option} {text[:100]}: expected different numbers of at least {lowest:g}.")
    if whole and not all(one == int(one) <= LARGEST for one in found):
        raise UsageError(f"{option} {text[:100]}: expected whole numbers of at most {LARGEST:,}.")
    return found
