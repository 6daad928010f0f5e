"""Values of formulas as decimals, with as many digits as their sizes ask for; only a worker should ask for them."""

import hashlib
from typing import Any

import mpmath  # type: ignore[import-untyped]

from selfimprove.verifiers.nodes import Node
from selfimprove.verifiers.values import InexactError, UndefinedError

GUARD_BITS = 256  # that must agree beyond the difference in size of the largest and the smallest part
MAX_BITS = 20_000
MAX_SIZE = 1 << 14  # bits of an argument's exponent


class Decimals:
    """The values of formulas at one point, and the sizes of their parts."""

    def __init__(self, point: int = 0) -> None:
        self.point, self.smallest, self.largest = point, 0, 0
        self.context = mpmath.MPContext()
        self.context.prec = GUARD_BITS + 64
        self.log_base = 0

    def letter(self, name: str) -> Any:
        """A letter's value at this point: some points are positive in all letters, others are not."""
        key = hashlib.sha256(f"{self.point} {name}".encode()).digest()
        value = self.context.mpf(int.from_bytes(key[:6], "big") | 1) / (1 << 46)
        return -value if self.point >= 3 and key[6] & 1 else value

    def pair(self, one: Node, other: Node) -> tuple[Any, Any]:
        """Both values, exact enough to be compared."""
        for _ in range(3):
            values = self.of(one), self.of(other)
            needed = self.largest - self.smallest + GUARD_BITS + 64
            if needed <= self.context.prec:
                return values
            if needed > MAX_BITS:
                raise InexactError
            self.context.prec = needed
        return values

    def same(self, one: Any, other: Any) -> bool:
        """Whether two values agree in all bits that count."""
        context = self.context
        largest = max(abs(one), abs(other))
        return bool(one == other or abs(one - other) <= largest * context.mpf(2) ** (-self.kept))

    @property
    def kept(self) -> int:
        """The bits of a value that are taken to be right."""
        return int(self.context.prec) - 96

    def note(self, value: Any) -> Any:
        """A value whose size counts for the digits that are needed."""
        context = self.context
        if context.isnan(value):
            raise UndefinedError
        if value and not context.isinf(value):
            size = int(context.mag(value))
            if abs(size) > MAX_SIZE * 64:
                raise InexactError
            self.smallest, self.largest = min(self.smallest, size), max(self.largest, size)
        return value

    def of(self, node: Node) -> Any:
        return self.note(self._of(node))

    def _of(self, node: Node) -> Any:
        op, args, context = node.op, node.args, self.context
        if op in ("number", "decimal"):
            return context.mpf(node.value.numerator) / node.value.denominator
        if op == "symbol":
            return self.letter(node.value)
        if op == "constant":
            constants = {"pi": context.pi, "e": context.e, "oo": context.inf}
            return context.mpc(0, 1) if node.value == "i" else +constants[node.value]
        values = [self.of(one) for one in args]
        if op == "add":
            return self.add(values)
        if op == "multiply":
            return context.fprod(values)
        if op == "percent":
            return values[0] / 100
        if op == "degree":
            return values[0]
        if op == "power":
            return self.power(values[0], values[1])
        if op != "call":
            raise InexactError
        return self.call(node.value, values, args)

    def add(self, values: list[Any]) -> Any:
        """A sum; what is left of terms that cancel but for their last bits is zero."""
        total = sum(values)
        if total and abs(total) < max(abs(one) for one in values) * self.context.mpf(2) ** (-self.kept):
            return self.context.mpf(0)
        return total

    def power(self, base: Any, exponent: Any) -> Any:
        context = self.context
        if base == 0:
            if context.re(exponent) < 0:
                raise UndefinedError
            return context.mpf(0 if exponent else 1)
        if context.mag(exponent) + abs(context.mag(base)).bit_length() > MAX_SIZE.bit_length() + 6:
            raise InexactError
        if context.im(base) == 0 and context.re(base) < 0 and (odd := _odd_root(context, exponent)):
            above, below = odd
            return (-1) ** (above % 2) * (-context.re(base)) ** (context.mpf(above) / below)
        return base**exponent

    def call(self, name: str, values: list[Any], args: tuple[Node, ...]) -> Any:
        context, first = self.context, values[0]
        if context.mag(first) > MAX_SIZE.bit_length() + 6:
            raise InexactError
        if name in ("sin", "cos", "tan", "cot", "sec", "csc"):
            angle = first * context.pi / 180 if _in_degrees(args[0]) else first
            return self.turn(name, angle)
        if name in ("log", "ln", "lg", "log base"):
            base = {"lg": 10, "ln": 0, "log": self.log_base}.get(name) or (values[1] if len(values) > 1 else 0)
            if first == 0 or base == 1:
                raise UndefinedError
            return context.log(first) / context.log(base) if base else context.log(first)
        if name in ("exp", "cbrt"):
            return self.power(context.e, first) if name == "exp" else self.power(first, context.mpf(1) / 3)
        if name in ("abs", "floor", "ceil"):
            return {"abs": abs, "floor": context.floor, "ceil": context.ceil}[name](first)
        if name in ("max", "min"):
            return (max if name == "max" else min)(values)
        functions = {
            "arcsin": "asin", "arccos": "acos", "arctan": "atan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
            "arcsec": "asec", "arccsc": "acsc", "arccot": "acot",
        }  # fmt: skip
        if name in functions and len(values) == 1:
            return getattr(context, functions[name])(first)
        if name == "factorial" and context.isint(first) and 0 <= first <= 500:
            return context.factorial(first)
        raise InexactError

    def turn(self, name: str, angle: Any) -> Any:
        """A function of an angle, undefined where it has a pole."""
        context = self.context
        sine, cosine = context.sin(angle), context.cos(angle)
        least = context.mpf(2) ** (-self.kept)
        sine, cosine = (context.mpf(0) if abs(one) < least else one for one in (sine, cosine))
        above, below = {
            "sin": (sine, 1), "cos": (cosine, 1), "tan": (sine, cosine), "cot": (cosine, sine), "sec": (1, cosine),
            "csc": (1, sine),
        }[name]  # fmt: skip
        if below == 0:
            raise UndefinedError
        return context.mpf(above) / below if not isinstance(above, context.mpc) else above / below


def _in_degrees(node: Node) -> bool:
    return node.op == "degree" or (node.op in ("multiply", "add") and any(map(_in_degrees, node.args)))


def _odd_root(context: Any, exponent: Any) -> tuple[int, int] | None:
    """An exponent as a fraction with a small odd denominator over one, where it is one: of a cube root (1, 3)."""
    for below in range(3, 16, 2):
        above = exponent * below
        if abs(above - context.nint(above)) < context.mpf(2) ** (-context.prec + 32) and not context.isint(exponent):
            return int(context.nint(above)), below
    return None
