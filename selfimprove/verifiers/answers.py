"""Where a text states its answer: a box, `####`, "the answer is", and else its last line or its last number."""

import re
from functools import lru_cache
from typing import NamedTuple

from selfimprove.verifiers.numbers import clean, end_of_number, find_numbers, read_number

MAX_ANSWER = 300  # characters of an answer outside a box
MAX_BOX = 2_000
SHORT = 200  # characters
MAX_ANSWERS = 50  # only so many statements of a text are looked at, the last ones

_BOX = re.compile(r"\\f?boxed\s?(?:\{|(?=\d))")
_BETWEEN = re.compile(r"[\s$]{0,8}(?:,|;|and|or|,\s?and|,\s?or)?[\s$]{0,8}")
_LINE = re.compile(r"####[ \t]*:?[ \t]*(?=([^\n#]{1,300}))")
_SAID = re.compile(
    r"(?<![/\w])answers?(?:\*\*)?\s{0,3}(?:(?:is|are|(?:to|of) [^.\n:]{1,60}? is)\b\s{0,3}:?|[:=])(?:\*\*)?[ \t]{0,3}"
    r"(?=([^\n]{1,300}))",  # looked at and not taken: a second announcement may follow on the line
    re.IGNORECASE,
)
_MATH = re.compile(r"(\$\$?[^$\n]{1,300}\$\$?|\\\(.{1,300}?\\\)|\\\[.{1,300}?\\\])", re.DOTALL)
_ALONE = re.compile(r"[ \t]*(\$?\d{1,18})\.?[ \t]*", re.ASCII)
_MONEY = re.compile(r"\$\s?[\d.,]++(?=[^$]*[A-Za-z]{2})[^$]*+\$")  # two amounts, no formula
_END = re.compile(r"(?:\.(?=\s|$)|[;!?](?=\s|$)|\.?\*\*)")
_HEDGE = re.compile(
    r"\s{0,2}[\w°/%]{0,20}\s{0,2}(?:,\s{0,2}|\()?(or|and|to|–|-|/|,)\s{0,2}(?=[$€£¥]?[-+]?[\d.])", re.IGNORECASE
)
_GOES_ON = re.compile(  # a formula that only begins with a number
    r"\s?(?:[-+*/×÷^=]|\\(?:times|cdot|div|pi|sqrt|frac))\s?[\w$({\\√π]|\s?[x·]\s?\d|[A-Za-zπ√]?[\^_({\\]|\s?[π√]"
    r"|\s(?:times|plus|minus|over|divided|multiplied|of)\b"
)
_BEFORE = re.compile(r"(\d[\d,.]*[^\n.\d]{0,20}?\s(?:or|to)\s(?:maybe |perhaps |about |even )?)$", re.IGNORECASE)
_GROUPS = re.compile(r"(?<![\d.,/])\d{1,3}(?: \d{3})* $", re.ASCII)
_TAKEN_BACK = re.compile(
    r"\b(?:no,|(?:wait|actually|sorry|correction|instead|on second thought|scratch that|i meant?"
    r"|let me (?:re\w+|correct)|should (?:be|have been)"
    r"|(?:is|was|that's|that is) (?:wrong|incorrect|not right|not correct|a mistake))\b)",
    re.IGNORECASE,
)
_WRONG = re.compile(r"wrong|correct|not right|mistake", re.IGNORECASE)
_WORD = re.compile(r"(?<![\\A-Za-z])(?:[A-Za-z]{3,}|(?:or|to|of|is|by|he|it|we|no|so|an)(?![A-Za-z]))")
_IN_TEXT = re.compile(r"\\(?:text|mathrm|mbox|operatorname|begin|end)\{[^{}]{0,80}\}")
_CHOICE = re.compile(r"\d[^\n.\d]{0,20}\s(?:or|to)\s")  # two numbers, and not one
_VARIABLE = re.compile(r"\s*\\?[A-Za-z]\w{0,3}\s*(?:\([^()]*\)\s*)?")
_TIMES = re.compile(r"(?<=\d)\s?x\s?(?=\d)")
_TERM = re.compile(
    r"\d\s?[a-fijknop-rt-zA-Z](?![A-Za-z])|(?<![A-Za-z])[A-Za-z]\s?[-+*/^]|[-+*/]\s?[A-Za-z](?![A-Za-z])"
)
_LETTERS = re.compile(r"[A-Za-z]{2}|[.:;]$")
_NEGATED = re.compile(r"\b(?:not|never|neither|nor)\b|n't\b", re.IGNORECASE)
_FUNCTIONS = {"sin", "cos", "tan", "log", "exp", "sqrt", "arcsin", "arccos", "arctan", "infty", "text", "frac", "pmod"}


class Statement(NamedTuple):
    """One statement of an answer: its text and place, whether it was announced, and why it is no single answer."""

    text: str
    start: int
    end: int
    announced: bool = True
    hedge: str = ""


def find_statements(text: str, stated: bool = False, whole: bool = False) -> tuple[Statement, ...]:
    """All announced answers of a text in order; where there is none, unless `stated`, what the text ends on.

    Of an equation the last side is the answer, unless an equation is asked for (`whole`).
    """
    # What was extracted from is judged later: short texts can all be remembered until then, long ones only for a while.
    return (_find_in_short if len(text) <= SHORT else _find_in_long)(text, stated, whole)


def _find(text: str, stated: bool, whole: bool) -> tuple[Statement, ...]:
    announced: list[Statement] = []
    boxed = _boxes(text) if "boxed" in text or "fbox" in text else []
    if "####" in text:  # GSM8K's form closes a text, whatever it said before
        announced += [_read(one[1], one.start(1), whole) for one in _last(_LINE, text)]
    elif "nswer" in text or "NSWER" in text:
        announced += [_read(one[1], one.start(1), whole) for one in _last(_SAID, text)]
    if boxed:  # `the answer is \\boxed{7}` is one statement
        announced = [one for one in announced if not any(one.start <= box.start <= one.end for box in boxed)] + boxed
    if announced:
        return tuple(sorted((one for one in announced if one.text), key=lambda one: one.end))[-MAX_ANSWERS:]
    if stated:
        return ()
    last = _unannounced(text, whole)
    return (last,) if last and last.text else ()


_find_in_short, _find_in_long = lru_cache(maxsize=8192)(_find), lru_cache(maxsize=64)(_find)


def taken_back(text: str, statement: Statement) -> str:
    """What a text says after its last answer that takes it back, or nothing."""
    tail = text[statement.end : statement.end + 400]
    cues = list(_TAKEN_BACK.finditer(tail)) if len(tail) > 4 else []
    if not cues:
        return ""
    said = read_number(statement.text)
    others = [one for one in find_numbers(tail[cues[0].start() :]) if read_number(one[0].strip()) != said]
    if others:
        return others[-1][0].strip()
    return next((one[0] for one in cues if _WRONG.search(one[0])), "")


def is_formula(text: str) -> bool:
    """Whether a short text is mathematics and no sentence: a digit, a command or a symbol, and no words around it."""
    if not any(one in "0123456789\\" for one in text) and len(text.strip()) > 3:
        return False
    return not set(_WORD.findall(_IN_TEXT.sub("", text))) - _FUNCTIONS


def _last(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return list(pattern.finditer(text))[-MAX_ANSWERS:]


def _boxes(text: str) -> list[Statement]:
    """Boxed answers; boxes that stand side by side are one answer with several values."""
    boxes: list[Statement] = []
    for found in _last(_BOX, text):
        start = found.end()
        end = _closing(text, start) if found[0].endswith("{") else start + 1
        inner = text[start:end].strip()
        after = end + 1
        if boxes and _BETWEEN.fullmatch(text, boxes[-1].end, found.start()):
            if boxes[-1].text != inner:
                boxes[-1] = Statement(f"{boxes[-1].text}, {inner}", boxes[-1].start, after)
        elif inner:
            boxes.append(Statement(inner, found.start(), after))
    return boxes


def _closing(text: str, start: int) -> int:
    """Where the bracket that opened before `start` closes; the end of its line where it does not."""
    depth, limit = 1, min(len(text), start + MAX_BOX)
    for at in range(start, limit):
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
    line = text.find("\n", start, limit)
    return line if line >= 0 else limit


def _read(rest: str, start: int, whole: bool) -> Statement:
    """The answer at the beginning of what follows an announcement."""
    alone = _ALONE.fullmatch(rest)  # most answers; the same as what follows gives, several times faster
    if alone:
        return Statement(alone[1], start, start + alone.end(1))
    plain = clean(rest)
    shift = len(plain) - len(plain.lstrip(" \t:*_`\"'"))
    plain, start = plain[shift:], start + shift
    formula = _MATH.match(plain)
    if formula and not _MONEY.fullmatch(formula[1]):
        around = _around(plain, 0, _HEDGE.match(plain, formula.end()))
        return Statement(formula[1], start, start + formula.end(), hedge=around)
    numbers = find_numbers(plain[:MAX_ANSWER])
    if numbers and not plain[: numbers[0].start()].strip(" *_~≈="):
        begin, end = numbers[0].start(), end_of_number(plain, numbers[0].end())
        if not _GOES_ON.match(plain, end):
            hedge = _around(plain, begin, _hedge(plain, end))
            return Statement(plain[begin:end].strip(), start, start + end, hedge=hedge)
    ending = _END.search(plain)
    clause = plain[: ending.start() if ending else len(plain)].strip(" .*_`\"'")
    return Statement(clause if whole else _last_side(clause, numbers), start, start + len(clause))


def _hedge(text: str, end: int) -> re.Match[str] | None:
    """What joins a second number to the one that ends here."""
    found = _HEDGE.match(text, end)
    if found and found[1] == ",":
        # `5, 10 more than before` goes on with a sentence; `5, 10` is a list.
        following = find_numbers(text[found.end() : found.end() + 80])
        rest = text[found.end() + following[0].end() :] if following else "x"
        return found if not rest.strip(" .") or rest.lstrip()[:1] == "," else None
    return found


def _around(text: str, start: int, hedge: re.Match[str] | None) -> str:
    return text[start : hedge.end() + 12].split("\n")[0].strip() if hedge else ""


def _last_side(clause: str, numbers: list[re.Match[str]]) -> str:
    """Of `3 + 4 = 7` the 7; of a sentence around one number that number; else the clause."""
    at = _last_equals(clause)
    left, right = clause[:at], clause[at + 1 :].strip()
    if at > 0 and right and not _VARIABLE.fullmatch(left) and not _VARIABLE.fullmatch(right) and not _is_term(left):
        return right
    if _WORD.search(clause) and "\\" not in clause and not read_number(clause) and not _NEGATED.search(clause):
        inside = [one[0].strip() for one in numbers if one.end() <= len(clause) + 1]
        if len(set(inside)) == 1:
            return inside[0]
    return clause


def _is_term(left: str) -> bool:
    """Whether the left of an equation computes with a variable, as `2x` does: its right side is then no answer."""
    plain = _TIMES.sub("*", _IN_TEXT.sub("", left))
    return not set(_WORD.findall(plain)) - _FUNCTIONS and bool(_TERM.search(re.sub(r"\\[A-Za-z]+", " ", plain)))


def _side_of(formula: str, whole: bool) -> str:
    """A formula between its marks, or what follows its last equals sign."""
    if whole:
        return formula
    inner = formula.strip("$").removeprefix("\\(").removesuffix("\\)").removeprefix("\\[").removesuffix("\\]").strip()
    side = _last_side(inner, [])
    return formula if side == inner else side


def has_equation(text: str) -> bool:
    """Whether a formula is an equation, and not only holds one in its brackets, as a sum does."""
    return "=" in text and _last_equals(text) > 0


def _last_equals(clause: str) -> int:
    """The place of the last equals sign that stands in no bracket, or -1."""
    depth, last = 0, -1
    for at, character in enumerate(clause):
        depth += (character in "([{") - (character in ")]}")
        if character == "=" and not depth and clause[at - 1 : at] not in ("<", ">", "!", "\\", ":"):
            last = at
    return last


def _unannounced(text: str, whole: bool) -> Statement | None:
    short = text.strip()
    if len(short) <= MAX_ANSWER and read_number(short):
        return Statement(short.rstrip("."), 0, len(text), announced=False)
    plain = clean(text).rstrip()
    line = plain.rsplit("\n", 1)[-1].strip()
    if 0 < len(line) <= MAX_ANSWER and is_formula(line) and not _CHOICE.search(line):
        inside = _MATH.fullmatch(line.strip(" ."))
        said = line.strip(" .*#")
        said = _side_of(inside[1], whole) if inside else said if whole else _last_side(said, [])
        return Statement(said, len(text) - len(line), len(text), announced=False)
    numbers = find_numbers(plain)
    end = end_of_number(plain, numbers[-1].end()) if numbers else 0
    formula = _last_formula(plain)
    if formula and formula.end >= end:
        return formula._replace(text=_side_of(formula.text, whole))
    if not numbers:
        return None
    start = numbers[-1].start()
    groups = _GROUPS.search(plain, max(0, start - 30), start) if re.fullmatch(r"\d{3}", numbers[-1][0]) else None
    start = groups.start() if groups else start  # `5 600` is one number
    before = _BEFORE.search(plain, max(0, start - 80), start)
    hedge = f"{before[1]}{plain[start:end].strip()}" if before else ""
    said = plain[start:end].strip()
    return Statement(said, start, end, announced=False, hedge=" ".join(hedge.split()))


def _last_formula(plain: str) -> Statement | None:
    """The last formula of a text: between its marks, or words with LaTeX in them that stand side by side."""
    marked = [one for one in _MATH.finditer(plain) if not _MONEY.fullmatch(one[1])]
    found = Statement(marked[-1][1], marked[-1].start(1), marked[-1].end(1), announced=False) if marked else None
    begin = max(0, len(plain) - MAX_ANSWER)
    words = list(re.finditer(r"(?:\\(?:text|mathrm|mbox)\{[^{}]{0,80}\}|\S)+", plain[begin:]))
    last = next((at for at in range(len(words) - 1, -1, -1) if "\\" in words[at][0] or "{" in words[at][0]), None)
    if last is None or "$" in words[last][0]:
        return found
    first = end = last
    while first > 0 and _is_mathematical(words[first - 1][0]):
        first -= 1
    while end + 1 < len(words) and _is_mathematical(words[end + 1][0]):
        end += 1
    start, stop = begin + words[first].start(), begin + words[end].end()
    if found and found.end >= stop:
        return found
    return Statement(plain[start:stop].rstrip(".,"), start, stop, announced=False)


def _is_mathematical(word: str) -> bool:
    return not _LETTERS.search(re.sub(r"\\[A-Za-z]+", "", _IN_TEXT.sub("", word)))
