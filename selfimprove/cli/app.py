"""The command line: commands only parse, call and print, and import what they need when they run."""

import atexit
import errno
import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from selfimprove.cli import (
    chat,
    constitution,
    doctor,
    look,
    overoptimise,
    people,
    prompts,
    publish,
    reference,
    run,
    runs,
    start,
    verify,
)
from selfimprove.cli.options import UsageError
from selfimprove.cli.usage import describe_usage, import_files


def show_version(wanted: bool) -> None:
    if wanted:
        import selfimprove

        typer.echo(f"selfimprove {selfimprove.__version__}")
        raise typer.Exit


app = typer.Typer(
    help="A language model teaches itself, and people can see how.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    suggest_commands=False,
)


@app.callback()
def say_version(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version and end.", is_eager=True, callback=show_version)
    ] = False,
) -> None: ...


for command in (
    start.init,
    run.run,
    run.plan,
    overoptimise.overoptimise,
    look.status,
    look.traces,
    look.show,
    look.compare,
    look.report,
    look.view,
    look.export,
    runs.rm,
    runs.mv,
    runs.cp,
    runs.gc,
    prompts.evaluate,
    verify.verify,
    run.serve,
    chat.chat,
    publish.publish,
    doctor.doctor,
    reference.schema,
    reference.docs,
    reference.extensions,
    reference.new,
):
    app.command()(command)
app.command("list")(reference.list_)
app.add_typer(constitution.app, name="constitution")
app.add_typer(prompts.app, name="prompts")
app.add_typer(people.app, name="people")
UNUSABLE = {errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENOTDIR, errno.EISDIR}
"""What is wrong with a path that was given, wherever it is found."""
SHOWN = 200  # characters of a path
INTERRUPTED = 130  # what typer makes of Ctrl-C


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: a user's mistake is one line and exit code 2, Ctrl-C is 130 and says how to go on."""
    import shlex

    from selfimprove.errors import SelfImproveError, UnreachableError

    # The interpreter would search all that was imported for cycles, several times, before it ends anyway.
    atexit.register(gc.freeze)
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = shlex.join(["selfimprove", *given])
    starts = given[:1] in (["run"], ["evaluate"], ["overoptimise"], ["prompts"]) or given[:2] == ["constitution", "try"]
    if starts:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as clusters end a job: it says what Ctrl-C says
    code: int | None = None
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123 (one that is closed is no mistake)
    try:
        given = import_files(given)
        code = app(given or ["--help"], prog_name="selfimprove", standalone_mode=False)
    except UnreachableError as error:
        _fail(f"{error}; continue with: {command}")
    except SelfImproveError as error:
        _fail(str(error))
    except UsageError as error:  # type: ignore[misc]
        _fail(describe_usage(error))
    except OSError as error:
        if error.errno == errno.ENOSPC and error.filename is None:
            _fail(f"what this command prints cannot be written: {error.strerror}")
        if error.errno not in UNUSABLE or error.filename is None:
            raise
        _fail(f"{str(error.filename)[:SHOWN]}: {error.strerror}")
    if code == INTERRUPTED:
        kept = f", all finished parts are kept; continue with: {command}" if starts else ""
        print(f"\nselfimprove: stopped{kept}", file=sys.stderr)
    sys.exit(code or 0)


def _fail(message: str) -> None:
    from selfimprove.records.printable import printable

    # A file's or a server's own words may stand in it.
    print(f"selfimprove: {printable(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
