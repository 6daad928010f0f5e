"""Where the labels of a graph's edges stand: on the curve that matplotlib draws, and in the way of nothing."""

import re

import pytest

from selfimprove.viewer.graphs import ALONG, graph_chart, points_on_arc


@pytest.mark.parametrize("bend", [0.0, 0.12, 0.24, -0.3])
def test_points_on_an_arc_lie_on_the_curve_that_matplotlib_draws(bend: float) -> None:
    from matplotlib.bezier import BezierSegment
    from matplotlib.patches import ConnectionStyle

    start, end = (30.0, 200.0), (410.0, 120.0)
    curve = BezierSegment(ConnectionStyle.Arc3(rad=bend)(start, end, shrinkA=0, shrinkB=0).vertices)
    for at, point in zip(ALONG, points_on_arc(start, end, bend), strict=True):
        assert point == pytest.approx(tuple(curve.point_at_t(at)))


def test_no_label_of_an_edge_lies_on_a_box() -> None:
    """An edge that passes over a layer had its label under the box there."""
    nodes = {"a": "first\n157,015 tokens", "b": "second\n0.5 s", "c": "third\n0.9 s"}
    drawn = graph_chart(nodes, {("a", "b"): "3,200", ("b", "c"): "261", ("a", "c"): "510"}, "a graph")
    said = re.findall(r'rotate\(-0 ([\d.]+) ([\d.]+)\)">510<|translate\(([\d.]+) ([\d.]+)\)">second<', drawn)
    (x, y), (left, top) = [tuple(float(one) for one in each if one) for each in said]
    assert x < left - 10 or y > top + 25, said  # before the second box, or below it
