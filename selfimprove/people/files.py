"""Ratings and pairs as files."""

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from selfimprove.errors import TaskError, suggest
from selfimprove.people.comparisons import compare_ratings, pair_rows
from selfimprove.people.ratings import FEWEST, TIE, Rating, large_cohorts, traits_of, use_pseudonyms


def write_pairs(ratings: Sequence[Rating], out: Path, *, cohort: str | None = None, tie: float = TIE) -> int:
    """Write pairs that `prefer.files` reads, of all people or of a cohort; gives their number. Nobody is named.

    Raises TaskError where there are none, or the cohort is not known or too small.
    """
    chosen = choose_cohort(ratings, cohort) if cohort is not None else list(ratings)
    rows = list(pair_rows(compare_ratings(chosen, tie)))
    if not rows:
        raise TaskError("no pair: nobody preferred one of two different texts to one prompt; 'prompt' and 'text' are "
                        "needed, and responses that were rated at once")  # fmt: skip
    write_lines(out, rows)
    return len(rows)


def choose_cohort(ratings: Sequence[Rating], cohort: str) -> list[Rating]:
    """The ratings of a cohort, given as trait=value; raises TaskError."""
    trait, _, value = cohort.partition("=")
    known = traits_of(ratings)
    if trait not in known:
        raise TaskError(f"--cohort {cohort}: no trait '{trait}' in these ratings{suggest(trait, known)}")
    cohorts, _ = large_cohorts(known[trait])
    if value not in cohorts:
        raise TaskError(f"--cohort {cohort}: no cohort of {FEWEST} people or more{suggest(value, cohorts)}")
    people = {*cohorts[value]}
    return [one for one in ratings if one.rater in people]


def write_ratings(ratings: Sequence[Rating], out: Path, *, cohorts: bool = False) -> int:
    """Write ratings, by pseudonyms, and without traits unless they are asked for; gives their number.

    A trait that fewer people share than a cohort has is left out even then: it would tell who somebody is.
    """
    shown = use_pseudonyms(leave_out_small(ratings) if cohorts else ratings)
    write_lines(out, (one.to_json(cohorts=cohorts) for one in shown))
    return len(shown)


def leave_out_small(ratings: Sequence[Rating]) -> list[Rating]:
    """The same ratings without the traits that fewer than 20 people share."""
    large = {trait: large_cohorts(of)[0] for trait, of in traits_of(ratings).items()}
    return [
        replace(one, cohorts={trait: value for trait, value in one.cohorts.items() if value in large[trait]})
        for one in ratings
    ]


def write_lines(out: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write a JSON object a line in ASCII, so that nothing in it can steer a terminal; raises TaskError.

    The file has its name once it is whole.
    """
    if out.suffix != ".jsonl":
        raise TaskError(f"{out}: name a .jsonl file")
    partial = out.with_name(f"{out.name}.partial")
    try:
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        partial.replace(out)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise TaskError(f"{out}: {error.strerror or error}") from None
