"""Which examples of the pool a round trains on, so that frequent groups do not drown the rare ones."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple, Protocol, TypeVar

from pydantic import PositiveInt

from selfimprove.records import derive_seed
from selfimprove.settings import Settings

BALANCE_VERSION = 1


class Balance(Settings):
    """Cap and repeat what is trained by group."""

    cap: PositiveInt = 300
    """At most n examples of a group, seed rationales included, the newest first."""
    mastered_cap: PositiveInt = 50
    """The same for groups whose yield is at least the frontier's `mastered_at`."""
    final_cap: PositiveInt = 100
    """The same once every group is mastered."""
    repeat: PositiveInt = 10
    """Examples of a rare group are repeated at most n times."""
    repeat_to: PositiveInt = 120
    """A group is repeated up to n rows."""


class Grouped(Protocol):
    """What is looked at of an example."""

    @property
    def id(self) -> str: ...
    @property
    def group(self) -> str: ...


class Member(NamedTuple):
    """The least that an example is known by."""

    id: str
    group: str


M = TypeVar("M", bound=Grouped)


def balance(
    rounds: Sequence[Sequence[M]],
    *,
    seeds: Iterable[Grouped],
    mastered: Set[str],
    finished: bool,
    settings: Balance,
    seed: int,
) -> list[M]:
    """The examples to train on besides the seeds: capped by group, the newest first, rare groups repeated.

    `rounds` holds the kept examples, oldest round first; `finished` says that every group of the task is mastered.
    Seed rationales of a group count towards its cap. A group with few examples is repeated at most `repeat` times,
    up to `repeat_to` rows.
    """
    pools: dict[str, list[M]] = defaultdict(list)
    for at, examples in reversed(list(enumerate(rounds))):
        shuffled = sorted(examples, key=lambda one: one.id)
        random.Random(derive_seed(seed, "balance", at)).shuffle(shuffled)
        for example in shuffled:
            pools[example.group].append(example)
    have = Counter(one.group for one in seeds)
    chosen: list[M] = []
    for group in sorted(pools):
        cap = settings.final_cap if finished else settings.mastered_cap if group in mastered else settings.cap
        kept = pools[group][: max(0, cap - have[group])]
        times = max(1, min(settings.repeat, settings.repeat_to // len(kept))) if kept else 0
        chosen += kept * times
    return chosen
