"""Count what was answered right on held-out problems."""

from collections.abc import Iterator, Mapping, Sequence

from selfimprove.records import Evaluation, Problem, Rationale, Verdict
from selfimprove.stats import wilson

VERSION = 1


def evaluate(
    problems: Sequence[Problem], rationales: Sequence[Rationale], verdicts: Mapping[str, Verdict], checkpoint: str
) -> Iterator[Evaluation]:
    """One evaluation a group of problems; `verdicts` is by rationale. Undecided answers are counted beside `n`."""
    verdict_of = {one.problem: verdicts[one.id] for one in rationales}
    groups: dict[tuple[str, int, str], list[Verdict]] = {}
    for problem in problems:
        groups.setdefault((problem.task, problem.level, problem.group), []).append(verdict_of[problem.id])
    for (task, level, group), found in groups.items():
        correct = sum(one.outcome == "correct" for one in found)
        undecided = sum(one.outcome == "undecided" for one in found)
        low, high = wilson(correct, len(found) - undecided)
        yield Evaluation(
            parents=(checkpoint, *(one.id for one in found)),
            task=task,
            level=level,
            group=group,
            n=len(found) - undecided,
            correct=correct,
            undecided=undecided,
            wrong_reason=sum(one.wrong_reason for one in found),
            low=low,
            high=high,
        )
