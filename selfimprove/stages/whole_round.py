"""What only a look over a whole round tells of a single rationale."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from selfimprove.constitution.adherence import is_whole
from selfimprove.prompting.phrases import find_boilerplate
from selfimprove.records import Problem, Rationale, Revision, Verdict
from selfimprove.stages.vote import Votes

Pairs: TypeAlias = Iterable[tuple[Rationale, Verdict]]


class OpenTexts:
    """Why a response to an open prompt is not trained, or nothing."""

    def __init__(
        self,
        rationales: Iterable[Rationale],
        problems: Mapping[str, Problem],
        revisions: Mapping[str, Revision],
        all_revisions: bool,
        fine: Set[str] = frozenset(),
    ) -> None:
        """Of `rationales` those count that `revisions` names; `fine` are responses that are trained unrevised."""
        self.revisions, self.fine = revisions, fine
        self.superseded = set() if all_revisions else {one.response for one in revisions.values() if one.kept}
        texts: dict[str, list[str]] = defaultdict(list)
        for one in rationales if revisions else ():
            if one.id in revisions and problems[one.problem].is_open:
                texts[problems[one.problem].question].append(one.text)
        self.boilerplate = find_boilerplate(texts)

    def __call__(self, rationale: Rationale) -> str:
        if rationale.id not in self.revisions:
            if rationale.id in self.fine:
                return "" if is_whole(rationale) else "cut off at the length limit, empty, or in circles"
            return "a response to an open prompt that is not a revision"
        if rationale.text in self.boilerplate:
            return "boilerplate: most of it stands in the revisions for other prompts too"
        if rationale.id in self.superseded:
            return "there is a later revision of it"
        return ""


@dataclass(frozen=True)
class WholeRound:
    """What a look over a round brought."""

    why_not_open: OpenTexts
    suspicious: Set[str]
    """Problems whose right answers may be coincidences."""
    votes: Votes | None


class Hardness(Protocol):
    """Which groups are hard, and which problems of theirs are right too often."""

    @property
    def hard_below(self) -> float: ...
    @property
    def hard_share(self) -> float: ...


def count_right(judged: Pairs) -> dict[str, tuple[int, int]]:
    """The right samples and the decided ones of each problem, of those that were sampled without a hint."""
    right: Counter[str] = Counter()
    decided: Counter[str] = Counter()
    for rationale, verdict in judged:
        if rationale.origin == "sampled" and verdict.outcome != "undecided":
            decided[rationale.problem] += 1
            right[rationale.problem] += verdict.outcome == "correct"
    return {problem: (right[problem], count) for problem, count in decided.items()}


def find_suspicious(counts: Mapping[str, tuple[int, int]], group_of: Mapping[str, str], settings: Hardness) -> set[str]:
    """Problems of groups with a low yield that are right too often to be more than a coincidence of a wrong rule.

    `counts` are right samples and decided ones by problem, `group_of` is by problem.
    """
    right_in: Counter[str] = Counter()
    decided_in: Counter[str] = Counter()
    for problem, (right, decided) in counts.items():
        decided_in[group_of[problem]] += decided
        right_in[group_of[problem]] += right
    hard = {group for group, count in decided_in.items() if right_in[group] / count < settings.hard_below}
    return {
        problem
        for problem, (right, decided) in counts.items()
        if group_of[problem] in hard and right / decided > settings.hard_share
    }


def hinted_last(judged: Pairs) -> Iterator[tuple[Rationale, Verdict]]:
    """Rationalizations after all others, else in order."""
    hinted = 0
    for pair in judged:
        if pair[0].origin == "rationalized":
            hinted += 1
        else:
            yield pair
    if hinted:
        yield from (pair for pair in judged if pair[0].origin == "rationalized")
