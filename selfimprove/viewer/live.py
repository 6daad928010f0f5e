"""A running run's page told of what is new, by server-sent events from the run's own files."""

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from selfimprove.viewer.forms import library_of
from selfimprove.viewer.library import Library, Run

router = APIRouter(include_in_schema=False)
INTERVAL = 2.0  # seconds between two looks at the files
QUIET = 8  # looks without news after which a comment shows that the line is still there
MAX_LISTENERS = 24


@router.get("/runs/{name}/events")
async def events(request: Request, name: str) -> Response:
    """An event for each change of the run's files or state; the page then asks for itself again."""
    library = library_of(request)
    run = await run_in_threadpool(library.run, name)
    if library.listeners >= MAX_LISTENERS:
        return PlainTextResponse("too many pages listen already\n", 503)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_stream(request, library, run), media_type="text/event-stream", headers=headers)


async def _stream(request: Request, library: Library, run: Run) -> AsyncIterator[str]:
    library.listeners += 1
    try:
        seen, quiet = await run_in_threadpool(_state, library, run), 0
        yield "retry: 3000\n\n"
        while not await request.is_disconnected():
            await asyncio.sleep(INTERVAL)
            now = await run_in_threadpool(_state, library, run)
            if now != seen:
                seen, quiet = now, 0
                yield f"event: changed\ndata: {json.dumps({'generation': now[0], 'state': now[1]})}\n\n"
            else:
                quiet += 1
                if quiet % QUIET == 0:
                    yield ": still here\n\n"
    finally:
        library.listeners -= 1


def _state(library: Library, run: Run) -> tuple[int, str, int, int]:
    """What a page shows of a run changes whenever one of these does."""
    run.refresh()
    figures = library.figures(run.name)
    logged = sum(1 + len(one.curve) for one in figures.underway.values())
    return run.index.generation, figures.state, len(figures.manifests) + len(figures.problems), logged
