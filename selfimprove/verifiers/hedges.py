"""What stands around a stated number: whether it is the whole answer, one of two, denied, or taken back later."""

import re
from fractions import Fraction
from typing import NamedTuple

from selfimprove.verifiers.modifiers import SCALES, changes, doubts
from selfimprove.verifiers.numbers import Number, find_numbers, read_number
from selfimprove.verifiers.readings import count_decimals

AFTER = 400  # characters after an answer in which it may be taken back
NEAR = 120

_SENTENCE = re.compile(r"(?<!\.)\.(?=\s|$)|[!?](?=\s|$)|\n")
_MARKUP = re.compile(r"\*\*|[`\"_]|\\[()\[\]]|\\text\{([^{}]{0,60})\}|(?<!\\)\$(?!\s?[\d.])")
_MARKS = frozenset('*`"_\\$')
_PRODUCT = re.compile(r"\d\s?\*\s?[\d$(]")
_WORD_VALUES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "hundred": 100, "thousand": 1000,
}  # fmt: skip
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(_WORD_VALUES)})\b", re.IGNORECASE)
# A number that one of these follows is a part of another one, or a bound.
_PARTIAL = re.compile(
    rf"\s{{0,2}}(?:{SCALES})"
    r"|\s{0,2}(?:(?:squared|cubed|factorial|remainder|hal(?:f|ves)|thirds|fourths|fifths|sixths|sevenths|eighths"
    r"|ninths|tenths|hundredths|thousandths|pi|sqrt|mil|mn|bn|lakhs?|crores?|tens|hundreds|thousands|millions|billions|trillions|grand|gross)\b|[πr√½¼¾²³]\s?\d{0,2}(?![a-zA-Z])"
    r"|(?:or|and) (?:more|less|fewer|up|above|below|one half|one third|one quarter|a quarter|a third)\b"
    r"|(?:more|less|fewer|greater|higher|lower) than\b|(?:out of|of|per) \$?\d"
    r"|in \$?\d(?!\d{0,3} (?:second|minute|hour|day|week|month|year)s?\b)|(?:multiplied|divided) by\b"
    r"|degrees below\b|at (?:most|least)\b|(?:choose|mod|root|(?:in )?base|log|div)\s\d"
    r"|(?:over|by)\s\d{1,9}\s*$|\+(?![-\d\s(])|\+\s*$|±|\+/?-|\\pm|:\s?\d|'\s?\d|[hRCP]\s?\d|->|=>|→|\?\s?\d"
    r"|!(?:\s?[.,)*/=+×÷·]|\s(?!a?nd?\b)[a-z]{3,20}\b))"
)
# What announces a further value of the same thing.
_CHOICE = re.compile(r"\b(?:or|to|maybe|possibly|perhaps|probably|either|alternatively)\b|[|–—]|/", re.IGNORECASE)
_JOIN = re.compile(
    r"[\s.,;:(|/–—&…-]*(?:(?:or|and|to|maybe|possibly|perhaps|probably|either|alternatively|also|even|as well as|about"
    r"|[a-z]\s?=)[\s,(]*)*",
    re.IGNORECASE,
)
_ONE_WORD = re.compile(r"\s{0,2}[\w°/%]{0,20}")
# An amount in two units, the first number of which is no number of its own: `1 hour 30 minutes`.
_TWO_UNITS = re.compile(
    r"(?:h|hrs?|hours?) (?:m|mins?|minutes?)|(?:m|mins?|minutes?) (?:s|secs?|seconds?)|days? (?:h|hrs?|hours?)"
    r"|weeks? days?|years? months?|(?:ft|foot|feet) (?:in|inch|inches)|yards? feet|(?:lbs?|pounds?) (?:oz|ounces?)|kg g"
    r"|kilograms? grams?|km m|kilometers? meters?|m cm|meters? centimeters?|(?:dollars?|euros?) cents?"
    r"|pounds? pence|gallons? quarts?",
    re.IGNORECASE,
)
_FIRST_WORD = re.compile(r"\s?([A-Za-z]{1,12})\b")
_REJECTS = re.compile(r"[\s,;(]*(?:and |but )?(?:not|instead of|rather than|never)\b", re.IGNORECASE)
# Words that tie a second number to the first as its explanation or its circumstances.
_TIES = re.compile(
    r"[=(@]|\b(?:because|since|as|so|which|where|when|after|before|for|per|each|every|in|at|over|from|by|on|during|with"
    r"|within|given|if|than|that|who|of|until|while|has|had|have|is|are|was|were|left|out|to|when)\b",
    re.IGNORECASE,
)
_SEGMENT = re.compile(r"[,;|:]|\b(?:and|or|but)\b|\s[-–—]\s", re.IGNORECASE)
_CALCULATES = re.compile(r"\s?(?:[-+*/×÷^=]|\\times|\\cdot)\s?[\w$(\\]")
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|neither|nor)\b|n't\b)(?:\s(?:be|equal|to|exactly|just|really|have|\w{1,3}))*\s*$",
    re.IGNORECASE,
)
# Each match of `_DENIED` or `_REJECTED` holds one of these.
_HINTS_OF_DENIAL = (
    "not", "never", "neither", "nor", "n't", "instead", "rather", "except", "all but", "thing but", "other",
)  # fmt: skip
_REJECTED = re.compile(
    r"\b(?:instead of|rather than|except|all but|anything but|other than|not)\s*[($]*$", re.IGNORECASE
)
_BOUND = re.compile(
    r"\b(?:more|less|greater|fewer|higher|lower|larger|smaller) than\b|\bat (?:least|most)\b|\b(?:up to|no more|no less"
    r"|no fewer|between|minus|negative|anything but|except)\b|\b(?:over|under|above|below)\s{1,3}[$€£]?$"
    r"|[<>≤≥≠±]|\\(?:leq?|geq?|neq?|pm)(?![a-z])",
    re.IGNORECASE,
)
_HINTS_OF_BOUND = (  # one of these is in each match of `_BOUND`
    "than", "least", "most", "up to", "no more", "no less", "no fewer", "between", "minus", "negative", "but", "except",
    "over", "under", "above", "below", "<", ">", "≤", "≥", "≠", "±", "\\",
)  # fmt: skip
_OPERATORS = (  # on one of these each match of `_OPERATES` ends
    "*", "×", "÷", "/", ":", "√", "π", "^", "times", "cdot", "div", "sqrt", "plus", "minus", "over", "out of", "(",
    "-", "+",
)  # fmt: skip
_OPERATES = re.compile(
    r"(?:(?<=[\d)])\s?[*×÷/:]|[×÷√π^]|/|\\(?:times|cdot|div|sqrt)|\b(?:times|plus|minus|over|out of)"
    r"|[A-Za-z]\(|(?:(?<![A-Za-z])[a-z]|\^\d|[²³])\s?[-+])\s*$"
)
_CUE = re.compile(
    r"(?:^|[.!?\n,;:)(]|\b(?:but|and|oh|hmm|ah|um|or)\b)[\s*_]*"
    r"(?:no[.,!]|no wait|wait\b|hold on|actually,|actually (?:it|the (?:answer|total|result)|that|i|no|\$?\d)|sorry"
    r"|apologies|i apologi[sz]e|correction|oops|hmm\b|edit:"
    r"|on (?:second thought|reflection|closer look)|scratch that|i meant?\b|my (?:mistake|bad)|i (?:made|was|see)\b"
    r"|let me (?:re\w+|correct|fix)|instead,|(?:it|that|this|the (?:answer|result|total)) should (?:be|have been)"
    r"|(?:it'?s|it is|but|however,?|or|maybe|perhaps) (?=\$?-?\d)"
    r"|(?:that'?s|that is|this is|it'?s|it is|it was|that was|this was|(?:this|that|the|my) answer (?:is|was)) "
    r"(?:also |clearly )?(?:wrong|incorrect|not right|not correct|a mistake)"
    r"|(?:however,? )?the (?:correct|right|actual|real|true) (?:value|answer|number|result|total) (?:is|was|should))"
    r"|^\s?\$?\s?(?:is|was) (?:wrong|incorrect|not right|not correct)\b",
    re.IGNORECASE,
)
_WRONG = re.compile(r"wrong|incorrect|not (?:right|correct)|mistake", re.IGNORECASE)


class Doubt(NamedTuple):
    """Why an answer is no single answer (`hedge`), or why nobody can tell what it is (`unclear`), as the text has it.

    `denied` says what the answer is not, or asks for it, which counts only where nothing says what it is.
    """

    hedge: str = ""
    unclear: str = ""
    denied: bool = False


CERTAIN = Doubt()


def _values(text: str) -> list[tuple[int, int, object]]:
    """The numbers of a text, in digits and in words, with their places."""
    found: list[tuple[int, int, object]] = []
    for one in find_numbers(text)[:8]:
        found.append((one.start(), one.end(), read_number(one[0].strip()) or one[0]))
    words = [(one.start(), one.end(), _WORD_VALUES[one[0].lower()]) for one in _NUMBER_WORD.finditer(text[:NEAR])]
    return sorted([*found, *words], key=lambda one: one[0])


def _plain(text: str) -> str:
    """A text without the marks that only lay it out."""
    if not _MARKS.intersection(text):
        return text
    text = _MARKUP.sub(lambda one: one[1] or "", text)
    return text if _PRODUCT.search(text) else text.replace("*", "")


def look_after(text: str, start: int, end: int, value: object) -> Doubt:
    """What the rest of the sentence makes of a number that was announced as the answer."""
    ends = _SENTENCE.search(text, end)
    rest = _plain(text[end : min(ends.start() if ends else len(text), end + NEAR)])
    shown = " ".join(f"{text[start:end]}{rest[:40]}".split())
    partial = _PARTIAL.match(rest)
    if partial and not (text[end - 1] == "%" and "of" in partial[0]):
        return Doubt(unclear=shown)
    if doubts("", rest):
        return Doubt(unclear=shown)
    said = read_number(text[start:end].strip())
    for begin, stop, other in _values(rest):
        if other == value or (isinstance(other, Number) and (other.value == value or is_same_amount(said, other))):
            continue
        return _relate(rest[:begin], rest[stop:], shown)
    return CERTAIN


def _relate(between: str, after: str, shown: str) -> Doubt:
    """What a second number is to the first: another answer, a part of it, or its explanation."""
    if _REJECTS.match(between):
        return CERTAIN
    unit, join = _joined(between)
    if join.strip(" (") and join.strip() != "-":
        if _CALCULATES.match(after):
            return CERTAIN
        if _CHOICE.search(join):
            return Doubt(hedge=shown)
        # `5, 10 more than before` goes on with a sentence; `5, 10` is a list.
        rest = after.strip(" .*)")
        if "," in join and "and" not in join and not unit:
            return Doubt(hedge=shown) if not rest or rest[0] == "," else CERTAIN
        return Doubt(hedge=shown) if not rest else Doubt(unclear=shown)
    last = _SEGMENT.split(between)[-1]
    if not last.strip(" $"):
        conjunction = re.search(r"\bor\b[\s$]*$", between)
        return Doubt(hedge=shown) if conjunction else Doubt(unclear=shown)
    return CERTAIN if _TIES.search(between) else Doubt(unclear=shown)


def _joined(between: str) -> tuple[str, str]:
    """What stands between two numbers: the unit of the first and what joins them; neither where there is more."""
    if _JOIN.fullmatch(between):
        return "", between
    unit = _ONE_WORD.match(between)
    if unit and _JOIN.fullmatch(between, unit.end()):
        return unit[0].strip(), between[unit.end() :]
    return "", ""


def is_bound(clause: str) -> bool:
    """Whether words make of a number a limit, a sign or another side: `at least 7`, `minus 7`."""
    return _may_bound(clause) and _BOUND.search(clause) is not None


def _may_bound(text: str) -> bool:
    lowered = text.casefold()
    return any(one in lowered for one in _HINTS_OF_BOUND)


def _operates(near: str) -> bool:
    """Whether a number is what something is multiplied with, or the like."""
    return near.rstrip().endswith(_OPERATORS) and _OPERATES.search(near) is not None


def is_denied(before: str) -> bool:
    """Whether the words before a number deny it: `it is not`, `instead of`."""
    lowered = before.casefold()
    if not any(one in lowered for one in _HINTS_OF_DENIAL):
        return False
    return bool(_DENIED.search(before) or _REJECTED.search(before))


def look_around(line: str, start: int, end: int) -> Doubt:
    """What the line makes of its last number, where no answer was announced."""
    before, shown = line[:start], " ".join(line[max(0, start - 30) : end + 10].split())
    near = before[-30:]
    if _operates(near) or _PARTIAL.match(line, end) or changes(before):
        return Doubt(unclear=shown)
    doubted = doubts(before, line[end:])
    bound = list(_BOUND.finditer(near)) if _may_bound(near) else []
    if bound and not re.search(r"\d|=", near[bound[-1].end() :]):
        return Doubt(unclear=shown)
    earlier = find_numbers(before[-NEAR:])
    if not earlier:
        return Doubt(unclear=shown) if doubted else CERTAIN
    offset = max(0, len(before) - NEAR)
    between = _plain(before[offset + earlier[-1].end() :])
    unit, join = _joined(between)
    one, other = read_number(earlier[-1][0].strip()), read_number(line[start:end].strip())
    behind = _FIRST_WORD.match(line, end) if unit and not join.strip() else None
    if behind and _TWO_UNITS.fullmatch(f"{unit} {behind[1]}"):
        return Doubt(unclear=shown)
    if not join.strip() or one == other or is_same_amount(one, other):
        rounded = join.strip() and one and other and _share(one) != _share(other)  # the last one says it less exactly
        return Doubt(unclear=shown) if doubted or rounded else CERTAIN
    if re.search(r"\b(?:or|maybe|possibly|perhaps|either)\b", join, re.IGNORECASE):
        return Doubt(hedge=shown)
    if re.search(r"\bbetween\b", before[-NEAR:], re.IGNORECASE) or re.search(r"\bto\b|^\s*[-–—]\s*$", join):
        return Doubt(hedge=shown)
    return Doubt(unclear=shown) if doubted or re.search(r"\band\b|&|\|", join) else CERTAIN


def _share(read: Number) -> Fraction:
    return Fraction(read.value) / (100 if read.percent else 1)


def is_same_amount(one: Number | None, other: Number | None) -> bool:
    """Whether two numbers say the same: a share and its percentage, a fraction and its rounded decimal."""
    if one is None or other is None:
        return False
    first, second = _share(one), _share(other)
    if first == second:
        return True
    for exact, decimal in ((first, second), (second, first)):
        decimals = count_decimals(decimal) if count_decimals(exact) is None else None
        if decimals and decimals > 1 and abs(exact - decimal) * 2 * 10**decimals <= 1:
            return True
    return False


def find_cue(tail: str) -> int | None:
    """Where a text that follows an answer begins to take it back."""
    cue = _CUE.search(tail)
    return cue.start() if cue else None


def taken_back(text: str, end: int, said: str) -> str:
    """What a text says after its last answer that takes it back, or nothing."""
    tail = text[end : end + AFTER]
    cues = list(_CUE.finditer(tail)) if len(tail) > 4 else []
    if not cues:
        return ""
    later = find_numbers(tail[cues[0].start() :])
    if later:
        last, first = read_number(later[-1][0].strip()), read_number(said)
        same = last is not None and first is not None and (last.value == first.value or is_same_amount(last, first))
        return "" if same else later[-1][0].strip()
    return next((cue[0].strip(" .,;:\n*") for cue in cues if _WRONG.search(cue[0])), "")
