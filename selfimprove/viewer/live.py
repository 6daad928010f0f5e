"""A running run's page told of what is new, by server-sent events from the run's own files."""

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from selfimprove.errors import StoreError
from selfimprove.viewer.forms import library_of
from selfimprove.viewer.library import Library, Run
from selfimprove.viewer.security import Receive, Scope, Send

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
    library.listeners += 1  # at once: all who ask at the same time are counted before the next one is answered
    return Listening(library, _stream(request, library, run))


class Listening(StreamingResponse):
    """A stream of events that counts as a listener until it ends, also where it never began."""

    def __init__(self, library: Library, events: AsyncIterator[str]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self.library = library

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.library.listeners -= 1


async def _stream(request: Request, library: Library, run: Run) -> AsyncIterator[str]:
    seen, quiet = await run_in_threadpool(_state, library, run), 0
    yield "retry: 3000\n\n"
    while not await request.is_disconnected():
        await asyncio.sleep(INTERVAL)
        try:
            now = await run_in_threadpool(_state, library, run)
        except StoreError:  # the run was removed or renamed
            return
        if now != seen:
            seen, quiet = now, 0
            yield f"event: changed\ndata: {json.dumps({'generation': now[0], 'state': now[1]})}\n\n"
        else:
            quiet += 1
            if quiet % QUIET == 0:
                yield ": still here\n\n"


def _state(library: Library, run: Run) -> tuple[int, str, int, int]:
    """What a page shows of a run changes whenever one of these does."""
    run.refresh()
    figures = library.figures(run.name)
    logged = sum(1 + len(one.curve) for one in figures.underway.values())
    return run.index.generation, figures.state, len(figures.manifests) + len(figures.problems), logged
