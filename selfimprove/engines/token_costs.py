"""How likely each sampled token was, as it is kept with `engine.token_logprobs`: two numbers a token."""

import math
from collections.abc import Sequence
from typing import Any

Weighed = tuple[tuple[int, ...], tuple[int, ...]]
LONGEST_CHARACTER = 8  # tokens that one character is written with, at most
NEVER = 100_000  # hundredths of a nat: what is as unlikely as this has no other cost


def weigh_tokens(
    tokenizer: Any, ids: Sequence[int] | None, text: str, logprobs: Sequence[float] | None
) -> Weighed | None:
    """How many characters of a text each of its tokens wrote, and how unlikely it was; None where that cannot be told.

    A character that several tokens write together is the last one's.
    """
    lengths, at = list[int](), 0
    before, group = list[int](), list[int]()
    for one in ids or ():
        group.append(one)
        # What a token says may hang on the one before: some write no space at the beginning of a text.
        said = str(tokenizer.decode([*before, *group], skip_special_tokens=False))
        said = said[len(str(tokenizer.decode(before, skip_special_tokens=False))) if before else 0 :]
        if text.startswith(said, at) and not said.endswith("\ufffd"):
            lengths += [*[0] * (len(group) - 1), len(said)]
            at, before, group = at + len(said), group, []
        elif len(group) > LONGEST_CHARACTER:
            return None
    if not lengths or group or at != len(text) or logprobs is None or len(logprobs) < len(lengths):
        return None
    # A server may round a probability up to more than 1, and what never happens has no cost that could be written.
    costs = (min(NEVER, max(0, round(-100 * one))) if math.isfinite(one) else NEVER for one in logprobs[: len(lengths)])
    return tuple(lengths), tuple(costs)
