"""What the stages share that try again where all samples of a problem failed."""

from collections.abc import Iterable, Sequence

from pydantic import PositiveInt

from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.settings import Settings, hashed_settings
from selfimprove.stages.base import Cost, Desk, Key, Look, Round
from selfimprove.stages.generate import Generate
from selfimprove.store.join import Judged

SAMPLES = ("frontier", "generate", "verify")


class Retry(Settings):
    """Try problems again on which all samples failed."""

    samples: PositiveInt = 1
    """Attempts for each problem."""
    limit: PositiveInt | None = None
    """At most n failed problems a round, chosen by a hash; by default all."""
    part_size: PositiveInt = 256
    """Problems in a part."""


def failed_problems(problems: Iterable[Problem], judged: Iterable[tuple[Rationale, Verdict]]) -> list[Problem]:
    """Problems with an answer that was tried and never reached; an undecided sample is no failure."""
    failed: dict[str, bool] = {}
    for rationale, verdict in judged:
        failed[rationale.problem] = failed.get(rationale.problem, True) and verdict.outcome == "incorrect"
    return [one for one in problems if one.answer is not None and failed.get(one.id)]


def find_failed(desk: Desk[Settings]) -> list[Problem]:
    """The problems on which all of a round's samples failed."""
    judged = Judged(desk.scan(Rationale), desk.scan(Verdict), of_rationale=["parents"], of_verdict=["outcome"])
    return failed_problems(desk.read(Problem), judged)


def some(problems: list[Problem], limit: int | None) -> list[Problem]:
    """At most `limit` problems, chosen by their ids, which are hashes."""
    return problems if limit is None else sorted(problems, key=lambda one: one.id)[:limit]


def sampled(round_: Round[Settings]) -> list[Key]:
    """The stages that a retry reads: this round's samples with their verdicts, and the checkpoint that wrote them."""
    return [*round_.this(*SAMPLES), round_.incumbent]


def depends(round_: Round[Settings]) -> dict[str, object]:
    """A retry samples as `generate` does, but for its own settings."""
    return {
        **round_.own,
        "sampling": hashed_settings(round_.other(Generate)),
        **round_.shared("answer", "prompt", "open prompt", "model"),
    }


def cost(look: Look[Retry]) -> Sequence[Cost]:
    """At most all problems of a round fail."""
    problems, settings = look.sizes.problems, look.settings
    texts = min(problems, settings.limit or problems) * settings.samples
    return [Cost(texts=texts, longest=look.recipe.of(Generate).max_tokens, measured_as=("generate",), upto=True)]
