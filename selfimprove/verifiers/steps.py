"""Checks the reasoning of a rationale: every claim in it is judged, and its numbers are followed to where they come
from."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

from selfimprove.records import Step
from selfimprove.verifiers.reasoning.claims import WORD_OPERATOR, WORD_SIGN, find_claims
from selfimprove.verifiers.reasoning.equality import ANNOTATION, Claim, show
from selfimprove.verifiers.reasoning.expressions import Quantity, Value, read_number
from selfimprove.verifiers.reasoning.quantities import CONSTANTS, NUMBER_WORDS, QUESTION_WORDS, SCALES, SHARES, TIMES

if TYPE_CHECKING:
    import networkx

MAX_TEXT = 50_000  # characters; longer texts are not parsed at all
MAX_WORD = 40

Source = tuple[Literal["step"], int] | tuple[Literal["question", "constant", "nowhere"], str]

_DIGIT = re.compile(r"[0-9]")
_SIGN = re.compile(r"[=≈+*/×−–x%\\\n-]")
_WORDS = (
    "plus", "minus", "times", "multiplied", "divided", "twice", "double", "triple", "thrice", "equals", "sum",
    "product", "difference", "of",
)  # fmt: skip
_OPERATOR_WORDS = frozenset([*_WORDS, *map(str.capitalize, _WORDS)])
_RULE = re.compile(r"\n[ \t]*[-_─—]{2}")
_SENTENCE = re.compile(r"[.!?;]\s+|\n")
_LIST_NUMBER = re.compile(r"\s*[0-9]{1,3}[.)]?\s*")
_BETWEEN = {"and", "a", "an"}  # half a dozen, two hundred and five
_AFTER_NUMBERS = {"cents", "cent", "percent", *SCALES, *SHARES}
_NUMBER = re.compile(
    r"[0-9]{1,15} [0-9]{1,4}/[0-9]{1,4}(?![0-9/])|[0-9]{0,15}[½¼¾⅓⅔⅛⅜⅝⅞]"
    r"|(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+|(?P<word>[^\W\d_]+(?:-[^\W\d_]+)*)"
)


@dataclass(frozen=True)
class Reasoning:
    """What was found in a rationale; `sources` holds for each step where its numbers come from, `values` its results.

    `coverage` is the share of the sentences with a digit in which a step was checked; None if there are none.
    """

    steps: tuple[Step, ...]
    coverage: float | None
    sources: tuple[tuple[Source, ...], ...] = ()
    values: tuple[str, ...] = ()

    @cached_property
    def graph(self) -> "networkx.DiGraph[Source]":
        """Steps and the numbers that come from elsewhere, with edges to the steps that use them."""
        import networkx

        graph: networkx.DiGraph[Source] = networkx.DiGraph()
        for place, step in enumerate(self.steps):
            graph.add_node(("step", place), span=(step.start, step.end), outcome=step.outcome, value=self.values[place])
        for place, sources in enumerate(self.sources):
            for source in sources:
                if source not in graph:
                    graph.add_node(source, span=None, outcome=None, value=source[1])
                graph.add_edge(source, ("step", place))
        return graph


NOTHING, UNCHECKED = Reasoning((), None), Reasoning((), 0.0)


def check_steps(text: str, question: str = "") -> Reasoning:
    """Judge every claim of a text, and say where its numbers come from; a text over 50,000 characters has no steps."""
    claims = find_claims(text) if len(text) <= MAX_TEXT and _may_claim(text) else []
    if not claims:
        return UNCHECKED if _DIGIT.search(text) else NOTHING
    sources, unknown = _trace(text, question, claims)
    needed = _needed(text, claims, sources)
    steps = tuple(
        Step(
            start=claim.start,
            end=claim.end,
            outcome=claim.outcome,
            reason=claim.reason,
            uses=tuple(sorted({place for kind, place in sources[number] if kind == "step" and isinstance(place, int)})),
            unknown=unknown[number],
            needed=number in needed,
        )
        for number, claim in enumerate(claims)
    )
    values = tuple(show(claim.results[0]) if claim.results else "" for claim in claims)
    return Reasoning(steps, _coverage(text, steps), sources, values)


def _may_claim(text: str) -> bool:
    """A first look that is cheap, because most texts that are judged are short answers without any claim."""
    if not _SIGN.search(text) and _OPERATOR_WORDS.isdisjoint(text.split()):
        return False
    if "=" in text or "≈" in text or "\\approx" in text or ("\n" in text and _RULE.search(text)):
        return True
    return bool(WORD_SIGN.search(text) and WORD_OPERATOR.search(text))


def _coverage(text: str, steps: Iterable[Step]) -> float | None:
    """Sentences end at a point before a space or at the end of a line; a point inside a step ends nothing."""
    spans = [(step.start, step.end) for step in steps]
    sentences = checked = 0
    at = first = 0
    for end in [*(found.start() for found in _SENTENCE.finditer(text)), len(text)]:
        while first < len(spans) and spans[first][1] <= at:
            first += 1
        if first < len(spans) and spans[first][0] < end < spans[first][1]:
            continue
        holds_step = first < len(spans) and spans[first][0] < end
        if holds_step or (_DIGIT.search(text, at, end) and not _LIST_NUMBER.fullmatch(text, at, end)):
            sentences += 1
            checked += holds_step
        at = end + 1
    return checked / sentences if sentences else None


@lru_cache(maxsize=1024)
def question_numbers(question: str) -> frozenset[Fraction]:
    """The numbers that a question gives, in digits or in words; a percentage also as a share, a fraction as its
    sides."""
    found: set[Fraction] = set()
    previous: Fraction | None = None
    for match in _NUMBER.finditer(question[:MAX_TEXT]):
        word = match[0].lower()
        if match.lastgroup:
            values = _word_values(word) if len(word) <= MAX_WORD else []
        else:
            values = _digit_values(match, question)
        if not values and word not in _AFTER_NUMBERS:
            previous = previous if word in _BETWEEN else None
            continue
        found.update(values)
        if word in _BETWEEN:
            continue
        if previous is not None:
            number = NUMBER_WORDS.get(word, 0)
            if word in ("cents", "cent", "percent"):
                found.add(previous / 100)
            elif word in SCALES or word in SHARES:
                previous *= SCALES.get(word) or SHARES[word]
                found.add(previous)
                continue
            elif number and (previous % 100 == 0 or (previous % 10 == 0 and number < 10)) and previous > number:
                previous += number  # one hundred and five, twenty one
                found.add(previous)
                continue
        previous = values[0] if values else None
    return frozenset(found)


@lru_cache(maxsize=4096)
def _word_values(word: str) -> list[Fraction]:
    found = []
    for table in (NUMBER_WORDS, SHARES, TIMES):
        if word in table:
            found.append(Fraction(table[word]))
    found.extend(QUESTION_WORDS.get(word, ()))
    if not found and "-" in word:
        above, _, below = word.partition("-")
        if above in NUMBER_WORDS and below in SHARES:
            return [NUMBER_WORDS[above] * SHARES[below], Fraction(NUMBER_WORDS[above]), 1 / SHARES[below]]
        return [value for part in word.split("-")[:4] for value in _word_values(part)]
    if word in SHARES:
        found.append(1 / SHARES[word])
    return found


def _digit_values(match: re.Match[str], question: str) -> list[Fraction]:
    value = read_number(match[0])
    if value is None:
        return []
    values = [value]
    after = question[match.end() : match.end() + 8].lstrip().lower()
    if after.startswith(("%", "percent")):  # what is left, and what it grows to, needs no step of its own
        values += [change + sign * value / part for sign in (1, -1) for change, part in ((100, 1), (1, 100))]
    if after.startswith(("%", "percent", "¢", "cent")):
        values.append(value / 100)
    if after.startswith("/") and (below := re.match(r"/\s?([0-9]{1,9})", after)) and int(below[1]):
        values.append(value / int(below[1]))
    if "." in match[0]:
        values.append(value * 100)
    return values


def _trace(
    text: str, question: str, claims: list[Claim]
) -> tuple[tuple[tuple[Source, ...], ...], tuple[tuple[str, ...], ...]]:
    """For each claim where its operands come from, and which of them come from nowhere, as written."""
    given = question_numbers(question) if question else frozenset()
    results: dict[Value, int] = {}
    used: set[int] = set()
    traced: list[tuple[Source, ...]] = []
    unknown: list[tuple[str, ...]] = []
    for place, claim in enumerate(claims):
        sources: dict[Source, None] = {}
        missing: dict[str, None] = {}
        for operand in claim.operands:
            source = _source(operand, given, results, used, bool(question))
            sources[source] = None
            if source[0] == "step" and isinstance(source[1], int):
                used.add(source[1])
            elif source[0] == "nowhere":
                missing[text[operand.start : operand.end]] = None
        traced.append(tuple(sources))
        unknown.append(tuple(missing))
        results.update(dict.fromkeys(map(_key, claim.results), place))
    return tuple(traced), tuple(unknown)


def _key(value: Value) -> Value:
    """The same value, as a whole number where it is one: that is hashed twenty times as fast."""
    return value.numerator if value.denominator == 1 else value


def _source(
    operand: Quantity, given: frozenset[Fraction], results: dict[Value, int], used: set[int], asked: bool
) -> Source:
    values = [_key(operand.value / 100), _key(operand.value)] if operand.percent else [_key(operand.value)]
    earlier = next((results[value] for value in values if value in results), None)
    in_question = any(value in given for value in values)
    if earlier is not None and (earlier not in used or not in_question):
        return "step", earlier
    shown = show(operand.value)
    if in_question:
        return "question", shown
    if any(value in CONSTANTS for value in values):
        return "constant", shown
    return ("nowhere" if asked else "question"), shown


def _needed(text: str, claims: list[Claim], sources: tuple[tuple[Source, ...], ...]) -> set[int]:
    """The steps that the last number of the text follows from; all of them where no step has it as its result."""
    last = _last_number(text)
    goal = next((place for place in range(len(claims) - 1, -1, -1) if last in claims[place].results), None)
    if goal is None:
        return set(range(len(claims)))
    needed = {goal}
    for place in range(goal, -1, -1):
        if place in needed:
            needed.update(source[1] for source in sources[place] if source[0] == "step" and isinstance(source[1], int))
    return needed


def _last_number(text: str) -> Fraction | None:
    # It nearly always stands in the last line; the whole text is looked at where it does not.
    for start in (max(0, len(text) - 100), 0):
        for match in reversed(list(_NUMBER.finditer(ANNOTATION.sub(" ", text[start:])))):
            if not match.lastgroup and (start == 0 or match.start()) and (value := read_number(match[0])) is not None:
                return value
    return None
