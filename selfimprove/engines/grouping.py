"""Which prompts have their beginning computed and held together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from transformers.cache_utils import Cache

from selfimprove.engines.attention import Span

SHARED_PREFIX = 32  # a beginning of fewer tokens is not worth a call of its own
LEAST_CALL = 32.0  # what a group costs at the least, in tokens computed for a prompt
LAYER_CALL, LAYER_STEP = 3e-4, 1e-4  # seconds a layer of the group's own call, and of its part in each step, on a CPU
PARAMETER = 4e-11  # seconds a parameter and token: two operations at 50 billion a second
HELD = 0.125  # what it costs a sample to hold and read a token, where computing it costs its prompt 1
MOST_LAST = 8  # last tokens that may differ while what stands before them is computed once
SAVED = 0.5  # of the tokens, at the least: for little the other order of sums is not worth it
DEEPEST = 8  # beginnings within beginnings; those of templates, exemplars and prompts are three


@dataclass(frozen=True)
class Group:
    """Prompts, by their numbers, whose first `length` tokens are equal and computed once."""

    length: int
    members: tuple[int, ...]


def count_call(layers: int, parameters: int, steps: int) -> float:
    """What a group costs, in tokens computed for a prompt: much for tiny models, whose tokens cost next to nothing."""
    return max(LEAST_CALL, layers * (LAYER_CALL + steps * LAYER_STEP) / (parameters * PARAMETER))


def group_prompts(prompts: Sequence[list[int]], samples: Sequence[int], call: float = LEAST_CALL) -> list[Group]:
    """The cheapest groups of different prompts; `samples` are the rows of each, and a group costs `call` tokens.

    A prompt may be in none. A group's length leaves each prompt a last token, whose logits are what comes next.
    """
    order = sorted(range(len(prompts)), key=prompts.__getitem__)
    return _plan(prompts, samples, order, call, 0)[1]


def _plan(
    prompts: Sequence[list[int]], samples: Sequence[int], order: Sequence[int], call: float, depth: int
) -> tuple[float, list[Group]]:
    """The cost of some prompts in the order of their tokens, and its groups."""
    if not order:
        return 0.0, []
    weights = [1 + HELD * samples[at] for at in order]
    lengths = [len(prompts[at]) for at in order]
    plans = [(sum(length * weight for length, weight in zip(lengths, weights, strict=True)), list[Group]())]
    common = _count_common(prompts[order[0]], prompts[order[-1]])
    shared = min(common, min(lengths) - 1)
    if shared >= SHARED_PREFIX:
        rest = sum((length - shared) * weight for length, weight in zip(lengths, weights, strict=True))
        plans.append((call + shared + rest, [Group(shared, tuple(order))]))
    if len(order) > 1 and depth < DEEPEST:
        parts = [_plan(prompts, samples, part, call, depth + 1) for part in _split(prompts, order, common)]
        plans.append((sum(cost for cost, _ in parts), [group for _, groups in parts for group in groups]))
    return min(plans, key=lambda plan: plan[0])  # the first of equal ones: fewest groups


def _split(prompts: Sequence[list[int]], order: Sequence[int], at: int) -> list[list[int]]:
    """Prompts that agree on their first `at` tokens, by the next one."""
    parts: dict[int | None, list[int]] = {}
    for one in order:
        parts.setdefault(prompts[one][at] if len(prompts[one]) > at else None, []).append(one)
    return list(parts.values())


def _count_common(one: list[int], other: list[int]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def count_last(prompts: Sequence[list[int]], groups: Sequence[int], call: float) -> int:
    """How many last tokens of each prompt are best computed apart, after what several of a group have before them; 0
    where at least half of all tokens would be computed all the same, another call costing as much as `call` tokens."""
    if not prompts:
        return 0
    whole = len(prompts) * max(map(len, prompts))

    def cost(last: int) -> float:
        stems = {(group, tuple(one[:-last])) for group, one in zip(groups, prompts, strict=True)}
        return call + len(stems) * max(len(stem) for _, stem in stems) + last * len(prompts)

    best = min(range(1, min(MOST_LAST + 1, *map(len, prompts))), key=cost, default=0)
    return best if best and cost(best) <= SAVED * whole else 0


def group_stems(prompts: Sequence[list[int]], samples: Sequence[int], call: float) -> list[Group]:
    """The same groups for prompts that differ in their last tokens alone, which are no reason for a group."""
    if not (last := count_last(prompts, [0] * len(prompts), call)):
        return group_prompts(prompts, samples, call)
    stems: dict[tuple[int, ...], list[int]] = {}
    for at, prompt in enumerate(prompts):
        stems.setdefault(tuple(prompt[:-last]), []).append(at)
    members = list(stems.values())
    groups = group_prompts([list(stem) for stem in stems], [sum(samples[at] for at in one) for one in members], call)
    return [Group(one.length, tuple(at for stem in one.members for at in members[stem])) for one in groups]


class Beginnings:
    """What the prompts of a call share; each beginning is computed when the first batch needs it, and then held until
    the last that does is done, as batches come in the order of `number`."""

    def __init__(
        self, prompts: Mapping[str, list[int]], groups: Sequence[Group], compute: Callable[[list[int]], Cache]
    ) -> None:
        self._groups, self._compute = groups, compute
        texts = list(prompts)
        self._prompts = prompts
        self._numbers = {texts[at]: number for number, group in enumerate(groups) for at in group.members}
        self._tokens = [prompts[texts[group.members[0]]][: group.length] for group in groups]
        self._held: dict[int, Cache] = {}

    def number(self, prompt: str) -> int:
        """A prompt's group; -1 for none."""
        return self._numbers.get(prompt, -1)

    def length(self, prompt: str) -> int:
        """How many tokens a prompt shares."""
        number = self.number(prompt)
        return 0 if number < 0 else self._groups[number].length

    def rest(self, prompt: str) -> list[int]:
        """A prompt's own tokens, at least one."""
        return self._prompts[prompt][self.length(prompt) :]

    def tail(self, prompt: str) -> int:
        """How many they are."""
        return len(self._prompts[prompt]) - self.length(prompt)

    def order(self, numbers: Sequence[int], prompts: Sequence[str], then: Sequence[int] | None = None) -> list[int]:
        """Numbers of prompts as they make batches: equal ones together, and rows of equal length need no padding."""

        def key(at: int) -> tuple[int, int, str, int, int]:
            prompt = prompts[at]
            return self.number(prompt), self.tail(prompt), prompt, then[at] if then else 0, at

        return sorted(numbers, key=key)

    def spans(self, numbers: Sequence[int]) -> list[Span]:
        """What the rows of a batch share, by the groups of its rows, which stand together."""
        found, start = [], 0
        for number, rows in groupby(numbers):
            stop = start + len(list(rows))
            if number >= 0:
                if number not in self._held:
                    self._held = {one: cache for one, cache in self._held.items() if one in numbers}
                    self._held[number] = self._compute(self._tokens[number])
                found.append(Span(start, stop, self._groups[number].length, self._held[number]))
            start = stop
        return found
