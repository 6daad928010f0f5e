"""What each principle of a run's constitution changed: figures, and the best and the worst example."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from selfimprove.constitution.adherence import FIGURES
from selfimprove.constitution.show import word_diff
from selfimprove.records.console import SafeConsole, make_table
from selfimprove.records.printable import MAX_SHOWN, one_line
from selfimprove.results.status_tables import constitution_table
from selfimprove.running.figures import read_manifests
from selfimprove.store.principles import read_report
from selfimprove.store.query import Query

LONGEST = 400  # characters of a text in an example


def print_report(query: Query, console: Console | None = None) -> None:
    """Print how far held-out answers follow the principles, and what each changed in training, with examples."""
    console = console or SafeConsole()
    rows = read_report(query)
    measured = [one for one in read_manifests(query.folder) if one.metrics.get(FIGURES)]
    if measured:
        console.print(constitution_table(measured))
    # Narrow enough for 80 columns.
    names = (
        "principle",
        *("found of\ndrawn", "kept of\nchanged", "won", "check"),
        *("re-\nfused", "leaks", "cop-\nied", "tokens"),
    )
    for constitution in dict.fromkeys(row["constitution"] for row in rows):
        mine = [row for row in rows if row["constitution"] == constitution]
        table = make_table(f"What {constitution} changed", *names, left=("principle",))
        for row in mine:
            table.add_row(*_cells(row))
        console.print(table)
        for row in mine:
            for line in _examples(row):
                console.print(line, highlight=False, soft_wrap=True)


def _cells(row: dict[str, Any]) -> list[str]:
    check = ""
    if row["checked"]:
        before, after = (f"{row[name] / row['checked']:.0%}" for name in ("passed_before", "passed_after"))
        check = f"{before} → {after}"
    won = f"{row['won']}/{row['compared']}" if row["compared"] else ""
    counts = (f"{row['found']}/{row['drawn']}", f"{row['kept']}/{row['changed']}")
    return [
        row["principle"],
        *counts,
        won,
        check,
        *(str(row[one]) for one in ("refusals", "leaks", "copied", "tokens")),
    ]


def _examples(row: dict[str, Any]) -> Iterator[Text]:
    best, worst = row["best"], row["worst"]
    for name, one in (("best", best), ("worst", worst)):
        if one is None or (name == "worst" and best and one["id"] == best["id"]):
            continue
        check = f", check {one['before']} before and {one['after']} after" if one["before"] else ""
        title = f"{row['principle']}, the {name} of round {one['round']} ({one['id'][:10]}{check})"
        yield Text.assemble((title, "bold"), f": {one_line(one['reason'])}")
        yield Text(f"  asked:    {one_line(one['question'] or '', LONGEST)}")
        if one["critique"] is not None:
            yield Text(f"  critique: {one_line(one['critique'].strip(), LONGEST)}")
        yield Text(
            f"  revision: {one_line(word_diff(one['response'][:MAX_SHOWN], one['revision'][:MAX_SHOWN]), 2 * LONGEST)}"
        )
