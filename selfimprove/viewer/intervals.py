"""A chart of values with their intervals: names from top to bottom, in panels that share them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from selfimprove.viewer.canvas import FAINT, FORM, LOCK, SERIES, SETTINGS, finish, say_cut, style_axes
from selfimprove.viewer.text import plain

MAX_GROUPS = 40
MAX_SERIES = 8
MARKERS = "osD^vP*X"  # so that lines are told apart without colours, too


class Dot(NamedTuple):
    """A share with its interval, from -1 to 1; `series` has a colour, and one that is not filled is drawn hollow."""

    group: str
    series: str
    value: float
    low: float
    high: float
    filled: bool


def intervals_chart(panels: Mapping[str, Sequence[Dot]], title: str, x: str, first: int = 0) -> str | bytes:
    """The points of each panel in percent beside each other, or below each other where it is narrow; `first` is the
    place of the first series' colour."""
    import matplotlib
    from matplotlib.figure import Figure

    every = [one for dots in panels.values() for one in dots]
    groups, series = (list(dict.fromkeys(names)) for names in zip(*((one[0], one[1]) for one in every), strict=True))
    shown, named, narrow = groups[:MAX_GROUPS], series[:MAX_SERIES], FORM.get().narrow
    rows, beside = (len(panels), 1) if narrow else (1, len(panels))
    height = 0.9 + len(shown) * max(0.34, 0.17 * len(named))
    with LOCK, matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(FORM.get().width, height * rows + 0.2 * len(named)), layout="constrained")
        figure.patch.set_alpha(0)
        axes: Any = None
        for at, (name, dots) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(rows, beside, at, sharex=axes, sharey=axes)
            axes.patch.set_alpha(0)
            axes.set_title(plain(name, 40), fontsize=10.5, loc="left")
            say_cut(axes, len(shown), len(groups))
            if len(shown) == len(groups):
                say_cut(axes, len(named), len(series))
            _draw(axes, dots, shown, named, first)
            style_axes(axes, x, "")
            axes.grid(visible=False, axis="y")
            axes.grid(axis="x", linewidth=0.7)
            axes.set_yticks(range(len(shown)), [plain(one, 24) for one in shown])
            axes.set_ylim(len(shown) - 0.5, -0.5)
            axes.tick_params(axis="y", labelleft=narrow or at == 1)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=1 if narrow else 2, fontsize=9)
        return finish(figure, title)


def _draw(axes: Any, dots: Sequence[Dot], groups: Sequence[str], series: Sequence[str], first: int) -> None:
    """A panel's points, those of a group close together."""
    if any(one.low < 0 for one in dots):
        axes.axvline(0, color=FAINT, linewidth=1.2)
    for number, name in enumerate(series):
        shift = (number - (len(series) - 1) / 2) * 0.7 / max(1, len(series))
        color, marker = SERIES[(first + number) % 8], MARKERS[(first + number) % 8]
        axes.errorbar([], [], xerr=[], color=color, marker=marker, markersize=5, linestyle="", label=plain(name, 40))
        for one in dots:
            if one.series == name and one.group in groups:
                place = groups.index(one.group) + shift
                ends = [[100 * max(0.0, one.value - one.low)], [100 * max(0.0, one.high - one.value)]]
                face = {} if one.filled else {"markerfacecolor": "none"}
                axes.errorbar([100 * one.value], [place], xerr=ends, color=color, marker=marker, markersize=5,
                              elinewidth=1.3, capsize=3, linestyle="", **face)  # fmt: skip
