"""The parts of the real line that intervals, their unions and inequalities mean."""

from typing import NamedTuple

from selfimprove.verifiers.nodes import Node, negative

_INFINITY = Node("constant", (), "oo")
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


class Interval(NamedTuple):
    """A part of the real line, by its ends and whether they belong to it."""

    low: Node
    high: Node
    closed: tuple[bool, bool]


def find_letters(node: Node) -> set[str]:
    """The names of the letters of a formula."""
    found = {node.value} if node.op == "symbol" and not node.value.startswith("\\mathbb") else set()
    for one in node.args:
        found |= find_letters(one)
    return found


def turn_relation(node: Node) -> Node:
    """A relation with its sign turned to the smaller side first: `x > 3` is `3 < x`."""
    if all(one in (">", ">=") for one in node.value):
        return Node("relation", node.args[::-1], tuple(_FLIPPED[one] for one in node.value[::-1]))
    return node


def find_range(node: Node) -> tuple[str | None, list[Interval]] | None:
    """The intervals that a formula means, and the letter that it bounds, if any; None where it means none."""
    if node.op == "tuple" and len(node.args) == 2 and node.value in ("()", "[]", "(]", "[)"):
        return None, [_interval(node.args[0], node.args[1], node.value[0] == "[", node.value[1] == "]")]
    if node.op == "symbol" and node.value == "\\mathbb{R}":
        return None, [_interval(negative(_INFINITY), _INFINITY, False, False)]
    if node.op == "union" or (node.op == "list" and node.value == "or"):
        parts = [_points(one) or find_range(one) for one in node.args]
        if any(one is None for one in parts) or (node.op == "list" and all(one.op != "relation" for one in node.args)):
            return None
        names = {one[0] for one in parts if one}
        return (names.pop(), [each for one in parts if one for each in one[1]]) if len(names) == 1 else None
    if node.op == "list" and node.value == "and" and len(node.args) == 2:
        return _meet(*map(find_range, node.args))
    if node.op == "difference":
        whole, points = find_range(node.args[0]), node.args[1]
        if whole and len(whole[1]) == 1 and points.op == "set" and len(points.args) == 1:
            return whole[0], _split(whole[1][0], points.args[0])
    return _bounds(node) if node.op == "relation" else None


def _points(node: Node) -> tuple[str | None, list[Interval]] | None:
    return (None, [_interval(one, one, True, True) for one in node.args]) if node.op == "set" and node.args else None


def _interval(low: Node, high: Node, low_closed: bool, high_closed: bool) -> Interval:
    return Interval(low, high, (low_closed and low != negative(_INFINITY), high_closed and high != _INFINITY))


def _split(whole: Interval, at: Node) -> list[Interval]:
    return [Interval(whole.low, at, (whole.closed[0], False)), Interval(at, whole.high, (False, whole.closed[1]))]


def _bounds(node: Node) -> tuple[str | None, list[Interval]] | None:
    """The interval of `1 < x <= 3`, `x > 3` or `x \\in [1, 3]`; the two of `x \\neq 4`."""
    node, everything = turn_relation(node), _interval(negative(_INFINITY), _INFINITY, False, False)
    signs, sides = node.value, node.args
    if signs == ("in",) and sides[0].op == "symbol":
        inner = find_range(sides[1])
        return (sides[0].value, inner[1]) if inner else None
    if signs == ("!=",) and (sides[0].op == "symbol") != (sides[1].op == "symbol"):
        letter, value = sides if sides[0].op == "symbol" else sides[::-1]
        return (letter.value, _split(everything, value)) if not find_letters(value) else None
    if not set(signs) <= {"<", "<="} or len(sides) > 3:
        return None
    at = 1 if len(sides) == 3 else 0 if sides[0].op == "symbol" else 1
    others = [one for place, one in enumerate(sides) if place != at]
    if sides[at].op != "symbol" or any(map(find_letters, others)):
        return None
    low, low_closed = (sides[at - 1], signs[at - 1] == "<=") if at else (negative(_INFINITY), False)
    high, high_closed = (sides[at + 1], signs[at] == "<=") if at + 1 < len(sides) else (_INFINITY, False)
    return sides[at].value, [_interval(low, high, low_closed, high_closed)]


def _meet(
    one: tuple[str | None, list[Interval]] | None, other: tuple[str | None, list[Interval]] | None
) -> tuple[str | None, list[Interval]] | None:
    """What `x > 1 and x < 3` leave of the line, one of which bounds it below and one above."""
    if not one or not other or one[0] is None or one[0] != other[0] or len(one[1]) != 1 or len(other[1]) != 1:
        return None
    for first, second in ((one[1][0], other[1][0]), (other[1][0], one[1][0])):
        if first.high == _INFINITY and second.low == negative(_INFINITY):
            return one[0], [Interval(first.low, second.high, (first.closed[0], second.closed[1]))]
    return None
