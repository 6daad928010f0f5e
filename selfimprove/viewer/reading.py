"""Long texts as one reads them: Markdown and formulas as HTML of our own making, and prompts as the turns of a chat.

Nothing that a model wrote becomes markup: every piece of text is escaped here, links and images stay text, and of a
formula only elements of MathML that are listed below are written, without attributes.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from selfimprove.viewer.text import hits, plain, safe

MAX_PROSE = 20_000  # characters of a text that are read as Markdown
MAX_FORMULA = 600
MAX_FORMULAS = 200
MAX_DEPTH = 40  # of the elements of a formula
FORMULA = re.compile(
    r"\$\$(?P<a>[^$]{1,600}?)\$\$|\\\[(?P<b>.{1,600}?)\\\]|\\\((?P<c>.{1,600}?)\\\)"
    r"|\$(?P<d>[^\s$](?:[^$\n]{0,300}?[^\s$])?)\$(?!\d)",
    re.DOTALL,
)
OPEN, CLOSE = "\ue000", "\ue001"  # stand around a formula's number while Markdown is read
PLACE = re.compile(f"{OPEN}([0-9]{{1,4}}){CLOSE}")
ELEMENTS = {
    "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "msup", "msub", "msubsup", "mfrac", "msqrt", "mroot", "mover",
    "munder", "munderover", "mtable", "mtr", "mtd", "mstyle", "mpadded", "mphantom", "menclose",
}  # fmt: skip
# A line of a sum such as `# 84` is no heading: those have letters.
MARKED = re.compile(
    r"\*\*|^#{1,6} [^\n]{0,200}?[^\W\d_]|^\s*[-*] |^\s*\d+[.)] |```|\\\(|\\\[|\$[^\s$]|^\|.*\|$", re.MULTILINE
)
# Signs of chat templates: what stands between turns, which no person wrote.
SIGN = re.compile(
    r"<\|[A-Za-z0-9_ ]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<[be]os>|<｜[^｜<>]{1,40}｜>"
)
TURN = re.compile(
    r"<\|im_start\|>(?P<a>\w{1,20})\n|<\|start_header_id\|>(?P<b>\w{1,20})<\|end_header_id\|>\s*"
    r"|<start_of_turn>(?P<c>\w{1,20})\n|<\|(?P<d>system|user|assistant)\|>\n?|(?P<e>\[INST\])|(?P<f>\[/INST\])"
    r"|<｜(?P<g>User|Assistant)｜>"
)


def looks_written(text: str) -> bool:
    """Whether a text is prose or Markdown rather than lines of steps."""
    return len(text) > 400 or MARKED.search(text[:MAX_PROSE]) is not None


def prose(text: object, words: Sequence[str] = ()) -> Markup:
    """A text as paragraphs, with its Markdown and its formulas; `words` that were searched for are marked."""
    whole = str(text or "")
    formulas: list[re.Match[str]] = []

    def keep(match: re.Match[str]) -> str:
        if len(formulas) >= MAX_FORMULAS:
            return match[0]
        formulas.append(match)
        return f"{OPEN}{len(formulas) - 1}{CLOSE}"

    source = whole[:MAX_PROSE].replace(OPEN, "\\ue000").replace(CLOSE, "\\ue001")
    tokens = MARKDOWN.parse(FORMULA.sub(keep, source))
    for token in tokens:
        _tame(token)
    shown = str(MARKDOWN.renderer.render(tokens, MARKDOWN.options, {"words": words, "formulas": formulas}))
    more = f'<p class="more"> … {len(whole) - MAX_PROSE} more characters</p>' if len(whole) > MAX_PROSE else ""
    return Markup(f'<div class="prose">{shown}{more}</div>')  # escaped piece by piece by the rules below


def _tame(token: Token) -> None:
    """Headings of a text are none of the page, and no element has a style."""
    if token.type in ("heading_open", "heading_close"):
        token.attrs = {"class": "heading"} if token.nesting == 1 else {}
        token.tag = "p"
    else:
        token.attrs = {name: value for name, value in token.attrs.items() if name == "start"}
    for child in token.children or ():
        _tame(child)


def _show_text(self: Any, tokens: Sequence[Token], at: int, options: Any, env: Mapping[str, Any]) -> str:
    parts = PLACE.split(tokens[at].content)
    found = []
    for number, part in enumerate(parts):
        found.append(str(_formula(env["formulas"][int(part)]) if number % 2 else hits(part, env["words"])))
    return "".join(found)


def _show_code(self: Any, tokens: Sequence[Token], at: int, options: Any, env: Mapping[str, Any]) -> str:
    """Code as it was written: what looks like a formula in it is none."""
    raw = PLACE.sub(lambda match: str(env["formulas"][int(match[1])][0]), tokens[at].content)
    info = f"{safe(tokens[at].info)}\n" if tokens[at].info.strip() else ""
    code = f"<code>{info}{hits(raw, env['words'])}</code>"
    return code if tokens[at].type == "code_inline" else f'<pre class="model">{code}</pre>'


def _make_markdown() -> MarkdownIt:
    """Markdown without HTML, links and images, whose texts and codes are escaped by our own rules."""
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    markdown.disable(["link", "image", "autolink", "reference", "html_block", "html_inline"])
    markdown.add_render_rule("text", _show_text)
    for name in ("code_inline", "code_block", "fence"):
        markdown.add_render_rule(name, _show_code)
    return markdown


MARKDOWN = _make_markdown()


def _formula(match: re.Match[str]) -> Markup:
    """A formula as MathML, or as it was written where it is none that can be read."""
    source = next(one for one in match.groups() if one is not None)
    display = "block" if match["a"] or match["b"] else "inline"
    try:
        element = convert_to_element(source[:MAX_FORMULA], display=display)
        shown = "".join(_elements(element, 0))
    except Exception:  # a model's formula may be anything, and the converter stops at most of it in its own way
        return Markup("<code>{}</code>").format(safe(match[0]))
    return Markup(f'<math display="{display}" title="{html.escape(plain(source, MAX_FORMULA))}">{shown}</math>')


def _elements(element: Element, depth: int) -> Iterator[str]:
    """An element's own elements and texts, those that are known and none of their attributes."""
    if depth > MAX_DEPTH:
        raise ValueError("the formula is too deep")
    name = str(element.tag).rpartition("}")[2]
    inner = [str(safe(html.unescape(element.text or "")))]
    for child in element:
        inner += [*_elements(child, depth + 1), str(safe(html.unescape(child.tail or "")))]
    known = name in ELEMENTS and depth > 0
    yield f"<{name}>{''.join(inner)}</{name}>" if known else "".join(inner)


def signs(text: object) -> Markup:
    """A prompt with the signs of its chat template marked."""
    whole, parts, end = str(text), list[Markup](), 0
    for match in SIGN.finditer(whole):
        parts += [safe(whole[end : match.start()]), Markup('<span class="sign">{}</span>').format(safe(match[0]))]
        end = match.end()
    return Markup("").join([*parts, safe(whole[end:])])


def turns(prompt: str | None) -> list[tuple[str, str]]:
    """The turns of a chat that a prompt holds, as role and text; none where no template's signs stand in it."""
    whole = prompt or ""
    found = list(TURN.finditer(whole))
    said = []
    for at, match in enumerate(found):
        text = whole[match.end() : found[at + 1].start() if at + 1 < len(found) else len(whole)]
        role = {"e": "user", "f": "assistant"}.get(match.lastgroup or "") or match[match.lastgroup or 0].lower()
        said.append(("assistant" if role == "model" else role, SIGN.sub("", text).strip()))
    return said
