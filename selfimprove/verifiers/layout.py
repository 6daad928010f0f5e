"""What only lays a text out: code fences, special tokens, HTML, the signs of other scripts; answers in JSON or tags.

JSON is read by Python's parser, within bounds; what it cannot read (single quotes, an object that was cut off) is left
to the announcements.
"""

import json
import re
from typing import Any, NamedTuple

from selfimprove.verifiers.numbers import OTHER_DIGITS, in_ascii, odd_characters

MAX_JSON = 20_000  # characters of one object
MAX_OBJECTS = 20

# Letters that are neither Latin without accents, as English has them, nor Greek, as mathematics has them.
LETTER = r"(?:(?!\d)[À-ÖØ-öø-ɏЀ-῾⺀-⿟぀-ퟻ豈-﫿])"
_LETTERS, _ASCII = re.compile(LETTER), re.compile(r"[A-Za-z]")
_FENCE = re.compile(r"^[ \t]{0,8}(?:```|~~~)[ \t]{0,4}[\w+-]{0,20}[ \t]*$", re.MULTILINE)
_ANGLE = re.compile("<[/|a-z]")  # what a token or HTML may begin with
_TOKEN = re.compile(r"<\|[^<>|\n]{1,30}\|>|</s>|<eos>|<end_of_turn>|\[/?INST\]")
_END_OF_TEXT = re.compile(r"(?<=\S)\s{0,9}(?:<\|endoftext\|>|</s>|<eos>)")  # what a model writes behind it is no answer
_HTML = re.compile(r"</?(?:b|i|u|em|strong|p|br|span|code|h[1-6]|center)\s?/?>|&nbsp;")
_SIGNS: dict[int, str] = {
    ord(one): other for one, other in zip("。।、،؛؟٫٬۔「」『』【】《》", "\n\n,,;?.,\n" + " " * 8, strict=True)
}
_SIGNS_OF_PROSE = frozenset(map(chr, _SIGNS))
_TAG = re.compile(r"<(/?)\s?(?:final[ _-]?answer|answer|ans|solution)\s?>", re.IGNORECASE)
_MAY_BE_TAG = re.compile(r"</?\s?[a-zA-Z]")
_OBJECT = re.compile(r'\{\s{0,20}"')
_COMMAND = re.compile(
    r"(?<!\\)\\(?=(?:[dt]?frac|f?boxed|text|times|theta|tan|to|neq?|nu|beta|d?binom|bar|begin|end|rho|right|left|sqrt"
    r"|pi|cdot|infty|leq?|geq?|pm|mathrm|circ)(?![a-z]))"
)
KEYS = frozenset(
    (
        "answer", "the answer", "final answer", "correct answer", "ans", "final", "result", "final result",
        "solution", "choice", "option", "correct option", "correct choice", "selected option",
        "答案", "最终答案", "正确答案", "答え", "정답", "respuesta", "respuesta final", "réponse", "reponse",
        "antwort", "ответ",
        "resposta", "risposta",
        "الجواب", "الإجابة", "उत्तर",
    )
)  # fmt: skip


class Framed(NamedTuple):
    """An answer that stands in a frame of its own: its text, and the place of the frame."""

    text: str
    start: int
    end: int


def lay_out(text: str) -> str:
    """The text without the marks that only lay it out, with JSON's answers in tags; sentences of other scripts end as
    lines do."""
    if not text.isascii():
        odd = odd_characters(text)
        text = text if odd.isdisjoint(_SIGNS_OF_PROSE) else text.translate(_SIGNS)
        text = OTHER_DIGITS.sub(in_ascii, text) if any(map(str.isdecimal, odd)) else text
    if "```" in text or "~~~" in text:
        text = _FENCE.sub("", text)
    if _ANGLE.search(text) or "[INST]" in text or "[/INST]" in text or "&nbsp;" in text:
        end = _END_OF_TEXT.search(text)
        text = _HTML.sub(" ", _TOKEN.sub("\n", text[: end.start()] if end else text))
    if "{" in text and '"' in text:
        text = _unfold(text)
    return text.strip("\n")


def is_foreign(text: str) -> bool:
    """Whether most letters of a text are of another script than English has."""
    text = text[:2_000]
    return not text.isascii() and len(_LETTERS.findall(text)) > len(_ASCII.findall(text))


def find_tags(text: str) -> list[Framed]:
    """What stands in `<answer>` and the like; a tag that nothing closes goes to the end."""
    found: list[Framed] = []
    opened: re.Match[str] | None = None
    if not _MAY_BE_TAG.search(text):
        return found
    for tag in _TAG.finditer(text):
        if not tag[1]:
            opened = tag
        elif opened:
            found.append(Framed(text[opened.end() : tag.start()], opened.end(), tag.end()))
            opened = None
    if opened:
        found.append(Framed(text[opened.end() :], opened.end(), len(text)))
    return [one for one in found if one.text.strip()]


def _unfold(text: str) -> str:
    """The text with a tag in place of each JSON object that has the key `answer`, or one that means the same."""
    pieces: list[str] = []
    at = last = 0
    for _ in range(MAX_OBJECTS):
        begins = _OBJECT.search(text, at)
        if begins is None:
            break
        values, end = _decode(text[begins.start() : begins.start() + MAX_JSON])
        at = begins.start() + end if end else begins.end()
        if values:
            pieces += [text[last : begins.start()], *(f"\n<answer>{value}</answer>\n" for value in values)]
            last = at
    return "".join([*pieces, text[last:]]) if pieces else text


def _decode(text: str) -> tuple[list[str], int]:
    """The answers in the object that a text begins with, and where it ends; its LaTeX may lack JSON's backslashes."""
    pairs: list[tuple[str, Any]] = []

    def keep(inner: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs.extend(inner)
        return {}

    decoder = json.JSONDecoder(object_pairs_hook=keep, parse_int=str, parse_float=str, parse_constant=str, strict=False)
    commands = [one.start() for one in _COMMAND.finditer(text)]
    try:
        _, end = decoder.raw_decode(_COMMAND.sub(r"\\\\", text))
    except (ValueError, RecursionError):
        return [], 0
    end -= sum(place + added < end for added, place in enumerate(commands))
    return [
        value for key, one in pairs if key.strip().lower().replace("_", " ") in KEYS and (value := _shown(one))
    ], end


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value)  # which says that there is no answer
    if isinstance(value, list):
        return ", ".join(one for one in value[:50] if isinstance(one, str))
    return value.strip() if isinstance(value, str) else ""
