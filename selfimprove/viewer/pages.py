"""The pages, each with an address that can be sent to a colleague."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.requests import ClientDisconnect

from selfimprove.errors import StoreError
from selfimprove.records import hash_text
from selfimprove.records.collapse import find_collapse
from selfimprove.records.stats import Accuracy
from selfimprove.store.collapse import read_texts
from selfimprove.store.failures import read_causes
from selfimprove.store.index_tables import FACETS
from selfimprove.store.instructions import read_proposals
from selfimprove.store.labels import read_filters, read_labels
from selfimprove.store.made_from import (
    read_beside,
    read_funnel,
    read_health,
    read_overlaps,
    read_parts,
    read_samplers,
    read_undecided,
)
from selfimprove.store.notes import MARKS, write_note
from selfimprove.store.reward_models import read_reward_models
from selfimprove.store.search import SORTS, Filters
from selfimprove.viewer import about, constitution, drawings
from selfimprove.viewer import steps as by_steps
from selfimprove.viewer.caching import image_of
from selfimprove.viewer.canvas import Form
from selfimprove.viewer.chart_tables import csv_of, table_of
from selfimprove.viewer.controls import Control, choose_control
from selfimprove.viewer.forms import Asked, Filtered, FilteredTrace, filters_of, library_of, run_of
from selfimprove.viewer.library import Figures, Library, Run
from selfimprove.viewer.posting import BY, WRITER, go_back, name_of, read_form, sign, writer_of
from selfimprove.viewer.rendering import render
from selfimprove.viewer.views import problem_view, trace_view

router = APIRouter(include_in_schema=False)
Identity = Annotated[str, Path(pattern="^[0-9a-f]{4,40}$")]
MAX_COLUMNS = 12  # rounds in the table of families
MAX_WHOLE = 500  # of the one facet that is asked for whole
MAX_FACET = 12  # values of a facet that are listed; chosen ones always are
LABELS = {"kept": "decision", "reasoning": "steps", "disputed": "second verifier differs", "finish": "ended by",
          "cause": "turned away because"}  # fmt: skip


def banner(run: Run, problems: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What is missing of a run at the moment: rounds that are being indexed, files that cannot be read."""
    broken = {str(row["path"]).removeprefix(f"{run.folder.path}/"): row["error"] for row in read_parts(run.index)}
    broken = {**(problems or {}), **broken, **run.notes.damaged(), **run.rankings.damaged()}
    return {"pending": list(run.index.pending), "broken": broken, "error": run.error}


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
                  drawn=graph, labels=read_labels(one.folder))  # fmt: skip


def run_values(library: Library, one: Run, graph: int | None, control: Control | None) -> dict[str, Any]:
    """What a run's page shows; `graph` is the round whose stages are drawn, by default the last one."""
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
        "samplers": read_samplers(one.index),
        "undecided": read_undecided(one.index),
        "overlaps": read_overlaps(one.index),
        "control": control,
        "accuracy": [(at, own.get(at), beside.get(at)) for at in sorted(own.keys() | beside.keys())],
        "kl": drawings.divergences(figures),
        "proposals": read_proposals(figures.manifests),
        "reward_models": read_reward_models(figures.manifests),
        "variety": drawings.variety(figures),
        "collapse": find_collapse(read_texts(figures.manifests)),
        "rounds": rounds,
        "graph": chosen,
        "nothing": Asked(),
        "losses": drawings.losses(figures),
        "by_step": by_steps.by_step(figures),
        "pairs": drawings.measured_pairs(figures),
        "levels": figures.by("task", "level"),
        "stages": drawings.stage_table(figures.manifests),
        "flow": drawings.stage_flow(one, figures, chosen),
        "charts": drawings.charts_of(figures, funnel, health),
        "decided": drawings.decided(funnel),
        "selects": any("decision" in each.counts for each in figures.manifests)
        or any(each["kept"] or each["trained"] or each["preferred"] for each in funnel),
        "summary": about.summarize(one, figures, control),
        "causes": read_causes(one.search, Filters()),
        "families": family_table(figures),
        "differences": about.differences(control.figures.recipe, figures.recipe) if control else [],
        "generation": one.index.generation,
    }


def family_table(figures: Figures) -> dict[str, Any]:
    """The accuracy of each family of held-out problems in the first and the latest rounds."""
    found = figures.by("task", "level", "group")
    rounds = sorted({one.round for one in found})
    shown = [*rounds[:1], *rounds[1:][-MAX_COLUMNS + 1 :]]
    rows: dict[tuple[Any, ...], dict[int, Accuracy]] = {}
    for one in found:
        rows.setdefault((one.task, one.level, one.group), {})[one.round] = one
    return {"rounds": shown, "rows": sorted(rows.items())}


@router.get("/runs/{name}/charts/{chart}.{kind}")
def chart(
    request: Request, name: str, chart: str, kind: Literal["svg", "png", "csv"], narrow: bool = False,
    graph: int = Query(0, ge=0, le=10_000), against: str = Query("", max_length=300),
) -> Response:  # fmt: skip
    """A chart as an image, or the figures that it shows."""
    library, one = library_of(request), run_of(request, name)
    control = choose_control(library, name, against)
    figures = library.figures(name)
    if kind == "csv":
        return csv_of(f"{name}-{chart}", table_of(chart, one, figures, graph, control))
    key = (name, chart, graph if chart == "stages" else 0, one.index.generation, library.stamp(name),
           control and (control.name, library.stamp(control.name)))  # fmt: skip
    return image_of(request, key, lambda: drawings.draw(chart, one, figures, graph, control), Form(kind, narrow))


@router.get("/charts/spark/{name}.svg")
def spark(request: Request, name: str) -> Response:
    figures = library_of(request).figures(name)
    return image_of(request, ("spark", *(one.accuracy for one in figures.rounds)), lambda: drawings.spark_of(figures))


@router.get("/runs/{name}/traces")
def traces(request: Request, name: str, asked: Filtered) -> HTMLResponse:
    one = run_of(request, name)
    rows = one.search.page(filters_of(one, asked), sort=asked.order, limit=asked.limit, offset=asked.offset)
    facets = []
    for facet, values in one.search.facets(filters_of(one, asked)).items():
        chosen = getattr(asked, facet)
        if len(values) < 2 and not chosen:
            continue
        most = MAX_WHOLE if facet == asked.whole else MAX_FACET
        listed = [pair for at, pair in enumerate(values) if at < most or str(pair[0]) in chosen]
        facets.append({"name": facet, "label": LABELS.get(facet, facet), "values": listed, "chosen": chosen,
                       "more": len(values) - len(listed)})  # fmt: skip
    count = one.search.count(filters_of(one, asked))
    notes = one.notes.current()
    marks = {mark: sum(any(each.mark == mark for each in found) for found in notes.values()) for mark in MARKS[:3]}
    texts = [text for row in rows for text in (row["question"], row["text"], row.get("found"))]
    return render(request, "traces.html", title=f"Traces of {name}", run=name, rows=rows, count=count, facets=facets,
                  asked=asked, sorts=SORTS, banner=banner(one), names=(*FACETS, "note"), notes=notes, marks=marks,
                  words=one.search.words(filters_of(one, asked), texts), saved=read_filters(one.folder),
                  by=name_of(request))  # fmt: skip


@router.get("/runs/{name}/traces/{identity}")
def trace(request: Request, name: str, identity: Identity, wanted: FilteredTrace) -> Response:
    one = run_of(request, name)
    if one.records.trace(identity) is None:
        found, kind = one.records.find(identity)  # a shortened id, or a record of another kind
        return RedirectResponse(found if kind == "rationale" else f"/runs/{quote(name)}/records/{found}", 303)
    view = trace_view(one, identity, library_of(request).figures(name))
    asked, at = wanted.listed, wanted.at
    before, after = one.search.neighbours(filters_of(one, asked), asked.order, at) if at is not None else (None, None)
    texts = [view["rationale"]["text"], view["problem"] and view["problem"]["question"]]
    return render(request, "trace.html", title=f"Trace {identity[:10]}", run=name, view=view, asked=asked, at=at,
                  before=before, after=after, banner=banner(one), notes=one.notes.current().get(identity, []),
                  by=name_of(request), words=one.search.words(filters_of(one, asked), texts))  # fmt: skip


@router.post("/runs/{name}/traces/{identity}/notes")
async def add_note(request: Request, name: str, identity: Identity) -> Response:
    """Keep what a person says of a trace, and show the trace again."""
    try:
        fields = await read_form(request)
    except ClientDisconnect:  # so a body ends that grows beyond its bound
        return Response("the request is too large\n", 413, media_type="text/plain")
    mark, comment, by, back = (fields.get(key, [""])[0] for key in ("mark", "comment", "by", "back"))
    writer = writer_of(request)
    run = library_of(request).run(name)
    await run_in_threadpool(_keep_note, run, identity, mark, comment, by.strip(), hash_text(writer))
    answer = go_back(f"/runs/{quote(name)}/traces/{identity}", back, "#notes")
    sign(answer, {BY: by.strip(), WRITER: writer})
    return answer


def _keep_note(one: Run, identity: str, mark: str, comment: str, by: str, writer: str) -> None:
    if one.records.trace(identity) is None:
        raise StoreError("there is no such trace in this run")
    # A browser sends a line end as two characters.
    write_note(one.folder, identity, mark, comment.replace("\r\n", "\n"), by, writer)


@router.get("/runs/{name}/traces/{identity}/steps.svg")
def steps(request: Request, name: str, identity: Identity) -> Response:
    one = run_of(request, name)
    view = trace_view(one, identity, library_of(request).figures(name))
    return image_of(request, (name, identity, one.index.generation), lambda: drawings.step_graph(view))


@router.get("/runs/{name}/problems/{identity}")
def problem(
    request: Request, name: str, identity: Identity, round: int | None = Query(None, ge=0, le=10_000)
) -> HTMLResponse:
    one = run_of(request, name)
    beside = read_beside(one.index, identity, round) if round is not None else []
    return render(request, "problem.html", title=f"Problem {identity[:10]}", run=name, view=problem_view(one, identity),
                  banner=banner(one), beside=beside, round=round)  # fmt: skip


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
    shown = parents[:2] if kind == "overlap" else []
    texts = [one.records.record(parent, kinds[parent]) if parent in kinds else None for parent in shown]
    return render(request, "record.html", title=f"{kind} {found[:10]}", run=name, identity=found, kind=kind,
                  record=stored, texts=texts,
                  parents=[(parent, kinds.get(parent)) for parent in parents[:200]], more=max(0, len(parents) - 200),
                  children=one.records.children(found), banner=banner(one))  # fmt: skip


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
def describe_api(request: Request) -> HTMLResponse:
    """The JSON API as a page that loads nothing from elsewhere."""
    paths = request.app.openapi()["paths"]
    return render(request, "api.html", title="JSON API", run=None, paths=paths)
