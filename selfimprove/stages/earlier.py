"""Wrong responses of earlier rounds that a round takes up once more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfimprove.records import Problem, Rationale, Revision, Verdict, by_id, derive_seed
from selfimprove.stages.base import Desk
from selfimprove.stages.revise import Revise


@dataclass(frozen=True)
class Earlier:
    """Wrong responses of earlier rounds that are criticised and revised once more."""

    responses: list[Rationale]
    problems: dict[str, Problem]
    verdicts: dict[str, Verdict]


def read_earlier(desk: Desk[Any]) -> Earlier:
    """The earlier responses that a round takes up: other ones in each round, each text once."""
    settings = desk.find(Revise)
    found: dict[tuple[str, str], Rationale] = {}
    problems: dict[str, Problem] = {}
    verdicts: dict[str, Verdict] = {}
    for before in range(1, desk.round) if settings and settings.earlier else ():
        problems |= by_id(desk.read_of(before, Problem, "frontier"))
        wrong = {one.rationale: one for one in desk.read_of(before, Verdict, "verify") if one.outcome == "incorrect"}
        verdicts |= wrong
        for one in desk.read_of(before, Rationale, "generate"):
            if one.id in wrong and one.finish == "stop":
                found.setdefault((one.problem, one.text), one)
    order = sorted(found.values(), key=lambda one: derive_seed(desk.seed, "earlier", desk.round, one.id))
    responses = order[: settings.earlier] if settings else []
    return Earlier(
        responses,
        {one.problem: problems[one.problem] for one in responses},
        {one.id: verdicts[one.id] for one in responses},
    )


@dataclass(frozen=True)
class Written:
    """All that a round wrote for training problems: what is looked at as a whole."""

    rationales: list[Rationale]
    problems: Mapping[str, Problem]
    verdicts: Mapping[str, Verdict]
    """By rationale."""
    revisions: Mapping[str, Revision]
    """By rationale."""
    earlier: Earlier


def read_written(desk: Desk[Any]) -> Written:
    """What the stages of this round wrote before this one, with what they took up of earlier rounds."""
    earlier = read_earlier(desk)
    return Written(
        rationales=desk.read(Rationale),
        problems={**desk.by_id(Problem), **earlier.problems},
        verdicts={**{one.rationale: one for one in desk.read(Verdict)}, **earlier.verdicts},
        revisions={one.rationale: one for one in desk.read(Revision)},
        earlier=earlier,
    )
