"""Wrong responses of earlier rounds that a round takes up once more."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from heapq import nsmallest

from selfimprove.records import Problem, Rationale, Revision, Verdict, by_id, derive_seed
from selfimprove.settings import Settings
from selfimprove.stages.base import Desk
from selfimprove.stages.revise import Revise
from selfimprove.store.join import Judged

OF_RATIONALE = ("parents", "text", "finish")


@dataclass(frozen=True)
class Earlier:
    """Wrong responses of earlier rounds that are criticised and revised once more."""

    responses: list[Rationale]
    problems: dict[str, Problem]
    verdicts: dict[str, Verdict]


def read_earlier(desk: Desk[Settings]) -> Earlier:
    """The earlier responses that a round takes up: other ones in each round, each text once."""
    settings = desk.find(Revise)
    if not settings or not settings.earlier or desk.round < 2:
        return Earlier([], {}, {})
    rounds = range(1, desk.round)
    rationales = {one: desk.scan_of(one, Rationale, "generate") for one in rounds}
    verdicts = {one: desk.scan_of(one, Verdict, "verify") for one in rounds}

    def wrong() -> Iterator[str]:
        """The wrong responses, of those with the same text the first one."""
        seen: set[bytes] = set()
        for one in rounds:
            judged = Judged(rationales[one], verdicts[one], of_rationale=OF_RATIONALE, of_verdict=["outcome"],
                            all_judged=False)  # fmt: skip
            for response, verdict in judged:
                if verdict.outcome != "incorrect" or response.finish != "stop":
                    continue
                if (text := fold(response.problem, response.text)) not in seen:
                    seen.add(text)
                    yield response.id

    chosen = nsmallest(settings.earlier, wrong(), key=lambda one: derive_seed(desk.seed, "earlier", desk.round, one))
    by = by_id(one for rows in rationales.values() for one in rows.find(set(chosen)))
    responses = [by[one] for one in chosen]
    asked = {one.problem for one in responses}
    return Earlier(
        responses,
        by_id(one for before in rounds for one in desk.scan_of(before, Problem, "frontier").find(asked)),
        {one.rationale: one for rows in verdicts.values() for one in rows.find(set(chosen), "parents")},
    )


def fold(*texts: str) -> bytes:
    """A hash that stands for texts where many are looked for."""
    return blake2b("".join([f"{len(one)}:{one}" for one in texts]).encode(), digest_size=16).digest()


def read_problems(desk: Desk[Settings]) -> dict[str, Problem]:
    """The problems of a round by id, unchecked."""
    return by_id(desk.scan(Problem).pick(*Problem.model_fields))


@dataclass(frozen=True)
class Written:
    """All that a round wrote for training problems: what is looked at as a whole."""

    judged: Judged
    revisions: Mapping[str, Revision]
    """By rationale."""
    earlier: Earlier
    read: Callable[[], dict[str, Problem]]
    """This round's problems."""

    @cached_property
    def problems(self) -> Mapping[str, Problem]:
        """This round's problems and those of the earlier responses, by id; read when they are first asked for."""
        return {**self.read(), **self.earlier.problems}


def read_written(desk: Desk[Settings]) -> Written:
    """What the stages of this round wrote before this one, with what they took up of earlier rounds."""
    earlier = read_earlier(desk)
    return Written(
        judged=Judged(desk.scan(Rationale), desk.scan(Verdict)),
        revisions={one.rationale: one for one in desk.read(Revision)},
        earlier=earlier,
        read=lambda: read_problems(desk),
    )
