"""What a run has spent of its budget round by round, as a table and as plain data."""

from rich.table import Table

from selfimprove.recipe.budget import Ledger
from selfimprove.records.console import make_table


def budget_table(ledger: Ledger) -> Table:
    """What each round cost, and what was left after it."""
    show, left = ledger.budget.show, ledger.budget.amount
    table = make_table(f"A {ledger.said}", "round", "spent", "left", "")
    for round_, cost in ledger.by_round.items():
        left -= cost
        share = f"{max(0.0, left) / ledger.budget.amount:.0%}"
        table.add_row(str(round_), show(cost), show(max(0.0, left)), share)
    return table


def budget_json(ledger: Ledger | None) -> dict[str, object] | None:
    """The same in seconds, tokens or rounds."""
    if ledger is None:
        return None
    return {
        "unit": ledger.budget.unit,
        "amount": ledger.budget.amount,
        "spent": ledger.spent,
        "left": ledger.left,
        "rounds": dict(ledger.by_round),
    }
