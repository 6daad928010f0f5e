"""A stage: of the right texts of each problem, train on the shortest ones."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import PositiveInt

from selfimprove.records import Decision, Example, Problem, Rationale, Record, Verdict
from selfimprove.settings import Settings
from selfimprove.stages.base import Desk, Stage, declare


class Shortest(Settings):
    """Keep the shortest right texts of each problem."""

    keep: PositiveInt = 1
    """Texts of a problem."""


def choose(_: Sequence[Any], desk: Desk[Shortest]) -> Iterator[Record]:
    problems, texts, seen = desk.by_id(Problem), desk.by_id(Rationale), Counter[str]()
    right = [one for one in desk.read(Verdict) if one.outcome == "correct"]
    for verdict in sorted(right, key=lambda one: len(texts[one.rationale].text)):
        text = texts[verdict.rationale]
        problem = problems[text.problem]
        seen[problem.id] += 1
        kept, place = seen[problem.id] <= desk.settings.keep, seen[problem.id]
        yield Decision(parents=(text.id, verdict.id), kept=kept, reason=f"number {place} of the right ones by length")
        if kept:
            prompt = desk.prompts.render_question(problem)
            yield Example(parents=(text.id, verdict.id), prompt=prompt, completion=text.text, origin=text.origin,
                          group=problem.group)  # fmt: skip


declare(Stage(
    name="shortest", version=1, settings=Shortest, writes=Decision, also=(Example,), run=choose, uses=("prompt",),
    reads=lambda round: round.every(Problem, Rationale, Verdict), needs=(Verdict,),
))  # fmt: skip
