"""The commands that keep a folder of runs in order: rm, mv, cp and gc."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from selfimprove.cli.options import RunName, Runs, complete_runs

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NewName = Annotated[str, typer.Argument(metavar="NEW", help="The new name under runs/.")]
RunNames = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Names under runs/, or folders.", autocompletion=complete_runs)
]


def ask(question: str, yes: bool) -> bool:
    """Whether a person agrees; raises SelfImproveError where nobody can be asked and `--yes` was not given."""
    from selfimprove.errors import SelfImproveError

    if yes:
        return True
    if not sys.stdin.isatty():
        raise SelfImproveError(f"{question} Nobody can be asked here; add --yes")
    return typer.confirm(question)


def rm(names: RunNames, yes: Yes = False, runs: Runs = Path("runs")) -> None:
    """Remove runs with all that they hold; one that is at work, or that another run began from, stays."""
    from selfimprove.running.upkeep import check_run, remove_run, show_size, size_of
    from selfimprove.store import find_run

    found = [find_run(name, runs) for name in dict.fromkeys(names)]
    for one in found:
        check_run(one)
    sizes = [size_of(one.path) for one in found]
    for one, size in zip(found, sizes, strict=True):
        typer.echo(f"{one.path}: {show_size(size)}")
    if ask(f"Remove {_count(len(found), 'run')} for good ({show_size(sum(sizes))})?", yes):
        for one in found:
            remove_run(one, runs)
            typer.echo(f"{one.path}: removed")


def mv(run: RunName, new: NewName, yes: Yes = False, runs: Runs = Path("runs")) -> None:
    """Give a run another name, by which the same recipe then continues it (--name NEW)."""
    from selfimprove.running.upkeep import move_run
    from selfimprove.store import find_run

    folder = find_run(run, runs)
    if ask(f"Rename {folder.path} to {runs / new}?", yes):
        typer.echo(f"{move_run(folder, new, runs)}: was {folder.path}")


def cp(run: RunName, new: NewName, yes: Yes = False, runs: Runs = Path("runs")) -> None:
    """Copy a run under another name, such as to go on from it in two ways."""
    from selfimprove.running.upkeep import copy_run, show_size, size_of
    from selfimprove.store import find_run

    folder = find_run(run, runs)
    if ask(f"Copy {folder.path} to {runs / new} ({show_size(size_of(folder.path))})?", yes):
        typer.echo(f"{copy_run(folder, new, runs)}: a copy of {folder.path}")


def gc(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN...]", help="By default all runs.", autocompletion=complete_runs),
    ] = None,
    keep: Annotated[int, typer.Option(min=2, help="Checkpoints of the last n rounds stay in any case.")] = 2,
    yes: Yes = False,
    runs: Runs = Path("runs"),
) -> None:
    """Free space: checkpoints of rounds that a run has left behind, and what trainers left, with sizes first.

    Every record stays, and so do round 0, the last rounds, the checkpoint that was promoted last, and what another run
    began from: the run can go on, be followed back and be evaluated as before. A checkpoint that is gone is trained
    again by --redo.
    """
    from selfimprove.errors import SelfImproveError
    from selfimprove.records.columns import lay_out, terminal_width
    from selfimprove.records.files import RECIPE
    from selfimprove.records.printable import printable
    from selfimprove.running.upkeep import find_needless, free, is_working, show_size
    from selfimprove.store import RunFolder, find_run

    if names:
        folders = [find_run(name, runs) for name in names]
    else:
        folders = [RunFolder(path.parent) for path in sorted({*runs.glob(f"*/{RECIPE}"), *runs.glob(f"*/*/{RECIPE}")})]
        folders = [one for one in folders if not is_working(one)]  # one that is named is refused by its lock
    found = []
    for folder in folders:
        try:
            if needless := find_needless(folder, runs, keep):
                found.append((folder, needless))
        except SelfImproveError as error:  # of all runs, one that is damaged is left alone
            if names:
                raise
            typer.echo(printable(str(error)), err=True)
    for _, needless in found:
        rows = [[show_size(one.size), f"{one.path}: {one.why}"] for one in needless]
        typer.echo("\n".join(lay_out(rows, terminal_width())))
    total = sum(one.size for _, needless in found for one in needless)
    if not found:
        typer.echo(f"nothing to free in {_count(len(folders), 'run')}")
    elif ask(f"Remove these for good ({show_size(total)})?", yes):
        freed = sum(free(folder, needless, runs, keep) for folder, needless in found)
        typer.echo(f"{show_size(freed)} freed")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
