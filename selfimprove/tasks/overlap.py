"""What a text shares with questions that are evaluated: a whole question, runs of words, or all of it but its numbers.

Two questions are the same by `question_key`. Beside that, runs of 8 words cover a part of a question (as
open-instruct measures it), and one run of 13 words is enough for a long one (Brown et al., 2020, appendix C).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypeAlias

import numpy as np

from selfimprove.tasks.base import question_key

Rule: TypeAlias = Literal["exact", "words", "long", "numbers"]
RUN = 8
LONG_RUN = 13
LONG = 100  # words from which on a question is long
ALIKE = 3  # questions that may share a run of words: what more of them share is how they are put, and no leak
NUMBERS = 0.8  # of a question, where only the numbers are others
NAMED = 3  # questions that are named of one text
PASSAGE = 300  # characters
# A letter of a script without spaces, a number, a word, an operator.
TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\d+(?:[.,]\d+)*|[^\W\d_]+|[-+*/=<>^×÷−]")
UNKNOWN, NUMBER = 0, 1  # of words that no question has; no run goes over the first, and numbers are all alike by it
Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Hit:
    """A question that a text shares words with, by its place; `share` is how much of it, `passage` the longest piece in
    the question's own words."""

    question: int
    rule: Rule
    share: float
    passage: str


class _Vocabulary(dict[str, int]):
    """The words of the questions; any other is no word or, where it is one, a number."""

    def __missing__(self, token: str) -> int:
        return NUMBER if token[0].isdecimal() else UNKNOWN


class _Runs:
    """The runs of n words of questions, but for those that too many of them share."""

    def __init__(self, size: int, ids: Array, questions: Array, counted: Array, words: Array) -> None:
        """`questions` is the question of each id, `counted` which ones are looked at, `words` which ids are words."""
        self.size, self.words = size, words
        self.factors = np.random.default_rng(size).integers(1, 1 << 63, size, dtype=np.uint64) * 2 + 1
        at = self.places(ids)
        at = at[counted[questions[at]]]
        starts = np.flatnonzero(np.r_[True, questions[1:] != questions[:-1]])
        place = at - starts[np.searchsorted(starts, at, side="right") - 1]
        found = np.stack([self.hashes(ids, at), questions[at].astype(np.uint64), place.astype(np.uint64)])
        found = found[:, np.lexsort(found[::-1])]
        differs = np.r_[True, (found[:2, 1:] != found[:2, :-1]).any(axis=0)][: found.shape[1]]
        first = np.r_[True, found[0, 1:] != found[0, :-1]][: found.shape[1]]
        group = np.cumsum(first) - 1
        alike = np.bincount(group, weights=differs)[group] if found.shape[1] else np.zeros(0)
        found, group = found[:, alike <= ALIKE], group[alike <= ALIKE]
        self.hashed, self.begins, self.many = np.unique(found[0], return_index=True, return_counts=True)
        self.question, self.place = found[1].astype(np.int64), found[2].astype(np.int64)
        order = np.lexsort((self.place, self.question))
        self.held = np.zeros(len(counted), np.int64)
        """How many words of each question lie in such a run."""
        np.add.at(self.held, self.question[order], self.covered(self.question[order], self.place[order]))
        self.sieve = np.zeros(1 << 20, bool)
        self.sieve[self.hashed >> np.uint64(44)] = True

    def places(self, ids: Array) -> Array:
        """Where runs begin that know all their words, of which half or more are words and no numbers or operators."""
        if len(ids) < self.size:
            return np.zeros(0, np.int64)
        known = np.lib.stride_tricks.sliding_window_view(np.cumsum(np.r_[0, ids != UNKNOWN]), self.size + 1)
        words = np.lib.stride_tricks.sliding_window_view(np.cumsum(np.r_[0, self.words[ids]]), self.size + 1)
        whole = known[:, -1] - known[:, 0] == self.size
        return np.flatnonzero(whole & (2 * (words[:, -1] - words[:, 0]) >= self.size))

    def hashes(self, ids: Array, at: Array) -> Array:
        made = np.zeros(len(at), np.uint64)
        for offset, factor in enumerate(self.factors):
            made += ids[at + offset].astype(np.uint64) * factor
        return made

    def covered(self, keys: Array, places: Array) -> Array:
        """How many words each run adds to those before it; both are sorted, by key and by place."""
        if not len(keys):
            return np.zeros(0, np.int64)
        gap = np.r_[places[1:] - places[:-1], self.size]
        return np.where(np.r_[keys[1:] != keys[:-1], True], self.size, np.minimum(gap, self.size))

    def match(self, ids: Array, texts: Array) -> Iterator[tuple[int, int, Array]]:
        """A text, a question, and where the runs that they share begin in the question."""
        at = self.places(ids)
        hashed = self.hashes(ids, at)
        maybe = np.flatnonzero(self.sieve[hashed >> np.uint64(44)])
        at, hashed = at[maybe], hashed[maybe]
        if not len(at) or not len(self.hashed):
            return
        entry = np.minimum(np.searchsorted(self.hashed, hashed), len(self.hashed) - 1)
        there = self.hashed[entry] == hashed
        at, entry = at[there], entry[there]
        if not len(at):
            return
        many = self.many[entry]
        ends = np.cumsum(many)
        posting = np.repeat(self.begins[entry] - (ends - many), many) + np.arange(ends[-1])
        text, question, place = np.repeat(texts[at], many), self.question[posting], self.place[posting]
        order = np.lexsort((place, question, text))
        text, question, place = text[order], question[order], place[order]
        borders = np.flatnonzero(np.r_[True, (text[1:] != text[:-1]) | (question[1:] != question[:-1])])
        for start, stop in zip(borders, [*borders[1:], len(text)], strict=True):
            yield int(text[start]), int(question[start]), place[start:stop]

    def share(self, question: int, places: Array) -> float:
        """How much of what a question has in runs of its own these cover."""
        return float(self.covered(np.zeros(len(places)), places).sum() / self.held[question])


class Questions:
    """Questions that are evaluated, to find what texts share with them.

    `prompts` are, for each, further texts that are the whole question, such as how it is shown to a model; `share` is
    how much of a question runs of 8 words must cover.
    """

    def __init__(
        self, questions: Sequence[str], prompts: Iterable[Sequence[str]] = (), *, share: float, numbers: bool
    ) -> None:
        self.texts, self.least, self.numbers = questions, share, numbers
        keys: dict[str, int] = {}
        for at, text in enumerate(questions):
            keys.setdefault(question_key(text), at)
        self._same = np.array([keys[question_key(text)] for text in questions], np.int64)
        self._places: dict[int, list[int]] = {}
        for at, first in enumerate(self._same):
            self._places.setdefault(int(first), []).append(at)
        for at, shown in enumerate(prompts):
            for text in shown:
                keys.setdefault(question_key(text), int(self._same[at]))
        self._keys = keys
        found = [TOKEN.findall(text.casefold()) for text in questions]
        once = [tokens if self._same[at] == at else [] for at, tokens in enumerate(found)]
        self.vocabulary = _Vocabulary()
        for token in chain.from_iterable(once):
            self.vocabulary.setdefault(token, len(self.vocabulary) + 2)
        is_number = np.zeros(len(self.vocabulary) + 2, bool)
        is_number[[NUMBER, *(at for token, at in self.vocabulary.items() if token[0].isdecimal())]] = True
        self._is_number = is_number
        words = np.zeros(len(is_number), bool)
        words[[at for token, at in self.vocabulary.items() if token[0].isalpha()]] = True
        ids, of = self._encode(once)
        lengths = np.array([len(one) for one in once], np.int64)
        has_number = np.zeros(len(questions), bool)
        has_number[of[is_number[ids]]] = True
        self._runs: dict[Rule, _Runs] = {
            "words": _Runs(RUN, ids, of, lengths >= RUN, words),
            "long": _Runs(LONG_RUN, ids, of, lengths >= LONG, words),
            **({"numbers": _Runs(RUN, self._mask(ids), of, has_number, words)} if numbers else {}),
        }
        # Where less of a question is its own, the rest would say nothing about where a text is from.
        self._own = {rule: 2 * runs.held >= lengths for rule, runs in self._runs.items()}
        comparable = (lengths >= RUN) & self._own["words"] & (self._runs["words"].held > 0)
        self.compared = int(comparable[self._same].sum())
        """How many questions have runs of 8 words of their own; others are found only where they are a whole prompt."""

    def same(self, question: int) -> list[int]:
        """All places of a question."""
        return self._places[question]

    def _encode(self, texts: Sequence[Sequence[str]]) -> tuple[Array, Array]:
        """The numbers of all words, with an unknown one after each text, and the text that each is of."""
        ids = np.fromiter(
            map(self.vocabulary.__getitem__, chain.from_iterable(chain(one, ("\0",)) for one in texts)), np.int32
        )
        return ids, np.repeat(np.arange(len(texts)), np.array([len(one) + 1 for one in texts], np.int64))

    def _mask(self, ids: Array) -> Array:
        return np.where(self._is_number[ids], np.int32(NUMBER), ids)

    def find_whole(self, text: str) -> Hit | None:
        """The question that a text is as a whole, in its own words or as it is shown."""
        found = self._keys.get(question_key(text))
        return None if found is None else Hit(found, "exact", 1.0, self.texts[found][:PASSAGE])

    def find(self, texts: Sequence[str]) -> list[list[Hit]]:
        """For each text the questions that it shares runs of words with, those of which it has most first."""
        ids, of = self._encode([TOKEN.findall(text.casefold()) for text in texts])
        found: list[dict[int, Hit]] = [{} for _ in texts]
        for rule, runs in self._runs.items():
            least = {"words": self.least, "long": 0.0, "numbers": NUMBERS}[rule]
            for text, question, places in runs.match(self._mask(ids) if rule == "numbers" else ids, of):
                if question in found[text] or not (self._own[rule][question] or rule == "long"):
                    continue
                if (share := runs.share(question, places)) >= least:
                    found[text][question] = Hit(question, rule, share, self._passage(question, places, runs.size))
        return [sorted(one.values(), key=lambda hit: (-hit.share, hit.question))[:NAMED] for one in found]

    def _passage(self, question: int, places: Array, size: int) -> str:
        """The longest piece of a question that is covered, as it stands there."""
        text = self.texts[question].casefold()
        spans = [one.span() for one in TOKEN.finditer(text)]
        best, start = (0, 0), int(places[0])
        for here, following in zip(places, [*places[1:], -1], strict=True):
            if following < 0 or following > here + size:
                best, start = max(best, (int(here) + size - start, start)), int(following)
        first, last = spans[best[1]][0], spans[best[1] + best[0] - 1][1]
        original = self.texts[question]
        # Folding may change the length of a text, as that of ß: its own words are shown where it does not.
        return (original if len(original) == len(text) else text)[first:last][:PASSAGE]
