"""Pick options by their log-probability: what evaluation does where nothing is written."""

from collections.abc import Callable, Iterator, Sequence

from selfimprove.engines import Score
from selfimprove.records import Problem, Rationale
from selfimprove.stages.base import Writer

AT_ONCE = 64  # problems scored together: progress is seen after each


def pick_options(
    problems: Sequence[Problem],
    *,
    writer: Writer,
    render: Callable[[Problem], str],
    options: Sequence[tuple[str, str]] = (),
) -> Iterator[Rationale]:
    """For each problem the option that is most likely after the prompt (Askell et al., 2021, section 2.1).

    The log-probability of an option is the sum over its tokens, without an end token. Nothing is picked where two are
    equally likely, and a problem with an option that the model has no room for is too long. `options`, texts with the
    answers that they stand for, are scored in place of the problems' own.
    """
    for start in range(0, len(problems), AT_ONCE):
        part = [
            (problem, render(problem), options or [(one, one) for one in problem.options])
            for problem in problems[start : start + AT_ONCE]
        ]
        scores = iter(writer.engine.score([(prompt, text) for _, prompt, shown in part for text, _ in shown]))
        for problem, prompt, shown in part:
            yield _pick(problem, prompt, [(next(scores), *one) for one in shown], writer)


def _pick(problem: Problem, prompt: str, scored: list[tuple[Score, str, str]], writer: Writer) -> Rationale:
    too_long = any(score.too_long for score, _, _ in scored)
    best, option, answer = max(scored, key=lambda one: one[0].logprob)
    picked = not too_long and sum(score.logprob == best.logprob for score, _, _ in scored) == 1
    return Rationale(
        parents=(problem.id, writer.checkpoint),
        prompt=prompt,
        text=option if picked else "",
        answer=answer if picked else None,
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
