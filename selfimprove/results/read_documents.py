"""The documents on a terminal, a page at a time where somebody looks at it."""

import os
import re
import sys

from rich.markdown import Markdown

from selfimprove.records.console import SafeConsole
from selfimprove.shipping.documents import TOPICS, Document, resolve, topic_at

WIDEST = 120
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<to>[^)\s]+)\)")


def print_topics() -> None:
    """What can be read, one line each."""
    width = max(map(len, TOPICS))
    for topic, document in TOPICS.items():
        print(f"{topic:<{width}}  {document.about}")
    print("\nRead one with: selfimprove docs TOPIC")


def print_document(document: Document) -> None:
    """A document, through the pager on a terminal and as plain text elsewhere."""
    text = _LINK.sub(lambda found: _in_words(found, document), document.read())
    console = SafeConsole()
    if not sys.stdout.isatty():
        print(text.rstrip())
        return
    os.environ.setdefault("LESS", "-FRX")
    with console.pager(styles=True):
        console.print(Markdown(text, hyperlinks=False), width=min(console.width, WIDEST))


def _in_words(found: re.Match[str], document: Document) -> str:
    """A link as somebody at a terminal can follow it: by its topic, its address or its path."""
    text, link = found["text"], found["to"]
    if link.startswith(("http:", "https:")):
        return found[0]
    path = resolve(link, document.path)
    if found["picture"]:
        return f"[{text}: {path}]"
    if path is None or link.startswith("#"):
        return text
    topic = topic_at(path)
    return f"{text} (`selfimprove docs {topic}`)" if topic else f"{text} (`{path}`)"
