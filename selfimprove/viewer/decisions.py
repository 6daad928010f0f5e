"""The page of a run's decisions: what was seen, what was chosen beside which other rules, and what came of it."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from selfimprove.errors import SelfImproveError, StoreError
from selfimprove.store.branches import describe_branches, read_branches
from selfimprove.store.ledger import read_ledger
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


def read_lines(run: Run) -> tuple[list[str], str]:
    """The tree of rounds in lines, and what was spent of the budget; nothing where a file is torn."""
    try:
        ledger = read_ledger(run.folder, run.folder.recipe())
        return describe_branches(read_branches(run.folder)), ledger.said if ledger else ""
    except SelfImproveError:
        return [], ""


@router.get("/runs/{name}/decisions")
def page(request: Request, name: str) -> HTMLResponse:
    one = run_of(request, name)
    lineage, budget = read_lines(one)
    return render(request, "decisions.html", title=f"Decisions of {name}", run=name, decided=read(one),
                  lineage=lineage, budget=budget, banner=banner(one))  # fmt: skip
