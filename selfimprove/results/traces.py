"""Listing and exporting what the model wrote."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.text import Text

from selfimprove.errors import SelfImproveError, StoreError, suggest
from selfimprove.people.files import write_pairs, write_ratings
from selfimprove.records.console import SafeConsole
from selfimprove.records.printable import one_line, printable
from selfimprove.store.export import write_rows
from selfimprove.store.files import check_shown
from selfimprove.store.notes import PAIRS, Notes, note_pairs
from selfimprove.store.parts import named_errors
from selfimprove.store.query import TRACES, Query
from selfimprove.store.rankings import Rankings, rate_by_rank

CHOICES = {
    "outcome": ("correct", "incorrect", "undecided"),
    "reasoning": ("correct", "incorrect", "undecided"),
    "origin": ("sampled", "rationalized", "revised"),
}
RANKED = ("ratings", "pairs")
LONGEST = 600  # characters of a text in a list
SFT = """
    SELECT e.id, e.prompt, e.completion, e.origin, e.round, e.parents
    FROM (SELECT DISTINCT ON (id) * FROM example) e
"""


DPO = """
    SELECT p.id, p.prompt, p.chosen, p.rejected, p.margin, length(p.chosen) - length(p.rejected) AS longer,
           p.source, p.principle, p."group", p.round, p.parents
    FROM (SELECT DISTINCT ON (id) * FROM preference) p
"""


def check_choices(filters: Mapping[str, Any], stages: Sequence[str] | None = None) -> None:
    """Check filters that have few values; raises SelfImproveError with the nearest one. `stages` are those of a run."""
    choices = CHOICES if stages is None else {**CHOICES, "stage": tuple(stages)}
    for name, known in choices.items():
        value = filters.get(name)
        if value is not None and value not in known:
            raise SelfImproveError(f"--{name} {value}: no such {name}{suggest(value, known)}")


def print_traces(query: Query, filters: Mapping[str, Any], limit: int, as_json: bool) -> None:
    """Print traces, a JSON object a line or a short block each; raises StoreError where a part is enormous."""
    check_shown(query.folder)
    if as_json:
        for row in query.traces(limit, **filters):
            sys.stdout.write(json.dumps(row) + "\n")  # ASCII, so that nothing in it can steer a terminal
        return
    console = SafeConsole()
    for row in query.traces(limit, cut=LONGEST, **filters):
        console.print(_block(row), highlight=False, soft_wrap=True)
    found = query.count(**filters)
    shown = f"{limit} of {found} traces; --limit shows more" if found > limit else f"{found} traces"
    more = f"a whole one: selfimprove show {query.folder.called} ID"
    console.print(f"{shown}; {more}", highlight=False, markup=False, soft_wrap=True)


def _block(row: Mapping[str, Any]) -> Text:
    colors = {"correct": "green", "incorrect": "red", "undecided": "yellow"}
    outcome = row["outcome"] or "not judged"
    fate = "" if row["kept"] is None else row["decision"] if row["kept"] else f"turned away: {row['decision']}"
    return Text.assemble(
        (row["id"][:10], "bold"),
        f"  round {row['round']} {row['stage']}, {row['origin']}, {row['task']} {one_line(row['group'] or '')}  ",
        (outcome, colors.get(outcome, "")),
        f" {one_line(row['reason'] or '')}  {one_line(fate, 160)}\n",
        f"  {one_line(row['question'] or '', 200)}\n",
        *(f"    {line}\n" for line in printable(row["text"], LONGEST + 40).split("\n")),
    )


def export_rows(query: Query, out: Path, what: str, round_: int | None) -> int:
    """Write SFT rows, pairs, traces, or what people noted or ranked to a file; raises SelfImproveError.

    Gives the number of rows.
    """
    tables = {"sft": SFT, "dpo": DPO, "traces": TRACES}
    if round_ is not None and what in ("notes", *RANKED):
        raise SelfImproveError(f"--round {round_}: what people say is of all rounds; leave it out with --what {what}")
    if what == "notes":
        return _export_notes(query, out)
    if what in RANKED:
        return _export_rankings(query, out, what)
    if what not in tables:
        raise SelfImproveError(f"--what {what}: no such export{suggest(what, [*tables, 'notes', *RANKED])}")
    if out.suffix not in (".parquet", ".jsonl"):
        raise SelfImproveError(f"{out}: name a .parquet or a .jsonl file")
    where = "" if round_ is None else f" WHERE round = {int(round_)}"
    with named_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        return query.copy(f"SELECT * FROM ({tables[what]}){where} ORDER BY round, id", out)


def _export_notes(query: Query, out: Path) -> int:
    """Write what people call good over what they call bad of the same prompt."""
    if out.suffix not in (".parquet", ".jsonl"):
        raise SelfImproveError(f"{out}: name a .parquet or a .jsonl file")
    notes = Notes(query.folder)
    notes.check()
    marked = list(notes.marked(("good", "bad")))
    rows = query.rows(
        f"SELECT id, problem, prompt, text FROM ({TRACES}) WHERE id IN (SELECT unnest(?::VARCHAR[]))", marked
    )
    with named_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    return write_rows(out, note_pairs(notes, {row["id"]: row for row in rows}), PAIRS)


def _export_rankings(query: Query, out: Path, what: str) -> int:
    """Write what people ranked as ratings by pseudonyms, or as pairs to train a reward model on."""
    rankings = Rankings(query.folder)
    for name, reason in rankings.damaged().items():
        raise StoreError(f"{query.folder.path / name}: {reason}; move it away, and it is left out")
    current = [one for one in rankings.current() if not one.skipped]
    if not current:
        raise StoreError(
            f"{query.folder.called}: nobody has ranked anything; open: selfimprove view {quote(str(query.folder.path))}"
        )
    named = sorted({trace for one in current for trace in one.parents})
    rows = query.rows(
        f"SELECT id, coalesce(question, prompt) AS prompt, text, checkpoint FROM ({TRACES}) "
        "WHERE id IN (SELECT unnest(?::VARCHAR[]))",
        named,
    )
    ratings = list(rate_by_rank(current, {row["id"]: row for row in rows}))
    return write_ratings(ratings, out) if what == "ratings" else write_pairs(ratings, out)
