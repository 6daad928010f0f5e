"""What went wrong, in groups that lead to their traces; and filters that are kept under a name."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response
from starlette.requests import ClientDisconnect

from selfimprove.store.failures import (
    read_alike,
    read_causes,
    read_ends,
    read_family_fates,
    read_lost,
    read_wrong_answers,
    read_wrong_steps,
)  # fmt: skip
from selfimprove.store.labels import write_filter
from selfimprove.viewer.forms import Asked, Filtered, filters_of, library_of, run_of
from selfimprove.viewer.library import Run
from selfimprove.viewer.pages import banner
from selfimprove.viewer.posting import go_back, read_form
from selfimprove.viewer.rendering import render

router = APIRouter(include_in_schema=False)


@router.get("/runs/{name}/failures")
def failures(request: Request, name: str, asked: Filtered) -> HTMLResponse:
    one = run_of(request, name)
    # A form that chooses nothing sends nothing chosen.
    asked = asked.model_copy(update={key: [*filter(None, getattr(asked, key))] for key in ("round", "group", "stage")})
    figures = library_of(request).figures(name)
    view = failures_view(one, asked)
    stages = sorted({each.stage for each in figures.manifests if {"rationale"} & each.counts.keys()})
    return render(request, "failures.html", title=f"What went wrong in {name}", run=name, asked=asked, view=view,
                  rounds=one.search.facets(filters_of(one, Asked()))["round"], stages=stages,
                  families=families_of(one), banner=banner(one))  # fmt: skip


def failures_view(one: Run, asked: Asked) -> dict[str, object]:
    """The groups of what went wrong among the traces that are asked for."""
    filters = filters_of(one, asked)

    def read() -> dict[str, Any]:
        return {
            "causes": read_causes(one.search, filters),
            "families": read_family_fates(one.search, filters),
            "steps": read_wrong_steps(one.search, filters),
            "answers": read_wrong_answers(one.search, filters),
            "alike": read_alike(one.search, filters),
            "ends": read_ends(one.search, filters),
            "lost": read_lost(one.search) if not asked.pairs() else None,
        }

    found: dict[str, Any] = one.keep("failures", read) if not asked.pairs() else read()
    return found


def families_of(one: Run) -> list[str]:
    """The names of the groups of problems that the run has."""
    return sorted(str(name) for name, _ in one.search.facets(filters_of(one, Asked()))["group"] if name)


@router.post("/runs/{name}/filters")
async def save_filter(request: Request, name: str) -> Response:
    """Keep the filters of a list of traces under a name, or remove them where there are none."""
    try:
        fields = await read_form(request)
    except ClientDisconnect:  # so a body ends that grows beyond its bound
        return Response("the request is too large\n", 413, media_type="text/plain")
    called, query = (fields.get(key, [""])[0] for key in ("name", "query"))
    run = library_of(request).run(name)
    await run_in_threadpool(write_filter, run.folder, called, query)
    return go_back(f"/runs/{quote(name)}/traces", query)
