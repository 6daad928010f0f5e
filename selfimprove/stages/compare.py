"""Ask a model which of two responses is better."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from selfimprove.constitution import Principle
from selfimprove.constitution.transcript import Prompter
from selfimprove.engines import Engine, Request
from selfimprove.recipe import Feedback, Sampling
from selfimprove.records import Comparison, Problem, Rationale, derive_seed, replace_surrogates

VERSION = 1


@dataclass(frozen=True)
class Match:
    """Two responses to one prompt, and the principle by which they are compared."""

    problem: Problem
    first: Rationale
    second: Rationale
    principle: Principle


def compare(
    matches: Sequence[Match],
    *,
    engine: Engine,
    checkpoint: str,
    prompter: Prompter,
    settings: Feedback,
    round_: int,
    seed: int,
) -> list[Comparison]:
    """Compare by the log-probabilities of the options (A) and (B), once in each order (Constitutional AI, section 4.1).

    A judge that goes by the place alone comes out at exactly 0.5, and so does a pair that is too long for the model.
    With a chain of thought the probability of each order is clamped, because after it the model is nearly always
    certain.
    """
    orders = [(match, swapped) for match in matches for swapped in (False, True)]
    thoughts: list[str | None] = [None] * len(orders)
    tokens, unthought = [0] * len(orders), [False] * len(orders)
    if settings.thought:
        asked = [
            Request(
                prompter.reasoning(match.principle, match.problem.question, *_texts(match, swapped)),
                derive_seed(seed, round_, "compare", match.first.id, match.second.id, swapped),
            )
            for match, swapped in orders
        ]
        sampling = Sampling(temperature=0.0, max_tokens=settings.max_tokens)
        for completion in engine.generate(asked, sampling, prompter.thought_stop):
            unthought[completion.index] = completion.finish == "too_long"
            thoughts[completion.index] = replace_surrogates(completion.text)
            tokens[completion.index] = completion.tokens
    prompts = [
        prompter.comparison(match.principle, match.problem.question, *_texts(match, swapped), thought)
        for (match, swapped), thought in zip(orders, thoughts, strict=True)
    ]
    scores = engine.score([(prompt, option) for prompt in prompts for option in prompter.options])
    low, high = settings.clamp if settings.thought else (0.0, 1.0)
    chances = [
        min(high, max(low, _chance(scores[at].logprob, scores[at + 1].logprob))) for at in range(0, len(scores), 2)
    ]
    for at in range(len(matches)):
        if any(unthought[2 * at : 2 * at + 2]) or any(
            one.too_long for one in scores[4 * at : 4 * at + 4]
        ):  # one order alone would only show the place
            chances[2 * at : 2 * at + 2] = [0.5, 0.5]
    return [
        Comparison(
            parents=(match.first.id, match.second.id, checkpoint),
            principle=match.principle.id,
            constitution=prompter.constitution.label,
            prompt=prompts[2 * at],
            reasoning=tuple(one for one in thoughts[2 * at : 2 * at + 2] if one is not None),
            forward=chances[2 * at],
            backward=chances[2 * at + 1],
            round=round_,
            tokens=sum(tokens[2 * at : 2 * at + 2]),
        )
        for at, match in enumerate(matches)
    ]


def _texts(match: Match, swapped: bool) -> tuple[str, str]:
    return (match.second.text, match.first.text) if swapped else (match.first.text, match.second.text)


def _chance(first: float, second: float) -> float:
    """The probability of the first of two options, given that it is one of them."""
    return 1 / (1 + math.exp(min(700.0, second - first)))
