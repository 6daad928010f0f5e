"""Numbers in English words: "forty-two", "minus three and a half", "two thirds", "a hundred and five apples".

Libraries were weighed: word2number is of 2017 and raises on much, text2num and number-parser look for numbers inside of
sentences, where "one of them" is one; here a text is one number and nothing else but a unit, or it is not read.
"""

import re
from fractions import Fraction

MAX_WORDS = 20
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_ONES_OF = {word: value for value, word in enumerate(_ONES.split())}
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS_OF = {word: 10 * at for at, word in enumerate(_TENS.split(), 2)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4, "fifth": 5,
    "fifths": 5, "sixth": 6, "sixths": 6, "seventh": 7, "sevenths": 7, "eighth": 8, "eighths": 8, "ninth": 9,
    "ninths": 9, "tenth": 10, "tenths": 10, "hundredth": 100, "hundredths": 100,
}  # fmt: skip
_NO_UNIT = re.compile(
    r"or|and|of|to|by|at|in|is|are|was|if|as|per|than|plus|minus|times|but|not|out|more|less|fewer|multiplied|divided"
    r"|squared|cubed|factorial|dozen|way|thing|can|could|should|must|would|who|which|that|another|other|hundred.*|thousand.*"
    r"|.*illions?|first|last|thousandths?|lakh|crore|pi|on|for|from|half|over|under|percentage"
)
_WORD = re.compile(r"[a-z]{1,40}")
FIRST_WORDS = frozenset([*_ONES_OF, *_TENS_OF, "half", "a", "an", "minus", "negative"])


def read_words(text: str) -> tuple[int | Fraction, bool, str] | None:
    """The value, whether it is a percentage, and the unit of a number in words; None where a text is more or less."""
    plain = text.strip(" .!").lower()
    if not plain[:1].isalpha() or len(plain) > 200:
        return None
    words = re.split(r"[ -]+", plain.replace(",", " "))
    words = [word for word in words if word]
    if len(words) > MAX_WORDS or not all(map(_WORD.fullmatch, words)):
        return None
    sign = -1 if words[0] in ("minus", "negative") else 1
    words = words[1:] if sign < 0 else words
    value, rest = _read_value(words)
    if value is None or len(rest) > 2:
        return None
    percent = rest[:1] == ["percent"] or rest[:2] == ["per", "cent"]
    rest = rest[1 if rest[0] == "percent" else 2 :] if percent else rest
    if len(rest) > 1 or (rest and (_NO_UNIT.fullmatch(rest[0]) or len(rest[0]) < 3 or _is_number(rest[0]))):
        return None
    return sign * value, percent, rest[0] if rest else ""


def _is_number(word: str) -> bool:
    return word in _ONES_OF or word in _TENS_OF or word in _PARTS


def _read_value(words: list[str]) -> tuple[int | Fraction | None, list[str]]:
    """The value that words begin with, and the words behind it."""
    if words[:1] == ["half"]:
        words = ["a", *words]
    if words[:1] in (["a"], ["an"]):
        if len(words) == 1 or words[1] not in {"hundred", "dozen", *_SCALES, *_PARTS}:
            return None, words
        words = ["one", *words[1:]]
    whole, rest = _read_whole(words)
    if whole is None:
        return None, words
    if rest[:1] == ["dozen"]:
        return 12 * whole, rest[1:]
    if rest[:1] == ["point"]:
        digits = [str(_ONES_OF[word]) for word in rest[1:] if word in _ONES_OF and _ONES_OF[word] < 10]
        return (Fraction(f"{whole}.{''.join(digits)}"), rest[1 + len(digits) :]) if digits else (None, words)
    if rest and rest[0] in _PARTS:
        return _plain(Fraction(whole, _PARTS[rest[0]])), rest[1:]
    if rest[:1] == ["and"] and len(rest) > 2 and rest[2] in _PARTS and (rest[1] in ("a", "an") or rest[1] in _ONES_OF):
        return whole + Fraction(_ONES_OF.get(rest[1], 1), _PARTS[rest[2]]), rest[3:]
    return whole, rest


def _plain(value: Fraction) -> int | Fraction:
    return int(value) if value.denominator == 1 else value


def _read_whole(words: list[str]) -> tuple[int | None, list[str]]:
    """The whole number that words begin with: hundreds, tens and ones below falling scales."""
    total, part, last = 0, None, 10**15
    at = 0
    while at < len(words):
        word, following = words[at], words[at + 1] if at + 1 < len(words) else ""
        if word in _TENS_OF and (part or 0) % 100 == 0:
            part = (part or 0) + _TENS_OF[word]
        elif word in _ONES_OF and (part is None or (part and _fits(part, _ONES_OF[word]))):
            part = (part or 0) + _ONES_OF[word]
        elif word == "hundred" and part and part < 100:
            part *= 100
        elif word in _SCALES and part and _SCALES[word] < last:
            last = _SCALES[word]
            total, part = total + part * last, None
        elif word == "and" and (total or (part and part % 100 == 0)) and _continues(following):
            pass
        else:
            break
        at += 1
    if part is None and not total:
        return None, words
    return total + (part or 0), words[at:]


def _fits(part: int, value: int) -> bool:
    """Whether ones go on with hundreds or tens."""
    return part % 100 == 0 or (part % 10 == 0 and part % 100 >= 20 and 0 < value < 10)


def _continues(word: str) -> bool:
    return word in _TENS_OF or word in _ONES_OF
