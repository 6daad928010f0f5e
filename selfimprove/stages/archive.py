"""The checkpoints that a run kept, each of which a later round can start from, by what was measured and decided."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from selfimprove.records import Action, Health

Measured: TypeAlias = Mapping[tuple[int, str, str], Health]
"""By round, figure and family."""


def trained_in(round_: int, measured: Measured, past: Sequence[Action]) -> int:
    """The round that trained what was kept at the end of one: an earlier one where its own was rolled back."""
    starts = {one.round: one.back_to for one in past if one.back_to is not None}
    while round_ > 0 and (refused := measured.get((round_, "refused", ""))) and refused.value:
        round_ = starts.get(round_, round_ - 1)
    return round_


def find_best(measured: Measured, past: Sequence[Action]) -> int | None:
    """The round that trained the best checkpoint that was kept, the latest of equals; None where none was measured."""
    found = {at: one.value for (at, figure, _), one in measured.items() if figure == "controller accuracy"}
    kept = [at for at in found if trained_in(at, measured, past) == at]
    return max(kept, key=lambda at: (found[at], at), default=None)
