"""Numbers as people write them, read exactly: integers, decimals, fractions, money, percent, powers of ten."""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from selfimprove.verifiers.number_words import FIRST_WORDS, read_words
from selfimprove.verifiers.units import NO_UNIT, is_unit_of_number

MAX_LENGTH = 200  # characters of a text that is read as one number
MAX_DIGITS = 60

# 1,234,567 and India's 12,34,567; a group after a lone zero is no group: 0,111 is a decimal with a comma.
_DIGITS = r"(?:[1-9]\d{0,2}(?:,\d{3})+(?!\d)|[1-9]\d?(?:,\d{2})+,\d{3}(?!\d)|\d{1,60})"
_SPACED = r"[1-9]\d{0,2}(?:[ '’]\d{3})+(?!\d)(?:\.\d{1,60})?"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d{{0,60}})?|\.\d{{1,60}})"
# 1.234,5 and 1.234.567 have one meaning; 1.234 and 3,14 have two (`read_otherwise`).
_CONTINENTAL = (  # each repetition has a bound: an endless one would be tried anew from each of its groups
    r"[1-9]\d{0,2}(?:(?:\.\d{3}){1,19},\d{1,60}|(?:\.\d{3}){2,19}|(?: \d{3}){1,19},\d{1,60})(?![\d.,])"
)
_POWER = r"(?:[eE](?P<exponent>[-+]?\d{1,3})(?![\d.])|\s?[x×*]\s?10\^\{?(?P<power>[-+]?\d{1,3})\}?)"
SIGN_OF_MONEY = "[$€£¥₹₽₩₺₫₱₦₴฿]"
MONEY = rf"(?:(?:US|AU|CA|NZ|HK|SG|A|C|R)?{SIGN_OF_MONEY}|(?:Rs|INR|USD|EUR|GBP|CHF|JPY|CNY|RMB|AUD|CAD|BRL|Rp|RM)\.?)"
_VALUE = (
    rf"(?P<sign>[-+−])?\s?(?P<money>{MONEY})?\s?(?P<inner>[-+−])?"
    rf"(?:(?P<continental>{_CONTINENTAL})|(?P<whole>\d{{1,20}})(?:\s(?P<top>\d{{1,20}})/(?P<bottom>\d{{1,20}})|\sand\sa\shalf)"
    rf"|(?P<first>{_SPACED}|{_DECIMAL})(?:\s?/\s?(?P<second>{_DECIMAL})|{_POWER})?)(?:/-)?"
)
_UNIT = (
    rf"(?!(?:{NO_UNIT})\b|(?:times|of)\s\$?\d)(?:/\s?)?(?:[A-Za-z]{{2,}}|[mgshlLJNWVACF](?![A-Za-z])|°[CF]?|¢)"
    rf"[A-Za-z°²³^/.' -]{{0,80}}(?:(?<![ -])\d)?|{SIGN_OF_MONEY}|\([A-Za-z][A-Za-z ]{{1,60}}\)"
)
_SCALES = {
    "hundred": 100, "thousand": 10**3, "k": 10**3, "K": 10**3, "million": 10**6, "M": 10**6, "billion": 10**9,
    "B": 10**9, "trillion": 10**12,
}  # fmt: skip
_ONE_UNIT = rf"(?!(?:{NO_UNIT})$|hundred|.{{1,4}}illion|thousand|per|pct|dozen)([a-z]{{3,40}})"
_SIMPLE = re.compile(rf"(\$)?(\d{{1,18}})(?: {_ONE_UNIT})?", re.ASCII)
# A text that is one whole number and hardly more: what most models answer in the end. Where it matches, the last group
# is the number as written and the one inside of that its digits.
_BRIEF_NUMBER = r"(\$?(\d{1,18}))"
_IN_BOX = r"\\boxed\{((\d{1,18}))\}"
BRIEF = re.compile(
    rf"(?:The answer is |#### ?|A: |Answer: ){_BRIEF_NUMBER}\.?|(\$?(\d{{1,18}})(?: {_ONE_UNIT})?)"
    rf"|(?:The answer is )?\*\*{_BRIEF_NUMBER}\*\*\.?|(?:The answer is )?(?:\${_IN_BOX}\$|{_IN_BOX})\.?",
    re.ASCII,
)
_WHOLE = re.compile(
    rf"{_VALUE}(?P<scale>[kKMB]\b|\s(?:hundred|thousand|million|billion|trillion)\b)?"
    rf"(?P<percent>\s?(?:%|percent\b|per\scent\b|pct\b))?(?P<space>\s?)(?P<unit>{_UNIT})?[.!]?",
    re.ASCII,
)
# `10-4` holds 10 and 4, not -4; `v2`, `2nd`, `3x` and `7:30` hold no number of their own.
_FOUND = (
    rf"(?:{_CONTINENTAL}|(?:0,\d{{1,60}}|\d{{1,20}},\d{{1,2}})(?![\d,]|\.\d)|{_DIGITS}(?:\.\d{{1,60}})?|\.\d{{1,60}})"
)
_NOT_AFTER = r"(?![\u202a-\u202e\u2066-\u2069]|\d|[.,]\d|:\d\d|(?:st|nd|rd|ths?)\b|[xyznabceijt]\b|[\^_π√²³¹⁰⁴-⁹])"
_ANYWHERE = re.compile(
    rf"(?<![\w.^\u202a-\u202e\u2066-\u2069])(?<!\d[:,])(?:(?<![)\]}}%])[-+−](?={SIGN_OF_MONEY}?[\d.]))?"
    rf"(?:(?:{SIGN_OF_MONEY}\s?|Rs\.?\s?(?=\d))[-+]?)?{_FOUND}"
    rf"(?:/{_FOUND}|\s\d{{1,20}}/\d{{1,20}}|[eE][-+]?\d{{1,3}})?{_NOT_AFTER}(?:\s?%)?",
    re.ASCII,
)
_FIRST_WORD = re.compile(r"[A-Za-z]{1,20}")
_FIRST_WORDS = FIRST_WORDS | {  # with those of `MONEY`
    "us", "au", "ca", "nz", "hk", "sg", "a", "c", "r", "rs", "inr", "usd", "eur", "gbp", "chf", "jpy", "cny", "rmb",
    "aud", "cad", "brl", "rp", "rm",
}  # fmt: skip
_RUN = re.compile(r"[0-9]+")
_MAY_BEGIN = frozenset(f"-+−.R{SIGN_OF_MONEY[1:-1]}")
_MAY_PRECEDE = _MAY_BEGIN | frozenset("s \t\n\r\v\f")
_BEFORE_DIGITS = 6  # characters of a number before its first digit: `Rs. -.5`
# What `_ANYWHERE` matches on most digits, where it needs to look at nothing else.
_PLAIN = re.compile(
    r"(?<![\w.^\u202a-\u202e\u2066-\u2069])(?<!\d[:,])\d{1,20}(?=[ \n](?![\d%])|\Z|[)=+*-]|[.,;:?!](?:\s|\Z))", re.ASCII
)
_GOES_WITH = re.compile(
    r"(?: \d{3})+(?![\d,]|\.\d)|[kKMB]\b|\s(?:hundred|thousand|million|billion|trillion)\b|\sand\sa\shalf\b"
    r"|\s?(?:percent|per\scent|pct)\b",
    re.ASCII,
)
_SHORT = re.compile(r"(?<![\d.,/])\d{1,3}$", re.ASCII)  # what groups of three may follow
_THIN = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\[,!;: ])(?=\d{3})")
_INVISIBLE = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF])
# Control characters are no text; a backspace, a carriage return and an escape change what is seen of what they follow.
_CONTROL = dict.fromkeys([*range(8), 11, 12, *range(14, 27), *range(28, 32)], " ")
_CONTROL_BYTES = bytes(_CONTROL)
# An embedding or an isolate around one number turns nothing around.
_EMBEDDED = re.compile(r"[\u202a\u202b\u2066-\u2068](\d[\d.,]{0,60})[\u202c\u2069]")
_ENDLESS = re.compile(r"(?<![\d.,])(\d{1,20}\.\d{0,12}?)(?:(\d)\2{2,20}|(\d{2,8}?)\3{1,8})\s?(?:\.{3}|…)")
_WIDE: dict[int, int | str] = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_WIDE |= {0x3000: 32, 0xA0: 32, 0x202F: 32, 0x2009: 32, 0x2212: 45, 0x2044: "/", 0x2215: "/"}
_WIDE |= {ord("٫"): ".", ord("٬"): ",", ord("٪"): "%"}
_CHANGES = {**_INVISIBLE, **_WIDE}
_CHANGED, _DASHES, _ODD = frozenset(map(chr, _CHANGES)), frozenset("–‒"), re.compile(r"[^\x00-\x7f]")
_FRACTION_SIGNS = {
    "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅐": "1/7", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8", "⅑": "1/9", "⅒": "1/10",
}  # fmt: skip
_FRACTION_SIGN = re.compile(rf"(\d?)([{''.join(_FRACTION_SIGNS)}])")
SIGN_WORD = re.compile(r"(?:negative|minus)\s(?=[$\d.])", re.IGNORECASE)
_DASH_BEFORE = re.compile(r"(?<![\w)\]}–‒])[–‒](?=\s?[$€£¥₹]?\.?\d)")  # a dash that stands for a minus sign
OTHER_DIGITS = re.compile(r"(?<![0-9])(?:(?![0-9])\d){1,60}(?![0-9])")
_REPEATING = re.compile(r"(\d{0,20})\.(\d{0,20})\\(?:overline|bar)\{(\d{1,20})\}")
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|mbox|textbf)\{([^{}]{0,80})\}")
_FRACTION = re.compile(r"\\[dtc]?frac\s?(?:\{\s?(-?[\d.]{1,40})\s?\}\{\s?([\d.]{1,40})\s?\}|(\d)\s?(\d)(?!\d))")
_IDLE_SPACE = re.compile(r"(?<![0-9A-Za-z\\])\s+|\s+(?![0-9A-Za-z\\])")
_SPACES = re.compile(r"[ \t]+")
_INLINE = re.compile(r"\$([^$]{1,100})\$(?=\s)")  # `$125$ miles`
_WRAPPED = re.compile(r"\$\$?([^$]*)\$\$?|\\\((.*)\\\)|\\\[(.*)\\\]|\*\*(.*)\*\*", re.DOTALL)


class Number(NamedTuple):
    """A number as it was read: its exact value, whether a percent sign follows, and its unit in lower case."""

    value: int | Fraction
    percent: bool = False
    unit: str = ""


def clean(text: str) -> str:
    """The text without marks that cannot be seen, and with full-width forms and other scripts' digits as ASCII."""
    encoded = text.encode("utf-8", "surrogatepass")  # to look for bytes is several times as fast as a pattern
    if len(encoded.translate(None, _CONTROL_BYTES)) != len(encoded):
        text = text.translate(_CONTROL)
    if "..." in text or "…" in text:
        text = _ENDLESS.sub(lambda one: f"{one[1]}\\overline{{{one[2] or one[3]}}}", text)
    if text.isascii():
        return text
    if "\u202c" in text or "\u2069" in text:
        text = _EMBEDDED.sub(r"\1", text)
    odd = odd_characters(text)  # most texts hold a few signs of prose alone, and nothing of what follows
    if not odd.isdisjoint(_CHANGED):
        text = text.translate(_CHANGES)
    if not odd.isdisjoint(_DASHES):
        text = _DASH_BEFORE.sub("-", text)
    if not odd.isdisjoint(_FRACTION_SIGNS):
        text = _FRACTION_SIGN.sub(lambda one: f"{one[1]}{' ' if one[1] else ''}{_FRACTION_SIGNS[one[2]]}", text)
    return OTHER_DIGITS.sub(in_ascii, text) if any(map(str.isdecimal, odd)) else text


def odd_characters(text: str) -> set[str]:
    """The characters of a text that are not of ASCII."""
    return set(_ODD.findall(text))


def in_ascii(found: re.Match[str]) -> str:
    """Digits of one script as those of ASCII; a number in two scripts is none."""
    values = [unicodedata.decimal(one) for one in found[0]]
    zeros = {ord(one) - value for one, value in zip(found[0], values, strict=True)}
    return "".join(map(str, values)) if len(zeros) == 1 else found[0]


def unwrap(text: str) -> str:
    """A mathematical text without its dollar signs or brackets, with the LaTeX that only lays a number out undone."""
    plain = clean(text).strip()
    if "  " in plain or "\t" in plain:
        plain = _SPACES.sub(" ", plain)
    if "\\" not in plain and "$" not in plain and "*" not in plain and "{" not in plain:
        return plain
    while (found := _WRAPPED.fullmatch(plain)) and (inner := next(one for one in found.groups() if one is not None)):
        plain = inner.strip()
    plain = _INLINE.sub(r"\1", plain) if plain.startswith("$") and plain.count("$") == 2 else plain
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
    if len(text) > MAX_LENGTH or _is_prose(text):
        return None
    if (
        "!" in text and ("$" in text or "\\" in text) and "!" in text.replace("\\!", "")
    ):  # a factorial, where plain text is only excited
        return None
    plain = unwrap(text)
    signed = SIGN_WORD.match(plain)
    plain = f"-{plain[signed.end() :]}" if signed else plain
    found = _WHOLE.fullmatch(plain)
    if found is None:
        words = read_words(plain)
        return None if words is None else Number(*words)
    if found["sign"] and found["inner"]:
        return None
    if found["unit"] and not is_unit_of_number(found["unit"], attached=not found["space"]):
        return None
    value = _value(found)
    if value is None:
        return None
    if found["scale"]:
        value *= _SCALES[found["scale"].strip()]
    unit = " ".join((found["unit"] or found["money"] or "").strip(" .()").lower().split())
    whole = isinstance(value, int) or value.denominator == 1
    return Number(int(value) if whole else value, found["percent"] is not None, unit)


def _is_prose(text: str) -> bool:
    """Whether a text begins with a word that no number begins with: a look that saves all others on most lines."""
    word = _FIRST_WORD.match(text)
    return word is not None and word[0].lower() not in _FIRST_WORDS


def _value(found: re.Match[str]) -> int | Fraction | None:
    value: int | Fraction
    if found["continental"]:
        value = _decimal(re.sub(r"[. ]", "", found["continental"]).replace(",", "."))
    elif found["whole"]:
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
    plain = re.sub("[, '’]", "", text)
    whole, _, decimals = plain.partition(".")
    return Fraction(plain) if decimals.strip("0") else int(whole or 0)


def find_numbers(text: str, begin: int = 0) -> list[re.Match[str]]:
    """The places of the numbers in a text from a place on; a sign counts only where nothing stands before it."""
    found, end = [], begin
    # To try the pattern only where digits begin, and on what may stand before them, is several times as fast.
    for digits in _RUN.finditer(text, begin):
        first = digits.start()
        if first < end:
            continue
        start = first
        while start > end and first - start < _BEFORE_DIGITS and text[start - 1] in _MAY_PRECEDE:
            start -= 1
        one = None
        for at in range(start, first):
            if text[at] in _MAY_BEGIN and (one := _ANYWHERE.match(text, at)):
                break
        if one := one or _PLAIN.match(text, first) or _ANYWHERE.match(text, first):
            found.append(one)
            end = one.end()
    return found


def end_of_number(text: str, end: int) -> int:
    """Where a number that ends at `end` really ends: `7 million`, `7 percent` and `7 000` are one number each."""
    found = _GOES_WITH.match(text, end)
    if found and found[0][0] == " " and found[0][1].isdigit() and not _SHORT.search(text, max(0, end - 4), end):
        return end
    return found.end() if found else end
