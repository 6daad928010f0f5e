"""What of a text is reasoning and what is answer: the blocks that reasoning models think in, by their marks."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from selfimprove.recipe.task_settings import Marks

_ROLE = re.compile(r"<\|message\|>\s{0,8}")  # after a channel's name, in the Harmony format of gpt-oss
_QUOTES = tuple("`'\"“")  # before a mark that is only spoken of


class _Compiled(NamedTuple):
    words: tuple[str, ...]
    begins: tuple[str, ...]
    stems: tuple[str, ...]
    """What the marks begin with, in lower case: several marks share one."""
    signs: frozenset[str]
    """The characters that a mark may begin with, for a look that costs next to nothing."""
    pattern: re.Pattern[str]
    opening: dict[str, frozenset[str]]
    """The closing marks of each opening one; all marks are in lower case."""
    closing: frozenset[str]


@lru_cache(maxsize=16)
def _compile(marks: tuple[Marks, ...]) -> _Compiled:
    opening = {begin.lower(): frozenset(end.lower() for other, end in marks if other == begin) for begin, _ in marks}
    closing = frozenset(end.lower() for _, end in marks)
    words = sorted({*opening, *closing}, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, words)) or r"(?!)", re.IGNORECASE)
    signs = frozenset(case for word in words for case in (word[0], word[0].upper()))
    return _Compiled(
        tuple(words), tuple(opening), tuple({word[:3] for word in words}), signs, pattern, opening, closing
    )


def _holds(text: str, words: Iterable[str]) -> bool:
    for word in words:  # noqa: SIM110, twice as fast as `any`
        if word in text:
            return True
    return False


def complete(text: str, prompt: str, marks: Sequence[Marks]) -> str:
    """The text with the opening mark that its prompt ends on, where the chat template of a model opens the block."""
    if not prompt:
        return text
    end = prompt[-200:].rstrip().lower()
    if end.endswith("<|message|>"):
        end = end.removesuffix("<|message|>").rstrip()
    if not end.endswith(_compile(tuple(marks)).begins):
        return text
    opened = next(begin for begin, _ in marks if end.endswith(begin.lower()))
    return f"{opened}{text}"


def strip_thinking(text: str, marks: Sequence[Marks]) -> str:
    """The text without its blocks of thinking; one that nothing closes goes to the end.

    A block ends at the first mark that closes it. A closing mark outside of any block says that the text began inside
    one, so all before it is thinking. The time is linear in the text.
    """
    compiled = _compile(tuple(marks))
    if not _holds(text, compiled.signs):
        return text
    lowered = text.lower()
    if not _holds(lowered, compiled.stems) or not _holds(lowered, compiled.words):
        return text
    answer: list[str] = []
    closed_by, at = frozenset[str](), 0
    for found in compiled.pattern.finditer(text):
        mark = found[0].lower()
        if text.startswith(_QUOTES, max(0, found.start() - 1)):
            continue
        if not closed_by and mark in compiled.opening:
            answer.append(text[at : found.start()])
            closed_by = compiled.opening[mark]
        elif mark in compiled.closing and (not closed_by or mark in closed_by):
            answer = answer if closed_by else []
            role = _ROLE.match(text, found.end())
            closed_by, at = frozenset(), role.end() if role else found.end()
    return "\n".join(answer if closed_by else [*answer, text[at:]]).strip()
