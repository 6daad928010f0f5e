"""A console on which no text can steer the terminal, and tables that lose nothing where it is narrow."""

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from selfimprove.records.printable import printable


class SafeConsole(Console):
    """Rich's console without its markup, and with control characters of what is shown spelled out.

    What is shown is escaped where it is printed too, with its width known; this is for what was forgotten there.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:  # a movement of rich's own, such as that of a progress bar
                yield segment
            else:
                yield segment._replace(text=printable(segment.text, len(segment.text)))


def make_table(title: str, *names: str, left: tuple[str, ...] = ()) -> Table:
    """An empty table in the form of all that are printed; those columns hold texts, which are wrapped, the others
    numbers, which are not."""
    table = Table(
        title=title,
        title_justify="left",
        min_width=len(title),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in names:
        text = name in left
        table.add_column(name, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    return table
