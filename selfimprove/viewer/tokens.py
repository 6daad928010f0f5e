"""A text token by token, each by how likely it was when it was sampled, as `engine.token_logprobs` keeps it."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from markupsafe import Markup

from selfimprove.viewer.text import MAX_TEXT, line, plain, safe

MAX_TOKENS = 4000
LEAST = 10  # tokens that are named as the least likely ones
BOUNDS = (0.9, 0.5, 0.1, 0.01)  # of a token's probability, below each of which its colour is a stronger one


@dataclass(frozen=True)
class Weighed:
    """A text with its tokens marked, and those of them that were least likely."""

    text: Markup
    least: Sequence[tuple[Markup, float, int]]
    """The token, its probability, and its number."""
    more: int
    """Tokens that are not shown."""


def weigh(record: Mapping[str, Any]) -> Weighed | None:
    """A record's text by its tokens; None where nothing is kept of them, or where it is not this text's."""
    text, lengths, costs = (record.get(name) for name in ("text", "token_lengths", "token_costs"))
    if not text or not lengths or not costs or len(lengths) != len(costs) or None in (*lengths, *costs):
        return None
    ends = list(accumulate(max(0, one) for one in lengths))
    if ends[-1] != len(text):
        return None
    count = min(MAX_TOKENS, bisect_right(ends, MAX_TEXT))
    chances = [math.exp(-max(0, one) / 100) for one in costs[:count]]
    tokens = [text[end - max(0, length) : end] for end, length in zip(ends[:count], lengths[:count], strict=True)]
    mark = Markup('<span class="cost-{}" title="{}">{}</span>')
    parts = [
        mark.format(sum(chance < bound for bound in BOUNDS), plain(f"token {at}: {name_chance(chance)}"), safe(token))
        for at, (token, chance) in enumerate(zip(tokens, chances, strict=True), 1)
    ]
    order = sorted(range(len(chances)), key=lambda at: (chances[at], at))[:LEAST]
    least = [(line(tokens[at], 40), chances[at], at + 1) for at in order if chances[at] < BOUNDS[1]]
    return Weighed(Markup("").join(parts), least, len(lengths) - len(tokens))


def name_chance(chance: float) -> str:
    """A probability in a few characters."""
    return f"{100 * chance:.1f}%" if chance >= 0.001 else "less than 0.1%"
