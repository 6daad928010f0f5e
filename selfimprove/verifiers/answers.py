"""Where a text states its answer: a box, `####`, "the answer is", and else its last line or its last number."""

import re
from functools import lru_cache
from typing import NamedTuple

from selfimprove.verifiers.hedges import CERTAIN, Doubt, is_bound, is_denied, look_after, look_around
from selfimprove.verifiers.numbers import clean, end_of_number, find_numbers, read_number

MAX_ANSWER = 300  # characters of an answer outside a box
MAX_BOX = 2_000
SHORT = 200  # characters
MAX_ANSWERS = 50  # only so many statements of a text are looked at, the last ones

_BOX = re.compile(r"\\f?boxed\s?(?:\{|(?=\d))")
_BEFORE_BOX = re.compile(r"(?:[-+*/^{_\dπ)]|\\(?:sqrt|pi|times|cdot|frac|neg))\s{0,2}$")  # it is a part of a formula
_AFTER_BOX = re.compile(r"[ \t]{0,2}(?:[\^_{(+*/]|-\s?[\d\\]|(?<=\})\d|\\(?:sqrt|pi|times|cdot|frac|div)|!(?=\$))")
_SEVERAL = re.compile(r"[,;!]|\b(?:or|and)\b")  # no single equation stands in the box
_BETWEEN = re.compile(r"[\s$]{0,8}(?:,|;|and|or|,\s?and|,\s?or)?[\s$]{0,8}")
_LINE = re.compile(r"####[ \t]*:?[ \t]*(?=([^\n#]{1,300}))")
_SAID = re.compile(
    r"(?<![/\w])answers?(?:\*\*)?\s{0,3}(?:(?:is|are|(?P<denied>(?:is|are|was|could|can|wo|would)(?:n't| not)(?: be)?"
    r"|cannot be|can't be)|(?:to|of) [^.\n:]{1,60}? is)\b\s{0,3}:?|[:=>])(?:\*\*)?[ \t]{0,3}"
    r"(?=(?P<said>[^\n]{1,300}))",  # looked at and not taken: a second announcement may follow on the line
    re.IGNORECASE,
)
# The answer may stand alone below its announcement.
_ABOVE = re.compile(
    r"(?:(?<![/\w])answers?(?:\s(?:is|are))?|####)[\s:*_]{0,8}\n\s{0,4}(?P<said>[^\n]{1,80})(?=\n|$)", re.IGNORECASE
)
# An announcement that announces nothing: `if the answer is`, `the wrong answer is`.
_NO_ANNOUNCEMENT = re.compile(
    r"(?:\b(?:if|suppose|supposing|assuming|assume|unless|whether)\s(?:that\s)?(?:(?:the|my|our|your|an?)\s)?"
    r"|\b(?:wrong|incorrect|false|tempting|naive|first|initial|previous|worst)\s)(?:final |correct )?$",
    re.IGNORECASE,
)
_MATH = re.compile(
    r"((?<!\\)\$\$?(?:[^$\n\\]|\\.){1,300}\$\$?|\\\((?:[^\\]|\\[^)]){1,300}\\\)|\\\[.{1,300}?\\\])", re.DOTALL
)
_ALONE = re.compile(r"[ \t]*(\$?\d{1,18})\.?[ \t]*", re.ASCII)
_MONEY = re.compile(r"\$\s?[\d.,]++(?=[^$\\=^]*[A-Za-z]{2})[^$\\=^]*+\$")  # two amounts, no formula
_END = re.compile(r"(?:\.(?=\s|$)|[;!?](?=\s|$)|\.?\*\*)")
_GOES_ON = re.compile(  # a formula that only begins with a number
    r"\s?(?:[+*/×÷^=]|\\(?:times|cdot|div|pi|sqrt|frac))\s?[\w$({\\√π]|\s?-\s?(?:[\d$({\\√π]|[A-Za-z](?![A-Za-z]))"
    r"|\s[A-Za-z]{2,20}\s(?:[×*/+=]|\\times)\s|\s?[x·]\s?\d|[A-Za-zπ√]?[\^_({\\]|\s?[π√]"
    r"|\s(?:times|plus|minus|over|divided|multiplied)\b|\s?(?:pi|sqrt|log|sin|cos|tan)\b|\s?[xyz](?![A-Za-z])"
    r"|[A-Za-z]\s?[-+*=^]\s?[\dA-Za-z]"
)
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_ASIDE = re.compile(r"(?<=[A-Za-z\d*])\s\([^()\n]{1,80}\)[\s.*]*$")  # what is only explained at the end
_NOT_BUT = re.compile(r"not\s[^.\n]{1,30}?\bbut\s(?:rather\s)?", re.IGNORECASE)
_SIGN_WORD = re.compile(r"(?:negative|minus)\s(?=[$\d.])", re.IGNORECASE)
_ANNOTATION = re.compile(r"<<[^<>\n]{0,300}>>")
_GROUPS = re.compile(r"(?<![\d.,/])\d{1,3}(?: \d{3})* $", re.ASCII)
_WORD = re.compile(r"(?:negative|minus)\s(?=[$\d.])", re.IGNORECASE)
_ANNOTATION = re.compile(r"<<[^<>\n]{0,300}>>")
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
    """One statement of an answer: its text and place, whether it was announced, and what makes it doubtful."""

    text: str
    start: int
    end: int
    announced: bool = True
    doubt: Doubt = CERTAIN


def find_statements(text: str, stated: bool = False, whole: bool = False) -> tuple[Statement, ...]:
    """All announced answers of a text in order; where there is none, unless `stated`, what the text ends on.

    Of an equation the last side is the answer, unless an equation is asked for (`whole`).
    """
    # What was extracted from is judged later: short texts can all be remembered until then, long ones only for a while.
    return (_find_in_short if len(text) <= SHORT else _find_in_long)(text, stated, whole)


def _find(text: str, stated: bool, whole: bool) -> tuple[Statement, ...]:
    announced: list[Statement] = []
    boxed = _boxes(text, whole) if "boxed" in text or "fbox" in text else []
    if "####" in text:  # GSM8K's form closes a text, whatever it said before
        announced = [_read(one[1], one.start(1), whole) for one in _last(_LINE, text) if one[1].strip()]
        announced = announced or _stated_above(text, whole)
    elif "nswer" in text or "NSWER" in text:
        announced += [_announce(text, one, whole) for one in _last(_SAID, text)]
        announced += _stated_above(text, whole)
    if boxed:  # `the answer is \\boxed{7}` is one statement
        announced = [one for one in announced if not any(one.start <= box.start <= one.end for box in boxed)] + boxed
    announced = [one for one in announced if one.text and not one.doubt.denied] or announced
    if announced:
        return tuple(sorted((one for one in announced if one.text), key=lambda one: one.end))[-MAX_ANSWERS:]
    if stated:
        return ()
    last = _unannounced(text, whole)
    return (last,) if last and last.text else ()


def _announce(text: str, found: re.Match[str], whole: bool) -> Statement:
    """The statement after an announcement; one that denies it, or that only supposes it, is no answer."""
    said = _read(found["said"], found.start("said"), whole)
    before = _NO_ANNOUNCEMENT.search(text, max(0, found.start() - 60), found.start())
    if found["denied"] or before:
        shown = text[before.start() if before else found.start() : said.end]
        return said._replace(doubt=Doubt(hedge=" ".join(shown.split()), denied=True))
    return said


def _stated_above(text: str, whole: bool) -> list[Statement]:
    """Answers that stand alone on the line below their announcement."""
    found = []
    for one in _last(_ABOVE, text):
        line = one["said"].strip()
        plain, alone = line.strip(" .*_`"), _read(line, one.start("said"), whole)
        short = (
            len(line.split()) <= 4
            and read_number(alone.text)
            and line.strip(" *_`$\\(").startswith(alone.text.strip("$\\( ")[:1])
        )
        if short or (is_formula(plain) and "=" not in plain and not _CHOICE.search(plain)):
            found.append(alone)
    return found


_find_in_short, _find_in_long = lru_cache(maxsize=8192)(_find), lru_cache(maxsize=64)(_find)


def is_formula(text: str) -> bool:
    """Whether a short text is mathematics and no sentence: a digit, a command or a symbol, and no words around it."""
    if not any(one in "0123456789\\" for one in text) and len(text.strip()) > 3:
        return False
    return not set(_WORD.findall(_IN_TEXT.sub("", text))) - _FUNCTIONS


def _last(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return list(pattern.finditer(text))[-MAX_ANSWERS:]


def _boxes(text: str, whole: bool) -> list[Statement]:
    """Boxed answers; boxes that stand side by side are one answer with several values."""
    boxes: list[Statement] = []
    for found in _last(_BOX, text):
        start = found.end()
        end = _closing(text, start) if found[0].endswith("{") else start + 1
        inner = re.sub(r"^(?:\\approx|≈)", "", text[start:end].strip()).strip()
        after = end + 1
        if boxes and _BETWEEN.fullmatch(text, boxes[-1].end, found.start()):
            if boxes[-1].text != inner:
                boxes[-1] = boxes[-1]._replace(text=f"{boxes[-1].text}, {inner}", end=after)
        elif inner:
            outside = (
                "\\approx" in inner
                or _BEFORE_BOX.search(text[max(0, found.start() - 12) : found.start()])
                or _AFTER_BOX.match(text, after)
            )
            shown = text[max(0, found.start() - 8) : after + 8]
            doubt = Doubt(unclear=" ".join(shown.split())) if outside else CERTAIN
            said = inner if whole or _SEVERAL.search(inner) else _last_side(inner, [])
            boxes.append(Statement(f"${said}$" if inner[-1] == "!" else said, found.start(), after, doubt=doubt))
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
    plain = _ANNOTATION.sub("", plain) if "<<" in plain else plain
    for pattern, instead in ((_NOT_BUT, ""), (_SIGN_WORD, "-")):
        beginning = pattern.match(plain)
        plain = instead + plain[beginning.end() :] if beginning else plain
    formula = _MATH.match(plain)
    if formula and not _MONEY.fullmatch(formula[1]):
        doubt = look_after(plain, 0, formula.end(), _value(_side_of(formula[1], whole)))
        return Statement(_side_of(formula[1], whole), start, start + formula.end(), doubt=doubt)
    numbers = find_numbers(plain[:MAX_ANSWER])
    if numbers and not plain[: numbers[0].start()].strip(" *_~≈="):
        begin, end = numbers[0].start(), end_of_number(plain, numbers[0].end())
        if not _GOES_ON.match(plain, end):
            said = plain[begin:end].strip()
            return Statement(said, start, start + end, doubt=look_after(plain, begin, end, _value(said)))
    bold = None if whole else list(_BOLD.finditer(plain))
    if bold and any(one.isdigit() for one in bold[-1][1]):
        inside = _read(bold[-1][1], start + bold[-1].start(1), whole)
        return inside._replace(doubt=look_after(plain, bold[-1].start(1), bold[-1].end(1), _value(inside.text)))
    formulas = [one for one in _MATH.finditer(plain) if not _MONEY.fullmatch(one[1])] if not whole else []
    if formulas and not any(one.isdigit() for one in _MATH.sub("", plain.split(". ")[0])):
        said, last = _side_of(formulas[-1][1], whole), formulas[-1]
        doubt = look_after(plain, last.start(), last.end(), _value(said))
        return Statement(said, start, start + last.end(), doubt=doubt)
    ending = next((one for one in _END.finditer(plain) if one[0] != ";" or "=" not in plain[one.end() :]), None)
    clause = plain[: ending.start() if ending else len(plain)].strip(" .*_`\"'")
    said = clause if whole else _last_side(clause, numbers)
    doubt = Doubt(unclear=clause) if said != clause and read_number(said) and _limits(clause, said) else CERTAIN
    return Statement(said, start, start + len(clause), doubt=doubt)


def _limits(clause: str, said: str) -> bool:
    """Whether the words around the one number of a clause make another one of it."""
    return is_bound(clause[: clause.rfind(said)]) and "=" not in clause


def _value(said: str) -> object:
    read = read_number(said)
    return read.value if read else said


def _last_side(clause: str, numbers: list[re.Match[str]]) -> str:
    """Of `3 + 4 = 7` the 7; of a sentence around one number that number; else the clause."""
    at = _last_equals(clause)
    left, right = clause[:at], clause[at + 1 :].strip()
    if at > 0 and right and not _VARIABLE.fullmatch(left) and not _VARIABLE.fullmatch(right) and not _is_term(left):
        return right
    words = _WORD.search(clause) and not is_formula(clause)
    if words and "\\" not in clause and not read_number(clause) and not _NEGATED.search(clause):
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
        said = _side_of(formula.text, whole)
        return formula._replace(text=said, doubt=CERTAIN if whole else _doubt_formula(plain, formula, said))
    bold = [one for one in _BOLD.finditer(plain, plain.rfind("\n") + 1) if find_numbers(one[1])]
    if bold:  # people and models set the answer in bold
        places = [one for one in numbers if bold[-1].start() < one.start() < bold[-1].end()]
        numbers = places[:1] or numbers
    elif numbers and (aside := _ASIDE.search(plain, plain.rfind("\n") + 1)) and aside.start() < numbers[-1].start():
        outside = [one for one in numbers if one.start() < aside.start()]
        numbers = outside if outside and "\n" not in plain[outside[-1].end() : aside.start()] else numbers
    for number in reversed(numbers):
        first = plain.rfind("\n", 0, number.start()) + 1
        last = plain.find("\n", number.end())
        line, begin = plain[first : last if last >= 0 else len(plain)], number.start() - first
        if is_denied(line[max(0, begin - 40) : begin]):
            continue
        end = end_of_number(plain, number.end())
        start = number.start()
        groups = _GROUPS.search(plain, max(0, start - 30), start) if re.fullmatch(r"\d{3}", number[0]) else None
        start = groups.start() if groups else start  # `5 600` is one number
        doubt = look_around(line, start - first, end - first)
        return Statement(plain[start:end].strip(), start, end, announced=False, doubt=doubt)
    if not numbers:
        return None
    last_line = plain.rsplit("\n", 1)[-1]
    return Statement(
        numbers[-1][0], len(plain), len(plain), announced=False, doubt=Doubt(hedge=last_line[-60:].strip())
    )


def _doubt_formula(plain: str, formula: Statement, said: str) -> Doubt:
    """What the line makes of its last formula."""
    said = said.strip("$ ").rpartition("=")[2].strip()
    if read_number(said) is None:
        return CERTAIN
    first = plain.rfind("\n", 0, formula.start) + 1
    before = plain[first : formula.start]
    if is_denied(before[-40:]):
        return Doubt(hedge=" ".join(plain[first : formula.end].split())[-60:])
    return look_around(f"{before}{said}", len(before), len(before) + len(said))


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
