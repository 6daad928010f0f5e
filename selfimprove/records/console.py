"""A console on which no text can steer the terminal, whichever table or tree it stands in."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

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
