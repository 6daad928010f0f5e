"""The commands that run a recipe, say what it would do, and serve what came out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfimprove.cli.options import (
    BudgetOption,
    ModelOption,
    NameOption,
    Overrides,
    RecipeName,
    Runs,
    UsageError,
    read_overrides,
)

if TYPE_CHECKING:
    from selfimprove.recipe import Recipe
    from selfimprove.running.cluster import OnRay


def run(
    recipe: RecipeName = "arithmetic",
    set_: Overrides = None,
    model: ModelOption = None,
    name: NameOption = None,
    budget: BudgetOption = None,
    runs: Runs = Path("runs"),
    redo: Annotated[
        list[str] | None, typer.Option(help="Do again: 'sft', 'round-02/sft', or 'all' that the recipe changed.")
    ] = None,
    on: Annotated[str | None, typer.Option(help="ray: spread it over a cluster.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --on ray: how many processes load the model.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="A run for each of these seeds: 0..4, or 0,3,7.")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B", help="A run for each of these values, or of recipe=A,B; several make every combination."
        ),
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, max=64, help="With --seeds or --grid: how many runs side by side, each a process.")
    ] = 1,
    json_: Annotated[bool, typer.Option("--json", help="With --seeds or --grid: print the report as JSON.")] = False,
) -> None:
    """Run a recipe, or a sweep of it over seeds and settings; the same command again continues where it stopped."""
    from contextlib import nullcontext

    from selfimprove.recipe.file import load_recipe
    from selfimprove.results.judged import check_judged
    from selfimprove.results.status import print_and_keep_status
    from selfimprove.running.loop import run_loop
    from selfimprove.running.progress import watching
    from selfimprove.running.sweep import make_variants
    from selfimprove.store import RunFolder

    if on not in (None, "ray") or (workers and not on):
        raise UsageError("--on takes 'ray', and --workers goes with it.")
    swept = seeds is not None or bool(grid)
    if json_ and not swept:
        raise UsageError("--json goes with --seeds or --grid; of one run: selfimprove status RUN --json.")
    if at_once > 1 and (on or not swept):
        raise UsageError("--at-once goes with --seeds or --grid, and not with --on, which spreads each run.")
    changes = [*read_overrides(set_, model, name, runs, budget), *([f"ray.workers={workers}"] if workers else [])]
    loaded = load_recipe(recipe, changes)
    if swept:
        from selfimprove.cli.sweep import run_sweep, run_sweep_at_once

        variants = make_variants(loaded.name, seeds, grid or [])
        recipes = [
            load_recipe(one.recipe or recipe, [*changes, *one.changes]) for one in variants
        ]  # all mistakes come first
        if at_once > 1:
            commands = {
                one.name: command_of(one.recipe or recipe, [*changes, *one.changes], runs, redo or [])
                for one in variants
            }
            run_sweep_at_once(variants, commands, runs, at_once=at_once, as_json=json_)
        else:
            run_sweep(variants, recipes, runs, redo=redo or [], spread=spread if on else None, as_json=json_)
        return
    folder = RunFolder(runs / loaded.name)
    with watching(folder) as report, spread(loaded) if on else nullcontext() as runner:
        run_loop(loaded, folder, report=report, redo=redo or (), runner=runner)
    print_and_keep_status(folder)
    check_judged(folder)


def command_of(recipe: str, changes: Sequence[str], runs: Path, redo: Sequence[str]) -> list[str]:
    """The command that makes one run of a sweep in a process of its own, with what was imported here."""
    from selfimprove.recipe.catalog import extensions

    imports = [f"--import={one.path}" for one in extensions() if one.path]
    settings = [part for one in changes for part in ("--set", one)]
    again = [part for one in redo for part in ("--redo", one)]
    own = [sys.executable, "-u", "-m", "selfimprove.cli", "run", recipe]
    return [*own, *settings, "--runs", str(runs), *again, *imports]


def spread(recipe: "Recipe") -> "OnRay":
    """What makes the parts of stages on a cluster."""
    from selfimprove.running.cluster import OnRay

    return OnRay(recipe.ray)


def plan(
    recipe: RecipeName = "arithmetic",
    set_: Overrides = None,
    model: ModelOption = None,
    name: NameOption = None,
    budget: BudgetOption = None,
    runs: Runs = Path("runs"),
) -> None:
    """Show what a run would do, what it would reuse, and an estimate of its tokens and time."""
    from selfimprove.recipe.file import load_recipe
    from selfimprove.running.estimate import print_plan
    from selfimprove.store import RunFolder

    loaded = load_recipe(recipe, read_overrides(set_, model, name, runs, budget))
    print_plan(loaded, RunFolder(runs / loaded.name))


def serve(
    checkpoint: Annotated[
        str, typer.Argument(help="A model's folder or hub name, a run (its best checkpoint) or a round: mine/round-02.")
    ],
    servers: Annotated[int | None, typer.Option(min=1, help="How many servers; by default one per GPU.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The first server's port on 127.0.0.1.")] = 8000,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; by default a run's own.")] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that one server is spread over.")] = 1,
    memory: Annotated[float, typer.Option(min=0, max=1, help="The share of a GPU's memory that a server takes.")] = 0.9,
    cache: Annotated[str | None, typer.Option(help="The key-value cache's size in place of that, such as 8G.")] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="The longest prompt and completion together.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of each server.")] = None,
    key: Annotated[
        str | None,
        typer.Option(help="The environment variable that holds a key; only with one a run can give them new weights."),
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Start vLLM servers of a checkpoint on this machine, and keep them alive until Ctrl-C."""
    from selfimprove.running.serve import read_settings
    from selfimprove.running.serve import serve as serve_checkpoint

    vllm = {"gpus": gpus, "memory": memory, "cache": cache, "max_length": max_length}
    settings = read_settings({"threads": threads, "vllm": vllm})
    serve_checkpoint(checkpoint, runs=runs, servers=servers, port=port, settings=settings, dtype=dtype, key=key)
