"""Let the model try again from its last right step."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import NonNegativeFloat, PositiveInt

from selfimprove.recipe import Sampling
from selfimprove.records import Problem, Rationale, Record, Verdict
from selfimprove.stages.base import SHOWN, Desk, Stage, Writer, chunks
from selfimprove.stages.failed import Retry, cost, depends, find_failed, sampled, some
from selfimprove.stages.generate import Beginning, Generate, generate
from selfimprove.stages.verify import judge_written, say
from selfimprove.store.join import Judged


class Repair(Retry):
    """Write on after the last right step where no sample was right; needs a verifier that checks steps."""

    samples: PositiveInt = 4
    """Attempts for each problem."""
    temperature: NonNegativeFloat = 1.3
    """Higher than generation's: the likeliest next step was the wrong one."""


def right_part(text: str, verdict: Verdict) -> str:
    """What stands before the first wrong step; nothing where no step is wrong, for then the fault is not known."""
    starts = [step.start for step in verdict.steps if step.outcome == "incorrect"]
    return text[: min(starts)] if starts else ""


def find_beginnings(judged: Iterable[tuple[Rationale, Verdict]]) -> dict[str, Beginning]:
    """For each problem the longest right part of its samples."""
    best: dict[str, Beginning] = {}
    for rationale, verdict in judged:
        part = right_part(rationale.text, verdict)
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
    purpose: str = "repair",
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
        purpose=purpose,
        beginnings=beginnings,
    )


def beginnings_of(desk: Desk[Repair]) -> dict[str, Beginning]:
    """Of the problems that are tried again."""
    failed = {one.id for one in desk.once(find_failed)}
    judged = Judged(desk.scan(Rationale), desk.scan(Verdict), of_rationale=["parents", "text"], of_verdict=["steps"])
    return find_beginnings(pair for pair in judged if pair[0].problem in failed)


def parts(desk: Desk[Repair]) -> list[Sequence[Any]]:
    begun = desk.once(beginnings_of)
    failed = [one for one in desk.once(find_failed) if one.id in begun]
    return chunks(some(failed, desk.settings.limit), desk.settings.part_size)


def write(problems: Sequence[Problem], desk: Desk[Repair]) -> Iterator[Record]:
    """What the model writes after its last right steps, and its verdicts."""
    rationales = repair(
        problems,
        beginnings=desk.once(beginnings_of),
        writer=desk.writer(desk.incumbent),
        render=desk.prompts.render,
        sampling=desk.other(Generate).model_copy(update={"temperature": desk.settings.temperature}),
        samples=desk.settings.samples,
        purpose=desk.name,
    )
    return judge_written(problems, rationales, desk)


REPAIR = Stage(
    name="repair",
    version=1,
    settings=Repair,
    writes=Rationale,
    also=(Verdict,),
    reads=sampled,
    needs=(Problem, Rationale, Verdict),
    parts=parts,
    run=write,
    uses=SHOWN,
    depends=depends,
    asks="policy",
    per_item=lambda desk: desk.settings.samples,
    say=say,
    cost=cost,
)
