"""The figures that a chart shows, as rows for a file."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi.responses import Response

from selfimprove.errors import StoreError
from selfimprove.records.mixed import TURNED_AWAY
from selfimprove.records.stats import Accuracy
from selfimprove.store.made_from import read_funnel, read_health
from selfimprove.viewer import drawings
from selfimprove.viewer.charts import Line
from selfimprove.viewer.controls import Control
from selfimprove.viewer.library import Figures, Run
from selfimprove.viewer.steps import by_step

Table = tuple[Sequence[str], list[Sequence[Any]]]
SHARES = ("round", "name", "correct", "n", "undecided", "accuracy", "low", "high")


def table_of(chart: str, run: Run, figures: Figures, graph: int, control: Control | None = None) -> Table:
    """The columns and the rows of a chart; raises StoreError where there is none of that name."""
    if chart == "accuracy":
        rows = [_share(run.name, one) for one in figures.rounds]
        rows += [_share(control.name, one) for one in control.figures.rounds] if control else []
        return SHARES, rows
    if chart in ("levels", "families"):
        found = figures.by("task", "level") if chart == "levels" else figures.by("task", "level", "group")
        return SHARES, [_share(" ".join(filter(None, (one.task, str(one.level), one.group))), one) for one in found]
    if chart in ("funnel", "health"):
        records = read_funnel(run.index) if chart == "funnel" else read_health(run.index)
        names = ["round", *(name for name in records[0] if name != "round")] if records else ["round"]
        return names, [[one[name] for name in names] for one in records]
    if chart == "signs":
        found_signs = drawings.signs(read_health(run.index), read_funnel(run.index), drawings.divergences(figures))
        return ("round", "name", "value"), _by_round(found_signs)
    for stage, trained in drawings.losses(figures).items():
        if chart == f"loss-{stage}":
            return ("round", "step", "loss"), [(one.round, *point) for one in trained for point in one.curve]
    for stage, steps in by_step(figures).items():
        if chart == f"steps-{stage}":
            curves: list[Sequence[Any]] = [
                (one.round, name, *point) for one in steps for name, of in one.curves.items() for point in of
            ]
            return ("round", "name", "step", "value"), curves
    if chart == "instructions":
        panels = drawings.proposed(figures)
        return ("panel", "name", "count"), [(name, *one) for name, bars in panels.items() for one in bars]
    if chart == "mixture":
        columns = ("round", "by", "name", "rows", "of", "share", "asked", "tokens", "token share", *TURNED_AWAY)
        shown = [(round_, one) for round_, found in figures.portions.items() for one in found]
        return columns, [
            (at, one.by, one.name, one.rows, one.of, one.share, one.asked, one.tokens, one.token_share,
             *(getattr(one, name) for name in TURNED_AWAY)) for at, one in shown
        ]  # fmt: skip
    if chart == "variety":
        return ("round", "name", "value"), _by_round(drawings.variety(figures))
    if chart == "stages":
        edges = drawings.stage_flow(run, figures, graph)["edges"]
        return ("from", "to", "records"), [(a[1], b[1], count) for (a, b), count in edges.items()]
    raise StoreError("there is no such chart")


def _by_round(lines: Sequence[Line]) -> list[Sequence[Any]]:
    return [(round_, name, value) for name, xs, ys in lines for round_, value in zip(xs, ys, strict=True)]


def _share(name: str, one: Accuracy) -> Sequence[Any]:
    return one.round, name, one.correct, one.n, one.undecided, one.accuracy, *one.interval


def csv_of(name: str, table: Table) -> Response:
    """A table as a file; a text that a spreadsheet would take for a formula is none."""
    columns, rows = table
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerows(_plain(row) for row in (columns, *rows))
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100]
    headers = {"content-disposition": f'attachment; filename="{safe}.csv"'}
    return Response(out.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _plain(row: Iterable[object]) -> list[object]:
    return [f"'{one}" if isinstance(one, str) and one[:1] in ("=", "+", "-", "@", "\t", "\r") else one for one in row]
