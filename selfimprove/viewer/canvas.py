"""What charts are drawn on, by matplotlib: an SVG's colours are CSS variables, so that they follow dark and light."""

import io
import re
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from selfimprove.viewer.text import plain

# Each stands in matplotlib's output once as this colour and becomes a variable: (light, dark).
INK, FAINT, PAPER = "#010203", "#040506", "#070809"
SERIES = ("#0a0101", "#0a0102", "#0a0103", "#0a0104", "#0a0105", "#0a0106", "#0a0107", "#0a0108")
DASHES = ("-", "--", ":")
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
LEGEND_LINE = 0.17  # inches
LONG_LABEL = 26  # characters, of which two do not fit beside each other on a phone
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


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def finish(figure: Any, title: str) -> str | bytes:
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

    def paint(color: Any) -> object:
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


def draw_chart(title: str, width: float, height: float, draw: Any) -> str | bytes:
    import matplotlib

    with LOCK, matplotlib.rc_context(SETTINGS):
        figure, axes = _figure(width, height)
        draw(axes)
        return finish(figure, title)


def legend(axes: Any, *, alone: bool = True) -> None:
    """The names of the lines beside the chart, or below a narrow one; `alone` says that no other chart is below it."""
    if not FORM.get().narrow:
        axes.legend(**LEGEND)
    elif alone:
        handles, labels = axes.get_legend_handles_labels()
        columns = 1 if max(map(len, labels), default=0) > LONG_LABEL else 2
        # The layout makes room for it, which the chart itself does not lose.
        axes.figure.set_figheight(axes.figure.get_figheight() + LEGEND_LINE * -(-len(labels) // columns))
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9)
    else:
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2, fontsize=9)


def say_cut(axes: Any, drawn: int, there: int) -> None:
    """Say where a chart shows less than there is."""
    if drawn < there:
        axes.set_title(f"{drawn} of {there}", fontsize=9.5, loc="right")


def style_axes(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(plain(x, 60))
    axes.set_ylabel(plain(y, 60))
    axes.grid(axis="y", linewidth=0.7)
    axes.set_axisbelow(True)
