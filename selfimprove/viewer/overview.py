"""The runs of a folder: searched, sorted, with the columns of one's choice, seeds together, and many in one chart."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from selfimprove.errors import SelfImproveError, StoreError
from selfimprove.recipe.changes import show_value
from selfimprove.records.stats import Accuracy
from selfimprove.store import RunFolder
from selfimprove.store.labels import Labels, read_labels, split_tags, write_labels
from selfimprove.store.run import start_command
from selfimprove.viewer import charts
from selfimprove.viewer.caching import image_of
from selfimprove.viewer.canvas import Form
from selfimprove.viewer.chart_tables import csv_of
from selfimprove.viewer.forms import library_of
from selfimprove.viewer.library import Figures, Library
from selfimprove.viewer.overoptimisation import find_grids
from selfimprove.viewer.posting import go_back, read_form
from selfimprove.viewer.rendering import render
from selfimprove.viewer.suites import find_suites

router = APIRouter(include_in_schema=False)
COLUMNS = {
    "last": "last accuracy", "trend": "accuracy", "gain": "gain", "best": "best accuracy", "state": "state",
    "rounds": "rounds", "changed": "changed", "seed": "seed", "model": "model", "task": "task",
    "constitution": "constitution", "time": "time", "tokens": "tokens trained", "tags": "tags", "note": "note",
}  # fmt: skip
USUAL = ("last", "trend", "gain", "state", "rounds", "changed", "task", "model", "tags")
SORTED = ("name", "last", "best", "gain", "changed", "seed", "rounds", "time")
MAX_SETTINGS = 6
MAX_AT_ONCE = 200  # runs that are tagged together
# What may differ between runs that are the same recipe with other seeds.
APART = {"name", "seed", "description", "report_to"}


class AskedRuns(BaseModel):
    """Which runs are listed, in which order, and with which columns."""

    model_config = ConfigDict(extra="ignore")
    q: Annotated[str, Field(max_length=200)] = ""
    tag: Annotated[str, Field(max_length=100)] = ""
    sort: Annotated[str, Field(pattern=f"^-?({'|'.join(SORTED)})$")] = "name"
    column: Annotated[list[Annotated[str, Field(max_length=20)]], Field(max_length=30)] = []
    setting: Annotated[str, Field(max_length=300)] = ""
    """Settings that are columns, such as `seed, stages.sft.learning_rate`."""
    apart: bool = False
    """Whether runs of one recipe that differ in their seeds are rows of their own."""
    hidden: bool = False
    narrow: bool = False
    """Whether the chart has to fit a phone."""

    @property
    def columns(self) -> list[str]:
        return [name for name in COLUMNS if name in (self.column or USUAL)]

    @property
    def settings(self) -> list[str]:
        return [one.strip() for one in self.setting.split(",") if one.strip()][:MAX_SETTINGS]

    def pairs(self, **changes: object) -> list[tuple[str, Any]]:
        """The address's parameters, some of them changed."""
        values, plain = {**self.model_dump(), **changes}, AskedRuns().model_dump()
        return [(name, str(one).lower() if isinstance(one, bool) else one) for name, value in values.items()
                if value != plain[name] for one in (value if isinstance(value, list) else [value])]  # fmt: skip


@dataclass
class Row:
    """One run, or those of one recipe with different seeds."""

    name: str
    figures: Figures | None
    labels: Labels
    error: str = ""
    members: list["Row"] = field(default_factory=list)

    @property
    def changed(self) -> float:
        return max([one.changed for one in self.members] or [self._changed])

    @property
    def _changed(self) -> float:
        return self.figures.times[1] if self.figures and self.figures.times else 0.0

    @property
    def last(self) -> Accuracy | None:
        return self.figures.rounds[-1] if self.figures and self.figures.rounds else None

    def shares(self, which: str) -> list[float]:
        """The accuracy of each run of the row: the last one, the best one, or how much it gained."""
        found = []
        for one in self.members or [self]:
            rounds = one.figures.rounds if one.figures else []
            if which == "gain":
                found += [rounds[-1].accuracy - rounds[0].accuracy] if len(rounds) > 1 else []
            elif rounds:
                found.append(rounds[-1].accuracy if which == "last" else max(each.accuracy for each in rounds))
        return found

    def mean(self, which: str) -> float | None:
        found = self.shares(which)
        return sum(found) / len(found) if found else None

    @property
    def seconds(self) -> float:
        found = [one.figures for one in self.members or [self] if one.figures]
        return sum(each.seconds.wall if each.seconds.elapsed is None else each.seconds.elapsed
                   for one in found for each in one.manifests)  # fmt: skip

    @property
    def trained(self) -> int:
        found = [one.figures for one in self.members or [self] if one.figures]
        return sum(each.tokens.get("trained", 0) for one in found for each in one.manifests)

    @property
    def date(self) -> str:
        return datetime.fromtimestamp(self.changed, UTC).strftime("%Y-%m-%d %H:%M") if self.changed else ""

    def setting(self, path: str) -> str:
        """A setting of its recipe by its name; empty where there is none."""
        value: Any = self.figures and self.figures.recipe
        for at, part in enumerate(path.split(".")):
            known = _members(value)
            # As `--set` has it: the name of a stage may stand alone.
            value = (known if at or part in known else _members(known.get("stages"))).get(part)
        return "" if value is None else show_value(value)


def _members(settings: object) -> dict[str, object]:
    """What settings hold by name, and nothing else that Python has of them: the name comes from an address."""
    return dict(settings) if isinstance(settings, (BaseModel, dict)) else {}


def list_rows(library: Library, asked: AskedRuns) -> tuple[list[Row], int]:
    """The rows that are asked for, and how many runs are hidden."""
    rows, hidden = [], 0
    for name, folder in library.folders().items():
        labels = read_labels(folder)
        try:
            row = Row(name, library.figures(name), labels)
        except SelfImproveError as error:
            row = Row(name, None, labels, str(error))
        if not _passes(row, asked):
            continue
        if labels.hidden and not asked.hidden:
            hidden += 1
            continue
        rows.append(row)
    rows = rows if asked.apart else fold(rows)
    return _sort(rows, asked.sort), hidden


def _passes(row: Row, asked: AskedRuns) -> bool:
    recipe = row.figures.recipe if row.figures else None
    said = [row.name, row.labels.note, *row.labels.tags, row.figures.state if row.figures else ""]
    said += (
        [recipe.description, recipe.model.path or "", recipe.train.name, recipe.constitution or ""] if recipe else []
    )
    text = " ".join(said).casefold()
    return (not asked.tag or asked.tag in row.labels.tags) and all(one in text for one in asked.q.casefold().split())


def fold(rows: Sequence[Row]) -> list[Row]:
    """Runs of one recipe with different seeds as one row; others stay as they are."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        recipe = row.figures.recipe if row.figures else None
        key = json.dumps(recipe.model_dump(mode="json", exclude=APART), sort_keys=True) if recipe else f"run {row.name}"
        groups.setdefault(key, []).append(row)
    found = []
    for members in groups.values():
        seeds = {one.figures.recipe.seed for one in members if one.figures and one.figures.recipe}
        if len(members) == 1 or len(seeds) < len(members):
            found += members
            continue
        members.sort(key=lambda one: one.figures.recipe.seed if one.figures and one.figures.recipe else 0)
        tags = tuple(dict.fromkeys(tag for one in members for tag in one.labels.tags))
        found.append(Row(_common(members), members[0].figures, Labels(tags=tags[:12]), members=members))
    return found


def _common(members: Sequence[Row]) -> str:
    """What the names of several runs begin with."""
    first, last = min(one.name for one in members), max(one.name for one in members)
    at = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[:at].rstrip("-_. ") or first


def _sort(rows: list[Row], sort: str) -> list[Row]:
    name, down = sort.lstrip("-"), sort.startswith("-")

    def key(row: Row) -> Any:
        recipe = row.figures.recipe if row.figures else None
        if name in ("last", "best", "gain"):
            value = row.mean(name)
            return -1e9 if value is None else value
        values: dict[str, Any] = {"changed": row.changed, "time": row.seconds, "name": row.name,
                                  "seed": recipe.seed if recipe else -1,
                                  "rounds": row.figures.done if row.figures else -1}  # fmt: skip
        return values[name]

    return sorted(sorted(rows, key=lambda row: row.name), key=key, reverse=down)


@router.get("/")
def runs(request: Request, asked: Annotated[AskedRuns, Query()]) -> HTMLResponse:
    library = library_of(request)
    rows, hidden = list_rows(library, asked)
    every = {tag for folder in library.folders().values() for tag in read_labels(folder).tags}
    shown = [(one.name, one.figures) for row in rows for one in (row.members or [row]) if one.figures]
    drawn = [figures for _, figures in shown if len(figures.rounds) > 1]
    trusted = [(name, figures) for name, figures in shown if figures.verifier_errors]
    return render(request, "runs.html", title="Runs", run=None, rows=rows, hidden=hidden, asked=asked, names=COLUMNS,
                  tags=sorted(every), folder=str(library.path), sorted_by=SORTED, drawn=len(drawn),
                  start=start_command(library.path), trusted=trusted,
                  grids=find_grids(library), suites=find_suites(library))  # fmt: skip


@router.get("/charts/runs.{kind}")
def overlay(request: Request, kind: Literal["svg", "png", "csv"], asked: Annotated[AskedRuns, Query()]) -> Response:
    """The accuracy of all runs that are listed, those of one recipe as their mean with the band of their seeds."""
    rows, _ = list_rows(library_of(request), asked)
    members = [(row.name, [(each.name, each.figures.rounds) for each in row.members or [row] if each.figures])
               for row in rows]  # fmt: skip
    if kind == "csv":
        found = [(group, name, one.round, one.accuracy, *one.interval)
                 for group, mine in members for name, rounds in mine for one in rounds]  # fmt: skip
        return csv_of("runs", (("group", "run", "round", "accuracy", "low", "high"), [*found]))
    lines = [(group, [[(one.round, one.accuracy) for one in rounds] for _, rounds in mine]) for group, mine in members]
    title, form = "Held-out accuracy of runs", Form(kind, asked.narrow)
    return image_of(request, ("runs", str(lines)), lambda: charts.bands_chart(lines, title), form)


@router.post("/labels")
async def label_many(request: Request) -> Response:
    """Tag or hide all runs that were chosen in the list, or take that back."""
    try:
        fields = await read_form(request, MAX_AT_ONCE + 10)
    except ClientDisconnect:  # so a body ends that grows beyond its bound
        return Response("the request is too large\n", 413, media_type="text/plain")
    do, tags, query = (fields.get(key, [""])[0] for key in ("do", "tags", "query"))
    library = library_of(request)
    # A row of seeds names them all; no folder's name has a slash.
    chosen = [*fields.get("run", []), *(one for row in fields.get("seeds", []) for one in row.split("/"))]
    if not chosen:
        raise StoreError("no run was chosen")
    await run_in_threadpool(_label, [library.folder(name) for name in dict.fromkeys(chosen)], do, split_tags(tags))
    return go_back("/", query)


def _label(folders: Sequence[RunFolder], do: str, tags: Sequence[str]) -> None:
    """Change the labels of runs; of all or, where one would have too many tags, of none."""
    if do in ("add", "remove") and not tags:
        raise StoreError("no tag was named")
    changed = []
    for folder in folders:
        labels = read_labels(folder)
        left = [tag for tag in labels.tags if do != "remove" or tag not in tags]
        wanted = split_tags(",".join([*left, *(tags if do == "add" else ())]))
        changed.append((folder, wanted, labels.note, do == "hide" or (labels.hidden and do != "show")))
    for each in changed:
        write_labels(*each)


@router.post("/runs/{name}/labels")
async def label(request: Request, name: str) -> Response:
    """Keep the tags and the note of a run, and whether it is hidden in the list."""
    try:
        fields = await read_form(request)
    except ClientDisconnect:  # so a body ends that grows beyond its bound
        return Response("the request is too large\n", 413, media_type="text/plain")
    tags, note = (fields.get(key, [""])[0] for key in ("tags", "note"))
    folder = library_of(request).folder(name)
    note = note.replace("\r\n", "\n").strip()
    await run_in_threadpool(write_labels, folder, split_tags(tags), note, "hidden" in fields)
    return go_back(f"/runs/{quote(name)}", "", "#labels")
