"""Text that a model wrote, for HTML: bounded, escaped, and with everything that is not seen made visible."""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from selfimprove.records.printable import ESCAPED, one_line, printable

MAX_TEXT = 200_000  # characters of one text on a page; downloads hold the whole
MAX_DIFFED = 20_000  # characters of each of two texts that are compared
UNSEEN = re.compile("[^\n\t\x20-\x7e\xa0-\u02ff\u0370-\u058f\u3040-\u9fff\uac00-\ud7a3]")
OUTCOMES = ("correct", "incorrect", "undecided")


def visible(value: object) -> object:
    """What stands in a template without a filter: in a text, what is not seen is spelled out; escaping comes after."""
    if isinstance(value, str) and not hasattr(value, "__html__") and UNSEEN.search(value):
        return printable(value, len(value))
    return value


def exact(text: object) -> Markup:
    """A text as it is, for the value of a form's field that is sent back and not shown."""
    return escape(str(text))


def safe(text: object) -> Markup:
    """Escape a text for HTML; control, format and bidirectional characters are shown by their number."""
    parts, end, plain = [], 0, str(text)
    for match in UNSEEN.finditer(plain):
        one = match[0]
        if unicodedata.category(one) in ESCAPED:
            parts.append(escape(plain[end : match.start()]))
            name = unicodedata.name(one, "control character")
            shown = Markup('<span class="unseen" title="U+{:04X} {}">\\u{:04x}</span>')
            parts.append(shown.format(ord(one), name, ord(one)))
            end = match.end()
    parts.append(escape(plain[end:]))
    return Markup("").join(parts)


def shown(text: object, limit: int = MAX_TEXT, words: Sequence[str] = ()) -> Markup:
    """A text for HTML, cut where it is too long; `words` are marked in it."""
    plain = "" if text is None else str(text)
    if len(plain) <= limit:
        return hits(plain, words)
    return hits(plain[:limit], words) + Markup('<span class="more"> … {} more characters</span>').format(
        len(plain) - limit
    )


def hits(text: object, words: Sequence[str]) -> Markup:
    """A text for HTML in which words that were searched for are marked, in capitals or not."""
    plain = str(text)
    found = [re.escape(word) for word in sorted(words, key=len, reverse=True) if word]
    if not found:
        return safe(plain)
    parts, end = [], 0
    for match in re.finditer("|".join(found), plain, re.IGNORECASE):
        parts.append(safe(plain[end : match.start()]))
        parts.append(Markup('<mark class="hit">{}</mark>').format(safe(match[0])))
        end = match.end()
    return Markup("").join([*parts, safe(plain[end:])])


def line(text: object, limit: int = 160, words: Sequence[str] = ()) -> Markup:
    """A text on one line, for a cell of a table; `words` are marked in it."""
    plain = "" if text is None else str(text)
    cut = plain[: limit + 1].replace("\r\n", "\n").replace("\n", " ⏎ ")
    whole = len(plain) <= limit and len(cut) <= limit
    return hits(cut[:limit], words) + (Markup("") if whole else Markup('<span class="more">…</span>'))


def plain(text: object, limit: int = 200) -> str:
    """A text for an attribute, a title or a chart: one line, bounded, nothing unseen in it; still to be escaped."""
    return one_line("" if text is None else str(text), limit)


def segments(text: str, steps: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any] | None, int]]:
    """A text cut at its steps: each piece with its step and the step's number, or None between them.

    Offsets are clipped to the text and a step that overlaps the one before is cut, whatever a file says.
    """
    end = 0
    for number, step in sorted(enumerate(steps), key=lambda one: (one[1]["start"] or 0, one[0])):
        start, stop = max(end, int(step["start"] or 0)), min(len(text), int(step["end"] or 0))
        if stop <= start:
            continue
        if start > end:
            yield text[end:start], None, 0
        yield text[start:stop], step, number + 1
        end = stop
    if end < len(text):
        yield text[end:], None, 0


def marked(text: str, steps: Sequence[Mapping[str, object]], words: Sequence[str] = ()) -> Markup:
    """A rationale with each step marked by its outcome, and its reason where the pointer or the keyboard rests;
    `words` that were searched for are marked too."""
    parts = []
    for piece, step, number in segments(text[:MAX_TEXT], steps[:2000]):
        if step is None:
            parts.append(hits(piece, words))
            continue
        outcome = step["outcome"] if step["outcome"] in OUTCOMES else "undecided"
        title = plain(f"step {number}, {outcome}: {step_note(step)}", 400)
        mark = Markup('<mark class="step {}" tabindex="0" title="{}">{}</mark>')
        parts.append(mark.format(outcome, title, hits(piece, words)))
    if len(text) > MAX_TEXT:
        parts.append(Markup('<span class="more"> … {} more characters</span>').format(len(text) - MAX_TEXT))
    return Markup("").join(parts)


def step_note(step: Mapping[str, Any]) -> str:
    """A step's reason and where its numbers come from."""
    notes = [str(step.get("reason") or "no reason given")]
    if step.get("uses"):
        notes.append(f"from step {', '.join(str(one + 1) for one in step['uses'])}")
    if step.get("unknown"):
        notes.append(f"{', '.join(map(str, step['unknown']))} from nowhere")
    if step.get("needed") is False:
        notes.append("the answer does not need it")
    return "; ".join(notes)


def word_diff(before: str, after: str) -> Markup:
    """Two texts in one: what went struck out, what came underlined; words and the spaces between them are kept."""
    one, other = (re.findall(r"\s*(?:\w+|[^\w\s])|\s+", text[:MAX_DIFFED]) for text in (before, after))
    # Each pair of equal words may be looked at once for every block that is found.
    theirs = Counter(other)
    equal = sum(count * theirs[word] for word, count in Counter(one).items())
    if equal * min(len(one), len(other)) > 20_000_000:
        return Markup('<p class="note">too long to compare word by word</p>')
    parts = []
    for action, i1, i2, j1, j2 in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if action == "equal":
            parts.append(safe("".join(one[i1:i2])))
            continue
        if i1 < i2:
            parts.append(Markup("<del>{}</del>").format(safe("".join(one[i1:i2]))))
        if j1 < j2:
            parts.append(Markup("<ins>{}</ins>").format(safe("".join(other[j1:j2]))))
    if max(len(before), len(after)) > MAX_DIFFED:
        parts.append(Markup('<span class="more"> … compared as far as {} characters</span>').format(MAX_DIFFED))
    return Markup("").join(parts)
