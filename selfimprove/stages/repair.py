"""Let the model try again from its last right step."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from selfimprove.recipe import Sampling
from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.stages.generate import Beginning, Writer, generate

VERSION = 1


def right_part(text: str, verdict: Verdict) -> str:
    """What stands before the first wrong step; nothing where no step is wrong, for then the fault is not known."""
    starts = [step.start for step in verdict.steps if step.outcome == "incorrect"]
    return text[: min(starts)] if starts else ""


def find_beginnings(rationales: Iterable[Rationale], verdicts: Mapping[str, Verdict]) -> dict[str, Beginning]:
    """For each problem the longest right part of its samples; `verdicts` is by rationale."""
    best: dict[str, Beginning] = {}
    for rationale in rationales:
        part = right_part(rationale.text, verdicts[rationale.id])
        if part and len(part) > len(best[rationale.problem].text if rationale.problem in best else ""):
            best[rationale.problem] = Beginning(rationale.id, part)
    return best


def repair(
    problems: Sequence[Problem],
    *,
    beginnings: Mapping[str, Beginning],
    writer: Writer,
    render: Callable[[Problem], str],
    sampling: Sampling,
    samples: int,
) -> Iterator[Rationale]:
    """Write on after the last right step, where no sample of a problem was right.

    The step checker says where a sample went wrong, so a rare right step need not be found together with all the
    steps before it; a rule that is wrong in the same place each time is left behind this way.
    """
    return generate(
        [one for one in problems if one.id in beginnings],
        writer=writer,
        render=render,
        sampling=sampling,
        samples=samples,
        origin="revised",
        purpose="repair",
        beginnings=beginnings,
    )
