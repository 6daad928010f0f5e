"""Downloads of what is filtered, as JSON lines or Parquet, without holding it whole."""

import tempfile
from collections.abc import Iterator
from typing import IO

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from selfimprove.store.export import jsonl_lines, write_parquet
from selfimprove.viewer.forms import Filtered, filters_of, run_of

router = APIRouter(tags=["downloads"])
CHUNK = 1 << 18


@router.get("/runs/{name}/traces.jsonl", response_class=StreamingResponse)
def jsonl(request: Request, name: str, asked: Filtered) -> StreamingResponse:
    """All traces that pass the filters, a JSON object a line."""
    run = run_of(request, name)
    run.search.count(filters_of(run, asked))  # what cannot be searched for is said before the download begins
    return _download(jsonl_lines(run.index, filters_of(run, asked)), "traces.jsonl", "application/x-ndjson")


@router.get("/runs/{name}/traces.parquet", response_class=StreamingResponse)
def parquet(request: Request, name: str, asked: Filtered) -> StreamingResponse:
    """All traces that pass the filters, as a Parquet file."""
    run = run_of(request, name)
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed by the answer that it is read for
    try:
        write_parquet(run.index, filters_of(run, asked), file)
    except BaseException:
        file.close()
        raise
    return _download(_chunks(file), "traces.parquet", "application/vnd.apache.parquet")


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK):
            yield chunk


def _download(chunks: Iterator[bytes], name: str, kind: str) -> StreamingResponse:
    return StreamingResponse(chunks, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})
