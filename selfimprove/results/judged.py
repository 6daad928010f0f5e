"""Whether a run that has ended measured anything."""

from collections import Counter

from selfimprove.errors import VerifierError
from selfimprove.records import Evaluation, Problem, Verdict
from selfimprove.store import RunFolder
from selfimprove.store.evaluated import counts


def check_judged(folder: RunFolder) -> None:
    """Raise VerifierError where none of the last held-out answers to problems with a known one could be judged."""
    closed = [stage for stage in reversed(list(folder.stages())) if stage.closed]
    last = next((stage for stage in closed if stage.rows(Evaluation) and counts(folder, *stage.key)), None)
    if last is None or any(one.n for one in last.read(Evaluation)):
        return
    known = sum(one.answer is not None for one in folder.stage(0, "problems").rows(Problem))
    reasons = Counter(one.reason for one in last.rows(Verdict) if one.outcome == "undecided")
    if known and reasons:
        reason, count = reasons.most_common(1)[0]
        raise VerifierError(
            f"{last.path}: none of {reasons.total()} held-out answers could be judged, so there is no accuracy; of "
            f"{count} it is said: {reason[:200]}; see them with: selfimprove traces {folder.called} "
            f"--round {last.key[0]} --stage {last.key[1]}"
        )
