"""The page of a run's decisions: what was seen, what was chosen beside which other rules, and what came of it."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from selfimprove.errors import StoreError
from selfimprove.store.steered import Decided, read_decided
from selfimprove.viewer.forms import run_of
from selfimprove.viewer.library import Run
from selfimprove.viewer.pages import banner
from selfimprove.viewer.rendering import render

router = APIRouter(include_in_schema=False)


def read(run: Run) -> list[Decided]:
    """The decisions of a run so far; none where a file is torn, which the banner names."""
    try:
        return read_decided(run.folder)
    except StoreError:
        return []


@router.get("/runs/{name}/decisions")
def page(request: Request, name: str) -> HTMLResponse:
    one = run_of(request, name)
    return render(request, "decisions.html", title=f"Decisions of {name}", run=name, decided=read(one),
                  banner=banner(one))  # fmt: skip
