"""What a run that steers itself decided, as a table and as plain data."""

from rich.table import Table
from rich.text import Text

from selfimprove.records.console import make_table
from selfimprove.store.steered import Decided


def decisions_table(decided: list[Decided]) -> Table:
    """Each round's action, why, and what came of it."""
    columns = ("round", "rule", "what", "why", "came of it")
    table = make_table("Decisions", *columns, left=columns[1:])
    for one in decided:
        action = one.action
        changes = "\n".join(f"{name} {was} → {now}" for name, was, now in action.differences)
        what = "the run ends" if action.stop else changes
        why = "\n".join([action.reason, *([one.advice.said] if one.advice else [])])
        cells = (action.rule, what, why, one.came or (one.expected and f"expected: {one.expected}"))
        table.add_row(str(action.round), *map(Text, cells))
    return table


def decisions_json(decided: list[Decided]) -> list[dict[str, object]]:
    """The same with the figures, the predictions and the rules that did not act."""
    return [
        {
            **one.action.model_dump(exclude={"parents"}),
            "id": one.action.id,
            "seen": [{**health.model_dump(exclude={"parents"}), "id": health.id} for health in one.seen],
            "advice": {**one.advice.model_dump(exclude={"parents"}), "id": one.advice.id} if one.advice else None,
            "expected": one.prediction.model_dump(exclude={"parents"}) if one.prediction else None,
            "effects": [effect.model_dump(exclude={"parents"}) for effect in one.effects],
        }
        for one in decided
    ]
