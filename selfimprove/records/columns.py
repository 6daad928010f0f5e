"""Rows of plain text in columns that stay readable on a narrow terminal."""

import shutil
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len

from selfimprove.records.printable import one_line

NARROWEST = 24  # cells that the last column needs, or it goes below its row
GAP = 2


def terminal_width() -> int:
    """The cells of a line: those of the terminal, or `COLUMNS`, or 80."""
    return max(20, shutil.get_terminal_size().columns)


def lay_out(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lines of at most `width` cells.

    All columns but the last are as wide as their longest cell, and the last one is wrapped. Where less than `NARROWEST`
    is left for it, each cell has a line of its own.
    """
    shown = [[one_line(cell, 400) for cell in row] for row in rows]
    if not shown:
        return []
    widths = [max(cell_len(row[at]) for row in shown) for at in range(len(shown[0]) - 1)]
    before = sum(widths) + GAP * len(widths)
    last = max(cell_len(row[-1]) for row in shown)
    if width - before < min(NARROWEST, last):
        return [line for row in shown for line in _stacked(row, width)]
    lines = []
    for row in shown:
        head = "".join(cell + " " * (size - cell_len(cell) + GAP) for cell, size in zip(row, widths, strict=False))
        first, *more = textwrap.wrap(row[-1], width - before) or [""]
        lines.append((head + first).rstrip())
        lines += [" " * before + one for one in more]
    return lines


def _stacked(row: Sequence[str], width: int) -> list[str]:
    """A cell under the other, all but the first one set in."""
    lines = []
    for at, cell in enumerate(row):
        indent = " " * (GAP if at else len(cell) - len(cell.lstrip()))
        lines += textwrap.wrap(cell.strip(), width, initial_indent=indent, subsequent_indent=indent)
    return lines
