"""Whether a judge can be believed: shown an answer and one to another prompt, it should take the first."""

from collections.abc import Iterable, Sequence

from selfimprove.constitution.adherence import Answers, need_judge, score_pair
from selfimprove.constitution.model import Constitution, Principle
from selfimprove.records import Comparison, Rationale
from selfimprove.records.stats import WinRate, count_wins

ASKED = "The answer is about what was asked here and not about something else."
"""What the judge is asked by: who reads can mostly say which of the two follows it."""
LEAST = 4
"""Pairs that a trial takes: of fewer not even a perfect judge does better than chance by the interval."""


def trial_principle(constitution: Constitution) -> Principle:
    """The principle of the trial; none of the constitution has its name."""
    taken = {one.id for one in constitution.principles}
    name = next(name for at in range(len(taken) + 1) if (name := f"right-prompt{at or ''}") not in taken)
    return Principle(id=name, text=ASKED)


def mismatched(answers: Answers, judged: Sequence[str], limit: int) -> list[tuple[str, Rationale, Rationale]]:
    """At most `limit` prompts, each with its answer and the answer to the next one; none where they are too few."""
    names = [name for name in judged if name in answers.texts]
    pairs = [
        (name, answers.texts[name], answers.texts[other])
        for name, other in list(zip(names, [*names[1:], *names[:1]], strict=True))[:limit]
    ]
    found = [one for one in pairs if need_judge(*one[1:])]
    return found if len(found) >= LEAST else []


def count_trial(
    pairs: Iterable[tuple[str, Rationale, Rationale]],
    comparisons: Iterable[Comparison],
    principle: Principle,
    tie: float,
) -> WinRate | None:
    """How often the judge took the answer to the prompt; None where it was not tried."""
    said = {(one.parents[0], one.parents[1]): one.preferred for one in comparisons if one.principle == principle.id}
    scores, differences = [], []
    for _, mine, other in pairs:
        score = score_pair(mine, other, said.get((mine.id, other.id)), tie)
        if score is not None:
            scores.append(score)
            differences.append(float(len(mine.text.strip()) - len(other.text.strip())))
    return count_wins(scores, differences) if scores else None


def passes(trial: WinRate | None) -> bool:
    """Whether the judge does better than chance, by the 95% interval; one that was not tried is believed."""
    return trial is None or trial.interval[0] > 0.5
