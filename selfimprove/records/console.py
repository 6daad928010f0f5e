"""A console on which no text can steer the terminal, and tables that lose nothing where it is narrow."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Column, Table

from selfimprove.records.printable import printable

FOLDED = 16  # characters that a column of texts has at least, where its longest one is as long


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


class NarrowTable(Table):
    """A table that goes on in a second one where its columns do not fit beside each other; each begins with the same
    first column."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        parts = list(self._split(options.max_width))
        if len(parts) < 2:
            yield from super().__rich_console__(console, options)
            return
        for at, columns in enumerate(parts):
            part = make_table(self.title if at == 0 else "")  # type: ignore[arg-type]
            part.columns = [replace(column, _index=place) for place, column in enumerate(columns)]
            part.rows = self.rows
            yield part

    def _split(self, width: int) -> Iterator[list[Column]]:
        """The columns in groups of which each fits."""
        if not self.columns:
            return
        first, *others = self.columns
        group, taken = [first], _needed(first) + 1
        for column in others:
            needed = _needed(column) + 2
            if taken + needed > width and len(group) > 1:
                yield group
                group, taken = [first], _needed(first) + 1
            group.append(column)
            taken += needed
        yield group


def _needed(column: Column) -> int:
    """The least characters in which a column stays legible: its longest line, of texts some of it."""
    lines = (line for cell in (column.header, *column.cells) for line in str(cell).split("\n"))
    longest = max(map(cell_len, lines))
    return longest if column.no_wrap else min(longest, FOLDED)


def make_table(title: str, *names: str, left: tuple[str, ...] = ()) -> Table:
    """An empty table in the form of all that are printed; those columns hold texts, which are wrapped, the others
    numbers, which are not. Columns that do not fit beside each other go on in a second table."""
    table = NarrowTable(
        title=title or None,
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
