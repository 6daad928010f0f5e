"""Models on a suite: their averages by group as a table and a picture, and the first model beside the others."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt

from selfimprove.errors import StoreError
from selfimprove.recipe.suite import FILE
from selfimprove.records.files import read_bounded
from selfimprove.viewer.caching import image_of
from selfimprove.viewer.canvas import Form
from selfimprove.viewer.chart_tables import Table, csv_of
from selfimprove.viewer.forms import library_of
from selfimprove.viewer.intervals import Dot, intervals_chart
from selfimprove.viewer.library import Library
from selfimprove.viewer.rendering import render

router = APIRouter(include_in_schema=False)
PICTURES = {"averages": "Averages with 95% intervals", "differences": "Differences with 95% intervals"}
MAX_FILE = 16 << 20
LEVEL = 0.05  # below which a difference is drawn as a filled point
Name = Annotated[str, Field(max_length=400)]


class Shown(BaseModel):
    """What the command `evaluate` keeps of a suite to be shown; what else it keeps is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Average(Shown):
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class Row(Shown):
    """A model on a group."""

    group: Name
    tasks: NonNegativeInt
    n: NonNegativeInt
    correct: NonNegativeInt
    undecided: NonNegativeInt
    micro: Average | None
    macro: Average | None


class Task(Shown):
    """A model on a task."""

    n: NonNegativeInt
    correct: NonNegativeInt
    undecided: NonNegativeInt


class Model(Shown):
    model: Name
    run: Name
    averages: Annotated[tuple[Row, ...], Field(max_length=200)]
    tasks: Annotated[dict[Name, Task], Field(max_length=2000)]


class Pair(Shown):
    """The first model less another one on a group."""

    group: Name
    first: Name
    second: Name
    n: NonNegativeInt
    won: NonNegativeInt
    lost: NonNegativeInt
    micro: Average
    macro: Average
    p_value: FiniteFloat
    adjusted: FiniteFloat


class Suite(Shown):
    suite: Name
    models: Annotated[tuple[Model, ...], Field(max_length=50)]
    pairs: Annotated[tuple[Pair, ...], Field(max_length=10_000)]

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(row.group for one in self.models for row in one.averages))

    def rows(self, group: str) -> list[tuple[str, Row]]:
        """The models on a group, in their order."""
        return [(one.model, row) for one in self.models for row in one.averages if row.group == group]

    @property
    def tasks(self) -> list[tuple[str, list[Task | None]]]:
        """Each task with what every model came to."""
        names = dict.fromkeys(name for one in self.models for name in one.tasks)
        return [(name, [one.tasks.get(name) for one in self.models]) for name in names]

    def dots(self, picture: str) -> dict[str, list[Dot]]:
        """The points of a picture, for each of the two averages."""
        found: dict[str, list[Dot]] = {}
        for kind in ("micro", "macro"):
            if picture == "averages":
                every = [
                    (row.group, one.model, getattr(row, kind), True) for one in self.models for row in one.averages
                ]
            else:
                every = [
                    (one.group, f"beside {one.second}", getattr(one, kind), one.adjusted < LEVEL) for one in self.pairs
                ]
            found[kind] = [
                Dot(group, name, one.value, one.low, one.high, filled) for group, name, one, filled in every if one
            ]
        return found


def find_suites(library: Library) -> list[str]:
    """The names of the folders among the runs that hold models on a suite."""
    return sorted(one.parent.name for one in library.path.glob(f"*/{FILE}"))


def read_suite(library: Library, name: str) -> Suite:
    """What is kept of a suite; raises StoreError where there is none or its file is damaged."""
    if name not in find_suites(library):
        raise StoreError("there are no such models on a suite")
    try:
        return Suite.model_validate_json(read_bounded(library.path / name / FILE, MAX_FILE))
    except (OSError, ValueError) as error:
        said = str(error).splitlines()[0][:200]
        raise StoreError(f"{name}/{FILE}: cannot be read ({said}); run the command again") from None


@router.get("/suites/{name}")
def page(request: Request, name: str) -> HTMLResponse:
    library = library_of(request)
    suite = read_suite(library, name)
    pictures = [one for one in PICTURES if any(suite.dots(one).values())]
    folder = str(library.path / name)
    return render(request, "suite.html", title=f"Models on {suite.suite}", run=None, name=name, suite=suite,
                  pictures=pictures, folder=folder)  # fmt: skip


@router.get("/suites/{name}/{picture}.{kind}")
def draw(
    request: Request, name: str, picture: Literal["averages", "differences"], kind: Literal["svg", "png", "csv"],
    narrow: bool = False,
) -> Response:  # fmt: skip
    """A picture of a suite as an image, or the figures that it shows."""
    suite = read_suite(library_of(request), name)
    if kind == "csv":
        return csv_of(f"{name}-{picture}", table_of(suite, picture))
    key = ("suite", picture, suite.model_dump_json(exclude={"models": {"__all__": {"tasks"}}}))
    return image_of(request, key, lambda: draw_suite(suite, picture), Form(kind, narrow))


def draw_suite(suite: Suite, picture: str) -> str | bytes:
    """The averages of the models by group, or how much the first one differs from the others."""
    differs = picture == "differences"  # where the first of the models has no points, and the others keep their colours
    said = "difference, points" if differs else "accuracy, %"
    return intervals_chart(suite.dots(picture), f"{suite.suite}: {PICTURES[picture]}", said, int(differs))


def table_of(suite: Suite, picture: str) -> Table:
    """The figures of a picture, with those that it leaves out."""
    rows: list[Sequence[Any]] = []
    if picture == "averages":
        for one in suite.models:
            for row in one.averages:
                rows.append((row.group, one.model, row.tasks, row.n, row.correct, row.undecided,
                             *_ends(row.micro), *_ends(row.macro)))  # fmt: skip
        return ("group", "model", "tasks", "n", "correct", "undecided", *_columns()), rows
    for pair in suite.pairs:
        rows.append((pair.group, pair.first, pair.second, pair.n, pair.won, pair.lost, *_ends(pair.micro),
                     *_ends(pair.macro), pair.p_value, pair.adjusted))  # fmt: skip
    return ("group", "model", "beside", "n", "won", "lost", *_columns(), "p", "Holm"), rows


def _columns() -> tuple[str, ...]:
    return "micro", "micro low", "micro high", "macro", "macro low", "macro high"


def _ends(one: Average | None) -> tuple[float | None, ...]:
    return (one.value, one.low, one.high) if one else (None, None, None)
