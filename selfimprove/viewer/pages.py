"""The pages, each with an address that can be sent to a colleague."""

import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, unquote

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.requests import ClientDisconnect

from selfimprove.errors import SelfImproveError, StoreError
from selfimprove.records import hash_text
from selfimprove.store.index_tables import FACETS
from selfimprove.store.made_from import read_funnel, read_health, read_parts, read_undecided
from selfimprove.store.notes import MARKS, MAX_BY, write_note
from selfimprove.store.search import SORTS
from selfimprove.viewer import constitution, drawings
from selfimprove.viewer.controls import Control, choose_control
from selfimprove.viewer.forms import Filtered, FilteredTrace, filters_of, library_of, run_of
from selfimprove.viewer.library import Library, Run
from selfimprove.viewer.views import compare_view, problem_view, trace_view

router = APIRouter(include_in_schema=False)
Identity = Annotated[str, Path(pattern="^[0-9a-f]{4,40}$")]
BY = "selfimprove_by"  # the cookie with the name that a person last signed with
WRITER = "selfimprove_writer"  # the cookie that tells people apart who sign with no name
MAX_FACET = 12  # values of a facet that are listed; chosen ones always are
LABELS = {"kept": "decision", "reasoning": "steps", "disputed": "second verifier differs", "finish": "ended by"}


def render(request: Request, template: str, **values: Any) -> HTMLResponse:
    """A page from its template."""
    return HTMLResponse(request.app.state.templates.get_template(template).render(**values))


def banner(run: Run, problems: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What is missing of a run at the moment: rounds that are being indexed, files that cannot be read."""
    broken = {str(row["path"]).removeprefix(f"{run.folder.path}/"): row["error"] for row in read_parts(run.index)}
    broken = {**(problems or {}), **broken, **run.notes.damaged(), **run.rankings.damaged()}
    return {"pending": list(run.index.pending), "broken": broken, "error": run.error}


@router.get("/")
def runs(request: Request) -> HTMLResponse:
    library = library_of(request)
    rows = []
    for name in library.folders():
        try:
            rows.append({"name": name, "figures": library.figures(name), "error": ""})
        except SelfImproveError as error:
            rows.append({"name": name, "figures": None, "error": str(error)})
    return render(request, "runs.html", title="Runs", run=None, runs=rows, folder=str(library.path))


@router.get("/favicon.ico")
def icon() -> RedirectResponse:
    """What a browser asks for by itself where it shows a chart or an answer in JSON."""
    return RedirectResponse("/static/icon.svg", 308)


@router.get("/runs/{name}")
def run(
    request: Request, name: str, graph: int | None = Query(None, ge=0, le=10_000),
    against: str | None = Query(None, max_length=300),
) -> HTMLResponse:  # fmt: skip
    library, one = library_of(request), run_of(request, name)
    control = choose_control(library, name, against)
    asked = {} if against is None else {"against": against}
    others = [each for each in library.folders() if each != name]
    return render(request, "run.html", **run_values(library, one, graph, control), others=others, asked=asked,
                  drawn=graph)  # fmt: skip


def run_values(library: Library, one: Run, graph: int | None, control: Control | None) -> dict[str, Any]:
    """What a run's page shows; `graph` is the round whose stages are drawn, the last one without it."""
    figures = library.figures(one.name)
    funnel, health = read_funnel(one.index), read_health(one.index)
    own, beside = {each.round: each for each in figures.rounds}, control.rounds if control else {}
    rounds = sorted({manifest.round for manifest in figures.manifests} | {row["round"] for row in funnel})
    chosen = graph if graph is not None and graph in rounds else (rounds[-1] if rounds else 0)
    return {
        "title": one.name,
        "run": one.name,
        "figures": figures,
        "banner": banner(one, figures.problems),
        "funnel": funnel,
        "health": health,
        "undecided": read_undecided(one.index),
        "control": control,
        "accuracy": [(at, own.get(at), beside.get(at)) for at in sorted(own.keys() | beside.keys())],
        "kl": drawings.divergences(figures),
        "rounds": rounds,
        "graph": chosen,
        "losses": drawings.losses(figures),
        "pairs": drawings.measured_pairs(figures),
        "levels": figures.by("task", "level"),
        "stages": drawings.stage_table(figures.manifests),
        "flow": drawings.stage_flow(one, figures, chosen),
        "charts": drawings.charts_of(figures, funnel, health),
        "generation": one.index.generation,
    }


@router.get("/runs/{name}/charts/{chart}.svg")
def chart(
    request: Request, name: str, chart: str, graph: int = Query(0, ge=0, le=10_000),
    against: str = Query("", max_length=300),
) -> Response:  # fmt: skip
    library, one = library_of(request), run_of(request, name)
    control = choose_control(library, name, against)
    return _image(drawings.draw(chart, one, library.figures(name), graph, control))


@router.get("/charts/spark/{name}.svg")
def spark(request: Request, name: str) -> Response:
    return _image(drawings.spark_of(library_of(request).figures(name)))


def _image(svg: str) -> Response:
    return Response(svg, media_type="image/svg+xml", headers={"cache-control": "no-cache"})


@router.get("/runs/{name}/traces")
def traces(request: Request, name: str, asked: Filtered) -> HTMLResponse:
    one = run_of(request, name)
    rows = one.search.page(filters_of(one, asked), sort=asked.order, limit=asked.limit, offset=asked.offset)
    facets = []
    for facet, values in one.search.facets(filters_of(one, asked)).items():
        chosen = getattr(asked, facet)
        if len(values) < 2 and not chosen:
            continue
        listed = [pair for at, pair in enumerate(values) if at < MAX_FACET or str(pair[0]) in chosen]
        facets.append({"name": facet, "label": LABELS.get(facet, facet), "values": listed, "chosen": chosen,
                       "more": len(values) - len(listed)})  # fmt: skip
    count = one.search.count(filters_of(one, asked))
    notes = one.notes.current()
    marks = {mark: sum(any(each.mark == mark for each in found) for found in notes.values()) for mark in MARKS[:3]}
    return render(request, "traces.html", title=f"Traces of {name}", run=name, rows=rows, count=count, facets=facets,
                  asked=asked, sorts=SORTS, banner=banner(one),
                  names=(*FACETS, "note"), notes=notes, marks=marks)  # fmt: skip


@router.get("/runs/{name}/traces/{identity}")
def trace(request: Request, name: str, identity: Identity, wanted: FilteredTrace) -> Response:
    one = run_of(request, name)
    try:
        view = trace_view(one, identity, library_of(request).figures(name))
    except StoreError:
        found, kind = one.records.find(identity)  # a shortened id, or a record of another kind
        return RedirectResponse(found if kind == "rationale" else f"/runs/{quote(name)}/records/{found}", 303)
    asked, at = wanted.listed, wanted.at
    before, after = one.search.neighbours(filters_of(one, asked), asked.order, at) if at is not None else (None, None)
    return render(request, "trace.html", title=f"Trace {identity[:10]}", run=name, view=view, asked=asked, at=at,
                  before=before, after=after, banner=banner(one), notes=one.notes.current().get(identity, []),
                  by=_name(request))  # fmt: skip


@router.post("/runs/{name}/traces/{identity}/notes")
async def add_note(request: Request, name: str, identity: Identity) -> Response:
    """Keep what a person says of a trace, and show the trace again."""
    try:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        raise StoreError("that is no note: it has too many fields") from None
    except ClientDisconnect:  # so a body ends that grows beyond its bound
        return Response("the request is too large\n", 413, media_type="text/plain")
    mark, comment, by, back = (fields.get(key, [""])[0] for key in ("mark", "comment", "by", "back"))
    writer = request.cookies.get(WRITER, "")
    writer = writer if re.fullmatch("[0-9a-f]{32}", writer) else secrets.token_hex(16)
    run = library_of(request).run(name)
    await run_in_threadpool(_keep_note, run, identity, mark, comment, by.strip(), hash_text(writer))
    query = f"?{back}" if re.fullmatch(r"[\w%&=+.,~-]{1,2000}", back) else ""
    answer = RedirectResponse(f"/runs/{quote(name)}/traces/{identity}{query}#notes", 303)
    for cookie, value in ((BY, quote(by.strip())), (WRITER, writer)):
        answer.set_cookie(cookie, value, max_age=365 * 24 * 3600, httponly=True, samesite="strict")
    return answer


def _keep_note(one: Run, identity: str, mark: str, comment: str, by: str, writer: str) -> None:
    if one.records.trace(identity) is None:
        raise StoreError("there is no such trace in this run")
    # A browser sends a line end as two characters.
    write_note(one.folder, identity, mark, comment.replace("\r\n", "\n"), by, writer)


def _name(request: Request) -> str:
    return unquote(request.cookies.get(BY, ""))[:MAX_BY]


@router.get("/runs/{name}/traces/{identity}/steps.svg")
def steps(request: Request, name: str, identity: Identity) -> Response:
    view = trace_view(run_of(request, name), identity, library_of(request).figures(name))
    return _image(drawings.step_graph(view))


@router.get("/runs/{name}/problems/{identity}")
def problem(request: Request, name: str, identity: Identity) -> HTMLResponse:
    one = run_of(request, name)
    return render(request, "problem.html", title=f"Problem {identity[:10]}", run=name, view=problem_view(one, identity),
                  banner=banner(one))  # fmt: skip


@router.get("/runs/{name}/records")
def look_up(request: Request, name: str, id: str = Query("", max_length=60)) -> RedirectResponse:
    found, kind = run_of(request, name).records.find(id.strip().lower())
    return RedirectResponse(f"/runs/{quote(name)}/{'traces' if kind == 'rationale' else 'records'}/{found}", 303)


@router.get("/runs/{name}/records/{identity}")
def record(request: Request, name: str, identity: Identity) -> Response:
    one = run_of(request, name)
    found, kind = one.records.find(identity)
    stored = one.records.record(found, kind)
    parents = list(stored["parents"]) if stored else []
    kinds = one.records.kinds(parents[:200])
    return render(request, "record.html", title=f"{kind} {found[:10]}", run=name, identity=found, kind=kind,
                  record=stored,
                  parents=[(parent, kinds.get(parent)) for parent in parents[:200]], more=max(0, len(parents) - 200),
                  children=one.records.children(found), banner=banner(one))  # fmt: skip


@router.get("/compare")
def compare(
    request: Request, a: str = Query("", max_length=300), b: str = Query("", max_length=300),
    first: int = Query(0, ge=0, le=10_000), second: int = Query(0, ge=0, le=10_000),
) -> HTMLResponse:  # fmt: skip
    library = library_of(request)
    choices = [(name, sorted(library.figures(name).evaluations)) for name in library.folders()]
    view = None
    if a and b:
        view = compare_view(run_of(request, a), first, run_of(request, b), second)
    accuracy = {name: {one.round: one for one in library.figures(name).rounds} for name in {a, b} if name}
    return render(request, "compare.html", title="Compare", run=None, choices=choices, view=view, a=a, b=b, first=first,
                  second=second, accuracy=accuracy)  # fmt: skip


@router.get("/runs/{name}/constitution")
def constitution_page(request: Request, name: str, against: str = Query("", max_length=300)) -> HTMLResponse:
    one = run_of(request, name)
    other = library_of(request).run(against) if against else None
    view = constitution.read(one, other)
    others = [each for each, folder in library_of(request).folders().items()
              if each != name and (folder.path / "constitution.yaml").is_file()]  # fmt: skip
    return render(request, "constitution.html", title="Constitution", run=name, view=view, others=others,
                  against=against, banner=banner(one),
                  versions=constitution.read_versions(library_of(request), name))  # fmt: skip


@router.get("/api")
def about(request: Request) -> HTMLResponse:
    """The JSON API as a page that loads nothing from elsewhere."""
    paths = request.app.openapi()["paths"]
    return render(request, "api.html", title="JSON API", run=None, paths=paths)
