"""Take the majority over several samples of a problem (self-consistency), and decide what it is good enough for."""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal, NamedTuple

from pydantic import PositiveInt

from selfimprove.records import Problem, Rationale, Verdict, Vote
from selfimprove.settings import Settings, Share, added

VOTE_VERSION = 1
NEEDED = ("parents", "origin", "finish", "tokens")  # of a rationale, to say what a vote lets in
Same = Callable[[Sequence[tuple[Problem, Rationale, str]]], list[bool]]
"""Whether the answer of each rationale to its problem is the same as a given one."""


class MajorityVote(Settings):
    """Keep the samples of a problem without an answer whose answer is the majority's (Huang et al., 2022; Lee et al.,
    2025, section 5): self-consistency (Wang et al., 2022) in place of a verdict."""

    share: Share = 0.6
    """The majority must have at least this share of the problem's samples; those without an answer count."""
    votes: PositiveInt = 3
    """The majority must have at least n votes."""
    most: Share = added(1.0)
    """It may have at most this share of the samples: what nearly all of them say is too easy to teach much."""
    length: Share = 0.0
    """Drop a text with less than this share of the tokens of `against`; 0 is no filter. A model that
    skips steps agrees with itself on a wrong answer, and writes less (Lee et al., 2025, section 5.1)."""
    against: Literal["longest", "median"] = "longest"
    """Of the texts that the round sampled for the same group of problems."""


@dataclass
class _Ballot:
    """The answers of one problem's samples; samples with the same answer share a group."""

    problem: Problem
    samples: list[Rationale]
    groups: list[list[Rationale]] = field(default_factory=list)
    waiting: list[list[Rationale]] = field(default_factory=list)

    def __post_init__(self) -> None:
        by_text: dict[str, list[Rationale]] = defaultdict(list)
        for one in self.samples:
            if one.answer is not None:
                by_text[one.answer].append(one)
        self.waiting = list(by_text.values())

    def place(self, equal: Sequence[bool]) -> None:
        """Put the next answer into the first group that it is equal to, or into one of its own."""
        found = next((group for group, same in zip(self.groups, equal, strict=True) if same), None)
        if found is None:
            self.groups.append(self.waiting.pop(0))
        else:
            found.extend(self.waiting.pop(0))

    def count(self) -> Vote:
        groups = [sorted(group, key=lambda one: one.sample) for group in self.groups]
        groups.sort(key=lambda group: (-len(group), group[0].sample))
        agreeing = groups[0] if groups else self.samples[:1]
        # A text that ends by itself stands for the others, which may be cut off after the answer.
        winner = next((one for one in agreeing if one.finish == "stop"), agreeing[0])
        return Vote(
            parents=(self.problem.id, winner.id, *(one.id for one in agreeing if one is not winner)),
            answer=winner.answer,
            votes=len(groups[0]) if groups else 0,
            samples=len(self.samples),
            answers=len(groups),
            tie=len(groups) > 1 and len(groups[0]) == len(groups[1]),
        )


def vote(problems: Mapping[str, Problem], rationales: Sequence[Rationale], *, same: Same) -> Iterator[Vote]:
    """One vote a problem that has samples (Wang et al., 2022, section 2), in the order of its first sample.

    `same` says which answers are equal; it is asked about all problems at once, once for each different answer that a
    problem has at most. A sample without an answer is counted and has no vote.
    """
    by_problem: dict[str, list[Rationale]] = defaultdict(list)
    for one in sorted(rationales, key=lambda one: one.sample):
        by_problem[one.problem].append(one)
    ballots = [_Ballot(problems[identity], samples) for identity, samples in by_problem.items()]
    while busy := [one for one in ballots if one.waiting]:
        asked = [(one.problem, one.waiting[0][0], str(group[0].answer)) for one in busy for group in one.groups]
        answers = iter(same(asked))
        for ballot in busy:
            ballot.place([next(answers) for _ in ballot.groups])
    yield from (ballot.count() for ballot in ballots)


def count_shares(rationales: Sequence[Rationale], verdicts: Mapping[str, Verdict]) -> dict[str, tuple[int, int]]:
    """Right samples and decided ones, by problem; `verdicts` is by rationale."""
    shares: dict[str, tuple[int, int]] = {}
    for one in rationales:
        right, decided = shares.get(one.problem, (0, 0))
        outcome = verdicts[one.id].outcome
        shares[one.problem] = (right + (outcome == "correct"), decided + (outcome != "undecided"))
    return shares


class _Count(NamedTuple):
    """What is remembered of a vote."""

    votes: int
    samples: int
    tie: bool


class Votes:
    """Which samples a majority lets in, and why not the others."""

    def __init__(
        self,
        votes: Iterable[Vote],
        rationales: Iterable[Rationale],
        problems: Mapping[str, Problem],
        settings: MajorityVote,
    ) -> None:
        """Of the rationales `NEEDED` is looked at."""
        self.settings = settings
        self._vote_of: dict[str, _Count] = {}
        self._agree: set[str] = set()
        for one in votes:
            self._vote_of[one.problem] = _Count(one.votes, one.samples, one.tie)
            self._agree.update(one.agreeing)
        lengths: dict[str, array[int]] = defaultdict(lambda: array("q"))
        for sample in rationales:
            if sample.origin == "sampled" and sample.problem in self._vote_of:
                lengths[problems[sample.problem].group].append(sample.tokens)
        measure = max if settings.against == "longest" else median
        self._length = {group: float(measure(found)) for group, found in lengths.items()}
        self._group_of = {one: problems[one].group for one in self._vote_of}

    def holds(self, rationale: Rationale) -> bool:
        """Whether a problem was voted on: it has no answer to compare with."""
        return rationale.problem in self._vote_of

    def why_not(self, rationale: Rationale) -> str:
        """Why a sample is not trained, or nothing."""
        found, settings = self._vote_of[rationale.problem], self.settings
        agree = f"{found.votes} of {found.samples} samples agree"
        if not found.votes:
            return f"no vote: none of {found.samples} samples gives an answer"
        if found.votes < settings.votes or found.votes < settings.share * found.samples - 1e-9:
            return f"no majority: {agree}, fewer than {settings.votes} or than {settings.share:.0%}"
        if found.votes > settings.most * found.samples + 1e-9:
            return f"too easy: {agree}, more than {settings.most:.0%}"
        if found.tie:
            return f"no majority: two answers have {found.votes} of {found.samples} votes each"
        if rationale.id not in self._agree:
            return f"outvoted: {agree} on another answer"
        if rationale.finish != "stop":
            return "cut off at the length limit, so its end would be learned wrong"
        whole = self._length[self._group_of[rationale.problem]]
        if rationale.tokens < settings.length * whole - 1e-9:
            than = f"{settings.length:.0%} of the {settings.against} one of its group, {whole:g}"
            return f"too short: {rationale.tokens} tokens, fewer than {than}"
        return ""

    def why(self, rationale: Rationale) -> str:
        """What lets a sample in."""
        found = self._vote_of[rationale.problem]
        return f"kept by vote: {found.votes} of {found.samples} samples agree"

    def yields(self, rationales: Iterable[Rationale]) -> dict[str, tuple[int, int]]:
        """Samples of voted problems and those that are let in, by group: what stands for a yield without answers."""
        found: dict[str, tuple[int, int]] = {}
        for one in rationales:
            if one.origin == "sampled" and self.holds(one):
                group = self._group_of[one.problem]
                attempts, passed = found.get(group, (0, 0))
                found[group] = (attempts + 1, passed + (not self.why_not(one)))
        return found


def describe_votes(votes: Iterable[Vote]) -> str:
    """How the samples of problems without an answer voted."""
    count = ties = unanswered = 0
    agree = 0.0
    for one in votes:
        count += 1
        agree += one.votes / one.samples
        ties += one.tie
        unanswered += not one.votes
    if not count:
        return ""
    return (
        f"; {count} problems without an answer: {agree / count:.0%} of their samples agree with the majority on "
        f"average, {ties} ties, {unanswered} without any answer"
    )
