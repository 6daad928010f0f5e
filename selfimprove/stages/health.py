"""The health of a round: figures of what was written for training problems, with intervals, of all and by family."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from selfimprove.recipe.budget import Ledger
from selfimprove.records import Action, Audit, Decision, Frontier, Health, Problem, Promotion, Rationale, Verdict
from selfimprove.records.collapse import RULES, Texts, compare_texts, find_signs
from selfimprove.records.stats import difference, wilson
from selfimprove.stages.archive import find_best, trained_in
from selfimprove.stages.earlier import fold
from selfimprove.stages.passes import passes
from selfimprove.stages.select import COINCIDENCE

ALL = ""  # the family of all problems
PROBLEMS = "problems with several samples"
CHANGES = {"yield": {1: "change", 2: "gain"}, "pass@k": {1: "pass@k change"}}
"""What figures are called less what they were so many rounds before."""


@dataclass
class Asked:
    """What was written for one problem."""

    decided: int = 0
    passed: int = 0
    texts: set[bytes] = field(default_factory=set)
    samples: int = 0


@dataclass
class Tally:
    """What is counted of a family, or of all."""

    asked: dict[str, Asked] = field(default_factory=lambda: defaultdict(Asked))
    texts: set[bytes] = field(default_factory=set)
    """Each once, whichever problem it answers."""
    samples: int = 0
    cut: int = 0
    correct: int = 0
    coincidences: int = 0
    trained: int = 0
    again: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    """Attempts and right ones where the samples failed, by origin."""
    lengths: list[int] = field(default_factory=list)
    written: int = 0
    """Tokens, those of what was tried again too."""
    answers: set[str] = field(default_factory=set)
    """Of its problems; one without an answer stands for itself."""

    def add(self, rationale: Rationale, verdict: Verdict, answer: str, require: str) -> None:
        one, text = self.asked[rationale.problem], fold(rationale.text)
        one.samples += 1
        one.texts.add(text)
        self.texts.add(text)
        self.answers.add(answer)
        self.samples += 1
        self.cut += rationale.finish == "length"
        self.lengths.append(rationale.tokens)
        self.correct += verdict.outcome == "correct"
        if verdict.outcome != "undecided":
            one.decided += 1
            one.passed += passes(verdict, require)


def count(
    judged: Iterable[tuple[Rationale, Verdict]],
    problems: Mapping[str, Problem],
    decisions: Iterable[Decision],
    trained: Mapping[str, int],
    *,
    require: str,
) -> dict[str, Tally]:
    """The tallies of a round by family. `problems` is by id and `trained` counts the rows that were kept by family; a
    text of a problem that is not among them is passed over, as of one that was drawn in an earlier round."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    right: dict[str, str] = {}  # the family of each right sample
    for rationale, verdict in judged:
        if (problem := problems.get(rationale.problem)) is None:
            continue
        family, answer = problem.group, problem.answer or problem.id
        for name in {ALL, family}:
            tallies[name].written += rationale.tokens
            if rationale.origin == "sampled":
                tallies[name].add(rationale, verdict, answer, require)
            else:
                tallies[name].again[rationale.origin][0] += 1
                tallies[name].again[rationale.origin][1] += passes(verdict, require)
        if rationale.origin == "sampled" and verdict.outcome == "correct":
            right[rationale.id] = family
    for decision in decisions:
        of = right.get(decision.rationale)
        if of is not None and decision.reason.startswith(COINCIDENCE):
            for name in {ALL, of}:
                tallies[name].coincidences += 1
    for family, rows in trained.items():
        for name in {ALL, family}:
            tallies[name].trained += rows
    return tallies


def measure(
    round_: int,
    tallies: Mapping[str, Tally],
    before: Sequence[Health],
    *,
    trains: bool = True,
    promotions: Sequence[Promotion] = (),
    audits: Sequence[Audit] = (),
    frontier: Sequence[Frontier] = (),
    kl: Sequence[float] = (),
) -> Iterator[Health]:
    """All figures of a round. `before` holds those of earlier rounds; `trains` says whether rows were to be kept."""
    earlier = {(one.round, one.figure, one.family): one for one in before}
    # A family that was not drawn in this round is as it was when it was.
    yields = {one.family: one for one in before if one.figure == "yield" and one.family != ALL}
    shares: list[Health] = []
    for family in sorted(tallies):
        for one in _of_family(round_, family, tallies[family], earlier, trains):
            yield one
            shares += [one] if one.figure in CHANGES else []
            if one.figure == "yield" and family != ALL:
                yields[family] = one
    yield from _changes(round_, shares, earlier)
    if yields:
        least = min(yields.values(), key=lambda one: (one.value, one.family))
        yield _value(round_, "lowest yield", least.value, "families", n=len(yields), low=least.low, high=least.high)
    yield from _of_records(round_, promotions, audits, frontier, kl)


def _changes(round_: int, shares: Sequence[Health], earlier: Mapping[tuple[int, str, str], Health]) -> Iterator[Health]:
    """How shares moved since earlier rounds, in each family and in all of them.

    Of all it is the mean over the families that both rounds drew, weighted as in this one: harder families open as the
    model gets better, and a share of all problems would fall by that alone. Problems of no family count where there is
    no family at all. The interval is by the families' own ones (MOVER; Zou and Donner, 2008).
    """
    for figure, named in CHANGES.items():
        now = [one for one in shares if one.figure == figure]
        families = [one for one in now if one.family != ALL]
        for back, name in named.items():
            moved = []
            for one in families or now:
                if was := earlier.get((round_ - back, figure, one.family)):
                    low, high = difference(one.value, (one.low, one.high), was.value, (was.low, was.high))
                    by = one.value - was.value
                    moved.append(_value(round_, name, by, one.counted, n=one.n, family=one.family, low=low, high=high))
            if families:
                yield from moved
            if moved:
                yield _together(moved)


def _together(moved: Sequence[Health]) -> Health:
    """The mean of what families moved by, weighted by what was counted of each."""
    n = sum(one.n for one in moved)
    value = sum(one.n / n * one.value for one in moved)
    low = math.hypot(*(one.n / n * (one.value - one.low) for one in moved))
    high = math.hypot(*(one.n / n * (one.high - one.value) for one in moved))
    one = moved[0]
    return _value(one.round, one.figure, value, one.counted, n=n, low=value - low, high=value + high)


def measure_budget(round_: int, ledger: Ledger | None) -> Iterator[Health]:
    """What is left after a round, where the run has a budget."""
    if ledger is not None:
        yield _value(round_, "budget left", ledger.share_left, "budgets")
        yield _value(round_, "rounds left", ledger.rounds_left(round_), "rounds")


def measure_collapse(round_: int, texts: Mapping[int, Texts]) -> Iterator[Health]:
    """How many signs of collapse a round shows, and what is left of what the first one had."""
    if round_ in texts:
        yield _value(round_, "collapse", len(find_signs(texts, round_)), "signs", n=len(RULES))
        for figure, value in compare_texts(texts, round_).items():
            yield _value(round_, figure, value, "texts", n=texts[round_].texts)


def measure_apart(
    outcomes: Mapping[int, Sequence[bool]], before: Sequence[Health], past: Sequence[Action]
) -> Iterator[Health]:
    """How right the checkpoints of rounds are on the held-out problems that are kept for the controller, and how far
    the one that is kept now is behind the best one. `before` holds all other figures, `past` all actions."""
    measured = {(one.round, one.figure, one.family): one for one in before}
    for round_, found in outcomes.items():
        if found:
            right, n = sum(found), len(found)
            low, high = wilson(right, n)
            one = _value(round_, "controller accuracy", right / n, "held-out problems", n=n, low=low, high=high)
            measured[round_, one.figure, ALL] = one
            yield one
    last = max(outcomes, default=0)
    best, kept = find_best(measured, past), trained_in(last, measured, past)
    if best is not None and (now := measured.get((kept, "controller accuracy", ALL))):
        top = measured[best, "controller accuracy", ALL]
        low, high = difference(top.value, (top.low, top.high), now.value, (now.low, now.high))
        parents = (top.id, now.id)
        yield _value(last, "behind best", top.value - now.value, "held-out problems", n=now.n, low=low, high=high,
                     parents=parents)  # fmt: skip


def _of_family(
    round_: int,
    family: str,
    tally: Tally,
    earlier: Mapping[tuple[int, str, str], Health],
    trains: bool,
) -> Iterator[Health]:
    def share(figure: str, part: int, n: int, counted: str) -> Iterator[Health]:
        if n:
            low, high = wilson(part, n)
            yield _value(round_, figure, part / n, counted, n=n, family=family, low=low, high=high)

    asked = tally.asked.values()
    several = [one for one in asked if one.decided > 1]
    now: list[Health] = []
    now += share("yield", sum(one.passed for one in asked), sum(one.decided for one in asked), "decided samples")
    now += share("pass@k", sum(one.passed > 0 for one in several), len(several), PROBLEMS)
    yield from now
    yield from share("unique", sum(len(one.texts) for one in asked), tally.samples, "samples")
    yield from share("same", sum(one.passed in (0, one.decided) for one in several), len(several), PROBLEMS)
    failed = [one for one in several if not one.passed]
    yield from share("alike", sum(len(one.texts) == 1 for one in failed), len(failed), "problems without a right one")
    yield from share("coincidences", tally.coincidences, tally.correct, "correct samples")
    yield from share("cut off", tally.cut, tally.samples, "samples")
    for origin, name in (("revised", "repaired"), ("rationalized", "rationalized")):
        attempts, right = tally.again.get(origin, (0, 0))
        yield from share(name, right, attempts, f"{origin} ones")
    if tally.asked:
        # Problems with different answers need different texts: one text for all of them is none of a right answer.
        diversity = min(1.0, len(tally.texts) / len(tally.answers))
        yield _value(round_, "diversity", diversity, "answers", n=len(tally.answers), family=family)
    if trains:
        yield _value(round_, "trained", tally.trained, "rows", n=tally.trained, family=family)
    if family == ALL and tally.lengths:
        length = sorted(tally.lengths)[(9 * (len(tally.lengths) - 1)) // 10]
        yield _value(round_, "length", length, "samples", n=len(tally.lengths))
    if family == ALL:
        spent = earlier.get((round_ - 1, "tokens so far", ALL))
        yield _value(round_, "tokens so far", tally.written + (spent.value if spent else 0.0), "rounds", n=round_)


def _of_records(
    round_: int,
    promotions: Sequence[Promotion],
    audits: Sequence[Audit],
    frontier: Sequence[Frontier],
    kl: Sequence[float],
) -> Iterator[Health]:
    """What single records say of a whole round."""
    for one in promotions[-1:]:
        yield _value(round_, "refused", not one.promoted, "promotions", parents=(one.id,))
    for audit in audits[:1]:
        changes = {"reward change": audit.reward_last - audit.reward_first}
        changes |= {"gold change": audit.gold_last - audit.gold_first}
        changes |= {"gold fell": float(any(each.warns for each in audits))}
        for figure, value in changes.items():
            yield _value(round_, figure, value, "audits", parents=(audit.id,))
    if frontier:
        closed = sum(one.state == "closed" for one in frontier)
        yield _value(round_, "closed", closed, "families", n=len(frontier))
    if kl:
        yield _value(round_, "KL", sum(kl) / len(kl), "texts", n=len(kl))


def _value(
    round_: int,
    figure: str,
    value: float,
    counted: str,
    *,
    n: int = 1,
    family: str = ALL,
    low: float | None = None,
    high: float | None = None,
    parents: tuple[str, ...] = (),
) -> Health:
    value = float(value)
    return Health(
        parents=parents, round=round_, figure=figure, family=family, value=value,
        low=value if low is None else low, high=value if high is None else high, n=n, counted=counted,
    )  # fmt: skip
