"""JSON with the same filters as the pages, for notebooks; /api describes it."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from selfimprove.errors import StoreError
from selfimprove.records import KL
from selfimprove.store.made_from import read_changes, read_funnel, read_health, read_parts, read_undecided
from selfimprove.viewer.controls import choose_control
from selfimprove.viewer.drawings import divergences, losses, measured_pairs
from selfimprove.viewer.forms import Filtered, filters_of, library_of, run_of
from selfimprove.viewer.steps import by_step
from selfimprove.viewer.views import trace_view

router = APIRouter(prefix="/api", tags=["runs"], default_response_class=JSONResponse)
Identity = Annotated[str, Path(pattern="^[0-9a-f]{4,40}$", max_length=40)]


class Mistake(BaseModel):
    """What is wrong with a question, in one line."""

    error: str


SAID: dict[str, Any] = {"model": Mistake}
REFUSED: dict[str, Any] = {"content": {"text/plain": {}}}
ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"description": "Not there", **SAID},
    422: {"description": "A mistake in the address", **SAID},
    414: {"description": "The address is too long", **REFUSED},
}


@router.get("/runs", responses=ERRORS)
def runs(request: Request) -> list[dict[str, Any]]:
    """All runs: state, rounds, accuracy of each round with its Wilson 95% interval."""
    library = library_of(request)
    found = []
    for name in library.folders():
        figures = library.figures(name)
        recipe = figures.recipe
        found.append({"run": name, "state": figures.state, "rounds": recipe.rounds if recipe else None,
                      "accuracy": [one.to_json() for one in figures.rounds], "problems": figures.problems})  # fmt: skip
    return found


@router.get("/runs/{name}", responses=ERRORS)
def run(request: Request, name: str, against: Annotated[str | None, Query(max_length=300)] = None) -> dict[str, Any]:
    """One run: accuracy, funnel, health, stages with seconds and tokens, promotions, files that cannot be read.

    `against` names the run that is shown next to it: by default its control, by its recipe or its name, and none where
    it is empty.
    """
    library, one = library_of(request), run_of(request, name)
    figures, control = library.figures(name), choose_control(library, name, against)
    return {
        "run": name,
        "state": figures.state,
        "indexing": list(one.index.pending),
        "accuracy": [each.to_json() for each in figures.rounds],
        "control": control and {"run": control.name, "why": control.reason or "it was asked for",
                                "accuracy": [each.to_json() for each in control.figures.rounds]},
        "constitution": {round_: [vars(row) for row in rows] for round_, rows in figures.measured},
        "by task and level": [each.to_json() for each in figures.by("task", "level")],
        "funnel": read_funnel(one.index),
        "health": read_health(one.index),
        "undecided": read_undecided(one.index),
        KL: divergences(figures),
        "losses": {stage: [vars(each) for each in found] for stage, found in losses(figures).items()},
        "by step": {stage: [vars(each) for each in found] for stage, found in by_step(figures).items()},
        "audits": {round_: [each.model_dump() for each in found] for round_, found in figures.audits.items()},
        "overlaps": [{"round": round_, "stage": stage, "said": said} for round_, stage, said in figures.overlaps],
        "preference pairs": measured_pairs(figures),
        "promotions": {round_: each.model_dump() for round_, each in figures.promotions.items()},
        "stages": [
            each.model_dump(include={"round", "stage", "seconds", "tokens", "counts"}) for each in figures.manifests
        ],
        "files": figures.problems
        | {row["path"]: row["error"] for row in read_parts(one.index)}
        | one.notes.damaged(),
    }  # fmt: skip


@router.get("/runs/{name}/traces", responses=ERRORS)
def traces(request: Request, name: str, asked: Filtered) -> dict[str, Any]:
    """A page of filtered, sorted traces, and how many there are in all."""
    one = run_of(request, name)
    rows = one.search.page(filters_of(one, asked), sort=asked.order, limit=asked.limit, offset=asked.offset)
    return {"count": one.search.count(filters_of(one, asked)), "offset": asked.offset, "traces": rows}


@router.get("/runs/{name}/facets", responses=ERRORS)
def facets(request: Request, name: str, asked: Filtered) -> dict[str, list[list[Any]]]:
    """How many of the filtered traces have which value of each facet, as pairs of a value and its count."""
    one = run_of(request, name)
    found = one.search.facets(filters_of(one, asked))
    return {facet: [list(pair) for pair in values] for facet, values in found.items()}


@router.get("/runs/{name}/traces/{identity}", responses=ERRORS)
def trace(request: Request, name: str, identity: Identity) -> dict[str, Any]:
    """A trace with its problem, prompt, verdict, decision, siblings, and what was made from it."""
    return trace_view(run_of(request, name), identity, library_of(request).figures(name))


@router.get("/runs/{name}/notes", responses=ERRORS)
def notes(request: Request, name: str) -> list[dict[str, Any]]:
    """What people said of traces, all of it, in the order of time."""
    return [{"id": each.id, **each.model_dump()} for each in run_of(request, name).notes.all()]


@router.get("/runs/{name}/problems/{identity}", responses=ERRORS)
def problem(request: Request, name: str, identity: Identity) -> dict[str, Any]:
    """A problem and its traces over the rounds."""
    one = run_of(request, name)
    found, traces = one.records.record(identity, "problem"), read_changes(one.index, identity)
    if found is None and not traces:
        raise StoreError("there is no such problem in this run")
    return {"problem": found, "traces": traces}


@router.get("/runs/{name}/records/{identity}", responses=ERRORS)
def record(request: Request, name: str, identity: Identity) -> dict[str, Any]:
    """One record of any kind as it is stored, with its kind; an unambiguous beginning of its id is enough."""
    one = run_of(request, name)
    found, kind = one.records.find(identity)
    return {"kind": kind, "record": one.records.record(found, kind)}
