"""Keep the better checkpoint."""

from collections.abc import Mapping

from selfimprove.recipe import Promote
from selfimprove.records import Outcome, Promotion
from selfimprove.stats import mcnemar

VERSION = 1


def promote(
    candidate: str,
    incumbent: str,
    *,
    now: Mapping[str, Outcome],
    before: Mapping[str, Outcome],
    settings: Promote,
) -> Promotion:
    """Compare two checkpoints on the held-out problems that both were judged on (McNemar, 1947, exact).

    `now` and `before` give the outcome by problem. A candidate that the paired test calls worse is rolled back.
    """
    both = [one for one in now if one in before and "undecided" not in (now[one], before[one])]
    won = sum(now[one] == "correct" and before[one] != "correct" for one in both)
    lost = sum(now[one] != "correct" and before[one] == "correct" for one in both)
    p_value = mcnemar(won, lost)
    significant = p_value < settings.alpha
    counts = f"{won} problems won, {lost} lost of {len(both)} (McNemar p = {p_value:.2g})"
    if settings.rule == "always":
        promoted, reason = True, f"kept without a test: {counts}"
    elif significant and lost > won:
        promoted, reason = False, f"rolled back, the paired test says worse: {counts}"
    elif significant:
        promoted, reason = True, f"kept, the paired test says better: {counts}"
    else:
        promoted = settings.rule == "not-worse"
        reason = f"{'kept' if promoted else 'rolled back'}, the paired test sees no difference: {counts}"
    return Promotion(
        parents=(candidate, incumbent), promoted=promoted, won=won, lost=lost, p_value=p_value, reason=reason
    )
