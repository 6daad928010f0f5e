"""What a formula says under its letters: the values that it assigns, its items, its rows, its letters in one case."""

from selfimprove.verifiers.nodes import Node
from selfimprove.verifiers.ranges import find_letters


def holds(node: Node, op: str, value: object) -> bool:
    return (node.op == op and node.value == value) or any(holds(one, op, value) for one in node.args)


def fold_case(expected: Node, said: Node) -> tuple[Node, Node]:
    """Both formulas in small letters, where neither tells a large letter from the same small one."""
    both = find_letters(expected), find_letters(said)
    if both[0] == both[1] or any(len({one.lower() for one in names}) < len(names) for names in both):
        return expected, said
    return _lower(expected), _lower(said)


def _lower(node: Node) -> Node:
    if node.op == "symbol" and not node.value.startswith("\\"):
        return Node("symbol", (), node.value.lower())
    return node._replace(args=tuple(map(_lower, node.args))) if node.args else node


def as_matrix(node: Node) -> Node:
    """A list of rows in square brackets, as programs write a matrix: `[[1, 2], [3, 4]]`."""
    rows = node.args
    if node.op != "tuple" or node.value != "[]" or any(row.op != "tuple" or row.value != "[]" for row in rows):
        return node
    if len({len(row.args) for row in rows}) > 1:
        return node
    return Node("matrix", tuple(one for row in rows for one in row.args), (len(rows), len(rows[0].args)))


def same_numeral(expected: Node, said: Node) -> bool:
    """Numerals with a base by their digits; one without its base is the same."""
    one, other = (
        str(node.value).partition("_") if node.op in ("based", "number") else None for node in (expected, said)
    )
    if one is None or other is None:
        return False
    return one[0] == other[0] and (not one[2] or not other[2] or one[2] == other[2])


def _is_assignment(node: Node) -> bool:
    if node.op != "relation" or node.value != ("=",):
        return False
    left = node.args[0]
    function = left.op == "multiply" and len(left.args) == 2 and all(one.op == "symbol" for one in left.args)
    together = left.op == "tuple" and all(one.op == "symbol" for one in left.args)
    return (left.op == "symbol" or function or together) and not find_letters(left) & find_letters(node.args[1])


def assigned(node: Node) -> tuple[Node, ...]:
    """The values of `x = 1, y = 2`; none where it is something else."""
    if node.op == "list" and all(map(_is_assignment, node.args)):
        return tuple(one.args[1] for one in node.args)
    return ()


def unfold(node: Node) -> Node:
    """`x = 1 or x = 2` as the list of both values, under the letter; `1 = a = b` without its middle."""
    if node.op == "relation" and len(node.args) > 2 and set(node.value) == {"="}:
        return Node("relation", (node.args[0], node.args[-1]), ("=",))
    if node.op != "list":
        return node
    items = tuple(map(unfold, node.args))
    if len(items) > 1 and items[0].op == "relation" and _is_assignment(items[0]):
        rest_plain = all(one.op != "relation" for one in items[1:])
        if rest_plain or (all(map(_is_assignment, items)) and len({one.args[0] for one in items}) == 1):
            values = tuple(one.args[1] if one.op == "relation" else one for one in items)
            return Node("relation", (items[0].args[0], Node("list", values, node.value)), ("=",))
    return node._replace(args=items)


def without_letter(expected: Node, said: Node) -> tuple[Node, Node]:
    """Of `x = 5` or `x \\in S` beside a value the value."""
    if expected.op == "relation" and said.op != "relation":
        value = _value_of(expected)
        return (value or expected), said
    if said.op == "relation" and expected.op != "relation":
        value = _value_of(said)
        return expected, (value or said)
    return expected, said


def _value_of(node: Node) -> Node | None:
    membership = node.value == ("in",) and node.args[0].op == "symbol"
    return node.args[1] if membership or _is_assignment(node) else None


def values_of(expected: Node, said: Node) -> tuple[Node, ...]:
    """The items of a list; only their values where they are assigned and plain values are expected."""
    values = assigned(said)
    return values if values and not any(one.op == "relation" for one in expected.args) else said.args
