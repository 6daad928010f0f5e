"""How far answers to held-out prompts follow a constitution: alone, and beside those of another checkpoint."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfimprove.constitution.checks import comply_as_written
from selfimprove.constitution.model import Constitution, Principle
from selfimprove.prompting.phrases import loops, same_text
from selfimprove.records import Comparison, Compliance, Outcome, Problem, Rationale, Verdict
from selfimprove.records.stats import WinRate, count_wins, mcnemar, wilson

FIGURES = "constitution"
"""Under this name a manifest holds what was measured."""
TRIAL = "trial of the judge"
"""Under this one, in it, how often the judge took an answer and not one to another prompt; and the name of its row."""
BEFORE, START = "before", "round 0"
"""Beside which checkpoints' answers a round's are put."""
WHOLE = "whole answers"
"""What a figure is called that is of no principle: an answer that ends, says something and does not go in circles."""


@dataclass(frozen=True)
class Answers:
    """A checkpoint's answers to open prompts, by prompt, and what the checks say of them, by answer and principle."""

    checkpoint: str
    round: int
    texts: Mapping[str, Rationale]
    complies: Mapping[tuple[str, str], Outcome] = field(default_factory=dict)


@dataclass(frozen=True)
class Share:
    """How many answers comply; what cannot be told counts beside them."""

    count: int
    n: int
    undecided: int = 0

    def to_json(self) -> dict[str, object]:
        low, high = wilson(self.count, self.n)
        return {"count": self.count, "n": self.n, "undecided": self.undecided, "low": low, "high": high}


@dataclass(frozen=True)
class Paired:
    """Prompts to which only this checkpoint's answer complies, and those to which only the other one's does."""

    won: int
    lost: int
    n: int

    @property
    def p_value(self) -> float:
        return mcnemar(self.won, self.lost)

    def to_json(self) -> dict[str, object]:
        return {"won": self.won, "lost": self.lost, "n": self.n, "p": self.p_value}


@dataclass(frozen=True)
class Beside:
    """A checkpoint's answers beside another one's: by what is checked, and by what a judge prefers."""

    round: int
    checked: Mapping[str, Paired]
    judged: Mapping[str, WinRate]
    believed: bool = True
    """Whether the judge did better than chance where the right answer is known."""

    def worse(self, alpha: float) -> list[str]:
        """What got worse by its test, each in words; the preferences of a judge that failed its trial do not count."""
        checked = [
            f"{name}: {one.won} won, {one.lost} lost of {one.n} (McNemar p = {one.p_value:.2g})"
            for name, one in self.checked.items()
            if one.lost > one.won and one.p_value < alpha
        ]
        return checked + [
            f"{name}: preferred in {one.rate:.1%} of {one.n} (sign test p = {one.p_value:.2g})"
            for name, one in self.judged.items()
            if self.believed and one.lost > one.won and one.p_value < alpha
        ]

    def to_json(self) -> dict[str, object]:
        return {
            "round": self.round,
            "checked": {name: one.to_json() for name, one in self.checked.items()},
            "judged": {name: show_win_rate(one) for name, one in self.judged.items()},
        }


def show_win_rate(one: WinRate) -> dict[str, object]:
    low, high = one.interval
    names = ("rate", "low", "high")
    return {
        "won": one.won, "ties": one.ties, "lost": one.lost, "n": one.n, "rate": one.rate, "low": low, "high": high,
        "p": one.p_value, "at equal length": dict(zip(names, one.controlled, strict=True)),
    }  # fmt: skip


# --- what is measured --------------------------------------------------------------------------------------------


def measured(constitution: Constitution, problem: Problem) -> list[Principle]:
    """The principles by which answers to a prompt are measured; those of weight 0 are turned off."""
    held = (one for one in constitution.principles if one.weight and one.scope.holds(problem.task, (problem.group,)))
    return list(held)


def overall(constitution: Constitution, problem: Problem) -> Principle | None:
    """All principles that hold for a prompt as one; None where there is only one."""
    held = measured(constitution, problem)
    said = " ".join(one.text.strip() for one in held)
    return Principle(id=overall_name(constitution), text=said) if len(held) > 1 else None


def overall_name(constitution: Constitution) -> str:
    """What all principles together are called; no principle has that name."""
    taken = {one.id for one in constitution.principles}
    return next(name for at in range(len(taken) + 1) if (name := f"overall{at or ''}") not in taken)


def is_whole(answer: Rationale) -> bool:
    """Whether an answer ends by itself, says something and does not go in circles."""
    return answer.finish == "stop" and bool(answer.text.strip()) and not loops(answer.text)


def check_answers(
    answers: Mapping[str, Rationale],
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    constitution: Constitution,
) -> Iterator[Compliance]:
    """What the checks of a constitution say of each answer."""
    for name, answer in answers.items():
        for principle in measured(constitution, problems[name]):
            if principle.check:
                outcome, reason = comply_as_written(principle.check, answer, verdicts.get(answer.id))
                yield Compliance(
                    parents=(answer.id,),
                    principle=principle.id,
                    constitution=constitution.label,
                    outcome=outcome,
                    reason=reason[:500],
                )


def outcomes(found: Iterable[Compliance]) -> dict[tuple[str, str], Outcome]:
    """What the checks say by answer and principle."""
    return {(one.response, one.principle): one.outcome for one in found}


def count_shares(answers: Answers, constitution: Constitution) -> dict[str, Share]:
    """How many answers are whole, and how many comply with each principle that was decided for some."""
    whole = sum(is_whole(one) for one in answers.texts.values())
    found = {WHOLE: Share(whole, len(answers.texts))}
    for principle in constitution.principles:
        said = [
            answers.complies[key]
            for one in answers.texts.values()
            if (key := (one.id, principle.id)) in answers.complies
        ]
        undecided = said.count("undecided")
        if len(said) > undecided:
            found[principle.id] = Share(said.count("correct"), len(said) - undecided, undecided)
    return found


def pairs_of(now: Answers, other: Answers, limited_to: Iterable[str]) -> Iterator[tuple[str, Rationale, Rationale]]:
    """The answers of two checkpoints to the same prompts."""
    for name in limited_to:
        if name in now.texts and name in other.texts:
            yield name, now.texts[name], other.texts[name]


def need_judge(one: Rationale, other: Rationale) -> bool:
    """Whether it takes a judge to say which of two answers is better: an empty one is not, equal ones are a tie."""
    return bool(one.text.strip() and other.text.strip()) and not same_text(one.text, other.text)


def put_beside(
    now: Answers,
    other: Answers,
    problems: Mapping[str, Problem],
    constitution: Constitution,
    comparisons: Iterable[Comparison],
    *,
    judged: Sequence[str],
    tie: float,
    believed: bool = True,
) -> Beside:
    """The paired figures of two checkpoints; `judged` are the prompts of which a judge was asked, and `believed` says
    whether what it prefers counts."""
    checked = {WHOLE: _pair_whole(now, other)}
    for principle in constitution.principles:
        both = [
            (now.complies[mine], other.complies[theirs])
            for _, one, before in pairs_of(now, other, now.texts)
            if (mine := (one.id, principle.id)) in now.complies
            and (theirs := (before.id, principle.id)) in other.complies
        ]
        decided = [one for one in both if "undecided" not in one]
        if decided:
            won, lost = decided.count(("correct", "incorrect")), decided.count(("incorrect", "correct"))
            checked[principle.id] = Paired(won, lost, len(decided))
    wins = _count_judged(now, other, problems, constitution, comparisons, judged, tie)
    return Beside(other.round, checked, wins, believed)


def _pair_whole(now: Answers, other: Answers) -> Paired:
    both = [(is_whole(one), is_whole(before)) for _, one, before in pairs_of(now, other, now.texts)]
    return Paired(both.count((True, False)), both.count((False, True)), len(both))


def _count_judged(
    now: Answers,
    other: Answers,
    problems: Mapping[str, Problem],
    constitution: Constitution,
    comparisons: Iterable[Comparison],
    judged: Sequence[str],
    tie: float,
) -> dict[str, WinRate]:
    preferred = {(one.parents[0], one.parents[1], one.principle): one.preferred for one in comparisons}
    scores: dict[str, list[float]] = {}
    differences: dict[str, list[float]] = {}
    for name, one, before in pairs_of(now, other, judged):
        for principle in to_judge(constitution, problems[name]):
            score = score_pair(one, before, preferred.get((one.id, before.id, principle.id)), tie)
            if score is not None:
                scores.setdefault(principle.id, []).append(score)
                differences.setdefault(principle.id, []).append(len(one.text.strip()) - len(before.text.strip()))
    order = [*(one.id for one in constitution.principles), overall_name(constitution)]
    return {name: count_wins(scores[name], differences[name]) for name in order if name in scores}


def to_judge(constitution: Constitution, problem: Problem) -> list[Principle]:
    """What a judge is asked about a prompt's answers: each principle without a check, and all of them together."""
    together = overall(constitution, problem)
    return [
        *(one for one in measured(constitution, problem) if one.check is None),
        *([together] if together else []),
    ]


def score_pair(one: Rationale, other: Rationale, preferred: float | None, tie: float) -> float | None:
    """1, 0.5 or 0 by a judge's probability; None where it should have been asked and was not."""
    if not need_judge(one, other):
        return 0.5 if same_text(one.text, other.text) else float(bool(one.text.strip()))
    if preferred is None:
        return None
    margin = 2 * preferred - 1
    return 0.5 if abs(margin) < max(tie, 1e-9) else float(margin > 0)


# --- in words ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of a table: a principle, how many answers follow it, and how that compares."""

    principle: str
    share: str = ""
    interval: str = ""
    before: str = ""
    """Beside the checkpoint before: prompts won and lost, or the share of answers that a judge prefers, in %."""
    start: str = ""
    """The same beside round 0."""
    controlled: str = ""
    """Beside round 0 between answers of one length."""


def rows_of(metrics: Mapping[str, Any]) -> list[Row]:
    """The figures of a round as lines: what is checked first, what a judge says after it."""
    before, start = (metrics["beside"].get(name, {}) for name in (BEFORE, START))

    def pair(beside: Mapping[str, Any], name: str) -> str:
        one = beside.get("checked", {}).get(name)
        return f"{one['won']}:{one['lost']}, p = {one['p']:.2g}" if one else ""

    def prefer(beside: Mapping[str, Any], name: str) -> str:
        one = beside.get("judged", {}).get(name)
        return f"{_range(one)}, {one['ties']} ties" if one else ""

    rows = []
    for name, one in metrics["checked"].items():
        undecided = f", {one['undecided']} undecided" if one["undecided"] else ""
        share = f"{one['count'] / one['n']:.1%} of {one['n']}{undecided}" if one["n"] else ""
        interval = f"{one['low']:.1%} to {one['high']:.1%}" if one["n"] else ""
        rows.append(Row(name, share, interval, pair(before, name), pair(start, name)))
    if trial := metrics.get(TRIAL):
        chance = "" if trial["believed"] else ", may be chance"
        share = f"{trial['rate']:.1%} of {trial['n']}{chance}"
        rows.append(Row(TRIAL, share, f"{trial['low']:.1%} to {trial['high']:.1%}"))
    for name in dict.fromkeys([*before.get("judged", {}), *start.get("judged", {})]):
        equal = start.get("judged", {}).get(name, {}).get("at equal length")
        rows.append(
            Row(
                f"{name}, by the judge",
                before=prefer(before, name),
                start=prefer(start, name),
                controlled=_range(equal) if equal else "",
            )
        )
    return rows


def read_rows(metrics: Any) -> list[Row]:
    """The same of a file that others may have written: no lines where it holds anything else."""
    try:
        return rows_of(metrics)
    except (KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError):
        return []


def _range(one: Mapping[str, Any]) -> str:
    return f"{one['rate']:.1%} ({100 * one['low']:.1f} to {100 * one['high']:.1f})"


def describe_adherence(metrics: Mapping[str, object]) -> Iterator[str]:
    """The figures of a round, a line each: what complies, and what changed since the round before."""
    for row in rows_of(metrics):
        equal = f", at equal length {row.controlled}" if row.controlled and row.before == row.start else ""
        share = f" {row.share} ({row.interval})" if row.share else ""
        changed = f", beside the round before {row.before}{equal}" if row.before else ""
        yield f"{row.principle}{share}{changed}"
