"""A run's main pages as one file that needs no server and loads nothing, for a mail or a paper."""

import base64
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jinja2 import Environment

from selfimprove.store import RunFolder
from selfimprove.store.labels import Labels
from selfimprove.store.parts import write_text
from selfimprove.store.search import Filters
from selfimprove.viewer import constitution, decisions, drawings
from selfimprove.viewer.app import STATIC, make_environment
from selfimprove.viewer.controls import Control
from selfimprove.viewer.forms import Asked
from selfimprove.viewer.library import Figures, Library, Run, read_figures
from selfimprove.viewer.pages import run_values
from selfimprove.viewer.text import plain
from selfimprove.viewer.views import trace_view

EXAMPLES = 2  # traces of each kind
KINDS = {
    "Right, and trained": Filters({"trained": ("example", "chosen")}),
    "Right by a wrong step": Filters({"outcome": ("correct",), "reasoning": ("incorrect",)}),
    "Wrong": Filters({"outcome": ("incorrect",), "kept": ("turned away",)}),
    "Undecided": Filters({"outcome": ("undecided",)}),
    "Revised": Filters({"origin": ("revised",)}),
}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="content-security-policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark"><title>{title}</title><style>{style}</style></head>
<body><main>{body}</main></body></html>
"""


def write_report(folder: RunFolder, out: Path, cache: Path | None = None, against: RunFolder | None = None) -> int:
    """Write the report of a run; gives its size in bytes. `against` is the run that it stands beside, its control."""
    library = Library(folder.path, cache)
    name = next(iter(library.folders()))
    control = Control(against.path.resolve().name, read_figures(against)) if against else None
    run = library.run(name)
    run.index.refresh(force=True)
    environment = make_environment()
    values: dict[str, Any] = {
        **run_values(library, run, None, control),
        "others": [],
        "asked": {},
        "drawn": None,
        "labels": Labels(),
    }
    pages = [_main(environment, "run.html", **values)]
    if (view := constitution.read(run, None)) is not None:
        shared: dict[str, Any] = {"title": "", "run": name, "others": [], "against": "", "banner": None, "versions": []}
        pages.append(_main(environment, "constitution.html", view=view, **shared))
    if decided := decisions.read(run):
        lineage, budget = decisions.read_lines(run)
        values = {"title": "", "run": name, "decided": decided, "lineage": lineage, "budget": budget, "banner": None}
        pages.append(_main(environment, "decisions.html", **values))
    pages += list(_examples(environment, run, library.figures(name)))
    body = _unlinked(_with_charts("\n<hr>\n".join(pages), library, run, control))
    style = (STATIC / "view.css").read_text()
    text = PAGE.format(title=f"{plain(name)}".replace("<", "&lt;"), style=style, body=body)
    write_text(out, text)
    return len(text.encode())


def _examples(environment: Environment, run: Run, figures: Figures) -> list[str]:
    """Some traces of each kind, of the last round in which there are any."""
    found = []
    for title, filters in KINDS.items():
        for row in run.search.page(filters, sort="newest", limit=EXAMPLES):
            view = trace_view(run, row["id"], figures)
            values: dict[str, Any] = {"view": view, "asked": Asked(), "at": None, "before": None, "after": None,
                                      "banner": None, "notes": [], "by": "", "words": []}  # fmt: skip
            page = _main(environment, "trace.html", title="", run=run.name, **values)
            found.append(page.replace("<h1>Trace", f"<h1>{title}: trace", 1))
    return found


def _main(environment: Environment, template: str, **values: object) -> str:
    """What stands between a page's <main> tags."""
    page = environment.get_template(template).render(**values)
    return page[page.index(">", page.index("<main")) + 1 : page.rindex("</main>")]


def _with_charts(body: str, library: Library, run: Run, control: Control | None) -> str:
    """Charts as data in the place of their addresses. The addresses are of our own templates: model text is escaped."""
    figures = library.figures(run.name)

    def embed(match: re.Match[str]) -> str:
        graph = re.search(r"graph=(\d+)", match[2] or "")
        svg = drawings.draw(unquote(match[1]), run, figures, int(graph[1]) if graph else 0, control)
        image = svg.encode() if isinstance(svg, str) else svg
        return f'src="data:image/svg+xml;base64,{base64.b64encode(image).decode()}"'

    body = re.sub(r'<source [^>]*>|<p class="downloads">.*?</p>', "", body)
    body = re.sub(r'src="/runs/[^"/]+/charts/([^"/]+?)\.svg(\?[^"]*)?"', embed, body)
    # A graph of steps is drawn when it is looked at; here it is left out, the table of steps says the same.
    return re.sub(r'<figure class="chart"><img loading="lazy"[^>]*></figure>', "", body)


def _unlinked(body: str) -> str:
    """The page without what only a server can do: links to other pages and forms."""
    body = re.sub(r"<form\b.*?</form>", "", body, flags=re.DOTALL)
    body = re.sub(r'<section id="notes">.*?</section>', "", body, flags=re.DOTALL)
    body = re.sub(r'<nav class="pager".*?</nav>', "", body, flags=re.DOTALL)
    return re.sub(r"</?a\b[^>]*>", "", body)
