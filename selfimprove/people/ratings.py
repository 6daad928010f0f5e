"""Ratings by people in one format: who rated which response to what, by a score, a rank or a choice."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from selfimprove.errors import TaskError
from selfimprove.records import replace_surrogates
from selfimprove.tasks.base import read_rows

TIE = 5.0
"""Points of a score of 1 to 100 within which two responses are a tie, as in PRISM (Kirk et al., 2024, section 4)."""
FEWEST = 20
"""People of whom a cohort has at least so many, or nothing is said of it."""
LARGEST = 1e12  # of a score or a feature
MAX_NAME = 200  # characters of a name of a rater, an item, a cohort
TEXTS = ("prompt", "text", "source")
KEYS = {"rater", "item", "response", *TEXTS, "score", "rank", "choice", "cohorts", "features"}


@dataclass(frozen=True)
class Rating:
    """What one person said of one response to an item; an item is what was rated at once, one prompt with a few
    responses.

    One of `score` (the higher, the better), `rank` (1 is best, equal ranks are a tie) and `choice` is given.
    """

    rater: str
    item: str
    response: str
    prompt: str = ""
    text: str = ""
    source: str = ""
    """Who wrote the response, such as a model's name."""
    score: float | None = None
    rank: int | None = None
    choice: bool | None = None
    cohorts: Mapping[str, str] = field(default_factory=dict)
    """The person's traits, such as age: 18-24; those who share one are a cohort."""
    features: Mapping[str, float] = field(default_factory=dict)
    """What a linear reward model sees of the response, where it is not its text."""

    def to_json(self, *, cohorts: bool = True) -> dict[str, object]:
        """The line of a file, without what is not known."""
        values = {name: getattr(self, name) for name in ("rater", "item", "response", *TEXTS)}
        said = {name: getattr(self, name) for name in ("score", "rank", "choice")}
        kept = {name: value for name, value in {**values, **said}.items() if value not in ("", None)}
        traits = {"cohorts": dict(self.cohorts)} if cohorts and self.cohorts else {}
        return {**kept, **traits, **({"features": dict(self.features)} if self.features else {})}


def load_ratings(path: Path) -> list[Rating]:
    """Ratings of a JSONL file, one response that one person rated a line; raises TaskError with the file and line.

    A response that a person rated twice counts as rated last.
    """
    found: dict[tuple[str, str, str], Rating] = {}
    for where, row in read_rows(path):
        one = read_rating(row, where)
        found[one.rater, one.item, one.response] = one
    if not found:
        example = '{"rater": "r1", "item": "q1", "response": "a", "score": 70, "cohorts": {"age": "18-24"}}'
        raise TaskError(f"{path}: holds no rating; a line is such as {example}")
    check_traits(found.values(), str(path))
    return list(found.values())


def read_rating(row: object, where: str) -> Rating:
    """The rating of a line; raises TaskError."""
    if not isinstance(row, dict):
        raise TaskError(f"{where}: expected an object with 'rater', 'item', 'response' and 'score', 'rank' or 'choice'")
    if unknown := sorted(row.keys() - KEYS):
        raise TaskError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(KEYS))}")
    rater, item, response = (_read_name(row.get(name), name, where) for name in ("rater", "item", "response"))
    texts = {name: row.get(name, "") for name in TEXTS}
    if wrong := next((name for name, value in texts.items() if not isinstance(value, str)), None):
        raise TaskError(f"{where}: '{wrong}' is not a text")
    score, rank, choice = _read_said(row, where)
    cohorts, features = row.get("cohorts") or {}, row.get("features") or {}
    if not isinstance(cohorts, dict) or not all(isinstance(one, str | int | float) for one in cohorts.values()):
        raise TaskError(f'{where}: \'cohorts\' is an object of texts, such as {{"age": "18-24"}}')
    if not isinstance(features, dict) or not all(map(_is_number, features.values())):
        raise TaskError(f"{where}: 'features' is an object of numbers")
    return Rating(
        rater=rater,
        item=item,
        response=response,
        prompt=replace_surrogates(texts["prompt"]),
        text=replace_surrogates(texts["text"]),
        source=clean(texts["source"]),
        score=score,
        rank=rank,
        choice=choice,
        cohorts={clean(name): clean(str(value)) for name, value in cohorts.items()},
        features={clean(name): float(value) for name, value in features.items()},
    )


def clean(text: str) -> str:
    """A name of at most so many characters."""
    return replace_surrogates(" ".join(text.split()))[:MAX_NAME]


def _read_name(value: object, name: str, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise TaskError(f"{where}: '{name}' must be a name")
    if len(str(value)) > MAX_NAME:
        raise TaskError(f"{where}: '{name}' is a name of at most {MAX_NAME} characters")
    return clean(str(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST  # NaN is not


def _read_said(row: Mapping[str, Any], where: str) -> tuple[float | None, int | None, bool | None]:
    score, rank, choice = (row.get(name) for name in ("score", "rank", "choice"))
    if score is None and rank is None and choice is None:
        raise TaskError(f"{where}: says nothing: give 'score' (a number), 'rank' (1 is best) or 'choice' (true, false)")
    if score is not None and not _is_number(score):
        raise TaskError(f"{where}: 'score' is not a number")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= 1000):
        raise TaskError(f"{where}: 'rank' is a whole number from 1, the best, on")
    if choice is not None and not isinstance(choice, bool):
        raise TaskError(f"{where}: 'choice' is true or false")
    return None if score is None else float(score), rank, choice


def check_traits(ratings: Iterable[Rating], where: str) -> None:
    """Raise TaskError where one person has two values of one trait: whose cohort would that be?"""
    known: dict[tuple[str, str], str] = {}
    for one in ratings:
        for trait, value in one.cohorts.items():
            if known.setdefault((one.rater, trait), value) != value:
                raise TaskError(f"{where}: rater {one.rater!r} has two values of '{trait}': "
                                f"{known[one.rater, trait]!r} and {value!r}; give each person one")  # fmt: skip


def traits_of(ratings: Iterable[Rating]) -> dict[str, dict[str, str]]:
    """By trait, the cohort of each person of whom it is known."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for one in ratings:
        for trait, value in one.cohorts.items():
            found[trait][one.rater] = value
    return dict(found)


def large_cohorts(cohort_of: Mapping[str, str], fewest: int = FEWEST) -> tuple[dict[str, list[str]], dict[str, int]]:
    """The people of each cohort that is large enough, and how many cohorts and people are too few to be shown."""
    members: dict[str, list[str]] = defaultdict(list)
    for rater, cohort in cohort_of.items():
        members[cohort].append(rater)
    shown = {cohort: members[cohort] for cohort in sorted(members) if len(members[cohort]) >= fewest}
    hidden = [people for cohort, people in members.items() if cohort not in shown]
    return shown, {"cohorts": len(hidden), "people": sum(map(len, hidden))}


def centre_scores(ratings: Sequence[Rating]) -> dict[tuple[str, str, str], float]:
    """Each score less the mean of all that its rater gave: raw scores tell who rated rather than what was rated."""
    sums: dict[str, list[float]] = defaultdict(list)
    for one in ratings:
        if one.score is not None:
            sums[one.rater].append(one.score)
    means = {rater: sum(scores) / len(scores) for rater, scores in sums.items()}
    return {
        (one.rater, one.item, one.response): one.score - means[one.rater] for one in ratings if one.score is not None
    }


def sets_of(ratings: Iterable[Rating]) -> Iterator[list[Rating]]:
    """What each person rated at once: two responses or more to one item."""
    sets: dict[tuple[str, str], list[Rating]] = defaultdict(list)
    for one in ratings:
        sets[one.rater, one.item].append(one)
    yield from (found for found in sets.values() if len(found) > 1)


def use_pseudonyms(ratings: Sequence[Rating], rng: random.Random | None = None) -> list[Rating]:
    """The same ratings by `person-1` and so on, numbered in an order that nothing tells."""
    raters = sorted({one.rater for one in ratings})
    (rng or random.SystemRandom()).shuffle(raters)
    names = {rater: f"person-{at}" for at, rater in enumerate(raters, 1)}
    return [replace(one, rater=names[one.rater]) for one in ratings]
