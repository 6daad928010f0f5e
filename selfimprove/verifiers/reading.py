"""What an announced answer is: the value at the beginning of a text, or the last side of an equation."""

import re
from typing import NamedTuple

from selfimprove.verifiers.hedges import CERTAIN, Doubt, is_bound, look_after
from selfimprove.verifiers.layout import LETTER
from selfimprove.verifiers.modifiers import changes, relates
from selfimprove.verifiers.numbers import SIGN_WORD, clean, end_of_number, find_numbers, read_number

MAX_ANSWER = 300  # characters of an answer outside a box
MAX_BLOCK = 2_000  # and of one in a box or in a display over several lines

MATH = re.compile(
    r"((?<!\\)\$\$?(?:[^$\n\\]|\\.){1,300}\$\$?|\\\((?:[^\\]|\\[^()]){1,300}\\\)|\\\[(?:(?!\\\[).){1,300}?\\\])",
    re.DOTALL,
)
_ALONE = re.compile(r"[ \t]*(\$?\d{1,18})\.?[ \t]*", re.ASCII)
MONEY = re.compile(r"\$\s?[\d.,]++(?=[^$\\=^]*[A-Za-z]{2})[^$\\=^]*+\$")  # two amounts, no formula
_END = re.compile(r"(?:\.(?=\s|$)|(?:[;?]|!(?!\s[-+*/=×÷·]))(?=\s|$)|\.?\*\*(?!\d))")
_GOES_ON = re.compile(  # a formula that only begins with a number
    r"\*\*(?=\d)|\s?(?:[+*/×÷^=]|\\(?:times|cdot|div|pi|sqrt|frac))\s?[\w$({\\√π]|\s?-\s?(?:[\d$({\\√π]|[A-Za-z](?![A-Za-z]))"
    r"|\s[A-Za-z]{2,20}\s(?:[×*/+=]|\\times)\s|\s?[x·]\s?\d|[A-Za-zπ√]?[\^_({\\]|\s?[π√]"
    r"|\s(?:times|plus|minus|over|divided|multiplied)\b|\s?(?:pi|sqrt|log|sin|cos|tan)\b|\s?[xyz](?![A-Za-z])"
    r"|[A-Za-z]\s?[-+*=^]\s?[\dA-Za-z]|[CP]_?\d|\s(?:choose|factorial|root)\b|!\s?(?:[-+*/=×÷·]|\\[a-z])"
)
_FACTORIAL = re.compile(r"(\d{1,4}!)(?=\s?[.,)]|\s(?!a?nd?\b)[a-z]{3,20}\b(?!['’]))")  # and no number that is shouted
BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_NOT_BUT = re.compile(r"not\s[^.\n]{1,30}?\bbut\s(?:rather\s)?", re.IGNORECASE)
# What was computed is said once more: `9 + 9, which is 18`.
_AGAIN = re.compile(r",\s(?:which (?:is|equals|makes|gives)|that is|namely|i\.?e\.?,?|so)\s(?=[-$\\(]{0,3}\d)")
_ANNOTATION = re.compile(r"<<[^<>\n]{0,300}>>")
CHOICE = re.compile(r"\d[^\n.\d]{0,20}\s(?:or|to)\s")  # two numbers, and not one
_WORD = re.compile(r"(?<![\\A-Za-z])(?:[A-Za-z]{3,}|(?:or|to|of|is|by|he|it|we|no|so|an)(?![A-Za-z]))")
IN_TEXT = re.compile(r"\\(?:text|mathrm|mbox|operatorname|begin|end)\{[^{}]{0,80}\}")
# `5 choose 2`, `5 factorial` and `nCr(5,2)` are mathematics, and no words.
_COUNTED = re.compile(
    r"(?<=[\d)])\s(?:choose\s(?=[\d(])|factorial\b|root\s(?=\d))|\b(?:nCr|nPr|binom|binomial|comb|perm)(?=\s?\()"
)
_VARIABLE = re.compile(r"\s*\\?[A-Za-z]\w{0,3}\s*(?:\([^()]*\)\s*)?")
_TIMES = re.compile(r"(?<=\d)\s?x\s?(?=\d)")
_TERM = re.compile(
    r"\d\s?(?![CP]_?\d)[a-fijknop-rt-zA-Z](?![A-Za-z])|(?<![A-Za-z])[A-Za-z]\s?[-+*/^]|[-+*/]\s?[A-Za-z](?![A-Za-z])"
)
_NEGATED = re.compile(r"\b(?:not|never|neither|nor)\b|n't\b", re.IGNORECASE)
_FUNCTIONS = {
    "sin",
    "cos",
    "tan",
    "log",
    "exp",
    "sqrt",
    "arcsin",
    "arccos",
    "arctan",
    "infty",
    "infinity",
    "inf",
    "text",
    "frac",
    "pmod",
}
_FOREIGN = re.compile(LETTER)
_MATHEMATICAL = re.compile(r"[0-9\\]")
# A short English word is no formula: a text was cut off after it.
_SHORT_WORDS = frozenset(
    (
        "I", "ah", "am", "an", "and", "are", "as", "at", "be", "but", "by", "do", "for", "go", "had", "has", "he",
        "hi", "hmm", "how", "if", "in", "is", "it", "its", "let", "my", "not", "now", "of", "oh", "ok", "on", "or",
        "our", "out", "she", "so", "the", "then", "thus", "to", "too", "up", "us", "wait", "was", "we", "why", "you",
        "hence", "since", "next",
    )
)  # fmt: skip
_BEGINNINGS = frozenset(["Therefore", "Finally", "First", "Because", "This", "There", "They", "That", "However"])
_OPENS = {"\\[": "\\]", "$$": "$$"}
_BEGIN = re.compile(r"\\begin\{([a-zA-Z]{1,20}\*?)\}")
_END_OF_DISPLAY = re.compile(r"\\end\{[a-zA-Z]{1,20}\*?\}$")
_ROWS = ("align", "aligned", "gather", "gathered", "equation", "eqnarray", "multline", "split", "alignat")


class Statement(NamedTuple):
    """One statement of an answer: its text and place, whether it was announced, and what makes it doubtful."""

    text: str
    start: int
    end: int
    announced: bool = True
    doubt: Doubt = CERTAIN


def is_formula(text: str) -> bool:
    """Whether a short text is mathematics and no sentence: a digit, a command or a symbol, and no words around it."""
    if not _MATHEMATICAL.search(text) and len(text.strip()) > 3:
        return False
    if is_cut_off(text) or (not text.isascii() and _FOREIGN.search(text)):
        return False
    plain = IN_TEXT.sub("", text) if "\\" in text else text
    plain = _COUNTED.sub(" ", plain) if plain[:1] != "I" else plain
    return all(one[0] in _FUNCTIONS for one in _WORD.finditer(plain))


def is_cut_off(line: str) -> bool:
    """Whether a line is only a word with which sentences begin: `So`, `We`."""
    word = line.strip(" .,:;*_")
    return word in _SHORT_WORDS or (len(word) > 1 and word.lower() in _SHORT_WORDS) or word in _BEGINNINGS


def read_value(rest: str, start: int, whole: bool) -> Statement:
    """The answer at the beginning of what follows an announcement."""
    alone = _ALONE.fullmatch(rest)  # most answers; the same as what follows gives, several times faster
    if alone:
        return Statement(alone[1], start, start + alone.end(1))
    plain = clean(rest)
    shift = len(plain) - len(plain.lstrip(" \t:*_`\"'"))
    plain, start = plain[shift:], start + shift
    plain = _ANNOTATION.sub("", plain) if "<<" in plain else plain
    for pattern, instead in ((_NOT_BUT, ""), (SIGN_WORD, "-")):
        beginning = pattern.match(plain)
        plain = instead + plain[beginning.end() :] if beginning else plain
    factorial = _FACTORIAL.match(plain)
    if factorial:
        return Statement(f"${factorial[1]}$", start, start + factorial.end())
    formula = MATH.match(plain)
    if formula and not MONEY.fullmatch(formula[1]):
        doubt = look_after(plain, 0, formula.end(), _value(side_of(formula[1], whole)))
        return Statement(side_of(formula[1], whole), start, start + formula.end(), doubt=doubt)
    numbers = find_numbers(plain[:MAX_ANSWER])
    if numbers and not plain[: numbers[0].start()].strip(" *_~≈="):
        begin, end = numbers[0].start(), end_of_number(plain, numbers[0].end())
        if not _GOES_ON.match(plain, end):
            said = plain[begin:end].strip()
            return Statement(said, start, start + end, doubt=look_after(plain, begin, end, _value(said)))
    bold = None if whole else list(BOLD.finditer(plain))
    if bold and any(one.isdigit() for one in bold[-1][1]):
        inside = read_value(bold[-1][1], start + bold[-1].start(1), whole)
        doubt = look_after(plain, bold[-1].start(1), bold[-1].end(1), _value(inside.text))
        return inside._replace(doubt=_look_before(plain, bold[-1].start()) or doubt)
    formulas = [one for one in MATH.finditer(plain) if not MONEY.fullmatch(one[1])] if not whole else []
    if formulas and not any(one.isdigit() for one in MATH.sub("", plain.split(". ")[0])):
        said, last = side_of(formulas[-1][1], whole), formulas[-1]
        doubt = look_after(plain, last.start(), last.end(), _value(said))
        return Statement(said, start, start + last.end(), doubt=_look_before(plain, last.start()) or doubt)
    ending = next((one for one in _END.finditer(plain) if one[0] != ";" or "=" not in plain[one.end() :]), None)
    clause = plain[: ending.start() if ending else len(plain)].strip(" .*_`\"'")
    again = None if whole else list(_AGAIN.finditer(clause))
    if again:
        return read_value(clause[again[-1].end() :], start + again[-1].end(), whole)
    said = clause if whole else last_side(clause, numbers)
    doubt = Doubt(unclear=clause) if said != clause and read_number(said) and _limits(clause, said) else CERTAIN
    return Statement(said, start, start + len(clause), doubt=doubt)


def _limits(clause: str, said: str) -> bool:
    """Whether the words around the one number of a clause make another one of it."""
    before = clause[: clause.rfind(said)]
    return "=" not in clause and (is_bound(before) or changes(before) or relates(before))


def _look_before(plain: str, begin: int) -> Doubt | None:
    """The doubt that the words between an announcement and its value leave, if any."""
    before = plain[:begin]
    return Doubt(unclear=" ".join(plain[: begin + 40].split())) if changes(before) or relates(before) else None


def _value(said: str) -> object:
    read = read_number(said)
    return read.value if read else said


def read_display(text: str, start: int, whole: bool) -> Statement | None:
    """The answer in a display that begins here and may go over several lines; of aligned rows the last one has it."""
    start += len(text[start : start + 20]) - len(text[start : start + 20].lstrip(" \t\n*_:"))
    opened = next((one for one in _OPENS if text.startswith(one, start)), "")
    begin = start + len(opened)
    environment = _BEGIN.match(text, begin)
    closing = _OPENS[opened] if opened else environment and f"\\end{{{environment[1]}}}"
    end = text.find(closing, begin, begin + MAX_BLOCK) if closing else -1
    if closing is None or end < 0 or not (environment or "\n" in text[begin:end]):
        return None
    inner = text[begin : end if opened else end + len(closing)].strip()
    said = _last_row(inner, whole).strip(" .")
    return Statement(said if whole else last_side(said, []), start, end + len(closing)) if said else None


def read_last_display(text: str, whole: bool) -> Statement | None:
    """The answer in a display over several lines that a text ends on."""
    end = text.rstrip(" .\n")
    opening = "\\[" if end.endswith("\\]") else "$$" if end.endswith("$$") else "\\begin{"
    if opening == "\\begin{" and not _END_OF_DISPLAY.search(end[-40:]):
        return None
    start = text.rfind(opening, max(0, len(end) - MAX_BLOCK), len(end) - 2)
    found = read_display(text, start, whole) if start >= 0 else None
    return found._replace(announced=False) if found and found.end >= len(end) else None


def _last_row(formula: str, whole: bool) -> str:
    """The last row of aligned equations, or the formula itself."""
    environment = _BEGIN.match(formula)
    if environment is None or environment[1].rstrip("*") not in _ROWS:
        return " ".join(formula.split())
    rows = formula[environment.end() :].partition("\\end{")[0].split("\\\\")
    row = next((one for one in reversed(rows) if one.strip()), "")
    return " ".join(row.replace("&", "").strip().lstrip("= ").split())


def last_side(clause: str, numbers: list[re.Match[str]]) -> str:
    """Of `3 + 4 = 7` the 7; of a sentence around one number that number; else the clause."""
    at = _last_equals(clause)
    left, right = clause[:at], clause[at + 1 :].strip()
    if at > 0 and right and not _VARIABLE.fullmatch(left) and not _VARIABLE.fullmatch(right) and not _is_term(left):
        return right.strip("*").strip()  # of **x = 7** and of x = **7** the marks are no part
    words = (_WORD.search(clause) or _FOREIGN.search(clause)) and not is_formula(clause)
    if words and "\\" not in clause and not read_number(clause) and not _NEGATED.search(clause):
        inside = [one[0].strip() for one in numbers if one.end() <= len(clause) + 1]
        if len(set(inside)) == 1:
            return inside[0]
    return clause


def _is_term(left: str) -> bool:
    """Whether the left of an equation computes with a variable, as `2x` does: its right side is then no answer."""
    plain = _TIMES.sub("*", IN_TEXT.sub("", left))
    return not set(_WORD.findall(plain)) - _FUNCTIONS and bool(_TERM.search(re.sub(r"\\[A-Za-z]+", " ", plain)))


def side_of(formula: str, whole: bool) -> str:
    """A formula between its marks, or what follows its last equals sign."""
    if whole:
        return formula
    inner = formula.strip("$").removeprefix("\\(").removesuffix("\\)").removeprefix("\\[").removesuffix("\\]").strip()
    side = last_side(inner, [])
    return formula if side == inner else side


def has_equation(text: str) -> bool:
    """Whether a formula is an equation, and not only holds one in its brackets, as a sum does."""
    return "=" in text and _last_equals(text) > 0


def split_equation(text: str) -> tuple[str, str]:
    """The first and the last side of an equation, without the marks around it."""
    plain = text.strip("$ ").removeprefix("\\(").removesuffix("\\)").removeprefix("\\[").removesuffix("\\]")
    first = plain.find("=")
    return plain[:first].strip(), plain[_last_equals(plain) + 1 :].strip()


def _last_equals(clause: str) -> int:
    """The place of the last equals sign that stands in no bracket, or -1."""
    depth, last = 0, -1
    for at, character in enumerate(clause):
        depth += (character in "([{") - (character in ")]}")
        if character == "=" and not depth and clause[at - 1 : at] not in ("<", ">", "!", "\\", ":"):
            last = at
    return last
