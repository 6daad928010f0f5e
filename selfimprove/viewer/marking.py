"""A queue of traces to mark one after the other, many at once from the list, and how far people agree."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response
from starlette.requests import ClientDisconnect

from selfimprove.errors import StoreError
from selfimprove.records import hash_text
from selfimprove.store.notes import MARKS, find_agreements, name_person, write_note
from selfimprove.viewer.forms import Asked, FilteredTrace, filters_of, library_of, run_of
from selfimprove.viewer.library import Run
from selfimprove.viewer.pages import banner
from selfimprove.viewer.posting import BY, WRITER, go_back, name_of, read_form, sign, writer_of
from selfimprove.viewer.rendering import render
from selfimprove.viewer.views import trace_view

router = APIRouter(include_in_schema=False)
KEYS = (*MARKS[:3], "skip", "undo")
"""What the keys 1 to 5 do."""
MAX_AT_ONCE = 200
LOOKED_AT = 20  # pages of ids that are searched for one that is not marked


@router.get("/runs/{name}/mark")
def queue(request: Request, name: str, wanted: FilteredTrace) -> HTMLResponse:
    """The next trace of a filtered list that its reader has not marked."""
    one, asked = run_of(request, name), wanted.listed
    mine = marked_by(one, name_of(request), hash_text(writer_of(request)))
    at, identity = find_next(one, asked, mine, wanted.at or 0)
    filters = filters_of(one, asked)
    view = trace_view(one, identity, library_of(request).figures(name)) if identity else None
    problem = view and view["problem"]
    texts = [view["rationale"]["text"], problem and problem["question"]] if view else []
    done = one.search.count(replace(filters, ids=_both(filters.ids, mine))) if mine else 0
    return render(request, "mark.html", title=f"Mark traces of {name}", run=name, asked=asked, view=view, at=at,
                  back=wanted.at or 0, count=one.search.count(filters), done=done, keys=KEYS, by=name_of(request),
                  words=one.search.words(filters, texts), banner=banner(one))  # fmt: skip


def _both(ids: tuple[str, ...] | None, mine: Sequence[str]) -> tuple[str, ...]:
    return tuple(mine) if ids is None else tuple(one for one in ids if one in set(mine))


def marked_by(one: Run, by: str, writer: str) -> list[str]:
    """The traces that a person marked: who gives no name is told apart by the browser."""
    person = (by, "" if by else writer)
    return [trace for trace, notes in one.notes.current().items() if any(note.person == person for note in notes)]


def find_next(one: Run, asked: Asked, mine: Sequence[str], at: int) -> tuple[int, str | None]:
    """The place and the id of the first trace from a place on that is not among those which are marked."""
    known, filters = {*mine}, filters_of(one, asked)
    for _ in range(LOOKED_AT):
        ids = one.search.ids(filters, sort=asked.order, offset=at)
        for step, identity in enumerate(ids):
            if identity not in known:
                return at + step, identity
        at += len(ids)
        if not ids:
            break
    return at, None


@router.post("/runs/{name}/mark")
async def mark_one(request: Request, name: str) -> Response:
    """Keep a mark and go on to the next trace."""
    try:
        fields = await read_form(request)
    except ClientDisconnect:  # so a body ends that grows beyond its bound
        return Response("the request is too large\n", 413, media_type="text/plain")
    trace, mark, comment, by, query = (
        fields.get(key, [""])[0] for key in ("trace", "mark", "comment", "by", "query")
    )  # fmt: skip
    asked = {key: values for key, values in parse_qs(query).items() if key != "at"}
    at, back = (_place(fields.get(key, [""])[0]) for key in ("at", "back"))
    writer = writer_of(request)
    run = library_of(request).run(name)
    if mark == "undo":
        await run_in_threadpool(_take_back, run, by.strip(), hash_text(writer))
        at = back
    elif mark == "skip":
        at += 1
    else:
        await run_in_threadpool(_keep, run, [trace], mark, comment, by.strip(), hash_text(writer))
    answer = go_back(f"/runs/{quote(name)}/mark", urlencode({**asked, "at": at}, doseq=True))
    sign(answer, {BY: by.strip(), WRITER: writer})
    return answer


@router.post("/runs/{name}/marks")
async def mark_many(request: Request, name: str) -> Response:
    """Keep one mark on all traces that were chosen in the list."""
    try:
        fields = await read_form(request, MAX_AT_ONCE + 10)
    except ClientDisconnect:
        return Response("the request is too large\n", 413, media_type="text/plain")
    mark, by, query = (fields.get(key, [""])[0] for key in ("mark", "by", "query"))
    writer = writer_of(request)
    run = library_of(request).run(name)
    chosen = fields.get("trace", [])[:MAX_AT_ONCE]
    if not chosen:
        raise StoreError("no trace was chosen")
    await run_in_threadpool(_keep, run, chosen, mark, "", by.strip(), hash_text(writer))
    answer = go_back(f"/runs/{quote(name)}/traces", query)
    sign(answer, {BY: by.strip(), WRITER: writer})
    return answer


def _keep(one: Run, traces: Sequence[str], mark: str, comment: str, by: str, writer: str) -> None:
    for trace in traces:
        if one.records.trace(trace) is None:
            raise StoreError("there is no such trace in this run")
    for trace in dict.fromkeys(traces):
        # A browser sends a line end as two characters.
        write_note(one.folder, trace, mark, comment.replace("\r\n", "\n"), by, writer)


def _place(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else 0


def _take_back(one: Run, by: str, writer: str) -> None:
    """Withdraw a person's latest mark."""
    person = (by, "" if by else writer)
    mine = [note for notes in one.notes.current().values() for note in notes if note.person == person]
    if mine:
        last = max(mine, key=lambda note: note.at)
        write_note(one.folder, last.trace, "withdrawn", "", by, writer)


@router.get("/runs/{name}/notes")
def notes(request: Request, name: str) -> HTMLResponse:
    """Who marked how much, how far people agree, and where they do not."""
    one = run_of(request, name)
    people: dict[str, dict[str, int]] = {}
    current = one.notes.current()
    for found in current.values():
        for note in found:
            counts = people.setdefault(name_person(note), dict.fromkeys(MARKS[:3], 0))
            counts[note.mark] += 1
    agreements = find_agreements(one.notes)
    differ = list(dict.fromkeys(trace for pair in agreements for trace in pair.differ))[:50]
    rows: dict[str, Any] = {trace: one.records.trace(trace) for trace in differ}
    return render(request, "notes.html", title=f"Notes on {name}", run=name, people=sorted(people.items()),
                  agreements=agreements, differ=[(row, current[trace]) for trace, row in rows.items() if row],
                  marks=MARKS[:3], count=len(current))  # fmt: skip
