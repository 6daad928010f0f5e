"""A graph as boxes and arrows: the stages of a round, and which step takes whose result."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selfimprove.records.lineage import arrange
from selfimprove.viewer.canvas import FAINT, PAPER, SERIES, draw_chart
from selfimprove.viewer.text import plain

CENTERED = {"ha": "center", "va": "center"}
BOX = {"boxstyle": "round,pad=0.45", "facecolor": PAPER}
NOTE = {"boxstyle": "round,pad=0.1", "facecolor": PAPER, "edgecolor": "none"}
ARROW = {"arrowstyle": "-|>", "color": FAINT, "shrinkA": 2, "shrinkB": 2, "linewidth": 1.2}
ROOM = 22.0  # pixels around a label that are enough
ALONG = (0.5, 0.35, 0.65, 0.25, 0.75)  # where on an edge its label may stand, as shares of its length


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

    return draw_chart(title, max(4.0, 1.75 * columns), max(1.4, 0.95 * rows + 0.5), draw)


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
