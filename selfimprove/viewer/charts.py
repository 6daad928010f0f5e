"""Charts as SVG, drawn on the server by matplotlib; colours are CSS variables, so that they follow dark and light."""

import io
import math
import re
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from selfimprove.records.lineage import arrange
from selfimprove.viewer.text import plain

# Each stands in matplotlib's output once as this colour and becomes a variable: (light, dark).
INK, FAINT, PAPER = "#010203", "#040506", "#070809"
SERIES = ("#0a0101", "#0a0102", "#0a0103", "#0a0104", "#0a0105", "#0a0106", "#0a0107", "#0a0108")
DASHES = ("-", "--", ":")
MAX_LINES = 24
MAX_BARS = 30
PANELS = 3  # small charts in a row
PALETTE = {
    INK: ("#1f2933", "#d8dee6"),
    FAINT: ("#c3cbd4", "#46515d"),
    PAPER: ("#ffffff", "#161b22"),
    SERIES[0]: ("#1f5fbf", "#79b0ff"),
    SERIES[1]: ("#b4540a", "#f0a35e"),
    SERIES[2]: ("#16794c", "#5fcf9a"),
    SERIES[3]: ("#8a2d8f", "#db8ee0"),
    SERIES[4]: ("#a3243b", "#ff8a9b"),
    SERIES[5]: ("#566270", "#a9b4c0"),
    SERIES[6]: ("#7a6400", "#dcc55a"),
    SERIES[7]: ("#0b7285", "#66d0e0"),
}
SETTINGS = {
    "svg.fonttype": "none", "svg.hashsalt": "selfimprove", "text.parse_math": False, "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"], "font.size": 11, "axes.edgecolor": FAINT, "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "grid.color": FAINT, "axes.spines.top": False, "axes.spines.right": False,
    "axes.unicode_minus": False, "legend.frameon": False, "legend.fontsize": 10,
}  # fmt: skip
CENTERED = {"ha": "center", "va": "center"}
BOX = {"boxstyle": "round,pad=0.45", "facecolor": PAPER}
NOTE = {"boxstyle": "round,pad=0.1", "facecolor": PAPER, "edgecolor": "none"}
ARROW = {"arrowstyle": "-|>", "color": FAINT, "shrinkA": 2, "shrinkB": 2, "linewidth": 1.2}
ROOM = 22.0  # pixels around a label that are enough
ALONG = (0.5, 0.35, 0.65, 0.25, 0.75)  # where on an edge its label may stand, as shares of its length
LEGEND = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
LOCK = threading.Lock()  # matplotlib's settings are of the whole process


@dataclass(frozen=True)
class Form:
    """How charts are made: as SVG, whose colours follow the page, or as PNG on white; narrow ones fit a phone."""

    kind: Literal["svg", "png"] = "svg"
    narrow: bool = False

    @property
    def width(self) -> float:
        """The width of a chart in inches."""
        return 4.6 if self.narrow else 8.0


USUAL = Form()
FORM: ContextVar[Form] = ContextVar("FORM", default=USUAL)
Line = tuple[str, Sequence[float], Sequence[float]]


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _finish(figure: Any, title: str) -> str | bytes:
    """The figure in the form that is asked for."""
    if FORM.get().kind == "svg":
        return _svg(figure, title)
    _paint(figure)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=160, facecolor="white", metadata={"Software": None, "Title": plain(title)})
    return out.getvalue()


def _paint(figure: Any) -> None:
    """Give everything that is drawn its colour on a light page."""
    from matplotlib.colors import to_hex, to_rgba

    def paint(color: Any) -> Any:
        try:
            shown = to_rgba(color)
        except ValueError:  # a list of colours, or none
            return [paint(one) for one in color] if len(color) and not isinstance(color, str) else color
        day = PALETTE.get(to_hex(shown))
        return to_rgba(day[0], shown[3]) if day else shown

    texts = [one for one in figure.findobj() if hasattr(one, "get_bbox_patch")]
    apart = [part for one in texts for part in (one.get_bbox_patch(), getattr(one, "arrow_patch", None)) if part]
    for artist in [*figure.findobj(), *apart]:
        for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            if hasattr(artist, f"get_{name}") and hasattr(artist, f"set_{name}"):
                getattr(artist, f"set_{name}")(paint(getattr(artist, f"get_{name}")()))


def _svg(figure: Any, title: str) -> str:
    """The figure as an SVG document with its colours as variables and a title for those who cannot see it."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Title": plain(title)})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    light, dark = [], []
    for at, (color, (day, night)) in enumerate(PALETTE.items()):
        text = text.replace(color, f"var(--c{at})")
        light.append(f"--c{at}:{day}")
        dark.append(f"--c{at}:{night}")
    style = (
        f"<style>svg{{{';'.join(light)}}}@media(prefers-color-scheme:dark){{svg{{{';'.join(dark)}}}}}"
        "text{font-family:system-ui,sans-serif !important}</style>"
    )
    end = text.index(">") + 1
    return re.sub(r"<!DOCTYPE[^>]*>", "", text[:end] + style + text[end:])


def _draw(title: str, width: float, height: float, draw: Any) -> str | bytes:
    import matplotlib

    with LOCK, matplotlib.rc_context(SETTINGS):
        figure, axes = _figure(width, height)
        draw(axes)
        return _finish(figure, title)


def accuracy_chart(lines: Mapping[str, Sequence[tuple[int, float, float, float]]], title: str) -> str | bytes:
    """Accuracy per round as points with their intervals; a line for each name."""

    def draw(axes: Any) -> None:
        drawn = list(lines.items())[:MAX_LINES]
        for at, (name, points) in enumerate(drawn):
            rounds = [one[0] + (at - (len(drawn) - 1) / 2) * 0.03 for one in points]
            shares = [100 * one[1] for one in points]
            below = [100 * max(0.0, one[1] - one[2]) for one in points]
            above = [100 * max(0.0, one[3] - one[1]) for one in points]
            style = {"color": SERIES[at % 8], "linestyle": DASHES[at // 8], "label": plain(name, 30)}
            axes.errorbar(rounds, shares, (below, above), marker="o", markersize=5, linewidth=1.8, elinewidth=1.2,
                          capsize=3, **style)  # fmt: skip
        _style(axes, "round", "held-out accuracy, %")
        _say_cut(axes, len(drawn), len(lines))
        axes.set_ylim(0, 103)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(lines) > 1:
            _legend(axes)

    return _draw(title, FORM.get().width, 3.4, draw)


def lines_chart(
    lines: Sequence[Line], title: str, x: str, y: str, *, log: bool = False, shares: bool = False
) -> str | bytes:
    """Lines over a common axis, such as losses over steps; `shares` are shown from 0 on."""

    def draw(axes: Any) -> None:
        for at, (name, xs, ys) in enumerate(lines[-MAX_LINES:]):
            style = {"color": SERIES[at % 8], "linestyle": DASHES[at // 8], "label": plain(name, 30)}
            axes.plot(xs, ys, linewidth=1.6, marker="." if len(xs) < 40 else None, **style)
        _style(axes, x, y)
        _say_cut(axes, len(lines[-MAX_LINES:]), len(lines))
        axes.xaxis.get_major_locator().set_params(integer=True)
        if shares:
            axes.set_ylim(0, min(1.03, 1.12 * max((value for _, _, ys in lines for value in ys), default=1) or 1))
        if log:
            axes.set_yscale("log")
            # Whole words instead of powers in TeX, which is not parsed here.
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: "")
        if len(lines) > 1:
            _legend(axes)

    return _draw(title, FORM.get().width, 3.2, draw)


def panels_chart(panels: Sequence[Line], title: str) -> str | bytes:
    """Small charts beside each other, each of one line over the rounds and with its own scale."""
    return _panels([(name, [(name, xs, ys)], at) for at, (name, xs, ys) in enumerate(panels)], title, "round")


def steps_chart(panels: Mapping[str, Sequence[Line]], title: str) -> str | bytes:
    """The same over steps, each with a line for each round; the rounds have the same colours in all of them."""
    return _panels([(name, lines[-MAX_LINES:], 0) for name, lines in panels.items()], title, "step")


def _panels(panels: Sequence[tuple[str, Sequence[Line], int]], title: str, x: str) -> str | bytes:
    """Small charts with their titles and lines, and the place of the first line's colour."""
    import matplotlib
    from matplotlib.figure import Figure

    beside = 2 if FORM.get().narrow else PANELS
    rows = max(1, -(-len(panels) // beside))
    with LOCK, matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(FORM.get().width, 2.0 * rows), layout="constrained")
        figure.patch.set_alpha(0)
        for at, (name, lines, color) in enumerate(panels):
            axes: Any = figure.add_subplot(rows, beside, at + 1)
            axes.patch.set_alpha(0)
            for number, (called, xs, ys) in enumerate(lines, color):
                marker = {"marker": "o", "markersize": 4} if len(xs) < 20 else {}
                style = {"color": SERIES[number % 8], "linestyle": DASHES[number // 8 % 3], "label": plain(called, 20)}
                axes.plot(xs, ys, linewidth=1.6, **marker, **style)
            if len(lines) > 1 and at == 0:
                axes.legend(fontsize=7.5)
            axes.set_title(plain(name, 40), fontsize=9.5)
            _style(axes, x if at + beside >= len(panels) else "", "")
            axes.tick_params(labelsize=8.5)
            axes.ticklabel_format(axis="y", useOffset=False)
            axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
            axes.yaxis.get_major_locator().set_params(nbins=5)
            values = [value for _, _, ys in lines for value in ys]
            if values and min(values) >= 0:
                axes.set_ylim(0, 1.12 * max(values) or 1)
        return _finish(figure, title)


def rewards_chart(panels: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> str | bytes:
    """Rewards over √KL in panels below each other; lines of one group have one colour, a proxy's are dashed."""
    import matplotlib
    from matplotlib.figure import Figure

    order = list(dict.fromkeys(one["group"] for lines in panels.values() for one in lines))
    with LOCK, matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(FORM.get().width, 3.4 * max(1, len(panels))), layout="constrained")
        figure.patch.set_alpha(0)
        for at, (name, lines) in enumerate(panels.items(), 1):
            axes: Any = figure.add_subplot(len(panels), 1, at)
            axes.patch.set_alpha(0)
            axes.set_title(plain(name, 60), fontsize=10.5)
            labels: set[str] = set()
            for one in lines:
                label = "" if one["name"] in labels else plain(one["name"], 40)
                labels.add(one["name"])
                style = {"color": SERIES[order.index(one["group"]) % 8], "linestyle": "--" if one["dashed"] else "-"}
                axes.errorbar(one["xs"], one["ys"], one["errors"], **style, label=label or None, marker=".",
                              linewidth=1.3, elinewidth=0.9, capsize=2)  # fmt: skip
            _style(axes, "√KL, nats a text", "reward")
            _legend(axes)
        return _finish(figure, title)


def bands_chart(groups: Sequence[tuple[str, Sequence[Sequence[tuple[int, float]]]]], title: str) -> str | bytes:
    """A line for each group of runs over the rounds: the mean, and a band from the lowest to the highest of them."""

    def draw(axes: Any) -> None:
        shown = [(name, [one for one in runs if len(one) > 1]) for name, runs in groups]
        found = [(name, runs) for name, runs in shown if runs]
        shown = found[:MAX_LINES]
        _say_cut(axes, len(shown), len(found))
        for at, (name, runs) in enumerate(shown):
            by_round: dict[int, list[float]] = {}
            for round_, share in (point for one in runs for point in one):
                by_round.setdefault(round_, []).append(100 * share)
            rounds = sorted(by_round)
            means = [sum(by_round[one]) / len(by_round[one]) for one in rounds]
            label = plain(name, 30) + (f" (mean of {len(runs)})" if len(runs) > 1 else "")
            color = SERIES[at % 8]
            axes.plot(rounds, means, color=color, linestyle=DASHES[at // 8], linewidth=1.8, marker="o", markersize=4,
                      label=label)  # fmt: skip
            if len(runs) > 1:
                low, high = ([end(by_round[one]) for one in rounds] for end in (min, max))
                axes.fill_between(rounds, low, high, color=color, alpha=0.18, linewidth=0)
        _style(axes, "round", "held-out accuracy, %")
        axes.set_ylim(0, 103)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if shown:
            _legend(axes)

    return _draw(title, FORM.get().width, 3.6, draw)


def bars_chart(every: Sequence[tuple[str, float, float, float]], title: str) -> str | bytes:
    """Accuracies beside each other as bars from the left, with their intervals; the first MAX_BARS of them."""
    bars = every[:MAX_BARS]

    def draw(axes: Any) -> None:
        _say_cut(axes, len(bars), len(every))
        places = range(len(bars))
        shares = [100 * one[1] for one in bars]
        errors = [[100 * max(0.0, one[1] - one[2]) for one in bars], [100 * max(0.0, one[3] - one[1]) for one in bars]]
        axes.barh(places, shares, xerr=errors, height=0.65, color=SERIES[0], ecolor=INK, capsize=3)
        axes.set_yticks(places, [plain(one[0], 30) for one in bars])
        axes.invert_yaxis()
        axes.set_xlim(0, 103)
        _style(axes, "held-out accuracy, %", "")
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", linewidth=0.7)

    return _draw(title, FORM.get().width, 1.2 + 0.3 * len(bars), draw)


def funnel_chart(rounds: Sequence[int], counts: Mapping[str, Sequence[int]], title: str) -> str | bytes:
    """Bars beside each other for each round: how many rationales came how far."""

    def draw(axes: Any) -> None:
        width = 0.8 / max(1, len(counts))
        for at, (name, values) in enumerate(counts.items()):
            places = [round_ + (at - (len(counts) - 1) / 2) * width for round_ in rounds]
            axes.bar(places, values, width=width * 0.92, color=SERIES[at % len(SERIES)], label=plain(name, 30))
        _style(axes, "round", "rationales")
        if len(rounds) <= 20:
            axes.set_xticks(list(rounds))
        else:
            axes.xaxis.get_major_locator().set_params(integer=True)
        _legend(axes)

    return _draw(title, FORM.get().width, 3.2, draw)


def counts_chart(panels: Mapping[str, Sequence[tuple[str, int]]], title: str) -> str | bytes:
    """Counts as bars from the left, below each other: for each panel the first MAX_BARS of its names."""
    some = {name: bars[:MAX_BARS] for name, bars in panels.items()}

    def draw(axes: Any) -> None:
        names = [(name, one) for name, bars in some.items() for one in bars]
        series = list(some)
        colors = [SERIES[series.index(name) % len(SERIES)] for name, _ in names]
        axes.barh(range(len(names)), [count for _, (_, count) in names], height=0.65, color=colors)
        axes.set_yticks(range(len(names)), [plain(one, 40) for _, (one, _) in names])
        axes.invert_yaxis()
        for at, (_, (_, count)) in enumerate(names):
            axes.annotate(f"{count:,}", (count, at), (3, 0), textcoords="offset points", va="center", color=INK)
        for name in series:
            axes.barh([0], [0], color=SERIES[series.index(name) % len(SERIES)], label=plain(name, 60))
        _style(axes, "instructions", "")
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", linewidth=0.7)
        _legend(axes)

    return _draw(title, FORM.get().width, 1.6 + 0.25 * sum(map(len, some.values())), draw)


def spark(values: Sequence[float]) -> str | bytes:
    """A small line without axes, from 0 to 1."""

    def draw(axes: Any) -> None:
        axes.plot(range(len(values)), values, color=SERIES[0], linewidth=1.8, clip_on=False)
        axes.plot([len(values) - 1], values[-1:], color=SERIES[0], marker="o", markersize=4, clip_on=False)
        axes.set_ylim(-0.12, 1.12)
        axes.set_xlim(-0.3, max(1, len(values) - 1) + 0.3)
        axes.axis("off")

    return _draw("accuracy over the rounds", 1.4, 0.36, draw)


def graph_chart(
    nodes: Mapping[Any, str],
    edges: Mapping[tuple[Any, Any], str],
    title: str,
    *,
    colors: Mapping[Any, int] | None = None,
) -> str | bytes:
    """A graph as boxes in layers from left to right; labels may have several lines."""
    places = arrange(list(nodes), list(edges))
    columns = 1 + max((x for x, _ in places.values()), default=0)
    rows = 1 + max((abs(y) for _, y in places.values()), default=0) * 2

    def draw(axes: Any) -> None:
        axes.axis("off")
        axes.set_xlim(-0.6, columns - 0.4)
        axes.set_ylim(-rows / 2 - 0.5, rows / 2 + 0.3)
        boxes = {}
        for node, label in nodes.items():
            shown = "\n".join(plain(one, 26) for one in label.split("\n"))
            box = {**BOX, "edgecolor": SERIES[(colors or {}).get(node, 0)]}
            boxes[node] = axes.text(*places[node], shown, **CENTERED, fontsize=8.5, zorder=3, bbox=box)
        axes.figure.draw_without_rendering()  # only then is it known how large the boxes are
        taken = [box.get_bbox_patch().get_window_extent().extents for box in boxes.values()]
        for (one, other), label in edges.items():
            (x1, y1), (x2, y2) = places[one], places[other]
            bend = 0.0 if x2 - x1 <= 1 else 0.3 - 0.03 * (x2 - x1) if x2 - x1 < 6 else 0.12
            ends = {"patchA": boxes[one].get_bbox_patch(), "patchB": boxes[other].get_bbox_patch()}
            arrow = {**ARROW, **ends, "connectionstyle": f"arc3,rad={bend}"}
            axes.annotate("", (x2, y2), (x1, y1), zorder=1, arrowprops=arrow)
            if label:
                start, end = axes.transData.transform([(x1, y1), (x2, y2)])
                curve = points_on_arc(start, end, bend)
                place = max(curve, key=lambda at: min(ROOM, *(_gap(at, other) for other in taken)))
                taken.append((*place, *place))
                at = axes.transData.inverted().transform(place)
                axes.text(*at, plain(label, 20), **CENTERED, fontsize=7.5, zorder=2, bbox=NOTE)

    return _draw(title, max(4.0, 1.75 * columns), max(1.4, 0.95 * rows + 0.5), draw)


def _legend(axes: Any) -> None:
    """The names of the lines beside the chart, or below a narrow one."""
    if FORM.get().narrow:
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2, fontsize=9)
    else:
        axes.legend(**LEGEND)


def _say_cut(axes: Any, drawn: int, there: int) -> None:
    """Say where a chart shows less than there is."""
    if drawn < there:
        axes.set_title(f"{drawn} of {there}", fontsize=9.5, loc="right")


def points_on_arc(start: Sequence[float], end: Sequence[float], bend: float) -> list[tuple[float, float]]:
    """Points along matplotlib's `arc3`: a curve of second order whose control point lies `bend` times the distance
    beside the middle."""
    (x1, y1), (x2, y2) = start, end
    x, y = (x1 + x2) / 2 + bend * (y2 - y1), (y1 + y2) / 2 - bend * (x2 - x1)
    return [
        ((1 - t) ** 2 * x1 + 2 * t * (1 - t) * x + t**2 * x2, (1 - t) ** 2 * y1 + 2 * t * (1 - t) * y + t**2 * y2)
        for t in ALONG
    ]


def _gap(point: Sequence[float], box: Sequence[float]) -> float:
    """How far a point is from a box, whose lower left and upper right corners are given."""
    (x, y), (left, low, right, high) = point, box
    return math.hypot(max(left - x, 0, x - right), max(low - y, 0, y - high))


def _style(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(plain(x, 60))
    axes.set_ylabel(plain(y, 60))
    axes.grid(axis="y", linewidth=0.7)
    axes.set_axisbelow(True)
