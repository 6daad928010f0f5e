"""The command line: commands only parse, call and print, and import what they need when they run."""

import errno
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfimprove.cli import chat as cli_chat
from selfimprove.cli import constitution as cli_constitution
from selfimprove.cli import doctor as cli_doctor
from selfimprove.cli import prompts as cli_prompts
from selfimprove.cli import publish as cli_publish

if TYPE_CHECKING:
    from selfimprove.recipe import Recipe
    from selfimprove.running.cluster import OnRay

app = typer.Typer(
    help="A language model teaches itself, and people can see how.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    suggest_commands=False,
)
app.add_typer(cli_constitution.app, name="constitution")
app.add_typer(cli_prompts.app, name="prompts")
app.command()(cli_prompts.evaluate)
app.command()(cli_doctor.doctor)
app.command()(cli_chat.chat)
app.command()(cli_publish.publish)
INTERRUPTED = 130  # what typer makes of Ctrl-C
RECIPE = "A recipe file, or the name of one in policies/recipes."
VERIFIER = "math, text, choice, math-verify, reasoning_gym/NAME or judge."
RUN = "A run's name under runs/, or its folder."
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as generate.samples=8.")
]
ModelOption = Annotated[
    str | None, typer.Option(help="Start from this model: a folder, a hub name, a run or a round of it.")
]
NameOption = Annotated[str | None, typer.Option(help="The run's name; the recipe's own without it.")]
Runs = Annotated[Path, typer.Option(help="The folder of runs.")]


def _overrides(changes: list[str] | None, model: str | None, name: str | None, runs: Path) -> list[str]:
    chosen = list(changes or [])
    if model:
        from selfimprove.running.find_model import locate_model

        model = locate_model(model, runs)
        chosen += ["model.build=null", f"model.path={_quote(model)}"]
    return chosen + ([f"name={_quote(name)}"] if name else [])


def _quote(text: str) -> str:
    import json

    return json.dumps(text)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help=RECIPE)] = "arithmetic",
    set_: Overrides = None,
    model: ModelOption = None,
    name: NameOption = None,
    runs: Runs = Path("runs"),
    redo: Annotated[
        list[str] | None, typer.Option(help="Do again: 'sft', 'round-02/sft', or 'all' that the recipe changed.")
    ] = None,
    on: Annotated[str | None, typer.Option(help="ray: spread it over a cluster.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="With --on ray: so many processes load the model.")] = None,
) -> None:
    """Run a recipe; the same command again continues where it stopped."""
    from contextlib import nullcontext

    from selfimprove.recipe.file import load_recipe
    from selfimprove.results.judged import check_judged
    from selfimprove.results.status import print_status
    from selfimprove.running.loop import run_loop
    from selfimprove.running.progress import watching
    from selfimprove.store import RunFolder

    if on not in (None, "ray") or (workers and not on):
        raise UsageError("--on takes 'ray', and --workers goes with it.")
    changes = [*_overrides(set_, model, name, runs), *([f"ray.workers={workers}"] if workers else [])]
    loaded = load_recipe(recipe, changes)
    folder = RunFolder(runs / loaded.name)
    with watching(folder) as report, _spread(loaded) if on else nullcontext() as runner:
        run_loop(loaded, folder, report=report, redo=redo or (), runner=runner)
    print_status(folder)
    check_judged(folder)


def _spread(recipe: "Recipe") -> "OnRay":
    from selfimprove.running.cluster import OnRay

    return OnRay(recipe.ray)


@app.command()
def status(
    run: Annotated[str, typer.Argument(help=RUN)],
    json_: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Show rounds, accuracy with intervals, the funnel from sampled to trained, time and tokens."""
    import json

    from selfimprove.results.status import print_status, to_json
    from selfimprove.store import find_run

    folder = find_run(run, runs)
    if json_:
        typer.echo(json.dumps(to_json(folder), indent=2))
    else:
        print_status(folder)


@app.command()
def traces(
    run: Annotated[str, typer.Argument(help=RUN)],
    round_: Annotated[int | None, typer.Option("--round", help="Only this round.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only what this stage wrote.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    level: Annotated[int | None, typer.Option(help="Only this level.")] = None,
    group: Annotated[str | None, typer.Option(help="Only this group, such as 4+3.")] = None,
    outcome: Annotated[str | None, typer.Option(help="correct, incorrect or undecided.")] = None,
    reasoning: Annotated[str | None, typer.Option(help="The same, of the steps.")] = None,
    origin: Annotated[str | None, typer.Option(help="sampled or rationalized.")] = None,
    kept: Annotated[bool | None, typer.Option("--kept/--turned-away", help="Trained on, or not.")] = None,
    disputed: Annotated[bool | None, typer.Option("--disputed", help="Only where a second verifier differs.")] = None,
    text: Annotated[str | None, typer.Option(help="Only texts that hold this.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """List what the model wrote, what was kept and why the rest was turned away."""
    from selfimprove.results.traces import check_choices, print_traces
    from selfimprove.store import find_run
    from selfimprove.store.query import Query

    chosen = {"round": round_, "stage": stage, "task": task, "level": level, "group": group, "outcome": outcome,
              "reasoning": reasoning, "origin": origin, "kept": kept, "disputed": disputed, "text": text}  # fmt: skip
    folder = find_run(run, runs)
    check_choices(chosen, sorted({one.path.name for one in folder.stages()}))
    print_traces(Query(folder), chosen, limit, json_)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help=RUN)],
    id_: Annotated[str, typer.Argument(metavar="ID", help="The beginning of any record's id.")],
    runs: Runs = Path("runs"),
) -> None:
    """Show one record and all that hangs on it: problem, samples, verdict, training, checkpoint."""
    from selfimprove.results.show import print_record
    from selfimprove.store import find_run
    from selfimprove.store.query import Query

    print_record(Query(find_run(run, runs)), id_)


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(help=RECIPE)] = "arithmetic",
    set_: Overrides = None,
    model: ModelOption = None,
    name: NameOption = None,
    runs: Runs = Path("runs"),
) -> None:
    """Show what a run would do, what it would reuse, and an estimate of its tokens and time."""
    from selfimprove.recipe.file import load_recipe
    from selfimprove.running.estimate import print_plan
    from selfimprove.store import RunFolder

    loaded = load_recipe(recipe, _overrides(set_, model, name, runs))
    print_plan(loaded, RunFolder(runs / loaded.name))


@app.command()
def export(
    run: Annotated[str, typer.Argument(help=RUN)],
    out: Annotated[Path, typer.Argument(help="A .parquet or .jsonl file; with --inspect a folder.")],
    what: Annotated[
        str | None,
        typer.Option(
            help="sft (what it is without --what) or dpo: what was trained; traces: all that was written; notes. "
            "With --inspect: evaluations (without --what) or traces."
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


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A JSONL file of responses.")],
    verifier: Annotated[str, typer.Option(help=VERIFIER)] = "math",
    response: Annotated[str, typer.Option(help="The key of the response, a text or a list of texts.")] = "response",
    answer: Annotated[str, typer.Option(help="The key of the expected answer.")] = "answer",
    question: Annotated[
        str | None, typer.Option(help="The key of the question: where a step's numbers come from.")
    ] = None,
    options: Annotated[str | None, typer.Option(help="The key of a list of options, for choice.")] = None,
    label: Annotated[
        str | None, typer.Option(help="The key that says whether a response is right: the verifier's errors are shown.")
    ] = None,
    stated: Annotated[bool, typer.Option("--stated", help="An answer must be announced.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Compare answers as strings.")] = False,
    tolerance: Annotated[float, typer.Option(min=0, help="Numbers may differ by this much.")] = 0.0,
    relative_tolerance: Annotated[float, typer.Option(min=0, help="The same as a share of the expected one.")] = 0.0,
    units: Annotated[str, typer.Option(help="ignore or match.")] = "ignore",
    second: Annotated[str | None, typer.Option(help="Cross-check by this verifier, such as math-verify.")] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="The share that is cross-checked.")] = 1.0,
    judge_model: Annotated[str | None, typer.Option(help="The model of the verifier 'judge'.")] = None,
    judge_prompt: Annotated[Path | None, typer.Option(help="Its prompt file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write each verdict to this JSONL file.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many responses.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes for what may hang.")] = 1,
    json_: Annotated[bool, typer.Option("--json", help="Print the totals as JSON.")] = False,
) -> None:
    """Judge a file of responses: totals, reasons, what stayed undecided, and where two verifiers differ."""
    import json

    from selfimprove.errors import VerifierError
    from selfimprove.results.verify_file import choose_verifier, judge_file
    from selfimprove.results.verify_report import print_totals, to_json
    from selfimprove.verifiers.response_file import Columns
    from selfimprove.verifiers.workers import VerifierPool

    compared = {"strict": strict, "tolerance": tolerance, "relative_tolerance": relative_tolerance, "units": units}
    judge = (judge_model, judge_prompt)
    chosen = choose_verifier(verifier, compared, stated=stated, judge=judge)
    other = choose_verifier(second, compared, stated=stated, judge=judge) if second else None
    columns = Columns(response, answer, question, options, label)
    with VerifierPool(workers=workers) as pool:
        totals = judge_file(file, columns, chosen, pool=pool, second=other, share=share, out=out, limit=limit)
    if json_:
        typer.echo(json.dumps(to_json(totals), indent=2))
    else:
        print_totals(totals)
    if totals.outcomes["undecided"] == totals.outcomes.total():
        raise VerifierError(f"{file}: none of the {totals.outcomes.total()} responses could be judged")


@app.command()
def serve(
    checkpoint: Annotated[
        str, typer.Argument(help="A model's folder or hub name, a run (its best checkpoint) or a round: mine/round-02.")
    ],
    servers: Annotated[int | None, typer.Option(min=1, help="So many servers; one a GPU without it.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The first server's port on 127.0.0.1.")] = 8000,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; a run's own without it.")] = None,
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


@app.command()
def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it as tables for people.")] = False,
) -> None:
    """Print the JSON Schema of recipes, for editors, or every setting with its default and meaning."""
    import json

    from selfimprove.recipe import compose
    from selfimprove.results.reference import settings_reference

    schema = settings_reference(compose({})) if markdown else json.dumps(compose({}).model_json_schema(), indent=2)
    typer.echo(schema.rstrip())


@app.command()
def docs(
    topic: Annotated[
        str | None, typer.Argument(help="Such as settings or verifiers; all are listed without one.")
    ] = None,
) -> None:
    """Read the documents in the terminal; `selfimprove view` shows them in a browser, under /docs."""
    from selfimprove.results.read_documents import print_document, print_topics
    from selfimprove.shipping.documents import find_document

    if topic is None:
        print_topics()
    else:
        print_document(find_document(topic))


@app.command()
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


@app.command()
def new(
    what: Annotated[str, typer.Argument(help="stage, task or verifier.")],
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits and _.")],
) -> None:
    """Write a stage, task or verifier that works, NAME.py, and its test, into this folder."""
    from selfimprove.cli.new import write_extension

    for path in write_extension(what, name, Path()):
        typer.echo(path)
    typer.echo(f"its test: pytest test_{name}.py; in a run: selfimprove run RECIPE --import {name}.py")


@app.command()
def report(
    run: Annotated[str, typer.Argument(help=RUN)],
    html: Annotated[
        Path | None,
        typer.Option(help="Write the main pages to this file, which needs no server: figures, charts, some traces."),
    ] = None,
    to: Annotated[
        list[str] | None, typer.Option(help="Send each round's figures to tensorboard, trackio, wandb or mlflow.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="With --html, another run whose accuracy stands beside it, its control.")
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write a run's main pages as one file, or send its figures to trackers."""
    from selfimprove.store import find_run

    if html is None and not to:
        raise UsageError("Name a file with --html, or a tracker with --to.")
    folder, control = find_run(run, runs), find_run(against, runs) if against else None
    if to:
        from selfimprove.running.reporting import send_figures

        typer.echo(f"{send_figures(folder, to)} reports sent")
    if html is not None:
        write_report = _viewer("report").write_report
        typer.echo(f"{html}: {write_report(folder, html, against=control) / 1e6:.1f} MB")


def _viewer(module: str) -> Any:
    """A module of the viewer; raises SelfImproveError where its extra is not installed."""
    import importlib

    from selfimprove.errors import SelfImproveError

    try:
        return importlib.import_module(f"selfimprove.viewer.{module}")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("selfimprove"):
            raise
        raise SelfImproveError(f"'{error.name}' is missing; install it with: pip install 'selfimprove[view]'") from None


@app.command()
def view(
    runs: Annotated[Path, typer.Argument(help="The folder of runs, or one run.")] = Path("runs"),
    host: Annotated[str, typer.Option(help="Any other address than 127.0.0.1 asks for a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")] = 8765,
) -> None:
    """Open the runs in a browser: what was written, what was kept and why the rest was turned away."""
    _viewer("serve").serve(runs, host=host, port=port)


UsageError = typer.BadParameter.__bases__[0]  # what unknown options, commands and missing arguments are


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: a user's mistake is one line and exit code 2, Ctrl-C is 130 and says how to go on."""
    import shlex

    from selfimprove.errors import SelfImproveError, UnreachableError

    given = list(sys.argv[1:] if arguments is None else arguments)
    command = shlex.join(["selfimprove", *given])
    runs = given[:1] in (["run"], ["evaluate"], ["prompts"])
    if runs:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as clusters end a job: it says what Ctrl-C says
    code: int | None = None
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 (one that is closed is no mistake)
    try:
        given = _import_files(given)
        code = app(given or ["--help"], prog_name="selfimprove", standalone_mode=False)
    except UnreachableError as error:
        _fail(f"{error}; continue with: {command}")
    except SelfImproveError as error:
        _fail(str(error))
    except UsageError as error:  # type: ignore[misc]
        _fail(_describe_usage(error))
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _fail(f"what this command prints cannot be written: {error.strerror}")
    if code == INTERRUPTED:
        kept = f", all finished parts are kept; continue with: {command}" if runs else ""
        print(f"\nselfimprove: stopped{kept}", file=sys.stderr)
    sys.exit(code or 0)


INSTEAD = {
    "recipes": "docs settings",
    "settings": "docs settings",
    "config": "schema",
    "train": "run",
    "resume": "run",
    "continue": "run",
    "eval": "evaluate",
    "chat": "serve",
    "results": "status",
    "dashboard": "view",
    "ui": "view",
}
"""What people type, and the command that does it."""


def _describe_usage(error: Any) -> str:
    """A mistake in the use of a command, with the command that is meant and whose help says more."""
    context = error.ctx
    said, path = error.format_message(), context.command_path if context else "selfimprove"
    unknown = re.match(r"No such command '(.*?)'\.", said)
    if unknown and context:
        from selfimprove.errors import nearest

        name = unknown[1]
        meant = nearest(name, context.command.commands) or (INSTEAD.get(name) if path == "selfimprove" else None)
        said = unknown[0] + (f" Did you mean '{meant}'?" if meant else "")
    return f"{said} See: {path} --help"


def _import_files(given: list[str]) -> list[str]:
    """Import what `--import FILE` names, wherever it stands, and give the other arguments."""
    rest: list[str] = []
    files: list[str] = []
    arguments = iter(given)
    for one in arguments:
        if one == "--import":
            files.append(next(arguments, ""))
        elif one.startswith("--import="):
            files.append(one.removeprefix("--import="))
        else:
            rest.append(one)
    if files:
        from selfimprove.recipe.catalog import import_file

        for file in files:
            import_file(file)
    return rest


def _fail(message: str) -> None:
    from selfimprove.records.printable import printable

    # A file's or a server's own words may stand in it.
    print(f"selfimprove: {printable(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
