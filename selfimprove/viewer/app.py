"""The web application: pages and JSON over the runs of one folder."""

import json
from pathlib import Path
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException

from selfimprove.errors import SelfImproveError, StoreError, plain_words
from selfimprove.viewer import (
    api,
    comparing,
    decisions,
    documents,
    exports,
    failing,
    live,
    marking,
    overoptimisation,
    overview,
    pages,
    rating,
    reading,
    suites,
    text,
    tokens,
)
from selfimprove.viewer.caching import Kept
from selfimprove.viewer.library import PATIENCE, Library
from selfimprove.viewer.security import Guard, allowed_hosts

STATIC = Path(__file__).parent / "static"


def create_app(runs: Path, *, host: str = "127.0.0.1", port: int = 8000, token: str | None = None,
               cache: Path | None = None, patience: float = PATIENCE) -> Guard:  # fmt: skip
    """The application for the runs under a folder, behind its guard; with a token where other machines reach it.

    A page waits at most `patience` seconds for the index of its run before it shows what there is of it.
    """
    app = FastAPI(title="selfimprove", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json",
                  description="What a model wrote, what was kept and why the rest was turned away.")  # fmt: skip
    app.state.library = Library(runs, cache, patience)
    app.state.charts = Kept()
    app.state.templates = make_environment()
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.include_router(api.router)
    app.include_router(exports.router)
    app.include_router(live.router)
    app.include_router(decisions.router)
    app.include_router(documents.router)
    app.include_router(comparing.router)
    app.include_router(failing.router)
    app.include_router(marking.router)
    app.include_router(overoptimisation.router)
    app.include_router(overview.router)
    app.include_router(pages.router)
    app.include_router(rating.router)
    app.include_router(suites.router)
    app.add_exception_handler(SelfImproveError, _explain)
    app.add_exception_handler(HTTPException, _explain)
    app.add_exception_handler(RequestValidationError, _explain)
    return Guard(app, hosts=allowed_hosts(host, port), token=token)


def make_environment() -> Environment:
    """The templates, with everything escaped and made visible that no filter of ours has made safe."""
    environment = Environment(
        loader=PackageLoader("selfimprove.viewer"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=text.visible,
    )  # fmt: skip
    environment.filters.update(
        exact=text.exact, shown=text.shown, line=text.line, plain=text.plain, marked=text.marked, hits=text.hits,
        prose=reading.prose, signs=reading.signs, note=text.step_note, percent=percent, seconds=seconds, number=number,
        pretty=lambda value: json.dumps(value, indent=1, default=str),
        query=lambda pairs: urlencode(pairs, doseq=True),
    )  # fmt: skip
    environment.globals.update(
        diff=text.word_diff,
        turns=reading.turns,
        looks_written=reading.looks_written,
        weigh=tokens.weigh,
        name_chance=tokens.name_chance,
    )
    return environment


def percent(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{100 * value:.{digits}f}%"


def number(value: float | None, digits: int | None = None) -> str:
    if value is None:
        return ""
    return f"{value:,.{digits}f}" if digits is not None else f"{value:,}"


def seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


async def _explain(request: Request, error: Exception) -> Response:
    """A mistake as a page, or as JSON under /api: one line that says what is wrong."""
    status = 404 if isinstance(error, StoreError) else 400
    message, headers = str(error), {}
    if status == 404 and getattr(request.state, "indexing", False):
        status, headers = 503, {"retry-after": "2"}
        message += "; its index is being made: look again in a moment"
    if isinstance(error, HTTPException):
        status, message = error.status_code, str(error.detail)
    if isinstance(error, RequestValidationError):
        status = 422
        message = "; ".join(f"{one['loc'][-1]}: {plain_words(one['msg'])}" for one in error.errors()[:3])
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": text.plain(message, 400)}, status, headers)
    template = request.app.state.templates.get_template("error.html")
    return HTMLResponse(
        template.render(status=status, message=text.plain(message, 400), title="Not shown", run=None,
                        path=request.scope["path"] if request.url.query else ""),
        status, headers,
    )  # fmt: skip
