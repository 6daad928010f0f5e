"""One line on what a stage brought."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from selfimprove.context import Context
from selfimprove.plan import PlannedStage
from selfimprove.records import CrossCheck, Decision, Evaluation, Frontier, Preference, Problem, Promotion, Verdict
from selfimprove.stats import wilson


@dataclass(frozen=True)
class TaskAccuracy:
    """What was answered right of one task's held-out problems, with the Wilson 95% interval."""

    task: str
    n: int
    correct: int
    undecided: int
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.n if self.n else 0.0

    def __str__(self) -> str:
        undecided = f", {self.undecided} undecided" if self.undecided else ""
        return f"{self.accuracy:.1%} of {self.n} (95% interval {self.low:.1%} to {self.high:.1%}{undecided})"


def sum_by_task(evaluations: Iterable[Evaluation]) -> list[TaskAccuracy]:
    """The evaluations of one checkpoint summed up by task, in their order."""
    tasks: dict[str, list[Evaluation]] = {}
    for one in evaluations:
        tasks.setdefault(one.task, []).append(one)
    found = []
    for task, mine in tasks.items():
        n, correct, undecided = (sum(getattr(one, name) for one in mine) for name in ("n", "correct", "undecided"))
        found.append(TaskAccuracy(task, n, correct, undecided, *wilson(correct, n)))
    return found


def summarize(stage: PlannedStage, context: Context) -> str:
    """Sum a closed stage up in one line; empty where the manifest says it all."""
    key = stage.key
    if stage.name == "evaluate":
        found = context.read(key, Evaluation)
        correct, n = sum(one.correct for one in found), sum(one.n for one in found)
        undecided = sum(one.undecided for one in found)
        whole = f"{correct} of {n} held-out problems correct ({correct / n if n else 0:.1%})" + (
            f", {undecided} undecided" if undecided else ""
        )
        tasks = sum_by_task(found)
        return "; ".join([whole, *(f"{one.task} {one}" for one in tasks if len(tasks) > 1)])
    if stage.name == "problems":
        manifest = context.folder.stage(*key).manifest()
        left_out = manifest.metrics.get("rows left out", {}) if manifest else {}
        return "; ".join(f"{task}: {count} rows make no problem and are left out" for task, count in left_out.items())
    if stage.name == "promote":
        return str(context.read(key, Promotion)[0].reason)
    if stage.name in ("verify", "repair", "rationalize"):
        verdicts = context.read(key, Verdict)
        correct = sum(one.outcome == "correct" for one in verdicts)
        wrong = sum(one.wrong_reason for one in verdicts)
        undecided = sum(one.outcome == "undecided" for one in verdicts)
        second = context.read(key, CrossCheck) if stage.name == "verify" else []
        return f"{correct} of {len(verdicts)} correct, {wrong} of them by a wrong step, {undecided} undecided" + (
            f"; {second[0].verifier} agrees on {sum(one.agrees for one in second)} of {len(second)}" if second else ""
        )
    if stage.name == "prefer":
        pairs = context.read(key, Preference)
        problems = len({one.prompt for one in pairs})
        shorter = sum(len(one.chosen) < len(one.rejected) for one in pairs)
        return f"{len(pairs)} pairs of {problems} problems; in {shorter} the chosen text is the shorter one"
    if stage.name == "dpo":
        manifest = context.folder.stage(*key).manifest()
        return describe_dpo(manifest.metrics) if manifest else ""
    if stage.name == "select":
        return f"{sum(one.kept for one in context.read(key, Decision))} kept of {len(context.read(key, Decision))}"
    if stage.name == "frontier":
        states = [one.state for one in context.read(key, Frontier)]
        counts = ", ".join(f"{states.count(state)} {state}" for state in ("mastered", "open", "closed"))
        return f"{len(context.read(key, Problem))} problems; groups: {counts}"
    return ""


def describe_dpo(metrics: dict[str, Any]) -> str:
    """What DPO did to its pairs, with a warning where it made the chosen texts less likely, its well-known failure."""
    if not metrics.get("pairs"):
        return "no pairs: the checkpoint is kept as it is"
    measured = metrics.get("measured")
    if not measured:
        return f"{metrics['pairs']} pairs"
    before, after = measured["before"], measured["after"]
    chosen, rejected = (f"{before[name]:.2f} to {after[name]:.2f}" for name in ("chosen", "rejected"))
    fell = "; WARNING: the chosen texts became less likely" if after["chosen"] < before["chosen"] else ""
    return (
        f"{metrics['pairs']} pairs: log-probability of the chosen {chosen}, of the rejected {rejected}, "
        f"loss {after['loss']:.3f}, {after['accuracy']:.0%} of the pairs with a margin above 0{fell}"
    )
