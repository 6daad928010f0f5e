"""Pick options by their log-probability: what evaluation does where nothing is written."""

from collections.abc import Callable, Iterator, Sequence

from selfimprove.engines import Score
from selfimprove.records import Problem, Rationale
from selfimprove.stages.generate import Writer

AT_ONCE = 64  # problems scored together: progress is seen after each


def pick_options(
    problems: Sequence[Problem], *, writer: Writer, render: Callable[[Problem], str]
) -> Iterator[Rationale]:
    """For each problem the option that is most likely after the prompt (Askell et al., 2021, section 2.1).

    The log-probability of an option is the sum over its tokens, without an end token. Nothing is picked where two are
    equally likely, and a problem with an option that the model has no room for is too long.
    """
    for start in range(0, len(problems), AT_ONCE):
        part = [(problem, render(problem)) for problem in problems[start : start + AT_ONCE]]
        scores = iter(writer.engine.score([(prompt, option) for problem, prompt in part for option in problem.options]))
        for problem, prompt in part:
            yield _pick(problem, prompt, [(next(scores), option) for option in problem.options], writer)


def _pick(problem: Problem, prompt: str, scored: list[tuple[Score, str]], writer: Writer) -> Rationale:
    too_long = any(score.too_long for score, _ in scored)
    best, option = max(scored, key=lambda one: one[0].logprob)
    picked = not too_long and sum(score.logprob == best.logprob for score, _ in scored) == 1
    return Rationale(
        parents=(problem.id, writer.checkpoint),
        prompt=prompt,
        text=option if picked else "",
        answer=option if picked else None,
        origin="sampled",
        round=writer.round,
        sample=0,
        seed=0,
        temperature=0.0,
        top_p=1.0,
        tokens=0 if too_long else best.tokens,
        logprob=0.0 if too_long else best.logprob,
        finish="too_long" if too_long else "stop",
    )
