"""Prints what `selfimprove verify` made of a file."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfimprove.records.console import SafeConsole, make_table
from selfimprove.records.printable import one_line
from selfimprove.records.stats import wilson
from selfimprove.results.verify_file import OUTCOMES, Totals
from selfimprove.verifiers.labelled import LabelledReport

SHOWN = 12


def print_totals(totals: Totals, console: Console | None = None) -> None:
    """Print the totals, the reasons, what stayed undecided, and where two verifiers differ."""
    console = console or SafeConsole()
    judged = sum(totals.outcomes.values())
    console.print(_outcomes_table(totals, judged))
    console.print(_reasons_table("Reasons", totals, undecided=False))
    if totals.outcomes["undecided"]:
        console.print(_reasons_table("Undecided", totals, undecided=True))
    if totals.steps:
        coverage = sum(totals.coverage) / len(totals.coverage) if totals.coverage else 0.0
        parts = ", ".join(f"{totals.steps[one]} {one}" for one in OUTCOMES if totals.steps[one])
        console.print(
            f"Steps: {parts}; {coverage:.0%} of the sentences with numbers checked on average; right answers by a "
            f"wrong step: {totals.wrong_reason}, from a number that comes from nowhere: {totals.ungrounded}",
            highlight=False,
        )
    if totals.labelled:
        _print_labelled(totals.labelled, console)
    if totals.both:
        _print_disagreements(totals, console)
    if totals.skipped.reasons:
        console.print(Text(f"Not judged: {totals.skipped.describe()}"))
    console.print(f"{judged} responses in {totals.seconds:.1f} s", highlight=False)


def _table(title: str, *names: str) -> Table:
    return make_table(title, *names, left=tuple(one for one in names if one not in ("count", "share", "of")))


def _outcomes_table(totals: Totals, judged: int) -> Table:
    table = _table("Verdicts", "outcome", "count", "share", "95% interval")
    for outcome in OUTCOMES:
        count = totals.outcomes[outcome]
        low, high = wilson(count, judged)
        table.add_row(outcome, str(count), f"{count / judged:.1%}", f"{low:.1%} to {high:.1%}")
    return table


def _reasons_table(title: str, totals: Totals, *, undecided: bool) -> Table:
    table = _table(title, "outcome", "reason", "count", "first example")
    chosen = [(key, count) for key, count in totals.reasons.most_common() if (key[0] == "undecided") == undecided]
    for key, count in chosen[:SHOWN]:
        table.add_row(key[0], Text(one_line(key[1])), str(count), Text(one_line(totals.examples[key], 160)))
    if len(chosen) > SHOWN:
        rest = sum(count for _, count in chosen[SHOWN:])
        table.add_row("", f"{len(chosen) - SHOWN} more reasons", str(rest), "")
    return table


def _print_labelled(report: LabelledReport, console: Console) -> None:
    table = _table("Beside the labels", "rate", "count", "of", "share", "95% interval")
    for name, (count, n) in report.rates.items():
        low, high = wilson(count, n)
        share = f"{count / n:.1%}" if n else "none"
        table.add_row(name, str(count), str(n), share, f"{low:.1%} to {high:.1%}")
    console.print(table)
    if report.kinds:
        table = _table("Worst kinds", "error", "reason", "count", "examples")
        for kind in report.worst(SHOWN):
            examples = "\n".join(one_line(example, 160) for example in kind.examples)
            table.add_row(kind.error, Text(one_line(kind.reason)), str(kind.count), Text(examples))
        console.print(table)


def _print_disagreements(totals: Totals, console: Console) -> None:
    checked = sum(totals.both.values())
    agreed = sum(count for (first, second), count in totals.both.items() if first == second)
    console.print(f"Second verifier: agrees on {agreed} of {checked} ({agreed / checked:.1%})", highlight=False)
    if not totals.disagreements:
        return
    table = _table("Where they differ", "line", "expected", "first", "second")
    for row, first, second in totals.disagreements[:SHOWN]:
        shown = [one_line(f"{one.outcome}: {one.reason}", 160) for one in (first, second)]
        table.add_row(str(row.line), Text(one_line(str(row.problem.answer), 40)), *map(Text, shown))
    console.print(table)
    if len(totals.disagreements) > SHOWN:
        console.print(f"{len(totals.disagreements) - SHOWN} more; --out FILE holds all of them", highlight=False)


def to_json(totals: Totals) -> dict[str, object]:
    """The totals as plain data."""
    return {
        "outcomes": {one: totals.outcomes[one] for one in OUTCOMES},
        "reasons": [{"outcome": key[0], "reason": key[1], "count": count, "example": totals.examples[key]}
                    for key, count in totals.reasons.most_common()],
        "steps": dict(totals.steps),
        "wrong_reason": totals.wrong_reason,
        "ungrounded": totals.ungrounded,
        "second": [{"first": pair[0], "second": pair[1], "count": count} for pair, count in totals.both.items()],
        **({"labelled": totals.labelled.to_json()} if totals.labelled else {}),
        "unreadable": dict(totals.skipped.reasons),
        "seconds": totals.seconds,
    }  # fmt: skip
