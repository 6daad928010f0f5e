"""The tokens of a formula in LaTeX or in plain text, without the words behind it."""

import re
from typing import NamedTuple

from selfimprove.verifiers.symbols import CONSTANTS, FUNCTIONS, GREEK, OPERATORS, SIGNS, split_letters
from selfimprove.verifiers.units import SYMBOLS, is_unit

MAX_TOKENS = 800


class Token(NamedTuple):
    kind: str  # number, letter, function, constant, command, unit, separator, begin, end, or the sign itself
    text: str = ""
    spaced: bool = False  # whether a space stands before it


class UnreadableError(Exception):
    """A text that is no mathematics of this grammar."""


_THOUSANDS = r"[0-9]{1,3}(?:(?:\{,\}|,\\!|\\,)[0-9]{3})+(?![0-9])(?:\.[0-9]+)?"
_TOKEN = re.compile(
    r"(?P<space>\s+|\\[,!;:> ]|~|\\(?:quad|qquad|enspace|thinspace)(?![A-Za-z]))"
    r"|(?P<skip>\\(?:left|right)(?![A-Za-z])\.?|\\(?:displaystyle|textstyle|limits|nolimits|[bB]igg?[lrm]?)(?![A-Za-z])"
    r"|\$+|\\[()\[\]](?=\s*$)|^\\[(\[])"
    rf"|(?P<number>{_THOUSANDS}|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]{{1,3}}(?![0-9.A-Za-z]))?)"
    r"|\\begin\s?\{(?P<begin>[a-z]{1,12})\*?\}(?:\{[lcr|]{1,20}\})?|\\end\s?\{(?P<end>[a-z]{1,12})\*?\}"
    r"|\\(?:text|mathrm|mbox|textbf|textit|textrm|operatorname\*?|mathit|hbox)\s?\{(?P<text>[^{}]{0,200})\}"
    r"|\\(?P<command>[A-Za-z]+|[{}|%$\\])"
    r"|(?P<letters>[A-Za-z]+)"
    r"|(?P<sign>\*\*|<=|>=|!=|==|[-+*/^_=<>()\[\]{}|,;!%&:'°])"
)
_REPEATING = re.compile(r"(\d{0,20})\.(\d{0,20})\\(?:overline|bar)\s?(?:\{(\d{1,20})\}|(\d))")
# Words behind a formula: `5\\sqrt2 square units`, `9 (apples)`.
_BEHIND = re.compile(r"(?<=[\d)\]}$π°])\s{1,3}\(?((?:[A-Za-z]{2,20}[\s.]{0,2}){1,6}[²³]?)\)?\.?$")
_TIMES = re.compile(r"(?<=\d) [xX] (?=\d)")
_UNION = re.compile(r"(?<=[)\]])\s{0,3}U\s{0,3}(?=[(\[])")
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]{1,60}")
_PLAIN_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_VALUE_ENDS = {"number", "letter", "constant", ")", "]", "}", "unit", "degree", "%", "!"}  # what a unit may follow


def tokenize(text: str) -> list[Token]:
    text = _REPEATING.sub(_repeating, text.strip())
    text = _TIMES.sub(" * ", without_unit(text))
    text = _UNION.sub(r"\\cup ", text) if "U" in text else text
    if not text.isascii():
        text = _SUPERSCRIPTS.sub(lambda one: f"^{{{one[0].translate(_PLAIN_SUPERSCRIPT)}}}", text).translate(SIGNS)
    tokens: list[Token] = []
    place, spaced = 0, False
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise UnreadableError
        kind, place = str(found.lastgroup), found.end()
        if kind == "space":
            spaced = True
        elif kind != "skip":
            tokens += _make_tokens(kind, found[kind], spaced, tokens)
            spaced = False
        if len(tokens) > MAX_TOKENS:
            raise UnreadableError
    return [*tokens, Token("end of text")]


def without_unit(text: str) -> str:
    """A formula without the words behind it."""
    behind = _BEHIND.search(text, max(0, len(text) - 150))
    return text[: behind.start()] if behind and is_unit(behind[1].strip(" .²³")) else text


def _repeating(found: re.Match[str]) -> str:
    """A decimal with a bar over what repeats, as a fraction."""
    whole, once, again = found[1] or "0", found[2], found[3] or found[4]
    return f"({int(whole + once + again) - int(whole + once)}/{10 ** len(once) * (10 ** len(again) - 1)})"


def _make_tokens(kind: str, text: str, spaced: bool, before: list[Token]) -> list[Token]:
    if kind == "letters":
        if text == "binom":  # the command takes its numbers in braces
            return [Token("function", "binomial", spaced)]
        if text == "root" and spaced:
            return [Token("function", "sqrt", spaced)]
        if text == "choose" or (text == "to" and spaced and before and before[-1].kind == "number"):
            return [Token("choose" if text == "choose" else ":", text, spaced)]  # `5 choose 2`, and the ratio `3 to 4`
        names = split_letters(text)
        if names is None:
            if before and before[-1].kind in _VALUE_ENDS and is_unit(text):
                return [Token("unit", text, spaced)]
            raise UnreadableError
        return [Token(kind, name, spaced and not at) for at, (kind, name) in enumerate(names)]
    if kind == "text":
        return _make_text(text.strip(), spaced, before)
    if kind == "sign":
        return [Token({"**": "^", "==": "=", "°": "degree"}.get(text, text), text, spaced)]
    if kind == "command":
        sign = OPERATORS.get(text)
        if sign:
            return [Token(sign, text, spaced)]
        if text in FUNCTIONS:  # a `log` of a program is the natural one, that of a formula is to the base 10
            return [Token("function", "lg" if text == "log" else FUNCTIONS[text], spaced)]
        if text in CONSTANTS:
            return [Token("constant", CONSTANTS[text], spaced)]
        return [Token("letter", text, spaced)] if text in GREEK else [Token("command", text, spaced)]
    return [Token(kind, text, spaced)]


def _make_text(text: str, spaced: bool, before: list[Token]) -> list[Token]:
    """What stands upright in a formula: the name of a function, a word that joins, a letter, or a unit."""
    plain = text.strip(" .,").lower()
    if not plain or plain == "th":
        return []
    if plain in ("and", "or", "to"):
        return [Token(":" if plain == "to" else "separator", plain)]
    if plain in FUNCTIONS:
        return [Token("function", FUNCTIONS[plain], spaced)]
    if plain == "infinity":
        return [Token("constant", CONSTANTS[plain], spaced)]
    if before and before[-1].kind in _VALUE_ENDS and (is_unit(text) or text in SYMBOLS):
        return [Token("unit", plain, spaced)]
    inner = text.strip("()")
    if len(inner) == 1 and inner.isalpha() and inner.isascii():
        return [Token("letter", inner, spaced)]
    if re.fullmatch(r"[\d.]{1,20}", plain):
        return [Token("number", plain, spaced)]
    raise UnreadableError
