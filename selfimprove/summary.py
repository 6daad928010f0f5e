"""One line on what a stage brought."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from selfimprove.context import Context
from selfimprove.divergence import KL, describe_kl
from selfimprove.plan import PlannedStage
from selfimprove.records import (
    Critique,
    CrossCheck,
    Decision,
    Evaluation,
    Frontier,
    Preference,
    Problem,
    Promotion,
    Revision,
    Verdict,
    Vote,
)
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
        manifest = context.folder.stage(*key).manifest()
        more = describe_evaluation(manifest.metrics) if manifest else []
        return "; ".join([whole, *(f"{one.task} {one}" for one in tasks if len(tasks) > 1), *more])
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
        return (
            f"{correct} of {len(verdicts)} correct, {wrong} of them by a wrong step, {undecided} undecided"
            + (
                f"; {second[0].verifier} agrees on {sum(one.agrees for one in second)} of {len(second)}"
                if second
                else ""
            )
            + describe_votes(context.read(key, Vote))
        )
    if stage.name == "revise":
        return _describe_revisions(context.read(key, Critique), context.read(key, Revision))
    if stage.name == "prefer":
        pairs = context.read(key, Preference)
        problems = len({one.prompt for one in pairs})
        shorter = sum(len(one.chosen) < len(one.rejected) for one in pairs)
        sources = Counter(one.source for one in pairs)
        by = f" ({', '.join(f'{count} by {name}' for name, count in sources.items())})" if len(sources) > 1 else ""
        manifest = context.folder.stage(*key).manifest()
        compared = describe_comparisons(manifest.metrics.get("comparisons")) if manifest else ""
        return (
            f"{len(pairs)} pairs{by} of {problems} problems; in {shorter} the chosen text is the shorter one{compared}"
        )
    if stage.name == "dpo":
        manifest = context.folder.stage(*key).manifest()
        return describe_dpo(manifest.metrics) if manifest else ""
    if stage.name == "select":
        manifest = context.folder.stage(*key).manifest()
        moved = describe_kl(manifest.metrics.get(KL)) if manifest else ""
        decisions = context.read(key, Decision)
        return f"{sum(one.kept for one in decisions)} kept of {len(decisions)}{moved}"
    if stage.name == "frontier":
        states = [one.state for one in context.read(key, Frontier)]
        counts = ", ".join(f"{states.count(state)} {state}" for state in ("mastered", "open", "closed"))
        return f"{len(context.read(key, Problem))} problems; groups: {counts}"
    return ""


def _describe_revisions(critiques: list[Critique], revisions: list[Revision]) -> str:
    """Critiques that found something, revisions that were kept, and what was wrong with the others."""
    found = sum(one.found for one in critiques)
    kept = sum(one.kept for one in revisions)
    said = f"{found} of {len(critiques)} critiques found something; " if critiques else ""
    marks = Counter(mark for one in revisions for mark in one.marks)
    seen = f" (seen in them: {', '.join(f'{mark} {count}' for mark, count in marks.most_common())})" if marks else ""
    return f"{said}{kept} of {len(revisions)} revisions kept{seen}"


def describe_votes(votes: Sequence[Vote]) -> str:
    """How the samples of problems without an answer voted."""
    if not votes:
        return ""
    agree = sum(one.votes / one.samples for one in votes) / len(votes)
    return (
        f"; {len(votes)} problems without an answer: {agree:.0%} of their samples agree with the majority on average, "
        f"{sum(one.tie for one in votes)} ties, {sum(not one.votes for one in votes)} without any answer"
    )


def describe_consistency(found: dict[str, Any]) -> str:
    """What the majority over several samples was worth."""
    return (
        f"by majority over {found['samples']} samples {found['majority']:.1%}, "
        f"a single sample {found['single sample']:.1%} on average, {found['ties']} ties"
    )


def describe_evaluation(metrics: dict[str, Any]) -> list[str]:
    """What was seen in the answers to open prompts, and what the model could correct."""
    lines = [describe_consistency(metrics["self-consistency"])] if metrics.get("self-consistency") else []
    if errors := metrics.get("verifier"):
        lines.append(describe_errors(errors))
    if texts := metrics.get("open prompts"):
        lines.append(
            f"of {texts['responses']} open answers {texts['refusals']} refuse, {texts['boilerplate']} are boilerplate, "
            f"{texts['about itself']} speak of themselves as an AI, {texts['words']:.0f} words on average"
        )
    if revised := metrics.get("revised"):
        lines.append(
            f"by critique and revision {revised['repaired']} of {revised['wrong']} wrong answers repaired and "
            f"{revised['spoiled']} of {revised['right']} right ones spoiled, "
            f"the wrong line named in {revised['line named']} of {revised['critiques of wrong']} critiques"
        )
    return lines


def describe_errors(errors: dict[str, Any]) -> str:
    """How often the verifier was wrong on labelled responses, with the 95% intervals."""
    said = [
        f"{name} {rate['count']} of {rate['n']} ({rate['low']:.1%} to {rate['high']:.1%})"
        for name, rate in ((name, errors[name]) for name in ("false accepts", "false rejects"))
    ]
    return f"the verifier on labelled responses: {', '.join(said)}, {errors['undecided']['count']} undecided"


def describe_comparisons(metrics: dict[str, Any] | None) -> str:
    """How a model's comparisons came out: ties, the pull of the first place, and that of the longer text."""
    if not metrics:
        return ""
    length = metrics["correlation with length"]
    return (
        f"; {metrics['compared']} comparisons, {metrics['ties']} of them ties, the first place has a probability of "
        f"{metrics['for the first place']:.2f}, correlation with length "
        f"{'unknown' if length is None else format(length, '.2f')}"
    )


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
