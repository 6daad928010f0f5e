"""How different the texts of a round are, and the signs that they are not any more, compared with the first round."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from selfimprove.records.stats import wilson

Sign = Literal["repetition", "fewer ways", "same steps", "length", "same rows"]
"""What `status` warns of where the texts of a run get less different."""
SIGNS: tuple[Sign, ...] = get_args(Sign)
FELL = 0.7  # of what it was in the first round
LONGER = 2.0
AGAIN = 0.9


class Texts(BaseModel):
    """What the texts of a round are like; a figure is None where it cannot be told."""

    model_config = ConfigDict(extra="ignore")
    texts: int
    sampled: bool
    """Whether these are samples for problems, and not rows that are trained without any."""
    distinct: dict[str, float] = {}
    """The share of different runs of 1, 2 and 3 words (`records.diversity.distinct`)."""
    passes: dict[str, tuple[float, int]] = {}
    """Unbiased pass@k by k, with its number of problems."""
    answers: float | None = None
    """Different answers among the samples of a problem, as a share of them."""
    skeletons: float | None = None
    """The same of the forms of their steps."""
    lengths: list[float] = []
    """The 10%, 50% and 90% quantiles, in tokens of samples, in words of rows."""
    own: float | None = None
    """The share of the model's own text in what may be trained, by characters of completions."""
    again: float | None = None
    """The share of a round's new rows that stood in the round before too."""

    @property
    def most(self) -> tuple[str, float, int] | None:
        """Pass@k for the largest k."""
        return (name, *self.passes[name]) if (name := max(self.passes, key=int, default="")) else None


def _less_distinct(now: Texts, was: Texts) -> str:
    for size in ("3", "2", "1"):
        if size in now.distinct and size in was.distinct:
            fell = now.distinct[size] < FELL * was.distinct[size]
            return _from("the texts repeat each other: distinct-" + size, was.distinct[size], now.distinct[size], fell)
    return ""


def _fewer_ways(now: Texts, was: Texts) -> str:
    """That more samples are worth less while one is worth more, where the intervals do not touch."""
    last, first = now.most, was.most
    if not last or not first or last[0] != first[0] or last[0] == "1":
        return ""
    apart = wilson(last[1] * last[2], last[2])[1] < wilson(first[1] * first[2], first[2])[0]
    return _from(f"several samples find less than before: pass@{last[0]}", first[1], last[1], apart)


def _same_steps(now: Texts, was: Texts) -> str:
    """That samples are of one form, and no more often right by it."""
    if now.skeletons is None or was.skeletons is None:
        return ""
    better = bool(now.passes and was.passes and now.passes["1"][0] > was.passes["1"][0])
    fell = now.skeletons < FELL * was.skeletons and not better
    return _from("the samples of a problem take the same steps: different forms", was.skeletons, now.skeletons, fell)


def _other_lengths(now: Texts, was: Texts) -> str:
    if not now.lengths or not was.lengths or now.sampled != was.sampled:
        return ""
    last, first = now.lengths[1], was.lengths[1]
    moved = first > 0 and not first / LONGER < last < LONGER * first
    unit = "tokens" if now.sampled else "words"
    return f"texts have another length: the median went from {first:g} to {last:g} {unit}" if moved else ""


def _trained_again(now: Texts, _: Texts) -> str:
    found = now.again is not None and now.again >= AGAIN
    return f"{now.again:.0%} of the new rows stand in the round before too" if found else ""


def _from(said: str, was: float, now: float, true: bool) -> str:
    return f"{said} fell from {was:.3g} to {now:.3g}" if true else ""


RULES: Mapping[Sign, Callable[[Texts, Texts], str]] = {
    "repetition": _less_distinct,
    "fewer ways": _fewer_ways,
    "same steps": _same_steps,
    "length": _other_lengths,
    "same rows": _trained_again,
}


def find_signs(texts: Mapping[int, Texts], round_: int) -> list[Sign]:
    """The signs of collapse that a round shows, compared with the first one; none of a round that was not measured."""
    first = min(texts, default=round_)
    if round_ not in texts or round_ == first:
        return []
    return [name for name, rule in RULES.items() if rule(texts[round_], texts[first])]


def compare_texts(texts: Mapping[int, Texts], round_: int) -> dict[str, float]:
    """What is left of the first round's differences in a round, and what of it is old or the model's own."""
    now, was = texts[round_], texts[min(texts)]
    size = next((one for one in ("3", "2", "1") if now.distinct.get(one) and was.distinct.get(one)), None)
    found = {
        "distinct left": now.distinct[size] / was.distinct[size] if size else None,
        "forms left": now.skeletons / was.skeletons if now.skeletons is not None and was.skeletons else None,
        "rows again": now.again,
        "own text": now.own,
    }
    return {name: value for name, value in found.items() if value is not None}


def find_collapse(texts: Mapping[int, Texts]) -> list[dict[str, Any]]:
    """What is wrong in the last round compared with the first, with the round since which it has been so. Round 1 is
    written by the model before any training of the loop."""
    rounds = sorted(texts)
    found = []
    for name, rule in RULES.items():
        said = {at: rule(texts[at], texts[rounds[0]]) for at in rounds[1:]}
        since = None
        for at in reversed(rounds[1:]):
            if not said[at]:
                break
            since = at
        if since is not None:
            found.append({"rule": name, "since": since, "said": f"{said[rounds[-1]]}; since round {since}"})
    return found
