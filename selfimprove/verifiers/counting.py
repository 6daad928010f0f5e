"""The ways to write a number of choices: `C(5,2)`, `5C2`, `{}_5C_2` and `5 choose 2` are `\\binom{5}{2}`."""

from collections.abc import Sequence

from selfimprove.verifiers.tokens import Token

_NAMES = {"C": "binomial", "P": "permutation"}
MAX_ARGUMENTS = 60  # tokens between the brackets of `C(5,2)`


def read_counts(tokens: list[Token]) -> list[Token]:
    """The tokens of a formula with each such form as a call of `binomial` or `permutation`, in one pass.

    Only numbers are chosen from: `C(x, y)` may be any function, and the point `P(5,2)` is one only beside points.
    """
    if not any(one.text in _NAMES or one.kind in ("choose", "function") for one in tokens):
        return tokens
    found: list[Token] = []
    at = 0
    while at < len(tokens):
        read = _indexed(tokens, at) or _between(tokens, at) or _called(tokens, at) or _said(tokens, at)
        if read is None:
            found.append(tokens[at])
            at += 1
        else:
            made, at = read
            found += made
    return found


def _number(tokens: Sequence[Token], at: int) -> tuple[Token, int] | None:
    """A whole number that begins at a token, with or without braces, and where it ends."""
    if tokens[at].kind == "number":
        return (tokens[at], at + 1) if tokens[at].text.isdecimal() else None
    kinds = [one.kind for one in tokens[at : at + 3]]
    whole = kinds == ["{", "number", "}"] and tokens[at + 1].text.isdecimal()
    return (tokens[at + 1], at + 3) if whole else None


def _call(name: str, above: Token, below: Token) -> list[Token]:
    function = Token("function", _NAMES[name])
    return [function, Token("("), above._replace(spaced=False), Token(","), below._replace(spaced=False), Token(")")]


def _indexed(tokens: Sequence[Token], at: int) -> tuple[list[Token], int] | None:
    """`{}_5C_2` and `^5C_2`."""
    start = at + 2 if [one.kind for one in tokens[at : at + 2]] == ["{", "}"] else at
    before = tokens[at - 1].kind if at else ""
    if tokens[start].kind not in ("_", "^") or (start == at and before not in ("", "+", "-", "*", "/", "(", "=", ",")):
        return None
    above = _number(tokens, start + 1)
    return _chosen(tokens, above[1], above[0]) if above else None


def _between(tokens: Sequence[Token], at: int) -> tuple[list[Token], int] | None:
    """`5C2`, `5C_2` and `5 choose 2`."""
    above = _number(tokens, at)
    if above is None or (at and tokens[at - 1].kind in ("^", "_", "!")):
        return None
    if tokens[above[1]].kind == "choose":
        below = _number(tokens, above[1] + 1)
        return (_call("C", above[0], below[0]), below[1]) if below else None
    return _chosen(tokens, above[1], above[0])


def _chosen(tokens: Sequence[Token], at: int, above: Token) -> tuple[list[Token], int] | None:
    """The rest of `5C_2` from its letter on."""
    letter = tokens[at]
    if letter.kind != "letter" or letter.text not in _NAMES:
        return None
    indexed = tokens[at + 1].kind == "_"
    below = _number(tokens, at + (2 if indexed else 1))
    if below is None or (not indexed and (letter.spaced or tokens[at + 1].spaced)):
        return None
    return _call(letter.text, above, below[0]), below[1]


def _called(tokens: Sequence[Token], at: int) -> tuple[list[Token], int] | None:
    """`C(5,2)`, where nothing but two values without letters stands in the brackets."""
    letter = tokens[at]
    if letter.kind != "letter" or letter.text not in _NAMES or tokens[at + 1].kind != "(":
        return None
    depth, commas = 0, 0
    for end in range(at + 1, min(at + MAX_ARGUMENTS, len(tokens))):
        kind = tokens[end].kind
        depth += (kind == "(") - (kind == ")")
        commas += kind == "," and depth == 1
        if kind not in ("(", ")", ",", "number", "+", "-", "*", "/"):
            return None
        if not depth:
            return ([Token("function", _NAMES[letter.text])], at + 1) if commas == 1 else None
    return None


def _said(tokens: Sequence[Token], at: int) -> tuple[list[Token], int] | None:
    """`5 factorial` as `5!`."""
    if tokens[at].kind != "number" or tokens[at + 1] != tokens[at + 1]._replace(kind="function", text="factorial"):
        return None
    return ([tokens[at], Token("!")], at + 2) if tokens[at + 2].kind not in ("(", "number", "letter") else None
