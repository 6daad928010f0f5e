"""Runs, or rounds of them, beside each other on the held-out problems that they share."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfimprove.errors import SelfImproveError, StoreError
from selfimprove.recipe.changes import find_changes, show_value
from selfimprove.records import Evaluation, Outcome, Problem, Rationale, Verdict, Vote
from selfimprove.records.columns import lay_out
from selfimprove.records.printable import one_line
from selfimprove.records.stats import describe_share, holm, mcnemar
from selfimprove.running.display import show_time
from selfimprove.stages.asking import counted
from selfimprove.stages.evaluate import Evaluate, describe_errors
from selfimprove.stages.split import controllers
from selfimprove.store import Manifest, RunFolder, StageFolder, find_run
from selfimprove.store.evaluated import counts
from selfimprove.store.manifest import last_measured
from selfimprove.tasks.base import question_key

ROUND = re.compile(r"(.+?)/round-(\d{1,6})/?")
Key = tuple[str, tuple[str, ...]]  # a question, as question_key has it, and its options
SETTINGS = 12  # that differ and are named
GROUPS = 12  # that are shown, those that differ most


@dataclass(frozen=True)
class JudgedAnswer:
    """What came of one held-out problem."""

    problem: Problem
    outcome: Outcome
    text: str


@dataclass(frozen=True)
class Side:
    """A run at one of its rounds."""

    name: str
    folder: RunFolder
    round: int
    answers: dict[Key, JudgedAnswer]
    written: int
    """Tokens up to that round."""
    trained: int
    seconds: float
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    """How often its verifier was wrong on labelled responses, where that was measured."""

    @property
    def decided(self) -> list[JudgedAnswer]:
        return [one for one in self.answers.values() if one.outcome != "undecided"]

    @property
    def correct(self) -> int:
        return sum(one.outcome == "correct" for one in self.decided)

    def describe(self) -> str:
        """Its accuracy with the interval, what it took, and how far its verdicts can be trusted."""
        n = len(self.decided)
        undecided = len(self.answers) - n
        share = f"{describe_share(self.correct, n)} of {n}" if n else "nothing was decided"
        parts = [f"round {self.round}: {share}", *([f"{undecided} undecided"] if undecided else [])]
        parts += [f"{self.written:,} tokens written"] if self.written else []
        parts += [f"{self.trained:,} trained"] if self.trained else []
        parts.append(show_time(self.seconds))
        return "; ".join([", ".join(parts), *([describe_errors(self.errors)] if self.errors else [])])


@dataclass(frozen=True)
class Group:
    """A group of problems that both answered: how many each has right."""

    task: str
    group: str
    n: int
    before: int
    now: int


@dataclass(frozen=True)
class Paired:
    """One side beside the first one, on the problems that both decided."""

    side: Side
    both: int
    won: list[Key]
    """Problems that this side alone has right."""
    lost: list[Key]
    p_value: float
    adjusted: float
    groups: list[Group] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)

    def describe(self) -> str:
        if not self.both:
            return "shares no held-out problem with it that both decided"
        p = f"McNemar p = {self.p_value:.2g}" + (
            f", {self.adjusted:.2g} by Holm" if self.adjusted != self.p_value else ""
        )
        word = "better" if len(self.won) > len(self.lost) else "worse"
        said = word if self.adjusted < 0.05 else "no difference is shown"
        won = f"{len(self.won)} problem{'s' * (len(self.won) != 1)} won"
        return f"{won}, {len(self.lost)} lost of {self.both} ({p}): {said}"


def read_side(name: str, runs: Path, round_: int | None = None) -> Side:
    """A run at the round that its name says (`mine/round-02`), at `round_`, or at the last one that was evaluated;
    raises StoreError where it has no such evaluation."""
    named = ROUND.fullmatch(name)
    folder = find_run(named[1] if named else name.rstrip("/"), runs)
    asked = int(named[2]) if named else round_
    stages = {stage.key[0]: stage for stage in _evaluated(folder)}
    if not stages:
        raise StoreError(f"{folder.path}: has no evaluation yet")
    if asked is not None and asked not in stages:
        known = ", ".join(map(str, sorted(stages)))
        raise StoreError(f"{folder.path}: round {asked} was not evaluated; rounds that were: {known}")
    at = max(stages) if asked is None else asked
    manifests = [manifest for _, manifest in _closed(folder) if manifest.round <= at]
    return Side(
        name,
        folder,
        at,
        _answers(folder, stages[at]),
        sum(one.tokens.get("written", 0) for one in manifests),
        sum(one.tokens.get("trained", 0) for one in manifests),
        sum(one.seconds.wall if one.seconds.elapsed is None else one.seconds.elapsed for one in manifests),
        last_measured(manifests, "verifier"),
    )


def _closed(folder: RunFolder) -> Iterator[tuple[StageFolder, Manifest]]:
    for stage in folder.stages():
        if manifest := stage.manifest():
            yield stage, manifest


def _evaluated(folder: RunFolder) -> Iterator[StageFolder]:
    """The stage of each round whose evaluation is what the round reached."""
    for stage, manifest in _closed(folder):
        if "evaluation" in manifest.counts and counts(folder, *stage.key):
            yield stage


def _answers(folder: RunFolder, stage: StageFolder) -> dict[Key, JudgedAnswer]:
    problems = {one.id: one for held_out in folder.stages() if held_out.key[0] == 0 for one in held_out.read(Problem)}
    sampled = [one for one in stage.read(Rationale) if one.origin == "sampled"]
    verdicts = {one.rationale: one for one in stage.read(Verdict)}
    asked = {one.problem for one in sampled if one.problem in problems}  # a warm-up's problems are there too
    found, apart = {}, _controllers(folder, [problems[one] for one in asked])
    for one in counted(sampled, stage.read(Vote)):
        if one.problem in problems and one.id in verdicts and one.problem not in apart:
            problem = problems[one.problem]
            key = question_key(problem.question), problem.options
            found[key] = JudgedAnswer(problem, verdicts[one.id].outcome, one.text)
    return found


def _controllers(folder: RunFolder, problems: Sequence[Problem]) -> set[str]:
    """The problems that what promoted and steered went by, which no figure counts; none where that cannot be read."""
    try:
        return controllers(problems, folder.recipe().of(Evaluate).controller)
    except SelfImproveError:
        return set()


def pair_sides(sides: Sequence[Side]) -> list[Paired]:
    """Each side after the first one beside it: McNemar's exact test, corrected by Holm for the number of sides."""
    first, *others = sides
    pairs = [_pair(first, one) for one in others]
    p_values = [mcnemar(len(won), len(lost)) for _, won, lost in pairs]
    return [
        Paired(side, len(both), won, lost, p, adjusted, _groups(first, side, both), _settings(first, side))
        for side, (both, won, lost), p, adjusted in zip(others, pairs, p_values, holm(p_values), strict=True)
    ]


def _pair(first: Side, other: Side) -> tuple[list[Key], list[Key], list[Key]]:
    def right(side: Side, key: Key) -> bool:
        return side.answers[key].outcome == "correct"

    decided = {key for key, one in first.answers.items() if one.outcome != "undecided"}
    both = [key for key, one in other.answers.items() if key in decided and one.outcome != "undecided"]
    won = [key for key in both if right(other, key) and not right(first, key)]
    return both, won, [key for key in both if right(first, key) and not right(other, key)]


def _groups(first: Side, other: Side, both: list[Key]) -> list[Group]:
    """The groups in which the two differ, the largest difference first."""
    n: Counter[tuple[str, str]] = Counter()
    before: Counter[tuple[str, str]] = Counter()
    now: Counter[tuple[str, str]] = Counter()
    for key in both:
        problem = other.answers[key].problem
        name = (problem.task, problem.group)
        n[name] += 1
        before[name] += first.answers[key].outcome == "correct"
        now[name] += other.answers[key].outcome == "correct"
    found = [Group(*name, n[name], before[name], now[name]) for name in n if before[name] != now[name]]
    return sorted(found, key=lambda one: (-abs(one.now - one.before), one.task, one.group))


def _settings(first: Side, other: Side) -> list[str]:
    """The settings in which the recipes of two runs differ."""
    if first.folder.path == other.folder.path:
        return []
    try:
        changes = find_changes(first.folder.recipe(), other.folder.recipe(), files=True)
    except SelfImproveError as error:
        return [f"they cannot be compared ({error})"]
    return [f"{one.name} is {show_value(one.before)} and {show_value(one.now)}" for one in changes]


def to_json(sides: Sequence[Side], pairs: Sequence[Paired]) -> dict[str, object]:
    """The comparison as plain data."""
    return {
        "sides": [
            {"run": one.name, "round": one.round, "n": len(one.decided), "correct": one.correct,
             "undecided": len(one.answers) - len(one.decided), "tokens written": one.written,
             "tokens trained": one.trained, "seconds": one.seconds, "verifier": one.errors}
            for one in sides
        ],
        "pairs": [
            {"run": one.side.name, "against": sides[0].name, "both": one.both, "won": len(one.won),
             "lost": len(one.lost), "p": one.p_value, "holm": one.adjusted, "settings": one.settings,
             "groups": [vars(group) for group in one.groups]}
            for one in pairs
        ],
    }  # fmt: skip


def describe(sides: Sequence[Side], pairs: Sequence[Paired], shown: int, width: int) -> Iterator[str]:
    """The comparison in lines of at most `width` cells; of each pair `shown` problems won, and as many lost."""
    yield from lay_out([[one.name, one.describe()] for one in sides], width)
    for pair in pairs:
        yield ""
        yield from lay_out([[f"{pair.side.name} beside {sides[0].name}", pair.describe()]], width)
        if pair.settings:
            more = [f"and {len(pair.settings) - SETTINGS} more"] if len(pair.settings) > SETTINGS else []
            yield from lay_out([["  settings", "; ".join([*pair.settings[:SETTINGS], *more])]], width)
        rows = [[f"  {one.task} {one.group}", f"{one.before} and {one.now} right of {one.n}"] for one in pair.groups]
        yield from lay_out(rows[:GROUPS], width)
        for noun, keys in (("won", pair.won), ("lost", pair.lost)):
            for key in keys[:shown]:
                yield from _problem(noun, key, sides[0], pair.side, width)


def _problem(noun: str, key: Key, first: Side, other: Side, width: int) -> Iterator[str]:
    """A problem with what both wrote."""
    problem = other.answers[key].problem
    yield ""
    yield from lay_out(
        [
            [f"  {noun}", one_line(problem.question, 2 * width)],
            ["  expected", one_line(problem.answer or "", width)],
            [f"  {first.name}", one_line(first.answers[key].text.strip(), 4 * width)],
            [f"  {other.name}", one_line(other.answers[key].text.strip(), 4 * width)],
        ],
        width,
    )


def accuracy_of(folder: RunFolder, round_: int | None = None) -> tuple[int, int, int] | None:
    """The round, the decided held-out problems and the right ones of a run's last evaluation, or of the first one with
    `round_` 0; None where there is none."""
    stages = [stage for stage in _evaluated(folder) if round_ is None or stage.key[0] == round_]
    if not stages:
        return None
    last = max(stages, key=lambda stage: stage.key[0])
    found = last.read(Evaluation)
    return last.key[0], sum(one.n for one in found), sum(one.correct for one in found)
