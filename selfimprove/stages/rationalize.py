"""Show the answer as a hint where the model failed."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from selfimprove.recipe import Sampling
from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.stages.generate import Writer, generate

VERSION = 1


def failed_problems(
    problems: Iterable[Problem], rationales: Iterable[Rationale], verdicts: Iterable[Verdict]
) -> list[Problem]:
    """Problems with an answer that was tried and never reached; an undecided sample is no failure."""
    outcomes = {verdict.rationale: verdict.outcome for verdict in verdicts}
    tried: dict[str, set[str]] = {}
    for rationale in rationales:
        tried.setdefault(rationale.problem, set()).add(outcomes[rationale.id])
    return [one for one in problems if one.answer is not None and tried.get(one.id) == {"incorrect"}]


def rationalize(
    problems: Sequence[Problem],
    *,
    writer: Writer,
    render_hint: Callable[[Problem], str],
    sampling: Sampling,
    samples: int,
) -> Iterator[Rationale]:
    """Ask for the reasoning behind a given answer (STaR, section 3.2). The hint never reaches a trained prompt."""
    return generate(
        problems,
        writer=writer,
        render=render_hint,
        sampling=sampling,
        samples=samples,
        origin="rationalized",
        purpose="rationalize",
    )
