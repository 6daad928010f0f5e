"""A sweep, as `selfimprove run --seeds … --grid …` does it: one run after the other or several side by side, then what
they came to."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from selfimprove.recipe import Recipe
    from selfimprove.running.sweep import Variant


def run_sweep(
    variants: "Sequence[Variant]",
    recipes: "Sequence[Recipe]",
    runs: Path,
    *,
    redo: Sequence[str],
    spread: "Callable[[Recipe], AbstractContextManager[Any]] | None",
    as_json: bool,
) -> None:
    """Run every variant, continuing those that were begun; raises SelfImproveError at the end where some failed."""
    from selfimprove.errors import SelfImproveError, UnreachableError
    from selfimprove.running.loop import run_loop
    from selfimprove.running.progress import watching
    from selfimprove.store import RunFolder

    failed: list[str] = []
    for at, recipe in enumerate(recipes, 1):
        folder = RunFolder(runs / recipe.name)
        typer.echo(f"{folder.path}: run {at} of {len(recipes)}", err=as_json)
        watched = nullcontext() if as_json else watching(folder)
        try:
            with watched as report, spread(recipe) if spread else nullcontext() as runner:
                run_loop(recipe, folder, report=report, redo=redo, runner=runner)
        except UnreachableError:  # nor would the others reach it
            raise
        except SelfImproveError as error:
            failed.append(f"{recipe.name}: {error}")
            typer.echo(failed[-1], err=True)
    print_sweep(variants, runs, as_json)
    if failed:
        raise SelfImproveError(f"{len(failed)} of {len(recipes)} runs failed, the first one: {failed[0]}")


def run_sweep_at_once(
    variants: "Sequence[Variant]",
    commands: Mapping[str, Sequence[str]],
    runs: Path,
    *,
    at_once: int,
    as_json: bool,
) -> None:
    """The same, `at_once` of them side by side; each line that a run prints begins with its name."""
    from selfimprove.errors import SelfImproveError
    from selfimprove.records.printable import printable
    from selfimprove.running.side_by_side import SideBySide

    beside = SideBySide(at_once, lambda line: typer.echo(printable(line), err=as_json))
    failed = [f"{name}: {last.removeprefix('selfimprove: ')}" for name, last in beside.run(commands).items()]
    print_sweep(variants, runs, as_json)
    if failed:
        raise SelfImproveError(f"{len(failed)} of {len(commands)} runs failed, the first one: {failed[0]}")


def print_sweep(variants: "Sequence[Variant]", runs: Path, as_json: bool) -> None:
    """Print what the runs came to."""
    from selfimprove.records.columns import terminal_width
    from selfimprove.results.sweep import describe, read_outcome, to_json
    from selfimprove.store import RunFolder

    found = [read_outcome(one, runs) for one in variants]
    if as_json:
        typer.echo(json.dumps(to_json(found), indent=2))
        return
    typer.echo("\n".join(describe(found, terminal_width())))
    typer.echo("")
    names = " ".join(RunFolder(runs / one.name).called for one in variants[:4])
    typer.echo(f"next  selfimprove compare {names}")  # in one line: a shell ends a command where a line ends
