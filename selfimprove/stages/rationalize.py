"""Show the answer as a hint where the model failed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import NonNegativeFloat

from selfimprove.recipe import Sampling
from selfimprove.records import Problem, Rationale, Record, Verdict
from selfimprove.stages.base import SHOWN, Desk, Stage, Writer, chunks
from selfimprove.stages.failed import Retry, cost, depends, find_failed, sampled, some
from selfimprove.stages.generate import Generate, generate
from selfimprove.stages.verify import judge_written, say


class Rationalize(Retry):
    """Show the answer as a hint where no sample was correct (STaR, section 3.2)."""

    enabled: bool = True
    """Turn rationalization off without removing its settings."""
    temperature: NonNegativeFloat | None = None
    """By default the temperature of `generate`."""


def rationalize(
    problems: Sequence[Problem],
    *,
    writer: Writer,
    render_hint: Callable[[Problem], str],
    sampling: Sampling,
    samples: int,
    purpose: str = "rationalize",
) -> Iterator[Rationale]:
    """Ask for the reasoning behind a given answer (STaR, section 3.2). The hint never reaches a trained prompt."""
    return generate(
        problems,
        writer=writer,
        render=render_hint,
        sampling=sampling,
        samples=samples,
        origin="rationalized",
        purpose=purpose,
    )


def parts(desk: Desk[Rationalize]) -> list[Sequence[Any]]:
    return chunks(some(find_failed(desk), desk.settings.limit), desk.settings.part_size)


def write(problems: Sequence[Problem], desk: Desk[Rationalize]) -> Iterator[Record]:
    """What the model writes with the answer in sight, and its verdicts."""
    settings, generate_ = desk.settings, desk.other(Generate)
    temperature = generate_.temperature if settings.temperature is None else settings.temperature
    rationales = rationalize(
        problems,
        writer=desk.writer(desk.incumbent),
        render_hint=desk.prompts.render_hint,
        sampling=generate_.model_copy(update={"temperature": temperature}),
        samples=settings.samples,
        purpose=desk.name,
    )
    return judge_written(problems, rationales, desk)


RATIONALIZE = Stage(
    name="rationalize",
    version=1,
    settings=Rationalize,
    writes=Rationale,
    also=(Verdict,),
    reads=sampled,
    needs=(Problem, Rationale, Verdict),
    parts=parts,
    run=write,
    uses=SHOWN,
    depends=depends,
    enabled=lambda settings: settings.enabled,
    asks="policy",
    hints=True,
    per_item=lambda desk: desk.settings.samples,
    say=say,
    cost=cost,
)
