"""What a grid of runs showed of over-optimisation: gold beside proxy rewards as a picture, and its tables."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from selfimprove.errors import StoreError
from selfimprove.records.files import read_bounded
from selfimprove.viewer import charts
from selfimprove.viewer.caching import image_of
from selfimprove.viewer.canvas import Form
from selfimprove.viewer.chart_tables import csv_of
from selfimprove.viewer.forms import library_of
from selfimprove.viewer.library import Library
from selfimprove.viewer.rendering import render

router = APIRouter(include_in_schema=False)
ENDING = "-overoptimise"  # of a grid's own folder, which lies among the runs
MAX_FILE = 4 << 20
TITLE = "Gold and proxy rewards over √KL"
Numbers = Annotated[tuple[FiniteFloat, ...], Field(max_length=2000)]
Cells = Annotated[tuple[str, ...], Field(max_length=30)]


class Line(BaseModel):
    """A curve of the picture."""

    model_config = ConfigDict(frozen=True)
    name: str
    xs: Numbers
    ys: Numbers
    errors: Numbers | None = None
    group: FiniteFloat | str
    """Lines of one group have one colour."""
    dashed: bool

    @model_validator(mode="after")
    def is_even(self) -> Self:
        if not len(self.xs) == len(self.ys) == len(self.errors or self.xs):
            raise ValueError("a line has as many values as places")
        return self


class Grid(BaseModel):
    """What the command `overoptimise` keeps of its runs to be shown."""

    model_config = ConfigDict(frozen=True)
    lines: Annotated[dict[str, Annotated[tuple[Line, ...], Field(max_length=200)]], Field(max_length=4)]
    """By the title of a panel."""
    tables: Annotated[tuple[Annotated[tuple[Cells, ...], Field(max_length=2000)], ...], Field(max_length=8)]
    """Rows of cells, the first of which are the columns' names."""


def find_grids(library: Library) -> list[str]:
    """The names of the grids among the runs."""
    found = library.path.glob(f"*{ENDING}/results.json")
    return sorted(one.parent.name.removesuffix(ENDING) for one in found)


def read_grid(library: Library, name: str) -> Grid:
    """What is kept of a grid; raises StoreError where there is none or its file is damaged."""
    if name not in find_grids(library):
        raise StoreError("there are no such figures of over-optimisation")
    path = library.path / f"{name}{ENDING}" / "results.json"
    try:
        return Grid.model_validate_json(read_bounded(path, MAX_FILE))
    except (OSError, ValueError) as error:
        said = str(error).splitlines()[0][:200]
        raise StoreError(f"{path.parent.name}/{path.name}: cannot be read ({said}); run the command again") from None


@router.get("/overoptimise/{name}")
def page(request: Request, name: str) -> HTMLResponse:
    library = library_of(request)
    grid = read_grid(library, name)
    runs = [one for one in library.folders() if one.startswith(f"{name}-")]
    return render(request, "overoptimise.html", title=f"Over-optimisation of {name}", run=None, name=name, grid=grid,
                  runs=runs, drawn=any(grid.lines.values()))  # fmt: skip


@router.get("/overoptimise/{name}/rewards.{kind}")
def picture(request: Request, name: str, kind: Literal["svg", "png", "csv"], narrow: bool = False) -> Response:
    """Rewards over √KL as an image, or the figures that it shows."""
    grid = read_grid(library_of(request), name)
    if kind == "csv":
        rows: list[Sequence[Any]] = [
            (panel, one.name, *point)
            for panel, some in grid.lines.items()
            for one in some
            for point in zip(one.xs, one.ys, one.errors or [None] * len(one.xs), strict=True)
        ]
        return csv_of(f"{name}-overoptimise", (("panel", "name", "root of KL", "reward", "error"), rows))
    lines = {panel: [one.model_dump() for one in some] for panel, some in grid.lines.items()}
    form = Form(kind, narrow)
    return image_of(request, ("overoptimise", str(lines)), lambda: charts.rewards_chart(lines, TITLE), form)
