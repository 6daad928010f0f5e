"""One line on what a stage brought."""

from selfimprove.context import Context
from selfimprove.plan import PlannedStage
from selfimprove.records import CrossCheck, Decision, Evaluation, Frontier, Problem, Promotion, Verdict


def summarize(stage: PlannedStage, context: Context) -> str:
    """Sum a closed stage up in one line; empty where the manifest says it all."""
    key = stage.key
    if stage.name == "evaluate":
        found = context.read(key, Evaluation)
        correct, n = sum(one.correct for one in found), sum(one.n for one in found)
        undecided = sum(one.undecided for one in found)
        return f"{correct} of {n} held-out problems correct ({correct / n if n else 0:.1%})" + (
            f", {undecided} undecided" if undecided else ""
        )
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
    if stage.name == "select":
        return f"{sum(one.kept for one in context.read(key, Decision))} kept of {len(context.read(key, Decision))}"
    if stage.name == "frontier":
        states = [one.state for one in context.read(key, Frontier)]
        counts = ", ".join(f"{states.count(state)} {state}" for state in ("mastered", "open", "closed"))
        return f"{len(context.read(key, Problem))} problems; groups: {counts}"
    return ""
