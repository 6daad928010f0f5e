"""The command `selfimprove chat`: a conversation with a checkpoint, or with two beside each other."""

import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from selfimprove.recipe import Sampling
    from selfimprove.running.conversation import Speaker

HELP = "/new begins anew, /quit or Ctrl-D ends it, Ctrl-C ends an answer"


def chat(
    model: Annotated[
        str, typer.Argument(help="A run (its best checkpoint), a round of it (mine/round-02), or a model's folder.")
    ],
    beside: Annotated[str | None, typer.Argument(help="Another one, whose answers are shown next to it.")] = None,
    temperature: Annotated[float, typer.Option(min=0, max=100, help="0 is greedy.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1, help="Draw from the likeliest tokens of this share.")] = 0.95,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer in tokens.")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal answers to the same questions.")] = 0,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; by default a run's own.")] = None,
    runs: Annotated[Path, typer.Option(help="The folder of runs.")] = Path("runs"),
) -> None:
    """Talk to the best checkpoint of a run, to any round of it, or to two beside each other, as they write.

    Questions are read from the terminal, or one a line from a file or a pipe.
    """
    from selfimprove.recipe import Sampling
    from selfimprove.records.console import SafeConsole
    from selfimprove.running.conversation import open_speaker

    speakers = [open_speaker(one, runs, dtype=dtype) for one in (model, beside) if one]
    sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens)
    console = SafeConsole(highlight=False)
    alone = [one.name for one in speakers if one.template is None]
    if sys.stdin.isatty():
        console.print(HELP)
    if alone:
        console.print(f"{' and '.join(alone)}: no chat template, so each question is asked alone", soft_wrap=True)
    for number, question in enumerate(_questions(console)):
        if question in ("/quit", "/exit"):
            break
        if question == "/new":
            for one in speakers:
                one.forget()
        elif question:
            _answer(speakers, question, sampling, seed + number, console)


def _questions(console: "Console") -> Iterator[str]:
    """What is asked, up to the end of the input; bytes that are no text are asked as the mark of such."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    while True:
        try:
            yield (console.input("> ") if sys.stdin.isatty() else input()).strip()
        except (EOFError, KeyboardInterrupt):
            return


def _answer(speakers: Sequence["Speaker"], question: str, sampling: "Sampling", seed: int, console: "Console") -> None:
    """Show the answers as they come; Ctrl-C ends them."""
    try:
        if len(speakers) > 1 and console.is_terminal:
            _show_beside(speakers, question, sampling, seed, console)
        else:
            for one in speakers:
                _show(one, question, sampling, seed, console, named=len(speakers) > 1)
    except KeyboardInterrupt:
        console.print()


def _show(one: "Speaker", question: str, sampling: "Sampling", seed: int, console: "Console", *, named: bool) -> None:
    from rich.text import Text

    before = one.forgotten
    if named:
        console.print(Text(f"{one.name}:", style="bold"), soft_wrap=True)
    pieces = one.ask(question, sampling, seed)
    try:
        for piece in pieces:
            console.print(Text(piece), end="", soft_wrap=True)
            console.file.flush()
    finally:
        pieces.close()  # type: ignore[attr-defined]
        console.print()
    if one.forgotten > before:
        console.print(f"({one.forgotten} turns no longer fit and are forgotten)", style="dim")


def _show_beside(
    speakers: Sequence["Speaker"], question: str, sampling: "Sampling", seed: int, console: "Console"
) -> None:
    """Two columns that are written at the same time, a piece of each in turn."""
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    texts = ["" for _ in speakers]
    going = {at: one.ask(question, sampling, seed) for at, one in enumerate(speakers)}

    def table() -> Table:
        found = Table(expand=True, show_edge=False)
        for one in speakers:
            found.add_column(Text(one.name), ratio=1)
        found.add_row(*map(Text, texts))
        return found

    every = list(going.values())
    try:
        with Live(table(), console=console, transient=True, refresh_per_second=8) as live:
            while going:
                for at, pieces in list(going.items()):
                    piece = next(pieces, None)
                    if piece is None:
                        del going[at]
                    else:
                        texts[at] += piece
                        live.update(table())
    finally:
        for pieces in every:
            pieces.close()  # type: ignore[attr-defined]
        console.print(table())
