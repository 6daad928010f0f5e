"""How much of a text is about its prompt: by likelihood, next to other prompts.

A text that would do after any prompt is no likelier after its own: log p(text | its prompt) less the logarithm of the
mean of p(text | another prompt), in nats a token, is an estimate of their pointwise mutual information.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from selfimprove.engines import Engine
from selfimprove.records import Problem, Rationale, derive_seed

OTHERS = 3  # prompts beside which a text is put


def measure_relevance(
    texts: Sequence[Rationale],
    problems: Mapping[str, Problem],
    render: Callable[[Problem], str],
    engine: Engine,
    *,
    seed: int,
    others: int = OTHERS,
) -> list[float | None]:
    """Nats a token by which each text is likelier after its own prompt than after others, which a hash draws; None for
    an empty text, where there is no other prompt, and where one is too long for the model."""
    prompts = {name: render(one) for name, one in problems.items()}
    drawn = [draw_others(one, prompts, seed, others) if one.text.strip() else [] for one in texts]
    pairs = [
        (prompt, one.text)
        for one, beside in zip(texts, drawn, strict=True)
        if beside
        for prompt in (prompts[one.problem], *beside)
    ]
    scores = iter(engine.score(pairs) if pairs else [])
    found: list[float | None] = []
    for beside in drawn:
        mine = [next(scores) for _ in range(len(beside) + 1)] if beside else []
        known = bool(mine) and not any(one.too_long or not one.tokens for one in mine)
        found.append(information([one.logprob for one in mine], mine[0].tokens) if known else None)
    return found


def draw_others(text: Rationale, prompts: Mapping[str, str], seed: int, count: int) -> list[str]:
    """Prompts of other problems, the same ones whatever part a text is in."""
    own = prompts[text.problem]
    order = sorted(prompts, key=lambda name: derive_seed(seed, "relevance", text.problem, name))
    return list(dict.fromkeys(prompts[name] for name in order if prompts[name] != own))[:count]


def information(logprobs: Sequence[float], tokens: int) -> float:
    """Of a text's log-probabilities, the first after its own prompt: what it tells of that prompt, in nats a token."""
    own, *others = logprobs
    highest = max(others)
    mean = highest + math.log(math.fsum(math.exp(one - highest) for one in others) / len(others))
    return (own - mean) / tokens
