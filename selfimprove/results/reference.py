"""The settings of a recipe as a reference in Markdown, made from the same schema that editors read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from selfimprove.shipping.documents import anchor

Schema = Mapping[str, Any]
HEAD = "| setting | default | values | counts | meaning |\n| --- | --- | --- | --- | --- |"
COUNTS = {None: "yes", False: "no", "unless default": "if changed"}


def settings_reference(recipe: type[BaseModel]) -> str:
    """All settings of a recipe as tables in Markdown, one for each section, named as in the file (`stages.sft.lora`).

    `counts` says whether a setting is part of its stage's fingerprint.
    """
    schema = recipe.model_json_schema()
    return "\n".join(_Reference(schema.get("$defs", {})).section("", schema)).strip() + "\n"


class _Reference:
    """Walks the schema; a section that was shown already is a link to its first place."""

    def __init__(self, classes: Schema) -> None:
        self.classes = classes
        self.places: dict[str, str] = {}

    def section(self, path: str, schema: Schema) -> Iterator[str]:
        fields: Schema = schema.get("properties", {})
        below = self._claim(path, fields)
        yield f"### {path or 'The recipe'}\n\n{_sentence(str(schema.get('description', '')))}\n\n{HEAD}"
        for name, field in fields.items():
            default = "required" if name in schema.get("required", ()) else _default(field)
            inner = _references(field)
            counts = "" if inner else COUNTS[field.get("hashed")]
            values = self._inner(f"{path}.{name}" if path else name, inner) if inner else _values(field)
            yield f"| `{name}` | {default} | {values} | {counts} | {_sentence(field.get('description', ''))} |"
        yield ""
        for one in sorted(below, key=lambda one: list(fields).index(below[one])):
            yield from self.section(self.places[one], self.classes[one])

    def _claim(self, path: str, fields: Schema) -> dict[str, str]:
        """Give each section that has no place yet its place here, and return each one's field."""
        below: dict[str, str] = {}
        for name in sorted(fields, key=lambda name: (len(_references(fields[name])) == 1, len(name))):
            inner = _references(fields[name])
            for one in inner:
                if one not in self.places:
                    place = f"{path}.{name}" if path else name
                    self.places[one] = place if len(inner) == 1 else f"{place}: {_title(self.classes[one])}"
                    below[one] = name
        return below

    def _inner(self, place: str, inner: Sequence[str]) -> str:
        first = self.places[inner[0]]
        if len(inner) > 1:
            return f"one of those [below](#{anchor(first)}), by `name`"
        return f"[below](#{anchor(first)})" if first == place else f"as [{first}](#{anchor(first)})"


def _references(field: Schema) -> list[str]:
    """The names of the classes that a field may hold, in order."""
    options = field.get("anyOf") or field.get("oneOf") or field.get("allOf") or [field]
    found = [str(one["$ref"]).rpartition("/")[2] for one in options if "$ref" in one]
    items = field.get("items")
    return found or (_references(items) if isinstance(items, dict) else [])


def _title(schema: Schema) -> str:
    """The name of a task, without what stands for any name."""
    name = schema.get("properties", {}).get("name", {})
    pattern = str(name.get("pattern", "")).partition("[")[0].removeprefix("^")
    return f"{pattern}…" if pattern else str(name.get("const", schema.get("title", "")))


def _values(field: Schema) -> str:
    """What a setting may be, in a few words."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_values(one) for one in field["anyOf"]))
    if "enum" in field:
        return ", ".join(f"`{one}`" for one in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field.get("type")
    if kind == "array":
        if field.get("minItems") and field.get("minItems") == field.get("maxItems"):
            return f"list of {field['minItems']}"
        items = field.get("items")
        return f"list of {_values(items)}" if items else "list"
    if kind in ("integer", "number"):
        return f"{'whole number' if kind == 'integer' else 'number'}{_bounds(field)}"
    return {"string": "text", "boolean": "`true`, `false`", "null": "`null`", "object": "mapping"}.get(str(kind), "any")


def _bounds(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f", {low:g} to {high:g}"
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    said = [f"{sign} {field[name]:g}" for name, sign in signs.items() if name in field]
    return "".join(f", {one}" for one in said)


def _default(field: Schema) -> str:
    default = field.get("default", "")
    if _references(field) and not isinstance(default, list):
        return "off" if default is None else "on"
    if isinstance(default, list):
        return ", ".join(f"`{one}`" for one in default) or "none"
    if default == "":
        return "empty" if "default" in field else ""
    return f"`{_plain(json.dumps(default, ensure_ascii=False).strip(chr(34)))}`"


def _sentence(text: str) -> str:
    """A description as a cell of a table, a capital first and a full stop last."""
    line = _plain(" ".join(text.split("\n\n")[0].split()))
    value = line.split(" ")[0].endswith(":")  # such as `all: …`, which is spelled as in the file
    line = line if value else line[:1].upper() + line[1:]
    return line if not line or line.endswith((".", "…", ":")) else f"{line}."


def _plain(text: str) -> str:
    return text.replace("|", "\\|")
