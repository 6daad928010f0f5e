"""A few lines on a run that goes on, for a terminal of any width."""

import textwrap
from collections.abc import Callable
from copy import copy

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment

from selfimprove.records.printable import one_line
from selfimprove.running.outlook import Outlook, Reached

TURN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
BARS = "▁▂▃▄▅▆▇█"
WIDE = 72  # cells from which a bar is drawn
BAR = 24
LINES = 2  # that what is said of a stage or of a run may take; what a model wrote takes one
STAGES = 8  # that are named ahead


def show_time(seconds: float) -> str:
    """A time that people read at a glance."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count_rounds(number: int) -> str:
    return f"{number} {'round' if number == 1 else 'rounds'}"


def sparkline(reached: list[Reached]) -> str:
    """A bar a round, from the lowest accuracy to the highest one."""
    shares = [one.share for one in reached]
    low, high = min(shares, default=0.0), max(shares, default=0.0)
    if high == low:
        return BARS[len(BARS) // 2] * len(shares)
    return "".join(BARS[round((one - low) / (high - low) * (len(BARS) - 1))] for one in shares)


def describe_stage(look: Outlook, now: float) -> str:
    """The stage that goes on: how far, how fast, how long yet."""
    if look.stage is None:
        return "reading the recipe and its problems"
    rounds = f" of {look.rounds}" if look.rounds else ""
    parts = [f"round {look.stage.round}{rounds} {look.stage.name}"]
    if look.total:
        parts.append(f"{look.done} of {look.total}")
    if look.note:
        parts.append(look.note)
    left = look.seconds_of_stage(now)
    parts.append(f"{show_time(now - look.began)} so far" if left is None else f"{show_time(left)} left of it")
    return ", ".join(parts)


def describe_ahead(look: Outlook, now: float) -> str:
    """The stages and rounds to come, and the time that they will take as far as it was measured."""
    if look.stage is None:
        return ""
    ahead = look.ahead()
    names = [name for round_, name in ahead if round_ == look.stage.round]
    said = [f"then {', '.join(names[:STAGES])}{' …' if len(names) > STAGES else ''}"] if names else []
    if rounds := look.rounds - look.stage.round:
        said.append(f"{count_rounds(rounds)} after it")
    seconds, whole = look.seconds_left(now)
    if whole:
        said.append(f"about {show_time(seconds)} left")
    elif seconds >= 1 and ahead:
        said.append(f"more than {show_time(seconds)} left: some of it was not measured yet")
    return "; ".join(said)


def describe_reached(look: Outlook, bars: bool = True) -> str:
    """The newest accuracy with its interval, and those of all rounds as bars."""
    if not look.reached:
        return ""
    line = f"accuracy {look.reached[-1]}"
    return f"{line}  {sparkline(look.reached)}" if bars and len(look.reached) > 1 else line


def draw(look: Outlook, width: int, now: float, *, bars: bool = True) -> list[str]:
    """The lines, none of them wider than `width`; `bars` where the terminal has characters for them."""
    look = copy(look)  # what it says may change while it is drawn
    turn = TURN[int(now * 8) % len(TURN)] + " " if bars else ""
    share = look.done / look.total if look.total else 0.0
    first = turn + describe_stage(look, now)
    if bars and look.total and width >= WIDE + BAR:
        filled = round(min(1.0, share) * BAR)
        first = f"{turn}{'━' * filled}{'╌' * (BAR - filled)} {describe_stage(look, now)}"
    said = (first, describe_ahead(look, now), describe_reached(look, bars))
    lines = [line for one in said for line in _wrap(one, width)]
    for name, text in (("right", look.accepted), ("wrong", look.rejected)):
        if text:
            lines.append(_cut(f"{name}: {one_line(text.strip(), 4 * width)}", width))
    return lines


def _wrap(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, max(8, width), max_lines=LINES, placeholder=" …")
    return [_cut(line, width) for line in lines]


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)) + "…"


class Display:
    """The lines as something that rich draws anew each time."""

    def __init__(self, look: Outlook, clock: Callable[[], float]) -> None:
        self._look, self._clock = look, clock

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bars = "utf" in (options.encoding or "").lower()
        lines = draw(self._look, options.max_width, self._clock(), bars=bars)
        for at, line in enumerate(lines[: max(1, options.max_height or console.height)]):
            yield Segment(line)
            if at + 1 < len(lines):
                yield Segment.line()
