"""The commands that look at runs: figures, texts, one record, files for other tools, the viewer."""

import gc
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from selfimprove.cli.options import RUN, Json, RunName, Runs, UsageError, complete_runs


def status(
    run: Annotated[
        str | None, typer.Argument(help=f"{RUN} By default all runs are listed.", autocompletion=complete_runs)
    ] = None,
    json_: Json = False,
    runs: Runs = Path("runs"),
) -> None:
    """Show rounds, accuracy with intervals, the funnel from sampled to trained, time and tokens."""
    if run is None:
        _list_runs(runs, json_)
        return
    gc.disable()  # nothing that is imported and printed here is worth a search for cycles, which takes a tenth of it
    try:
        _print_status(run, runs, json_)
    finally:
        gc.enable()


def _print_status(run: str, runs: Path, as_json: bool) -> None:
    import json

    from selfimprove.records.console import SafeConsole
    from selfimprove.records.files import find_folder
    from selfimprove.results.printed import print_again

    if not as_json and (path := find_folder(run, runs)) and print_again(path, SafeConsole()):
        return

    from selfimprove.results.status import print_and_keep_status, to_json
    from selfimprove.store import find_run

    folder = find_run(run, runs)
    if as_json:
        typer.echo(json.dumps(to_json(folder), indent=2))
    else:
        print_and_keep_status(folder)


def _list_runs(runs: Path, as_json: bool) -> None:
    """All runs, the last changed first."""
    import json

    from selfimprove.records.columns import lay_out, terminal_width
    from selfimprove.results.overview import list_runs
    from selfimprove.store.run import start_command

    found = list(list_runs(runs))
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in found], indent=2))
    elif found:
        typer.echo("\n".join(lay_out([one.cells() for one in found], terminal_width())))
    else:
        typer.echo(f"there are no runs in {runs}/; start one with: {start_command(runs)}")


def traces(
    run: RunName,
    round_: Annotated[int | None, typer.Option("--round", help="Only this round.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only what this stage wrote.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    level: Annotated[int | None, typer.Option(help="Only this level.")] = None,
    group: Annotated[str | None, typer.Option(help="Only this group, such as 4+3.")] = None,
    outcome: Annotated[str | None, typer.Option(help="correct, incorrect or undecided.")] = None,
    reasoning: Annotated[str | None, typer.Option(help="The same, of the steps.")] = None,
    origin: Annotated[str | None, typer.Option(help="sampled, rationalized or revised.")] = None,
    kept: Annotated[bool | None, typer.Option("--kept/--turned-away", help="Trained on, or not.")] = None,
    disputed: Annotated[bool | None, typer.Option("--disputed", help="Only where a second verifier differs.")] = None,
    text: Annotated[str | None, typer.Option(help="Only texts that hold this.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 20,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """List what the model wrote, what was kept and why the rest was turned away."""
    from selfimprove.results.traces import check_choices, print_traces
    from selfimprove.store import find_run
    from selfimprove.store.query import TO_SHOW, Query

    chosen = {"round": round_, "stage": stage, "task": task, "level": level, "group": group, "outcome": outcome,
              "reasoning": reasoning, "origin": origin, "kept": kept, "disputed": disputed, "text": text}  # fmt: skip
    folder = find_run(run, runs)
    check_choices(chosen, sorted({one.path.name for one in folder.stages()}))
    print_traces(Query(folder, memory=TO_SHOW), chosen, limit, json_)


def show(
    run: RunName,
    id_: Annotated[str, typer.Argument(metavar="ID", help="The beginning of any record's id.")],
    runs: Runs = Path("runs"),
) -> None:
    """Show one record and all that hangs on it: problem, samples, verdict, training, checkpoint."""
    from selfimprove.results.show import print_record
    from selfimprove.store import find_run
    from selfimprove.store.query import TO_SHOW, Query

    print_record(Query(find_run(run, runs), memory=TO_SHOW), id_)


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...", help="Runs, or rounds of them: mine/round-02.", autocompletion=complete_runs
        ),
    ],
    round_: Annotated[
        int | None, typer.Option("--round", help="Of all of them; by default the last evaluated one.")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Problems that were won, and that were lost, to show.")] = 0,
    json_: Json = False,
    runs: Runs = Path("runs"),
) -> None:
    """Compare runs with the first one on the held-out problems that they share: accuracy, what was won and lost."""
    import json

    from selfimprove.records.columns import terminal_width
    from selfimprove.results.compare import describe, pair_sides, read_side, to_json

    if len(names) < 2:
        raise UsageError("Name two runs or more, or two rounds of one: mine/round-00 mine/round-02.")
    sides = [read_side(name, runs, round_) for name in names]
    pairs = pair_sides(sides)
    if json_:
        typer.echo(json.dumps(to_json(sides, pairs), indent=2))
    else:
        typer.echo("\n".join(describe(sides, pairs, show, terminal_width())))


def export(
    run: RunName,
    out: Annotated[Path, typer.Argument(help="A .parquet or .jsonl file; with --inspect a folder.")],
    what: Annotated[
        str | None,
        typer.Option(
            help="sft (the default) or dpo: what was trained; traces: all that was written; "
            "notes; ratings or pairs: what people ranked. "
            "With --inspect: evaluations (the default) or traces."
        ),
    ] = None,
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Write logs for Inspect, one a round, which `inspect view` opens.")
    ] = False,
    round_: Annotated[int | None, typer.Option("--round", help="Only this round.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write SFT rows, DPO pairs or all traces to a file that `datasets` loads, or logs that Inspect opens."""
    from selfimprove.results.traces import export_rows
    from selfimprove.store import find_run
    from selfimprove.store.query import Query

    if inspect:
        from selfimprove.results.inspect_logs import write_logs

        logs, samples = write_logs(find_run(run, runs), out, what or "evaluations", round_)
        typer.echo(f"{logs} logs of {samples} samples in {out}; open them with: inspect view --log-dir {out}")
        return
    count = export_rows(Query(find_run(run, runs)), out, what or "sft", round_)
    typer.echo(f"{count} rows in {out}")


def report(
    run: RunName,
    html: Annotated[
        Path | None,
        typer.Option(help="Write the main pages to this file, which needs no server: figures, charts, some traces."),
    ] = None,
    to: Annotated[
        list[str] | None, typer.Option(help="Send each round's figures to tensorboard, trackio, wandb or mlflow.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="With --html, another run, its control, whose accuracy is shown next to it.")
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write a run's main pages as one file, or send its figures to trackers."""
    from selfimprove.store import find_run

    if html is None and not to:
        raise UsageError("Name a file with --html, or a tracker with --to.")
    folder, control = find_run(run, runs), find_run(against, runs) if against else None
    if to:
        from selfimprove.running.report_rounds import send_figures

        typer.echo(f"{send_figures(folder, to)} reports sent")
    if html is not None:
        write_report = _viewer("report").write_report
        typer.echo(f"{html}: {write_report(folder, html, against=control) / 1e6:.1f} MB")


def view(
    runs: Annotated[Path, typer.Argument(help="The folder of runs, or one run.")] = Path("runs"),
    host: Annotated[str, typer.Option(help="Any other address than 127.0.0.1 asks for a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")] = 8765,
) -> None:
    """Open the runs in a browser: what was written, what was kept and why the rest was turned away."""
    _viewer("serve").serve(runs, host=host, port=port)


def _viewer(module: str) -> ModuleType:
    """A module of the viewer; raises SelfImproveError where its extra is not installed."""
    import importlib

    from selfimprove.errors import SelfImproveError

    try:
        return importlib.import_module(f"selfimprove.viewer.{module}")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("selfimprove"):
            raise
        raise SelfImproveError(f"'{error.name}' is missing; install it with: pip install 'selfimprove[view]'") from None
