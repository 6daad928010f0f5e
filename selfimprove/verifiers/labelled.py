"""How often a verifier is wrong: its verdicts on responses of which it is known whether they are right."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import tee
from typing import Any

from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.records.stats import wilson

RIGHT = {"true", "1", "yes", "right", "correct"}
WRONG = {"false", "0", "no", "wrong", "incorrect"}
EXAMPLES = 3

Judge = Callable[[Iterable[tuple[Problem, Rationale]]], Iterator[Verdict]]


def read_label(value: object) -> bool | None:
    """Whether a label says right or wrong: true, 1, "correct", "right" or "yes", and their opposites."""
    if not isinstance(value, (bool, int, float, str)):
        return None
    word = str(int(value) if value in (0, 1) and not isinstance(value, str) else value).strip().lower()
    return True if word in RIGHT else False if word in WRONG else None


def classify_reason(reason: str) -> str:
    """A reason without the texts and numbers of its case, so that equal reasons are counted together."""
    tail = re.sub(r"^extracted .{1,90}?, expected .{1,90}?: ", "", reason, flags=re.DOTALL)
    return re.sub(r"\d[\d,.]*", "N", re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", tail))[:120]


@dataclass
class Kind:
    """Errors of one kind: what was said of which responses, and why, with the first examples."""

    error: str
    reason: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class LabelledReport:
    """Verdicts by label; an undecided response is neither an agreement nor an error."""

    counts: Counter[tuple[bool, str]] = field(default_factory=Counter)
    kinds: dict[tuple[str, str], Kind] = field(default_factory=dict)

    def add(self, label: bool, verdict: Verdict, example: str) -> None:
        """Count a verdict on a response that is right or wrong."""
        self.counts[label, verdict.outcome] += 1
        if verdict.outcome == ("correct" if label else "incorrect"):
            return
        undecided = f"undecided, {'right' if label else 'wrong'}"
        error = undecided if verdict.outcome == "undecided" else "false reject" if label else "false accept"
        kind = self.kinds.setdefault((error, reason := classify_reason(verdict.reason)), Kind(error, reason))
        kind.count += 1
        if len(kind.examples) < EXAMPLES:
            kind.examples.append(f"{example}: {verdict.reason}")

    def labelled(self, label: bool) -> int:
        """The decided responses with this label."""
        return self.counts[label, "correct"] + self.counts[label, "incorrect"]

    @property
    def agreed(self) -> int:
        return self.counts[True, "correct"] + self.counts[False, "incorrect"]

    @property
    def rates(self) -> dict[str, tuple[int, int]]:
        """What was counted of how many: agreement among the decided, errors among those of their label."""
        decided = self.labelled(True) + self.labelled(False)
        undecided = self.counts[True, "undecided"] + self.counts[False, "undecided"]
        return {
            "agreement": (self.agreed, decided),
            "false accepts": (self.counts[False, "correct"], self.labelled(False)),
            "false rejects": (self.counts[True, "incorrect"], self.labelled(True)),
            "undecided": (undecided, decided + undecided),
        }

    def worst(self, count: int) -> list[Kind]:
        """The kinds with the most errors, false accepts first; what is undecided comes last."""
        order = {"false accept": 0, "false reject": 1}
        return sorted(self.kinds.values(), key=lambda kind: (order.get(kind.error, 2), -kind.count))[:count]

    def to_json(self) -> dict[str, Any]:
        """The rates with their Wilson 95% intervals, and every kind, as plain data."""
        rates = {
            name: {"count": count, "n": n, "low": (bounds := wilson(count, n))[0], "high": bounds[1]}
            for name, (count, n) in self.rates.items()
        }
        return {**rates, "kinds": [vars(kind) for kind in self.worst(len(self.kinds))]}


def measure_verifier(rows: Iterable[tuple[Problem, Rationale, bool]], judge: Judge) -> LabelledReport:
    """Judge responses whose labels are known; `judge` gives the verdicts in order."""
    report = LabelledReport()
    asked, known = tee(rows)
    verdicts = judge((problem, rationale) for problem, rationale, _ in asked)
    for place, ((_, _, label), verdict) in enumerate(zip(known, verdicts, strict=True), 1):
        report.add(label, verdict, f"response {place}")
    return report
