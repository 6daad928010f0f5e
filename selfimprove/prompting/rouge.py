"""ROUGE-L (Lin, 2004) of a text against many, by rapidfuzz: the nearest of ten thousand in milliseconds.

The F-measure of the longest common subsequence of words is rapidfuzz's normalized Indel similarity: 2 LCS / (m + n).
It passes over what cannot come nearer, by an exact upper bound from the lengths.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from rapidfuzz.distance import Indel, LCSseq
from rapidfuzz.process import extract, extractOne

WORD = re.compile(r"[a-z0-9]+")  # as in Google's rouge-score without its stemmer: letters of other scripts are none
FIRST = 0x10000  # of the characters that stand for words: no surrogates among those that follow
ROUNDED = 1e-6  # rapidfuzz leaves out what is nearer to a cut-off than that

DIFFERENT = 0x110000 - FIRST  # words that can be told apart


def words_of(text: str) -> list[str]:
    """The words that ROUGE counts."""
    return WORD.findall(text.lower())


@dataclass
class Nearest:
    """Texts, to find the one that is nearest to another."""

    texts: list[str] = field(default_factory=list)
    _spelled: list[str] = field(default_factory=list)
    _letters: dict[str, str] = field(default_factory=dict)

    def add(self, text: str) -> None:
        self.texts.append(text)
        self._spelled.append(self._spell(text))

    def extend(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.add(text)

    def find(self, text: str) -> tuple[float, str]:
        """The highest ROUGE-L F-measure, from 0 to 1, and the text that has it, the first of several; 0 and "" where
        there is none."""
        spelled, scorer = self._spell(text), Indel.normalized_similarity
        found = extractOne(spelled, self._spelled, scorer=scorer) if spelled else None
        if found is None or not found[1]:
            return 0.0, ""
        # Of several with the same value one may be rounded up by a bit more than the others.
        alike = extract(spelled, self._spelled, scorer=scorer, score_cutoff=found[1] - ROUNDED, limit=None)
        measured = [(_measure(spelled, one), -at) for one, _, at in alike]
        value, at = max(measured)
        return value, self.texts[-at]

    def _spell(self, text: str) -> str:
        """A text with a character for each of its words."""
        letters = self._letters
        return "".join(letters.setdefault(one, chr(FIRST + len(letters) % DIFFERENT)) for one in words_of(text))


def _measure(one: str, other: str) -> float:
    """The F-measure as rouge-score computes it, to the last bit."""
    common = LCSseq.similarity(one, other)
    recall, precision = common / len(one), common / len(other)
    return 2 * precision * recall / (precision + recall)
