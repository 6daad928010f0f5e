"""The options of a multiple choice: found by letter, number or text, named by letter or by text."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property, lru_cache

from selfimprove.verifiers.base import quote

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
EDGES = " \t*_`\"'“”‘’.,;:!?$"
JOIN = (
    r"(?:(?:\.{2,3}|…)?,?\s{0,3}\b(?:and/or|or|and|nor|as well as)\b|\s?[&/,;|+])\s{0,3}"
    r"(?:(?:maybe|perhaps|possibly|either|also|option|choice|the|an?)\s){0,2}"
)
JOINED = re.compile(JOIN, re.IGNORECASE)
_JOINT = re.compile(r"(?:[Bb]oth )?\(?[A-Z]\)?(?:, \(?[A-Z]\)?){0,3},? (?:and|&) \(?[A-Z]\)?(?: only)?")
_ENDS = re.compile(r"\s*$|[.,](?!\d)|[;:!?)\"'”*]|\s+(?:[-–—(]|(?:because|since|as|which|but|not)\b)")


def fold(text: str) -> str:
    """A text without case and without what stands around it."""
    flat = " ".join(text.casefold().split())
    return flat.strip(EDGES) or flat


def _forms(flat: str) -> tuple[str, ...]:
    """The forms in which a text is looked up, the most exact one first."""
    return flat, flat.rstrip(".") or flat, flat.strip(EDGES) or flat, fold(flat)


def plain(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


class Options:
    """The options of a problem; they are found by letter, number or text and named by letter or by text."""

    def __init__(self, options: tuple[str, ...], *, lettered: bool) -> None:
        self.lettered = lettered
        self.names = tuple(LETTERS[: len(options)]) if lettered else options
        self.texts = tuple(" ".join(plain(one).split()) for one in options)
        self.length = max(map(len, self.texts)) + 200
        self._tables: tuple[dict[str, list[int]], ...] = ({}, {}, {}, {})
        for at, text in enumerate(self.texts):
            for table, key in zip(self._tables, _forms(text), strict=True):
                table.setdefault(key, []).append(at)

    def find(self, text: str) -> list[int]:
        """The options with this text: the same characters, else without what stands around it, else without case."""
        flat = " ".join(text[: 2 * self.length].split())
        if len(flat) > self.length or (self.lettered and fold(flat).upper() in self.names):
            return []
        for table, key in zip(self._tables, _forms(flat), strict=True):
            if key in table:
                return table[key]
        return []

    def expected(self, answer: str) -> int | None:
        """The place of the option that the expected answer means."""
        if self.lettered and answer in self.names:
            return self.names.index(answer)
        found = self.find(plain(answer))
        letter = fold(answer).strip("()[]").upper()
        if self.lettered and not found and letter in self.names:
            return self.names.index(letter)
        return found[0] if len(found) == 1 else None

    def name(self, found: Sequence[int]) -> str:
        return " and ".join(self.names[at] for at in sorted(set(found)))

    def combine(self, joined: str) -> str:
        """Letters that are joined, in order; or that of the option which says just that: of `Both A and C` its own."""
        letters = sorted(set(joined.split(" and ")))
        same = [at for at, one in enumerate(self._joint) if one == letters] if len(letters) > 1 else []
        return self.names[same[0]] if len(same) == 1 else " and ".join(letters)

    @cached_property
    def _joint(self) -> list[list[str]]:
        """The letters that each option names, where it is nothing but several of them."""
        found = [re.findall(r"[A-Z]", one.removeprefix("Both").removeprefix("both")) for one in self.texts]
        return [sorted(set(one)) if _JOINT.fullmatch(text) else [] for one, text in zip(found, self.texts, strict=True)]

    def show(self, at: int) -> str:
        return f"({self.names[at]}) {quote(self.texts[at])[1:-1]}" if self.lettered else self.names[at]

    @cached_property
    def anywhere(self) -> re.Pattern[str]:
        """The texts of options in running text, the longest first; a single letter there is a word."""
        texts = sorted((fold(one) for one in self.texts), key=len, reverse=True)
        words = "|".join(re.escape(one) for one in texts if len(one) > 1 or not one.isalpha())
        # A number is an option only where it is no part of another one or of a formula.
        part = r"(?<![-−^√/*×<>]\b)(?<![<>≤≥]\s)(?<!\w\()" if any(one[:1].isdigit() for one in self.texts) else ""
        more = r"|\s?[\^*/×+]|\s?-\s?\d|\s(?:hundred|thousand|million|billion)\b" if part else ""
        return re.compile(rf"(?<![\w.,]){part}(?:{words or '(?!)'})(?![\w%]|[.,]\d{more})", re.IGNORECASE)

    def start(self, text: str) -> tuple[int, int] | None:
        """The option that a text begins with, and where its text ends; a word that goes on is another word."""
        found = self.anywhere.match(text)
        places = self.find(found[0]) if found else []
        if found and len(places) == 1 and (_ENDS.match(text, found.end()) or JOINED.match(text, found.end())):
            return places[0], found.end()
        return None


@lru_cache(maxsize=1024)
def get_options(problem_options: tuple[str, ...], answer: str | None) -> Options:
    """An answer that is the text of an option says that the question shows no letters."""
    letter = answer is None or answer in LETTERS[: len(problem_options)]
    labels = not letter and fold(answer or "") in map(fold, problem_options)
    return Options(problem_options, lettered=not labels)
