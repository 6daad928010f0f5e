"""The documents as pages: Markdown rendered here, with links between them, and nothing but its own markup as HTML."""

from functools import cache

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from selfimprove.errors import StoreError
from selfimprove.shipping.documents import TOPICS, Document, anchor, find_document, resolve, topic_at
from selfimprove.shipping.shipped import find_shipped

router = APIRouter(include_in_schema=False)
PICTURES = {".png": "image/png", ".svg": "image/svg+xml"}
# Without raw HTML: what looks like a tag is shown as text.
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


@router.get("/docs")
def topics(request: Request) -> HTMLResponse:
    template = request.app.state.templates.get_template("documents.html")
    return HTMLResponse(template.render(title="Documents", run=None, topics=TOPICS, chosen=None, text=None))


@router.get("/docs/pictures/{path:path}")
def picture(path: str) -> FileResponse:
    """A picture that a document shows; no other file is served."""
    if path not in pictures():
        raise StoreError("no document shows this picture")
    found = find_shipped(path)
    return FileResponse(found, media_type=PICTURES[found.suffix])


@router.get("/docs/{topic}")
def document(request: Request, topic: str) -> HTMLResponse:
    if topic not in TOPICS:
        raise StoreError("there is no such document; /docs lists them")
    chosen = find_document(topic)
    template = request.app.state.templates.get_template("documents.html")
    title = f"{topic.capitalize()}: {chosen.about}"
    return HTMLResponse(
        template.render(title=title, run=None, topics=TOPICS, chosen=topic, text=Markup(to_html(chosen)))
    )


@cache
def pictures() -> frozenset[str]:
    """The paths of all pictures that the documents show and that are there."""
    found = set()
    for one in TOPICS.values():
        for token in MARKDOWN.parse(one.read()):
            for child in token.children or ():
                path = resolve(str(child.attrs["src"]), one.path) if child.type == "image" else None
                if path and find_shipped(path).suffix in PICTURES and find_shipped(path).is_file():
                    found.add(path)
    return frozenset(found)


@cache
def to_html(document: Document) -> str:
    """A document as HTML: anchors at headings, links to other documents, pictures, and tables that scroll."""
    tokens = MARKDOWN.parse(document.read())
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[at + 1].content))
        if token.attrs.pop("style", "") == "text-align:right":  # pages have no styles of their own
            token.attrSet("class", "num")
        if token.children:
            token.children = [one for child in token.children for one in _follow(child, document)]
            token.children = _without_dead_ends(token.children)
    html = str(MARKDOWN.renderer.render(tokens, MARKDOWN.options, {}))
    # What scrolls can be reached by the keyboard.
    html = html.replace("<pre>", '<pre tabindex="0">')
    return html.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")


def _follow(token: Token, document: Document) -> list[Token]:
    """A token with its address as the viewer has it; a link or a picture that leads nowhere here loses it."""
    name = {"image": "src", "link_open": "href"}.get(token.type)
    if name is None:
        return [token]
    link = str(token.attrs[name])
    if name == "href" and link.startswith(("#", "http://", "https://")):
        return [token]
    path = resolve(link, document.path)
    if name == "src":
        if path not in pictures():
            return []
        token.attrSet("src", f"/docs/pictures/{path}")
        return [token]
    topic = topic_at(path) if path else None
    fragment = link.partition("#")[1] + link.partition("#")[2]
    token.attrSet("href", f"/docs/{topic}{fragment}" if topic else "")
    return [token]


def _without_dead_ends(tokens: list[Token]) -> list[Token]:
    """The tokens of a line without links that lead to a file that is not shown here; their text stays."""
    kept: list[Token] = []
    dead = False
    for token in tokens:
        if token.type == "link_open" and not token.attrs["href"]:
            dead = True
        elif token.type == "link_close" and dead:
            dead = False
        else:
            kept.append(token)
    return kept
