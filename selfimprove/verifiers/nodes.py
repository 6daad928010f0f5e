"""The tree of a formula."""

from fractions import Fraction
from typing import Any, NamedTuple


class Node(NamedTuple):
    """A part of a formula: what it is, its parts, and the number, name or marks that belong to it."""

    op: str
    args: tuple["Node", ...] = ()
    value: Any = None


def number(value: int | Fraction) -> Node:
    return Node("number", (), Fraction(value))


ONE, MINUS_ONE, HALF = number(1), number(-1), number(Fraction(1, 2))


def negative(node: Node) -> Node:
    if node.op in ("number", "decimal"):
        return node._replace(value=-node.value)
    return Node("multiply", (MINUS_ONE, node))
