"""Problems that isolate a step: where the texts of a group go wrong first, and problems in which only that is hard."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from selfimprove.records import Frontier, Problem, Rationale, Verdict, by_id
from selfimprove.settings import Settings
from selfimprove.stages.base import Desk
from selfimprove.store.join import Judged
from selfimprove.tasks import Isolating, Task

FEWEST = 10
"""Texts that go wrong in a group, of which fewer say little of where."""


@dataclass(frozen=True)
class Failing:
    """The step at which most of a group's wrong texts go wrong first."""

    step: int
    """Its place in a text, from 0."""
    texts: int
    wrong: int
    """Of how many."""

    @property
    def said(self) -> str:
        return f"step {self.step + 1}, where {self.texts} of {self.wrong} wrong texts go wrong first"


def read_failing(desk: Desk[Settings], round_: int) -> dict[str, Failing]:
    """The failing step of each group by the samples of a round."""
    problems = by_id(desk.scan_of(round_, Problem, "frontier", "propose").pick("group"))
    judged = Judged(desk.scan_of(round_, Rationale, "generate", "rl"), desk.scan_of(round_, Verdict, "verify", "rl"),
                    of_rationale=["parents"], of_verdict=["steps"], all_judged=False)  # fmt: skip
    return find_failing(problems, judged)


def find_failing(problems: Mapping[str, Problem], judged: Iterable[tuple[Rationale, Verdict]]) -> dict[str, Failing]:
    """The same of texts with their verdicts; where no step is wrong, or the texts are few, a group has none."""
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for rationale, verdict in judged:
        first = next((at for at, step in enumerate(verdict.steps) if step.outcome == "incorrect"), None)
        if first is not None and (problem := problems.get(rationale.problem)):
            found[problem.group][first] += 1
    failing = {}
    for group, counts in found.items():
        step, texts = min(counts.items(), key=lambda one: (-one[1], one[0]))
        if (wrong := counts.total()) >= FEWEST:
            failing[group] = Failing(step, texts, wrong)
    return failing


def draw_group(task: Task, decision: Frontier, isolated: int, failing: Failing | None, seed: int) -> list[Problem]:
    """The problems of a group, so many of them isolating its failing step as far as there are any; none twice."""
    first: Sequence[Problem] = ()
    if isolated and failing and isinstance(task, Isolating):
        first = task.isolate(decision.group, failing.step, isolated, seed)
    if not first:
        return task.draw(decision.group, decision.draw, seed)
    there = {one.question for one in first}
    others = [one for one in task.draw(decision.group, decision.draw, seed) if one.question not in there]
    return [*first, *others][: decision.draw]
