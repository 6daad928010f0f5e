"""Other readings of a number: separators set the other way round, binary numbers, rounded fractions, times of day."""

import re
from fractions import Fraction
from functools import lru_cache

from selfimprove.verifiers.number_words import read_words
from selfimprove.verifiers.numbers import MAX_LENGTH, MONEY, SIGN_OF_MONEY, unwrap

MIN_DECIMALS = 6  # of a decimal that stands for a fraction without an end, such as 0.333333 for 1/3
MAX_DENOMINATOR = 10_000  # of a fraction that a binary floating-point number stands for

_COMMA = re.compile(r"([-+]?)\s?(\d{1,20}),(\d{1,20})", re.ASCII)
_POINT = re.compile(r"([-+]?)\s?([1-9]\d{0,2})\.(\d{3})", re.ASCII)
_AROUND = re.compile(rf"^{MONEY}\s?|\s?(?:{SIGN_OF_MONEY}|%|[A-Za-z]{{2,20}})?[.!]?$", re.ASCII)


@lru_cache(maxsize=1024)
def read_otherwise(text: str) -> Fraction | None:
    """What a number with one comma or one point is to people who set them the other way round: 3,14 and 1.234."""
    if len(text) > MAX_LENGTH:
        return None
    plain = _AROUND.sub("", unwrap(text))
    comma, point = _COMMA.fullmatch(plain), _POINT.fullmatch(plain)
    if not comma and not point:
        return None
    found = comma or point
    assert found is not None
    value = Fraction(f"{found[2]}.{found[3]}" if comma else f"{found[2]}{found[3]}")
    return -value if found[1] == "-" else value


def has_one_reading(text: str) -> bool:
    """Whether a decimal comma is the only way to read a number: a group has three digits, and no zero before it."""
    found = _COMMA.fullmatch(_AROUND.sub("", unwrap(text)))
    return found is not None and (len(found[3]) != 3 or found[2].startswith("0"))


@lru_cache(maxsize=1024)  # all samples of a problem have the same expected answer
def read_float(text: str) -> Fraction | None:
    """The decimal or fraction that a binary floating-point number was made from: 0.30000000000000004 is 3/10.

    Only a text that JSON would write for a number with 16 or more digits is one; its last bits are rounding.
    """
    digits = text.strip().lstrip("-").partition("e")[0].replace(".", "").lstrip("0")
    if not 15 < len(digits) < 20 or "." not in text or not re.fullmatch(r"-?\d+\.\d+(?:e[-+]\d{1,3})?", text.strip()):
        return None
    number = float(text)
    if repr(number) != text.strip() or number in (float("inf"), float("-inf")):
        return None
    value = Fraction(number)
    allowed = abs(value) / 2**50
    short = Fraction(f"{number:.12g}")
    if abs(short - value) <= allowed:
        return short
    near = value.limit_denominator(MAX_DENOMINATOR)
    return near if abs(near - value) <= allowed else None


def rounded(exact: int | Fraction, decimal: int | Fraction) -> str:
    """How a decimal is a fraction without an end, rounded to the decimals that it shows, or nothing."""
    if isinstance(exact, int) or isinstance(decimal, int) or count_decimals(exact) is not None:
        return ""
    shown = count_decimals(decimal)
    if shown is None or shown < MIN_DECIMALS:
        return ""
    # Leading zeros show nothing: of 0.0000001 one digit is given.
    if len(str(abs(decimal.numerator) * 10**shown // decimal.denominator)) < MIN_DECIMALS:
        return ""
    return f"{exact} rounded to {shown} decimals" if abs(exact - decimal) * 2 * 10**shown <= 1 else ""


def count_decimals(value: Fraction) -> int | None:
    """The decimals of a fraction, or None where they have no end."""
    for decimals in range(1, 31):
        if 10**decimals % value.denominator == 0:
            return decimals
    return None


_CLOCK = re.compile(
    r"([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?\s?(?:(a|p)\.?\s?m\.?)?(?:\s?(?:o'clock|h))?\.?|"
    r"(1[0-2]|[1-9])\s?(?:o'clock\s?)?(a|p)\.?\s?m\.?",
    re.IGNORECASE | re.ASCII,
)


_SPOKEN = re.compile(
    r"(?:a )?(half|quarter|[a-z-]{3,15}|\d{1,2})(?: minutes?)? (past|after|to|before|till?) ([a-z]{3,6}|\d{1,2})"
    r"(?: o'clock)?(?:\s?(?:(a|p)\.?\s?m\.?)| in the (morning|afternoon|evening))?\.?",
    re.IGNORECASE | re.ASCII,
)


def _read_spoken(plain: str) -> tuple[int, str] | None:
    """`half past three`, `a quarter to 3 p.m.`, `ten past two in the afternoon` as `read_time` reads a clock."""
    found = _SPOKEN.fullmatch(plain)
    if found is None:
        return None
    said = found[1].lower()
    words = (15, False, "") if said == "quarter" else (30, False, "") if said == "half" else _whole(said)
    hour, before = _whole(found[3].lower()), found[2].lower() in ("to", "before", "till", "til")
    if not words or not hour or not 0 < words[0] < 60 or not 1 <= hour[0] <= 12 or (before and said == "half"):
        return None
    half = (found[4] or {"m": "a"}.get((found[5] or "p")[0].lower(), "p" if found[5] else "")).lower()
    seconds = int(hour[0]) % 12 * 3600 + (-1 if before else 1) * int(words[0]) * 60
    return seconds % (12 * 3600), half and f"{half}m"


def _whole(word: str) -> tuple[int | Fraction, bool, str] | None:
    return (int(word), False, "") if word.isdecimal() else read_words(word)


@lru_cache(maxsize=1024)
def read_time(text: str) -> tuple[int, str] | None:
    """A time of day as seconds of its clock, and which half of the day: `am`, `pm`, or none where it is not said."""
    plain = unwrap(text) if len(text) <= MAX_LENGTH else ""
    found = _CLOCK.fullmatch(plain)
    if found is None:
        return _read_spoken(plain) if " " in plain else None
    hour, half = int(found[1] or found[5]), (found[4] or found[6] or "").lower()
    if half and not 1 <= hour <= 12:
        return None
    if not half and (hour > 12 or found[1].startswith("0")):
        half = "p" if 12 <= hour < 24 else "a"
    return hour % 12 * 3600 + int(found[2] or 0) * 60 + int(found[3] or 0), half and f"{half}m"
