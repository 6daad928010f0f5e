"""Mathematics in LaTeX and in plain text, read into a small tree by a bounded parser of our own; nothing is evaluated.

`read_expression` takes `\\frac{3\\sqrt5}7`, `3*sqrt(5)/7` and `3√5/7` alike. It is a recursive descent over at most
`MAX_TOKENS` tokens and `MAX_DEPTH` levels, so its time is linear in the text; what it does not know is not read.
"""

import re
from fractions import Fraction

from selfimprove.verifiers.counting import read_counts
from selfimprove.verifiers.nodes import MINUS_ONE, Node, negative, number
from selfimprove.verifiers.symbols import MATRICES, RELATIONS, STYLES, TRIGONOMETRIC
from selfimprove.verifiers.tokens import Token, UnreadableError, tokenize

MAX_LENGTH = 2_000  # characters
MAX_DEPTH = 60  # levels of brackets, powers and arguments
_CLOSES = {"(": ")", "[": "]", "{": "}"}
_ENDS = {")", "]", "}", ",", ";", "end of text", "separator", "&", "row", "end", "close set", "such that"}


def read_expression(text: str) -> Node | None:
    """The tree of a text that is one answer, or None; a `±` makes a list of both values of it.

    Units behind values are left out, and a list may be joined by commas, `and` or `or`.
    """
    if len(text) > MAX_LENGTH:
        return None
    try:
        tokens = read_counts(tokenize(text))
        read = [_Parser(tokens, sign).read() for sign in ((1, -1) if _has_choice(tokens) else (1,))]
    except UnreadableError:
        return None
    values = [one for part in read for one in (part.args if part.op == "list" else (part,))]
    return read[0] if len(read) == 1 else Node("list", tuple(dict.fromkeys(values)), "both")


def _has_choice(tokens: list[Token]) -> bool:
    return any(token.kind in ("pm", "mp") for token in tokens)


class _Parser:
    """Recursive descent over the tokens of one text; `choice` is the sign that a `±` stands for."""

    def __init__(self, tokens: list[Token], choice: int) -> None:
        self.tokens, self.at, self.depth, self.bars, self.choice = list(tokens), 0, 0, 0, choice

    @property
    def kind(self) -> str:
        return self.tokens[self.at].kind

    def take(self, *kinds: str) -> Token | None:
        token = self.tokens[self.at]
        if token.kind not in kinds:
            return None
        self.at += 1
        return token

    def expect(self, *kinds: str) -> Token:
        token = self.take(*kinds)
        if token is None:
            raise UnreadableError
        return token

    def read(self) -> Node:
        items, joined = self.items("end of text")
        return items[0] if len(items) == 1 else Node("list", tuple(items), joined)

    def items(self, *ends: str) -> tuple[list[Node], str]:
        """Statements up to one of the tokens that end them, and what joins them."""
        items, joined = [self.statement()], ","
        while not self.take(*ends):
            found: Token | None = self.expect(",", ";", "separator")
            while found:
                joined = found.text if found.kind == "separator" else joined
                found = self.take(",", ";", "separator")
            if self.take(*ends):
                break
            items.append(self.statement())
        return items, joined

    def statement(self) -> Node:
        """A chain of relations between sets or values, or one of these alone."""
        sides, signs = [self.union()], []
        while self.kind in RELATIONS:
            signs.append(self.expect(self.kind).kind)
            sides.append(self.union())
        node = Node("relation", tuple(sides), tuple(signs)) if signs else sides[0]
        bracket = self.tokens[self.at : self.at + 2]
        if self.take("mod") or (
            bracket[0].kind == "(" and bracket[1].kind == "mod" and self.take("(") and self.take("mod")
        ):
            modulus = self.argument()
            if bracket[0].kind == "(":
                self.expect(")")
            node = Node("modulo", (node, modulus))
        return node

    def union(self) -> Node:
        left = self.sum()
        while self.kind in ("union", "intersection", "difference"):
            left = Node(self.expect(self.kind).kind, (left, self.sum()))
        if self.kind == ":":
            parts = [left]
            while self.take(":"):
                parts.append(self.sum())
            return Node("ratio", tuple(parts))
        return left

    def sum(self) -> Node:
        terms = [self.signed()]
        while self.kind in ("+", "-", "pm", "mp"):
            terms.append(self.signed())
        return terms[0] if len(terms) == 1 else Node("add", tuple(terms))

    def signed(self) -> Node:
        """A term with the signs before it."""
        sign = 1
        while found := self.take("+", "-", "pm", "mp"):
            sign *= {"+": 1, "-": -1, "pm": self.choice, "mp": -self.choice}[found.kind]
        term = self.term()
        return term if sign > 0 else negative(term)

    def term(self) -> Node:
        factors = [self.factor()]
        while True:
            if self.take("*"):
                factors.append(self.signed_factor())
            elif self.take("/"):
                if self.take("unit"):  # `3 m / s`
                    continue
                factors.append(Node("power", (self.signed_factor(), MINUS_ONE)))
            elif self.begins_factor(factors[-1]):
                before, whole = self.tokens[self.at - 1], factors[-1]
                factors.append(self.factor())
                if before.kind == "number" and _is_mixed(whole, factors[-1]):
                    factors[-2:] = [number(whole.value + _fraction(factors[-1]))]
            else:
                return factors[0] if len(factors) == 1 else Node("multiply", tuple(factors))

    def signed_factor(self) -> Node:
        sign = self.take("+", "-")
        factor = self.factor()
        return negative(factor) if sign and sign.kind == "-" else factor

    def begins_factor(self, before: Node) -> bool:
        """Whether a product goes on without a sign; a number only follows what its end can be seen of."""
        if self.kind == "number":
            return self.tokens[self.at - 1].kind in (")", "}", "]")
        if self.kind == "|":
            return not self.bars
        return self.kind in ("letter", "constant", "function", "command", "(", "[", "{", "begin", "floor", "ceil")

    def factor(self) -> Node:
        node = self.primary()
        while True:
            if self.take("!"):
                if self.kind == "!":  # 5!! is 5 * 3 * 1, and no factorial of a factorial
                    raise UnreadableError
                node = Node("call", (node,), "factorial")
            elif self.take("^"):
                node = self.power(node)
            elif self.take("%"):
                node = Node("percent", (node,))
            elif self.take("degree"):
                node = Node("degree", (node,))
            elif self.take("unit"):
                if self.take("^"):
                    self.argument()
            elif self.kind == "_" and node.op in ("symbol", "number"):
                self.at += 1
                below = self.argument()
                node = Node(node.op if node.op == "symbol" else "based", (), f"{node.value}_{_show(below)}")
            elif self.take("'"):
                node = Node("symbol", (), f"{_show(node)}'")
            else:
                return node

    def power(self, base: Node) -> Node:
        if self.take("degree"):
            return Node("degree", (base,))
        start = self.at
        if self.take("{"):
            if self.take("degree") and self.take("}"):
                return Node("degree", (base,))
            self.at = start
        sign = self.take("-", "+")
        exponent = self.argument()
        if self.take("^"):
            exponent = self.power(exponent)
        return Node("power", (base, negative(exponent) if sign and sign.kind == "-" else exponent))

    def argument(self, digits: bool = False) -> Node:
        """What a command, a power or an index takes: a group, a name, or a number (of one digit in `\\frac12`)."""
        if digits and self.kind == "number":
            text = self.tokens[self.at].text
            if text[1:].isdecimal() and text[0].isdecimal():
                self.tokens[self.at] = Token("number", text[1:])
                return number(int(text[0]))
        if self.take("unit"):
            raise UnreadableError
        return self.primary()

    def primary(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError
        node = self._primary()
        self.depth -= 1
        return node

    def _primary(self) -> Node:
        token = self.tokens[self.at]
        self.at += 1
        match token.kind:
            case "number":
                return _number(token.text)
            case "letter":
                return Node("symbol", (), token.text)
            case "constant":
                return Node("constant", (), token.text)
            case "function":
                return self.call(token.text)
            case "(" | "[" | "{":
                return self.group(token.kind)
            case "open set":
                return self.set_of()
            case "langle":
                items, _ = self.items("rangle")
                return Node("tuple", tuple(items), "()")
            case "|":
                self.bars += 1
                inner = self.sum()
                self.bars -= 1
                self.expect("|")
                return Node("call", (inner,), "abs")
            case "floor" | "ceil":
                inner = self.sum()
                self.expect(f"end {token.kind}")
                return Node("call", (inner,), token.kind)
            case "begin":
                return self.matrix(token.text)
            case "command":
                return self.command(token.text)
        raise UnreadableError

    def group(self, opened: str) -> Node:
        bars, self.bars = self.bars, 0
        items, _ = self.items(")", "]") if opened != "{" else self.items("}")
        self.bars = bars
        closed = self.tokens[self.at - 1].kind
        if len(items) > 1:
            return Node("tuple", tuple(items), opened + closed) if opened != "{" else Node("list", tuple(items), ",")
        if closed != _CLOSES[opened]:
            raise UnreadableError
        return items[0]

    def set_of(self) -> Node:
        """A set by its elements, or by what holds for them: `\\{x \\mid x > 3\\}` is what holds."""
        if self.take("close set"):
            return Node("set")
        items, _ = self.items("close set", "such that", ":", "|")
        if self.tokens[self.at - 1].kind == "close set":
            return Node("set", tuple(items))
        held, joined = self.items("close set")
        return held[0] if len(held) == 1 else Node("list", tuple(held), "and" if joined == "," else joined)

    def matrix(self, name: str) -> Node:
        if name not in MATRICES:
            raise UnreadableError
        rows: list[list[Node]] = [[]]
        while not (self.kind == "end" and self.take("end")):
            if self.take("row"):
                rows.append([])
            elif not self.take("&"):
                if self.kind == "end of text":
                    raise UnreadableError
                rows[-1].append(self.sum())
        rows = [row for row in rows if row]
        if not rows or len({len(row) for row in rows}) > 1:
            raise UnreadableError
        matrix = Node("matrix", tuple(one for row in rows for one in row), (len(rows), len(rows[0])))
        return Node("call", (matrix,), "determinant") if name == "vmatrix" else matrix

    def command(self, name: str) -> Node:
        if name in ("frac", "dfrac", "tfrac", "cfrac"):
            above = self.argument(digits=True)
            same = self.tokens[self.at - 1].kind != "}" and not self.tokens[self.at].spaced
            below = self.argument(digits=same)
            return Node("multiply", (above, Node("power", (below, MINUS_ONE))))
        if name in ("binom", "dbinom", "tbinom"):
            above = self.argument(digits=True)
            return Node("call", (above, self.argument()), "binomial")
        if name in ("boxed", "fbox", "ensuremath"):
            return self.argument()
        if name in ("emptyset", "varnothing"):
            return Node("set")
        if name in STYLES:
            return Node("symbol", (), f"\\{name}{{{_show(self.argument())}}}")
        raise UnreadableError

    def call(self, name: str) -> Node:
        """A function with its argument, with or without brackets around it: `\\sin 2x`, `log(2)`, `\\log_2 8`."""
        if name == "sqrt":
            index = None
            if self.take("["):
                index = self.sum()
                self.expect("]")
            root = number(2) if index is None else index
            return Node("power", (self.argument(), Node("power", (root, MINUS_ONE))))
        base = self.base() if name in ("log", "lg") and self.take("_") else None
        power = None
        if self.take("^"):
            power = negative(self.argument()) if self.take("-") else self.argument()
        arguments = self.arguments()
        if base is not None:
            arguments, name = (*arguments, base), "log base"
        if power == MINUS_ONE and name in TRIGONOMETRIC:
            name, power = f"arc{name}", None
        node = Node("call", arguments, name)
        return node if power is None else Node("power", (node, power))

    def base(self) -> Node:
        """The base of a logarithm; of `\\log_28` it is 2, and of `\\log_10 5` it is 10."""
        following = self.tokens[self.at + 1] if self.kind == "number" else None
        alone = following is not None and following.kind not in ("number", "letter", "constant", "function", "(", "{")
        return self.argument(digits=alone and following is not None and following.kind != "command")

    def arguments(self) -> tuple[Node, ...]:
        opened = self.take("(", "{")
        if opened:
            items, _ = self.items(")" if opened.kind == "(" else "}")
            inner = tuple(items)
            if opened.kind == "{" and len(inner) == 1 and inner[0].op == "tuple":
                return inner[0].args
            return inner
        factors = [self.signed_factor()]
        while self.kind != "function" and self.kind not in _ENDS and self.begins_factor(factors[-1]):
            factors.append(self.factor())
        # Of `\sin \pi/4` all is the angle, of `\sin x/\cos x` not.
        if self.kind == "/" and self.tokens[self.at + 1].kind == "number" and self.take("/"):
            factors.append(Node("power", (self.factor(), MINUS_ONE)))
        return (factors[0] if len(factors) == 1 else Node("multiply", tuple(factors)),)


def _number(text: str) -> Node:
    plain = re.sub(r"\{,\}|,\\!|\\,", "", text)
    return Node("decimal" if "." in plain or "e" in plain.lower() else "number", (), Fraction(plain))


def _fraction(node: Node) -> Fraction:
    above, below = node.args
    return Fraction(above.value / below.args[0].value)


def _is_mixed(whole: Node, part: Node) -> bool:
    """Whether a fraction of two whole numbers below one follows a whole number: `3\\frac12` is 7/2."""
    if whole.op != "number" or part.op != "multiply" or len(part.args) != 2 or part.args[1].op != "power":
        return False
    above, below = part.args[0], part.args[1].args[0]
    whole_parts = all(one.op == "number" and one.value.denominator == 1 and one.value >= 0 for one in (above, below))
    return whole_parts and above.value < below.value


def _show(node: Node) -> str:
    """The name of an index: `x_{12}` and `x_12` are the same."""
    if node.op in ("number", "symbol", "constant", "decimal"):
        return str(node.value)
    return f"{node.op}({','.join(map(_show, node.args))}){node.value or ''}"
