"""Ask a model which of two responses is better."""

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from pydantic import PositiveInt, field_validator

from selfimprove.constitution import Principle
from selfimprove.constitution.transcript import Prompter
from selfimprove.engines import Engine, Request
from selfimprove.recipe import Sampling
from selfimprove.records import Comparison, Problem, Rationale, Revision, by_id, derive_seed, replace_surrogates
from selfimprove.records.stats import correlation
from selfimprove.settings import Settings, Share
from selfimprove.stages.base import Desk

COMPARE_VERSION = 1


class Feedback(Settings):
    """Have a model say which of two responses to one prompt is better, by a principle (Constitutional AI, section 4.1).

    The recipe's `judge` is asked; the run's first model without one.
    """

    per_problem: PositiveInt = 1
    """At most n comparisons for each problem."""
    thought: bool = False
    """Ask for a chain of thought first."""
    clamp: tuple[Share, Share] = (0.4, 0.6)
    """With a chain of thought, probabilities are clamped to this range, because they are nearly always 0 or 1."""

    @field_validator("clamp")
    @classmethod
    def _in_order(cls, clamp: tuple[float, float]) -> tuple[float, float]:
        if clamp[0] > clamp[1]:
            raise ValueError("should be a lower and a higher probability")
        return clamp

    tie: Share = 0.02
    """Drop pairs with a smaller margin than this."""
    max_tokens: PositiveInt = 128
    """The longest chain of thought in tokens."""


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


def compare_responses(
    desk: Desk[Settings],
    settings: Feedback,
    rationales: Sequence[Rationale],
    revisions: Mapping[str, Revision],
    problems: Mapping[str, Problem],
) -> list[Comparison]:
    """What a model prefers among the responses to each open prompt."""
    matches = []
    for problem, first, second in pair_responses(rationales, revisions, problems, settings.per_problem):
        principles = desk.constitution.applying("preference", problem.task, (problem.group,))
        rng = random.Random(derive_seed(desk.seed, "compare", desk.round, first.id, second.id))
        if principles:
            principle = rng.choices(principles, weights=[one.weight for one in principles])[0]
            matches.append(Match(problem, first, second, principle))
    if not matches:
        return []
    judge, prompter = desk.judge()
    compared = compare(
        matches,
        engine=desk.engine(judge),
        checkpoint=judge.id,
        prompter=prompter,
        settings=settings,
        round_=desk.round,
        seed=desk.seed,
    )
    length = {one.id: len(one.text) for one in rationales}
    less = preferred_less(compared, settings.tie) & revisions.keys()
    judged = {name for one in compared for name in one.parents[:2]} & revisions.keys()
    found = {"revisions": len(judged), "revisions preferred less": len(less)} if judged else {}
    desk.note("comparisons", {**measure_comparisons(compared, length, settings.tie), **found})
    return compared


def preferred_less(compared: Sequence[Comparison], tie: float) -> set[str]:
    """The rationales that lost a comparison by more than a tie."""
    lost = (one for one in compared if abs(2 * one.preferred - 1) >= max(tie, 1e-9))
    return {one.parents[1] if one.preferred > 0.5 else one.parents[0] for one in lost}


def pair_responses(
    rationales: Sequence[Rationale],
    revisions: Mapping[str, Revision],
    problems: Mapping[str, Problem],
    limit: int,
) -> Iterator[tuple[Problem, Rationale, Rationale]]:
    """Pairs of responses to one open prompt: a last revision and what it began with, then any others."""
    superseded = {one.response for one in revisions.values() if one.kept}
    by = by_id(rationales)
    of_problem: dict[str, list[Rationale]] = defaultdict(list)
    for one in rationales:
        revised = revisions.get(one.id)
        last = revised is not None and revised.kept and one.id not in superseded
        if problems[one.problem].is_open and one.finish == "stop" and one.text.strip() and (not revised or last):
            of_problem[one.problem].append(one)

    def begins_with(one: Rationale) -> str:
        while one.id in revisions:
            one = by[revisions[one.id].response]
        return one.id

    for name, found in of_problem.items():
        pairs = [(one, other) for one, other in combinations(found, 2) if one.text.split() != other.text.split()]
        related = sorted(pairs, key=lambda pair: begins_with(pair[0]) != begins_with(pair[1]))  # stable
        for first, second in related[:limit]:
            yield problems[name], first, second


def measure_comparisons(compared: Sequence[Comparison], length: Mapping[str, int], tie: float) -> dict[str, object]:
    """Counts, how much the place decided, and whether the longer text is preferred (Pearson's correlation)."""
    differences = [length[one.parents[0]] - length[one.parents[1]] for one in compared]
    preferred = [one.preferred for one in compared]
    return {
        "compared": len(compared),
        "ties": sum(abs(2 * one - 1) < tie for one in preferred),
        "for the first place": sum((one.forward + one.backward) / 2 for one in compared) / len(compared),
        "correlation with length": correlation(differences, preferred),
    }


def describe_comparisons(metrics: Mapping[str, object] | None, *, trained: bool) -> str:
    """How a model's comparisons came out: ties, the pull of the first place, and that of the longer text; `trained`
    says that what it prefers less is trained all the same."""
    if not metrics:
        return ""
    length = metrics["correlation with length"]
    less = metrics.get("revisions preferred less")
    worse = f"; {less} of {metrics['revisions']} revisions are preferred less than another response" if less else ""
    same = ", and trained all the same (see 'sft.preferred_less')" if less and trained else ""
    return (
        f"{worse}{same}; {metrics['compared']} comparisons, {metrics['ties']} of them ties, the first place has a "
        f"probability of {metrics['for the first place']:.2f}, correlation with length "
        f"{'unknown' if length is None else format(length, '.2f')}"
    )
