"""Numbers as people write them, read exactly: integers, decimals, fractions, money, percent, powers of ten."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

MAX_LENGTH = 200  # characters of a text that is read as one number
MAX_DIGITS = 60

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,60})"
_SPACED = r"\d{1,3}(?: \d{3})+(?!\d)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d{{0,60}})?|\.\d{{1,60}})"
_POWER = r"(?:[eE](?P<exponent>[-+]?\d{1,3})(?![\d.])|\s?[x×*]\s?10\^\{?(?P<power>[-+]?\d{1,3})\}?)"
_VALUE = (
    r"(?P<sign>[-+−])?\s?(?P<money>[$€£¥])?\s?(?P<inner>[-+−])?"
    rf"(?:(?P<whole>\d{{1,20}})(?:\s(?P<top>\d{{1,20}})/(?P<bottom>\d{{1,20}})|\sand\sa\shalf)"
    rf"|(?P<first>{_SPACED}|{_DECIMAL})(?:\s?/\s?(?P<second>{_DECIMAL})|{_POWER})?)"
)
# Words that go on with a second number, or that make another number of this one, are no unit: `7 or eight`, `7 tenths`.
_NO_UNIT = (
    r"or|and|to|plus|minus|but|not|out|more|less|fewer|multiplied|divided|remainder|squared|cubed|factorial|pi|sqrt"
    r"|half|halves|thirds|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|hundredths|thousandths"
    r"|mil|mn|bn|lakh|crore"
)
_UNIT = (
    rf"(?!(?:{_NO_UNIT})\b|(?:times|of)\s\$?\d)(?:/\s?)?(?:[A-Za-z]{{2,}}|[mgshlLJNWVACF](?![A-Za-z])|°[CF]?|¢)"
    r"[A-Za-z°²³^/.' -]{0,80}\d?"
)
_SCALES = {
    "hundred": 100, "thousand": 10**3, "k": 10**3, "K": 10**3, "million": 10**6, "M": 10**6, "billion": 10**9,
    "B": 10**9, "trillion": 10**12,
}  # fmt: skip
_ONE_UNIT = rf"(?!(?:{_NO_UNIT})$|hundred|.{{1,4}}illion|thousand|per|pct)([a-z]{{2,40}})"
_SIMPLE = re.compile(rf"(\$)?(\d{{1,18}})(?: {_ONE_UNIT})?", re.ASCII)
# A text that is one whole number and hardly more: what most models answer in the end.
BRIEF = re.compile(rf"(?:The answer is |#### ?)(\$?(\d{{1,18}}))\.?|(\$?(\d{{1,18}})(?: {_ONE_UNIT})?)", re.ASCII)
_WHOLE = re.compile(
    rf"{_VALUE}(?P<scale>[kKMB]\b|\s(?:hundred|thousand|million|billion|trillion)\b)?"
    rf"(?P<percent>\s?(?:%|percent\b|per\scent\b|pct\b))?\s?(?P<unit>{_UNIT})?[.!]?",
    re.ASCII,
)
# `10-4` holds 10 and 4, not -4; `v2`, `2nd`, `3x` and `7:30` hold no number of their own.
_FOUND = rf"(?:{_DIGITS}(?:\.\d{{1,60}})?|\.\d{{1,60}})"
_NOT_AFTER = r"(?![\u202a-\u202e\u2066-\u2069]|\d|[.,]\d|:\d\d|(?:st|nd|rd|th)\b|[xyznabceijt]\b|[\^_π√²³¹⁰⁴-⁹])"
_ANYWHERE = re.compile(
    rf"(?<![\w.^\u202a-\u202e\u2066-\u2069])(?<!\d[:,])(?:(?<![)\]}}%])[-+−](?=[$€£¥]?[\d.]))?"
    rf"(?:[$€£¥]\s?[-+]?)?{_FOUND}"
    rf"(?:/{_FOUND}|\s\d{{1,20}}/\d{{1,20}}|[eE][-+]?\d{{1,3}})?{_NOT_AFTER}(?:\s?%)?",
    re.ASCII,
)
_GOES_WITH = re.compile(
    r"(?: \d{3})+(?![\d,]|\.\d)|[kKMB]\b|\s(?:hundred|thousand|million|billion|trillion)\b|\sand\sa\shalf\b"
    r"|\s?(?:percent|per\scent|pct)\b",
    re.ASCII,
)
_SHORT = re.compile(r"(?<![\d.,/])\d{1,3}$", re.ASCII)  # what groups of three may follow
_THIN = re.compile(r"(?<=\d)(?:\{,\}|\\[,!;: ])(?=\d{3})")
_INVISIBLE = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF])
_WIDE: dict[int, int | str] = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_WIDE |= {0x3000: 32, 0xA0: 32, 0x202F: 32, 0x2212: 45}
_FRACTION_SIGNS = {
    "½": "1/2",
    "¼": "1/4",
    "¾": "3/4",
    "⅓": "1/3",
    "⅔": "2/3",
    "⅛": "1/8",
    "⅜": "3/8",
    "⅝": "5/8",
    "⅞": "7/8",
}
_WIDE |= {ord(sign): f" {written}" for sign, written in _FRACTION_SIGNS.items()}
_REPEATING = re.compile(r"(\d{0,20})\.(\d{0,20})\\(?:overline|bar)\{(\d{1,20})\}")
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|mbox|textbf)\{([^{}]{0,80})\}")
_FRACTION = re.compile(r"\\[dtc]?frac\s?(?:\{\s?(-?[\d.]{1,40})\s?\}\{\s?([\d.]{1,40})\s?\}|(\d)\s?(\d)(?!\d))")
_IDLE_SPACE = re.compile(r"(?<![0-9A-Za-z\\])\s+|\s+(?![0-9A-Za-z\\])")
_WRAPPED = re.compile(r"\$\$?([^$]*)\$\$?|\\\((.*)\\\)|\\\[(.*)\\\]|\*\*(.*)\*\*", re.DOTALL)


class Number(NamedTuple):
    """A number as it was read: its exact value, whether a percent sign follows, and its unit in lower case."""

    value: int | Fraction
    percent: bool = False
    unit: str = ""


def clean(text: str) -> str:
    """The text without marks that cannot be seen, and with full-width forms as ASCII."""
    return text if text.isascii() else text.translate(_INVISIBLE).translate(_WIDE)


def unwrap(text: str) -> str:
    """A mathematical text without its dollar signs or brackets, with the LaTeX that only lays a number out undone."""
    plain = clean(text).strip()
    plain = re.sub(r"[ \t]+", " ", plain)
    if "\\" not in plain and "$" not in plain and "*" not in plain and "{" not in plain:
        return plain
    while (found := _WRAPPED.fullmatch(plain)) and (inner := next(one for one in found.groups() if one is not None)):
        plain = inner.strip()
    plain = _THIN.sub("", plain).replace("\\$", "$").replace("\\%", "%").replace("\\times", "×").replace("\\cdot", "×")
    plain = _REPEATING.sub(_repeating, plain)
    plain = plain.replace("\\left", "").replace("\\right", "").replace("^\\circ", "°").replace("^{\\circ}", "°")
    plain = _LATEX.sub(r" \1", plain)
    plain = _FRACTION.sub(lambda one: f" {one[1] or one[3]}/{one[2] or one[4]}", plain)
    return " ".join(re.sub(r"\\[,;:! ]|\{,\}|~", " ", plain).split()).replace("- ", "-", 1)


def _repeating(found: re.Match[str]) -> str:
    """A decimal with a bar over what repeats, as a fraction."""
    whole, once, again = found[1] or "0", found[2], found[3]
    value = Fraction(int(whole + once + again) - int(whole + once), 10 ** len(once) * (10 ** len(again) - 1))
    return f" {value}"


def squeeze(text: str) -> str:
    """A mathematical text without the spaces that separate nothing, to tell equal texts."""
    return _IDLE_SPACE.sub("", re.sub(r"\\[dt]frac", r"\\frac", unwrap(text.strip().rstrip("."))).rstrip("."))


@lru_cache(maxsize=8192)
def read_number(text: str) -> Number | None:
    """Read a text that is one number and nothing else but its unit; None where it is not one or is too long."""
    simple = _SIMPLE.fullmatch(text)  # most answers; the same as what follows gives, several times faster
    if simple:
        return Number(int(simple[2]), False, simple[3] or simple[1] or "")
    if len(text) > MAX_LENGTH:
        return None
    if "!" in text and ("$" in text or "\\" in text):  # a factorial, where plain text is only excited
        return None
    found = _WHOLE.fullmatch(unwrap(text))
    if found is None or (found["sign"] and found["inner"]):
        return None
    value = _value(found)
    if value is None:
        return None
    if found["scale"]:
        value *= _SCALES[found["scale"].strip()]
    unit = " ".join((found["unit"] or found["money"] or "").strip(" .").lower().split())
    whole = isinstance(value, int) or value.denominator == 1
    return Number(int(value) if whole else value, found["percent"] is not None, unit)


def _value(found: re.Match[str]) -> int | Fraction | None:
    value: int | Fraction
    if found["whole"]:
        top, bottom = int(found["top"] or 1), int(found["bottom"] or 2)
        if bottom == 0:
            return None
        value = int(found["whole"]) + Fraction(top, bottom)
    else:
        value = _decimal(found["first"])
        if found["second"]:
            below = _decimal(found["second"])
            if not below:
                return None
            value = Fraction(value) / below
        exponent = found["exponent"] or found["power"]
        if exponent:
            value *= Fraction(10) ** int(exponent)
    return -value if (found["sign"] or found["inner"] or "+") in "-−" else value


def _decimal(text: str) -> int | Fraction:
    plain = text.replace(",", "").replace(" ", "")
    whole, _, decimals = plain.partition(".")
    return Fraction(plain) if decimals.strip("0") else int(whole or 0)


def find_numbers(text: str) -> list[re.Match[str]]:
    """The places of the numbers in a text; a sign counts only where nothing stands before it."""
    return list(_ANYWHERE.finditer(text))


def end_of_number(text: str, end: int) -> int:
    """Where a number that ends at `end` really ends: `7 million`, `7 percent` and `7 000` are one number each."""
    found = _GOES_WITH.match(text, end)
    if found and found[0][0] == " " and found[0][1].isdigit() and not _SHORT.search(text, max(0, end - 4), end):
        return end
    return found.end() if found else end
