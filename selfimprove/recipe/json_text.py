"""JSON where YAML is read: programs write it, and YAML reads it otherwise than it is meant.

YAML takes 1e-5 for a text, and refuses what `json.dump` makes of an emoji (two escapes), of a tab before a key, or of a
character that terminals do not show.
"""

import json
import re
from typing import Any

from selfimprove.errors import RecipeError


class HalfCharacterError(RecipeError):
    """A text that no file can hold: one half of a character stands alone in it."""


_QUOTED = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_HALF = re.compile("[\ud800-\udfff]")
_SPECIAL = re.compile(r"[^ !#-\[\]-~]")


def read_json(text: str, source: str) -> tuple[Any, str] | None:
    """What a JSON object, list or text says, and the same as YAML with its lines as they are; None for anything else.

    Raises RecipeError where half of a character stands in it.
    """
    if text.lstrip()[:1] not in ("{", "[", '"'):
        return None
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):  # YAML says what is wrong, and where
        return None
    return found, _as_yaml(text, source)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _as_yaml(text: str, source: str) -> str:
    """A JSON text whose strings are spelled as YAML reads them, and whose marks stand apart."""
    pieces: list[str] = []
    end = 0
    for quoted in _QUOTED.finditer(text):
        found = json.loads(quoted[0])
        if _HALF.search(found):
            check_characters(found, f"{source}:{text.count(chr(10), 0, quoted.start()) + 1}")
        pieces += [_apart(text[end : quoted.start()]), _spell(found)]
        end = quoted.end()
    return "".join([*pieces, _apart(text[end:])])


def _apart(marks: str) -> str:
    return marks.replace("\t", " ").replace(":", ": ").replace(",", ", ")


def _spell(text: str) -> str:
    return '"' + _SPECIAL.sub(lambda one: f"\\U{ord(one[0]):08x}", text) + '"'


def join_pairs(text: str) -> str:
    """A YAML text in whose quoted strings the two escapes of one character, as JSON has them, are one."""

    def join(pair: re.Match[str]) -> str:
        code = 0x10000 + ((int(pair[2], 16) - 0xD800) << 10) + (int(pair[3], 16) - 0xDC00)
        return f"{pair[1]}\\U{code:08x}"

    if not _PAIR.search(text):
        return text
    return _QUOTED.sub(lambda quoted: _PAIR.sub(join, quoted[0]), text)


def check_characters(value: object, source: str) -> None:
    """Raise RecipeError where a text, or one within plain data, holds half of a character: no file can hold that."""
    if isinstance(value, str):
        if half := _HALF.search(value):
            shown = value[max(0, half.start() - 20) : half.start()]
            raise HalfCharacterError(
                f"{source}: holds half of a character (\\u{ord(half[0]):04x} after {shown!r}), which no file can hold"
            )
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_characters(key, source)
            check_characters(inner, source)
    elif isinstance(value, list):
        for inner in value:
            check_characters(inner, source)
