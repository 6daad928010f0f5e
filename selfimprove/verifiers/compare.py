"""Answers that mathematics is compared by without reading formulas: numbers, times of day, lists, words."""

import math
import re
from fractions import Fraction
from functools import lru_cache

from selfimprove.recipe.task_settings import Answers
from selfimprove.records import Outcome
from selfimprove.verifiers.answers import Statement
from selfimprove.verifiers.base import quote
from selfimprove.verifiers.equality import within
from selfimprove.verifiers.numbers import Number, find_numbers, read_number, squeeze, unwrap
from selfimprove.verifiers.readings import has_one_reading, read_otherwise, read_time, rounded
from selfimprove.verifiers.text import normalize

BEFORE_WORDS = re.compile(
    r"(?:(?:so|thus|hence|therefore),? )?(?:(?:the )?(?:final |correct )?answer(?: is|:)|there (?:is|are)|it(?:'s| is)"
    r"|this is|that is|we have)[ :]*",
)
_AFTER_WORDS = re.compile(r"[,.;:!(](?=\s|$)| (?:because|since|as) |\s[-–—]\s")
# Of these one is never another.
_ALTERNATIVES = [
    set(words.split())
    for words in (
        "yes no", "true false", "even odd", "monday tuesday wednesday thursday friday saturday sunday",
        "january february march april may june july august september october november december",
    )
]  # fmt: skip
_SHOUTED = re.compile(r"[\s*_`]{0,8}(?:\n|</|$)")  # nothing more stands on its line
MAX_SHOUTED = 20  # of a larger number nobody wants the factorial
MAX_ANSWER = 2_000  # characters of an answer, or of an expected one, that are looked at
Judgement = tuple[Outcome, str]


def undecided(gold: str, answer: str, why: str) -> Judgement:
    """What is said where nobody can tell whether an answer is the expected one."""
    return "undecided", f"extracted {quote(answer)}, expected {quote(gold)}: {why}"


def decide(equal: bool, answer: str, gold: str, how: str, how_not: str) -> Judgement:
    """What is said of an answer that is the expected one, by how it is, or is not."""
    shown = f"extracted {quote(answer)}, expected {quote(gold)}: "
    return ("correct", shown + how) if equal else ("incorrect", shown + how_not)


def compare_times(gold: str, answer: str) -> Judgement | None:
    """Times of day by the clock, and by the half of the day where the expected one names it."""
    expected, extracted = read_time(gold), read_time(answer)
    if expected is None or extracted is None:
        return _compare_share(gold, answer) if expected else None
    if expected[1] and not extracted[1] and expected[0] == extracted[0]:
        return undecided(gold, answer, f"the expected time is {expected[1]}, and the answer does not say")
    same = expected[0] == extracted[0] and (not expected[1] or expected[1] == extracted[1])
    return decide(same, answer, gold, "the same time", "not the same time")


def _compare_share(gold: str, answer: str) -> Judgement | None:
    """`1/10` beside `3:30`, which may be a ratio."""
    said, parts = read_number(answer), gold.split(":")
    if said is None or len(parts) != 2 or not all(one.isdecimal() for one in parts) or not int(parts[1]):
        return None
    if math.gcd(*map(int, parts)) == 1:  # as ratios are written
        return None
    same = said.value == Fraction(int(parts[0]), int(parts[1]))
    return undecided(gold, answer, "the expected answer may be a time of day or a ratio") if same else None


def compare_exclaimed(gold: str, text: str, statement: Statement) -> Judgement | None:
    """`5!` where 120 is expected, and where 5 is: an announced number is only shouted, one alone may be either."""
    said = statement.text.strip("* ")
    number = said.removesuffix("!")
    if not number.isdecimal() or len(number) > 2 or not 2 < int(number) <= MAX_SHOUTED:
        return None
    after = text[statement.end :] if said == number else text.partition(said)[2]
    expected = read_number(gold) if _SHOUTED.match(after if said != number else after[1:]) else None
    if expected is None or (said == number and after[:1] != "!"):
        return None
    if expected.value == math.factorial(int(number)):
        return decide(True, f"{number}!", gold, "equal as a factorial", "")
    if expected.value == int(number) and not statement.announced and len(text.strip(" .*")) <= len(number) + 1:
        return undecided(gold, f"{number}!", "a factorial, or a number that is shouted")
    return None


def compare_hours(gold: str, answer: str, expected: Number | None) -> Judgement | None:
    """A time on the hour beside its number: `7 a.m.` where 7 is expected may be right."""
    said = read_time(answer)
    if expected is None or said is None or not said[1] or ":" in f"{gold}{answer}" or said[0] // 3600 != expected.value:
        return None
    return undecided(gold, answer, "a time of day, where a number is expected")


def compare_commas(gold: str, answer: str, expected: Number | None, extracted: Number | None) -> Judgement | None:
    """A decimal with a comma, which may be two numbers: `3,14` is 3.14 where that is expected."""
    if expected is not None and has_one_reading(answer) and read_otherwise(answer) == expected.value:
        return decide(True, answer, gold, "equal with a decimal comma", "")
    if extracted is not None and has_one_reading(gold) and read_otherwise(gold) == extracted.value:
        return undecided(gold, answer, "the comma of the expected answer may set off decimals or a second number")
    return None


def compare_words(gold: str, said: str) -> Judgement:
    """Words can be the same and not equal: two texts that differ may still mean one thing."""
    expected, shown = (normalize(unwrap(text)) for text in (gold, said))
    if shown == expected or squeeze(said) == squeeze(gold):
        return decide(True, said, gold, "the same text", "")
    others = next((group - {expected} for group in _ALTERNATIVES if expected in group), set())
    named = [word for word in re.findall(r"[a-z]+", shown[:MAX_ANSWER]) if word in others]
    bare = BEFORE_WORDS.sub("", _AFTER_WORDS.split(shown, maxsplit=1)[0].strip(" *_`\"'")).strip(" *_`\"'.")
    if bare == expected and not named:
        return decide(True, said, gold, "the same words", "")
    if gold.startswith("\\text") and (said.startswith("\\text") or read_number(said)):
        return decide(False, said, gold, "", "not the same")
    if bare in others and expected not in re.findall(r"[a-z]+", shown[:MAX_ANSWER]):
        return decide(False, said, gold, "", "not the same")
    return (
        "undecided",
        f"the expected answer {quote(gold)} is neither a number nor a formula, and not said in these words",
    )


def equal_as(expected: Number, extracted: Number, answers: Answers) -> str:
    """How two numbers are equal, or nothing."""
    if expected.value == extracted.value:
        return "equal as whole numbers" if isinstance(expected.value, int) else "equal as rationals"
    if expected.percent != extracted.percent:
        share, plain = (expected, extracted) if expected.percent else (extracted, expected)
        if share.value == plain.value * 100:
            return f"{share.value}% is {plain.value}"
    values = Fraction(expected.value), Fraction(extracted.value)
    if (answers.tolerance or answers.relative_tolerance) and within(answers, *values):
        return "within the tolerance"
    return rounded(expected.value, extracted.value)


@lru_cache(maxsize=1024)
def read_list(gold: str) -> tuple[object, ...]:
    """The numbers of an expected answer that is several, such as `10, 12`, in order of size; none where it is not."""
    read = [read_number(one) for one in gold.split(",")] if "," in gold and read_number(gold) is None else [None]
    values = [one.value for one in read if one]
    return tuple(sorted(values)) if len(values) == len(read) else ()


def compare_list(text: str, statement: Statement, wanted: tuple[object, ...]) -> str:
    """The numbers that a doubtful statement names, where they are those that were expected: `10 and 12`."""
    shown = statement.doubt.hedge or statement.doubt.unclear
    first = text.rfind("\n", 0, statement.start) + 1
    line = text[first : statement.start + MAX_ANSWER].split("\n")[0] if shown else ""
    found = [read.value for one in find_numbers(line) if (read := read_number(one[0].strip()))]
    return line if tuple(sorted(found)) == wanted else ""
