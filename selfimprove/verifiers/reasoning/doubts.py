"""What around a claim, or in it, may change what it means: a wrong claim with a doubt is left unchecked."""

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from selfimprove.verifiers.reasoning.expressions import Item, Quantity, Token, Value, evaluate
from selfimprove.verifiers.reasoning.lines import CLAUSES, EQUALITY
from selfimprove.verifiers.reasoning.quantities import UNITS
from selfimprove.verifiers.reasoning.sides import Side

REMAINDERS = {"r", "remainder"}

MAX_LOOSE = 4  # words and bars between two numbers
_ROUNDED = re.compile(  # and not the third round of a game
    r"\b(?:round(?:ed|ing|(?:s|\s(?:it|this|that))?\s(?:up|down|off|to)\b|\s[0-9])|about|approx|nearest|almost|nearly"
    r"|roughly|around)",
    re.IGNORECASE,
)
_UNSAID = re.compile(  # what this reader does not compute with: the clock, large units, mixed numbers in words or LaTeX
    r"\b(?:[ap]\.?m|o['’]clock|noon|midnight|thousand|million|billion)\b|\band a (?:half|quarter|third)\b"
    r"|\d\s?\\[dt]?frac",
    re.IGNORECASE,
)
_RATE = re.compile(r"(?:/|\bper\s|\ban?\s|\ba\s)\s?([a-z]{2,10})\b|\b([km]ph)\b", re.IGNORECASE)
_REMAINS = re.compile(r"\b(?:remain|left ?over|(?:and|with) [0-9]{1,9} (?:\w{1,20} ){0,3}left\b)", re.IGNORECASE)
# Words in front of a claim that make its first number part of something longer, or after it its last.
_LEADING = {"than", "by", "plus", "minus", "times", "per", "every", "over", "x", "and", "from"}
_JOINING = {"with", "of", "at", "for", "to", "each", "containing", "per", "by", "times", "every", "x", "holding"}
# Verbs and clauses end what a number before them could be multiplied with.
_NEW = {
    "get", "gets", "got", "have", "has", "had", "cost", "costs", "pay", "pays", "paid", "earn", "earns", "earned",
    "made", *CLAUSES, *EQUALITY,
}  # fmt: skip
_SUMS = {("to", word) for word in ("amount", "amounts", "up", "equal", "equals")} | {("of", "total"), ("of", "sum")}
_TRAILING = {
    "more", "less", "fewer", "times", "of", "percent", "plus", "minus", "or", "out", "and", "to", "divided",
    "multiplied", "greater", "older", "younger", "higher", "lower", "longer", "shorter", "x",
}  # fmt: skip
# Nouns that a number behind them names: `on day 1 * 2`.
_NAMED = {
    name + plural
    for name in (
        "day", "week", "month", "year", "step", "round", "level", "game", "test", "part", "group", "quarter",
        "period", "phase", "grade", "class", "page", "age", "chapter", "row", "question",
    )
    for plural in ("", "s")
}  # fmt: skip


_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(?:\.[0-9]{3})+")
_SUPPOSES = re.compile(
    r"(?:\b(?:if|suppose|supposing|assume|assuming|unless|whether)(?: that)?|~~"
    r"|(?:\bnot|n['’]t) (?:true|right|correct|the case)(?: that)?|\b(?:wrong|incorrect|mistake|error)"
    r"(?:ly)?(?:,? (?:to|that|is|was|would be|i|we)){0,2}(?: \w{2,10}){0,2}:?)\s{0,2}[*_`$(\\\[]{0,4}\s?$",
    re.IGNORECASE,
)
_REFUSES = re.compile(
    r"[*_`$)\\\]\s]{0,4}(?:\?|~~|[,(]?\s?(?:which |that |this )?(?:is |was )?"
    r"(?:wrong|incorrect|false|not (?:right|correct|true))\b|[✗✘❌✖])",
    re.IGNORECASE,
)


def _adds_share(side: Side) -> bool:
    """Whether a side adds a percentage to a number, which may be one of that number: `50 + 10% = 55`."""
    percents = [number.percent for number in side.numbers]
    return any(percents) and not all(percents) and any(item in ("+", "-") for item in side.items)


def _beginnings(side: Side) -> set[Value]:
    """The values of a product up to each of its signs, such as 400/45 of 400/45 * 18/5."""
    signs = [(at, item) for at, item in enumerate(side.items) if isinstance(item, str)]
    if any(item not in ("*", "/", "|") for _, item in signs):
        return set()
    found = (evaluate(side.items[:at]) for at, _ in signs[1:])
    return {value for value in found if value is not None}


class Surroundings:
    """The line that a claim stands in."""

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self.text = text
        self.tokens = tokens

    def doubts(self, sides: list[Side], signs: list[str]) -> bool:
        """Whether something around a wrong claim, or in it, may change what it means."""
        if any(side.doubtful or side.loose > MAX_LOOSE for side in sides) or self.leads(sides[0]):
            return True
        start, end = self.tokens[sides[0].first].start, self.tokens[sides[-1].last - 1].end
        if self.trails(sides[-1], "is" in signs) or self.is_supposed(start, end):
            return True
        before, after = max(self.tokens[0].start, start - 40), min(self.tokens[-1].end, end + 40)
        divided = any(item in ("/", "|") for side in sides for item in side.items)
        if _ROUNDED.search(self.text, before, after) or (divided and _REMAINS.search(self.text, end, after)):
            return True
        if _UNSAID.search(self.text, start, after) or self.is_rate(sides, self.text[start:end]):
            return True
        if self.is_unit_left_out(sides) or any(side.word and side.operators > 1 for side in sides):
            return True
        for side in sides:
            units = [UNITS[number.unit] for number in side.numbers if number.unit in UNITS]
            mixed = {kind for kind, _ in units}
            if any(len({size for name, size in units if name == kind}) > 1 for kind in mixed):
                return True
        return any(map(_adds_share, sides)) or self.is_continental(sides) or self.is_written_on(sides)

    def is_written_on(self, sides: list[Side]) -> bool:
        """Whether the sides are equal if products go on from the one before, or below the bar of a fraction without
        spaces: `(100 + 300)/45 = 400/45 * 18/5`, `14*13/2*1 = 91`."""
        for left, right in pairwise(sides):
            value, other = evaluate(left.items), evaluate(right.items)
            if value is None or other is None or value == other:
                continue
            same = value in _beginnings(right) or any(
                one is not None and one == two
                for one, two in (
                    (self.below(left), other),
                    (value, self.below(right)),
                    (self.below(left), self.below(right)),
                )
            )
            if not same:
                return False
        return True

    def below(self, side: Side) -> Value | None:
        """The value of a product whose factors behind its bar are all below it, if no spaces set them apart."""
        items = side.items
        bar = next((at for at, item in enumerate(items) if item in ("/", "|")), 0)
        if not bar or len(items) < bar + 4 or set(map(str, items[1::2])) - {"*", "/", "|"} or " " in self.written(side):
            return None
        if any(item in ("/", "|") for item in items[bar + 1 :]):
            return None
        above, rest = evaluate(items[:bar]), evaluate(items[bar + 1 :])
        return None if above is None or not rest else Fraction(above) / rest

    def written(self, side: Side) -> str:
        return self.text[self.tokens[side.first].start : self.tokens[side.last - 1].end]

    def is_continental(self, sides: list[Side]) -> bool:
        """Whether the sides are equal if points set off thousands: `1.000 + 500 = 1.500`."""
        found = [evaluate([self.without_point(item) for item in side.items]) for side in sides]
        pointed = any(self.without_point(one) != one for side in sides for one in side.numbers)
        return pointed and None not in found and len(set(found)) == 1

    def without_point(self, item: Item) -> Item:
        if not isinstance(item, Quantity):
            return item
        written = self.text[item.start : item.end].strip("$€£% ")
        return item._replace(value=Fraction(written.replace(".", ""))) if _THOUSANDS.fullmatch(written) else item

    def is_supposed(self, start: int, end: int) -> bool:
        """Whether a claim is only supposed, asked or called wrong: `Suppose 3 + 4 = 8`, `14 - 5 = 8? No, 9.`"""
        before, after = self.text[max(self.tokens[0].start, start - 40) : start], self.text[end : end + 30]
        return bool(_SUPPOSES.search(before) or _REFUSES.match(after))

    def is_rate(self, sides: list[Side], claim: str) -> bool:
        """Whether an amount is multiplied by a rate of another unit: `$12/hour * 30 minutes`."""
        used = {number.unit for side in sides for number in side.numbers} & set(UNITS)
        for found in _RATE.finditer(claim):
            kind, size = UNITS.get("hour" if found[2] else found[1].lower(), ("", 0))
            if kind == "count" or any(UNITS[unit][0] == kind and UNITS[unit][1] != size for unit in used):
                return True
        return False

    def is_unit_left_out(self, sides: list[Side]) -> bool:
        """Whether the sides are equal once the unit that only one of them names is put in: `4 * 25 = $1`."""
        if len(sides) < 2 or sides[-1].operators or sides[-1].numbers[-1].unit not in UNITS:
            return False
        kind, size = UNITS[sides[-1].numbers[-1].unit]
        units = {number.unit for side in sides[:-1] for number in side.numbers}
        sizes = {other for name, other in UNITS.values() if name == kind}
        if any(UNITS[unit][0] == kind and UNITS[unit][1] != size for unit in units & set(UNITS)):
            return bool(units - set(UNITS))  # `2 weeks + 1 = 15 days`
        value, stated = evaluate(sides[-2].items), evaluate(sides[-1].items)
        return value is not None and stated is not None and any(value * one == stated * size for one in sizes - {size})

    def leads(self, side: Side) -> bool:
        written = self.text[side.numbers[0].start : side.numbers[0].end]
        if written[0] == "0" and written[1:2].isdigit():  # a time such as 0730
            return True
        at = side.first - 1
        if at < 0:
            return False
        before = self.tokens[at]
        earlier = self.tokens[at - 1].kind if at else ""
        if before.kind in ("open", "other") and earlier == "operator":
            return True
        if before.kind == "other" and self.text[: before.start].endswith("â€"):  # a dash in another encoding
            return True
        if before.text == "√" or (before.kind == "word" and before.end == self.tokens[side.first].start):
            return True  # a root, or a function such as floor(7/2)
        if before.kind in ("number", "mixed", "percent", "operator", "power", "close", "fraction", "index"):
            return before.kind != "close" or (at > 1 and not self.closes_words(at) and not self.closes_label(at))
        if before.kind == "word":
            if before.text == "and" and earlier in ("", "other", "break"):  # a sentence begins so
                return False
            if before.text in _LEADING or (len(before.text) == 1 and before.text != "a"):
                return True
            return before.text in _NAMED or self.after_number(at) or self.after_operator(at)
        if earlier != "number" or before.text not in ":,./":
            return False
        tight = self.tokens[at - 1].end == before.start
        group = before.text == "," and tight and len(written) == 3  # 14, 400
        ratio = before.text == ":" and self.text[before.start - 1].isspace()  # 2 : 3, unlike `Step 2: 3`
        return ratio or group or before.end == self.tokens[side.first].start

    def closes_words(self, at: int) -> bool:
        r"""Whether a bracket ends words that are set as text: `\text{Total: }`."""
        opened = at - 1
        while opened > max(0, at - 12) and self.tokens[opened].kind in ("word", "other", "operator"):
            opened -= 1
        return opened > 0 and self.tokens[opened].kind == "open" and self.tokens[opened - 1].kind == "text"

    def closes_label(self, at: int) -> bool:
        """Whether a bracket ends the letter of an item: `; b) 3 + 4 = 7`."""
        label = self.tokens[at - 1]
        return label.kind == "word" and len(label.text) == 1 and self.tokens[at - 2].kind in ("other", "break")

    def after_number(self, at: int) -> bool:
        """Whether the words before a claim tie it to a number: `5 boxes with 3 apples + …`."""
        joined = False
        for place in range(at, max(-1, at - 6), -1):
            token = self.tokens[place]
            if token.text in _NEW or (token.text, self.tokens[place - 1].text) in _SUMS:
                return False
            if token.kind != "word":
                return joined and token.kind in ("number", "mixed")
            joined = joined or token.text in _JOINING
        return False

    def after_operator(self, at: int) -> bool:
        """Whether the words before a claim hang on an operator: `25 pupils + his one teacher + …`."""
        while at > 0 and self.tokens[at].kind == "word" and self.tokens[at].text not in {"x", *CLAUSES}:
            at -= 2 if self.tokens[at - 1].text == "/" else 1
        return self.tokens[at].kind == "operator"

    def trails(self, side: Side, worded: bool) -> bool:
        at = side.last
        if at >= len(self.tokens):
            return False
        after = self.tokens[at]
        following = self.tokens[at + 1] if at + 1 < len(self.tokens) else None
        if after.kind == "operator":
            return after.text != "/" or following is None or following.kind != "word"
        if after.kind in ("number", "mixed", "fraction", "power", "open", "percent"):
            return True
        if after.kind == "other":
            if after.text == ":" and following is not None and following.kind == "number":
                return True  # a ratio
            if following is None or after.start != self.tokens[at - 1].end or following.start != after.end:
                return after.text == "…"
            if after.text == ".":  # 0.(3), 17...
                return following.kind in ("number", "open") or following.text in (".", r"\overline", r"\bar", r"\dot")
            return after.text in ":,…" and following.kind == "number"
        if after.kind == "word":
            joined = following is not None and following.text in ("and", ",", "&")
            more = self.tokens[at + 1 + joined : at + 2 + joined]
            if after.text in UNITS and more and more[0].kind in ("number", "mixed"):
                return True  # `= 1 hour 15 minutes`
            second = following.text if following and following.kind == "word" else ""
            return after.text in REMAINDERS or (worded and bool({after.text, second} & _TRAILING))
        return False
