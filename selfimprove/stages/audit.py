"""Whether a reward went up while what it stands for went down: looked at once a policy is trained, from its texts.

It says what has happened and is no alarm: what could warn earlier, such as KL, entropy or the spread of the reward,
also moves where nothing is wrong.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import fmean

from selfimprove.records import Audit, Rollout
from selfimprove.records.stats import is_higher

WINDOWS = 10  # at most, of as many times at which texts were written
FEWEST = 3  # of those in a window
CHANCE = 0.05  # that one of the differences that are looked at is called one where there is none

Window = Sequence[float]


def audit_rollouts(rollouts: Sequence[Rollout], checkpoint: str, measured: Sequence[str]) -> Iterator[Audit]:
    """An audit for each reward that was only measured; none where texts were written too few times to tell.

    Texts that were written at once are one number, their mean: those of one problem are alike.
    """
    texts: dict[int, list[Rollout]] = defaultdict(list)
    for one in rollouts:
        texts[one.step].append(one)
    steps = sorted(texts)
    many = min(WINDOWS, len(steps) // FEWEST)
    if many < 2:
        return
    cuts = [len(steps) * at // many for at in range(many + 1)]
    places = [steps[start:end] for start, end in itertools.pairwise(cuts)]
    for name in measured:
        gold = [[_mean_gold(texts[step], name) for step in some] for some in places]
        reward = [[_mean_reward(texts[step]) for step in some] for some in places]
        known = [[one for one in some if one is not None] for some in (*gold, *reward)]
        if all(len(some) > 1 for some in known):
            yield compare_windows(known[:many], known[many:], places, checkpoint, name)


def compare_windows(
    gold: Sequence[Window], reward: Sequence[Window], places: Sequence[Sequence[int]], checkpoint: str, name: str
) -> Audit:
    """The audit of the means of texts in windows of steps, by tests that hold for all differences together
    (Bonferroni), as the highest window is one of many."""
    highest = max(range(len(gold)), key=lambda at: fmean(gold[at]))
    chance = CHANCE / len(gold)
    return Audit(
        parents=(checkpoint,),
        gold=name,
        reward_first=fmean(reward[0]),
        reward_last=fmean(reward[-1]),
        gold_first=fmean(gold[0]),
        gold_last=fmean(gold[-1]),
        gold_highest=fmean(gold[highest]),
        step=places[highest][len(places[highest]) // 2],
        rose=is_higher(reward[-1], reward[0], chance),
        fell=is_higher(gold[highest], gold[-1], chance),
        worse=is_higher(gold[0], gold[-1], chance),
    )


def _mean_reward(texts: Sequence[Rollout]) -> float | None:
    known = [one.reward for one in texts if one.reward is not None]
    return fmean(known) if known else None


def _mean_gold(texts: Sequence[Rollout], name: str) -> float | None:
    known = [part.value for one in texts for part in one.parts if part.reward == name and part.value is not None]
    return fmean(known) if known else None
