"""What a mixture gave, beside what was asked for, and what became of the clusters that it holds out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from selfimprove.records import Evaluation, Portion
from selfimprove.records.console import make_table
from selfimprove.records.mixed import TURNED_AWAY

BY = ("cluster", "data set", "form")


def mixture_tables(portions: Mapping[int, Sequence[Portion]]) -> Iterator[Table]:
    """What was drawn in each round by cluster, data set and form; templates are many."""
    for round_, found in portions.items():
        columns = ("of the mixture", "rows", "tokens", "share", "asked", "turned away")
        table = make_table(f"Drawn in round {round_}", *columns, left=("of the mixture",))
        for by in BY:
            for one in (one for one in found if one.by == by):
                table.add_row(Text(f"{by} {one.name}"), *_cells(one))
        yield table


def _cells(one: Portion) -> tuple[str, ...]:
    away = sum(getattr(one, name) for name in TURNED_AWAY)
    share = f"{one.share:.1%}" if one.of else ""  # of a form that no row could have there is none
    return f"{one.rows:,}", f"{one.tokens:,}", share, f"{one.asked:.1%}", f"{away:,}" if away else ""


def mixture_json(portions: Mapping[int, Sequence[Portion]]) -> dict[int, list[dict[str, Any]]]:
    return {
        round_: [one.model_dump(exclude={"parents"}) | {"share": one.share} for one in found]
        for round_, found in portions.items()
    }


def is_of_mixture(one: Evaluation) -> bool:
    return one.task.startswith("mixture/")


def groups_table(evaluations: Mapping[int, Sequence[Evaluation]]) -> Table | None:
    """The held-out accuracy on each data set of a mixture by round; None where none is evaluated."""
    mine = {round_: [one for one in found if is_of_mixture(one)] for round_, found in evaluations.items()}
    groups = dict.fromkeys((one.level, one.group) for found in mine.values() for one in found if one.n)
    if not groups:
        return None
    table = make_table(
        "Held-out accuracy by data set", "cluster: data set", "its cluster", "of", *(f"round {one}" for one in mine),
        left=("cluster: data set", "its cluster"),
    )  # fmt: skip
    for level, group in sorted(groups, key=lambda one: (-one[0], one[1])):
        counts = {round_: _count(found, level, group) for round_, found in mine.items()}
        most = max(n for _, n in counts.values())
        said = "held out" if level else "trained"
        table.add_row(Text(group), said, str(most), *(f"{right / n:.1%}" if n else "" for right, n in counts.values()))
    return table


def _count(found: Sequence[Evaluation], level: int, group: str) -> tuple[int, int]:
    """How many answers are right, of how many."""
    mine = [one for one in found if (one.level, one.group) == (level, group)]
    return sum(one.correct for one in mine), sum(one.n for one in mine)
