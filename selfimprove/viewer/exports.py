"""Downloads of what is filtered, as JSON lines or Parquet, without holding it whole."""

import tempfile
from collections.abc import Iterator
from typing import IO, Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from selfimprove.store.export import jsonl_lines, write_parquet
from selfimprove.viewer.forms import Filtered, filters_of, run_of

router = APIRouter(tags=["downloads"])
CHUNK = 1 << 18
PAGE: dict[str, Any] = {"content": {"text/html": {}}}
ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"description": "Not there", **PAGE},
    422: {"description": "A mistake in the address", **PAGE},
    414: {"description": "The address is too long", "content": {"text/plain": {}}},
}


def _answers(kind: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "The file", "content": {kind: {}}}, **ERRORS}


LINES, PARQUET = "application/x-ndjson", "application/vnd.apache.parquet"


@router.get("/runs/{name}/traces.jsonl", response_class=StreamingResponse, responses=_answers(LINES))
def jsonl(request: Request, name: str, asked: Filtered) -> StreamingResponse:
    """All traces that pass the filters, a JSON object a line; where people made notes, with those and the prompts."""
    run = run_of(request, name)
    run.search.count(filters_of(run, asked))  # what cannot be searched for is said before the download begins
    return _download(jsonl_lines(run.index, filters_of(run, asked), run.notes.current()), "traces.jsonl", LINES)


@router.get("/runs/{name}/traces.parquet", response_class=StreamingResponse, responses=_answers(PARQUET))
def parquet(request: Request, name: str, asked: Filtered) -> StreamingResponse:
    """All traces that pass the filters, as a Parquet file."""
    run = run_of(request, name)
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed by the answer that it is read for
    try:
        write_parquet(run.index, filters_of(run, asked), file, run.notes.current())
    except BaseException:
        file.close()
        raise
    return _download(_chunks(file), "traces.parquet", PARQUET)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK):
            yield chunk


def _download(chunks: Iterator[bytes], name: str, kind: str) -> StreamingResponse:
    return StreamingResponse(chunks, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})
