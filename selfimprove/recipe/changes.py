"""The settings in which two recipes differ."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from selfimprove.errors import RecipeError
from selfimprove.recipe import Recipe
from selfimprove.recipe.yaml import compose
from selfimprove.settings import is_unhashed

FILES = ("path", "evaluate_path", "exemplars", "constitution", "prompt", "labelled")
"""Settings whose files count and their names do not."""
NOT_THERE = "not there"


@dataclass(frozen=True)
class Change:
    """A setting as `--set` names it, with its value then and now."""

    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} was {show_value(self.before)} and is {show_value(self.now)}"

    @property
    def undo(self) -> str | None:
        """What `--set` takes to have the value of before again; None where that is more than a value."""
        if NOT_THERE in (self.before, self.now) or isinstance(self.before, BaseModel):
            return None
        text = show_value(self.before)
        if isinstance(self.before, str) and not _reads_back(text, self.before):  # such as {question}, a mapping in YAML
            text = json.dumps(self.before, ensure_ascii=False)
        return f"{self.name}={text}" if len(text) <= 40 else None


def _reads_back(text: str, value: str) -> bool:
    """Whether `--set` takes a text for the same value."""
    try:
        return bool(compose(text, "--set")[1] == value)
    except RecipeError:
        return False


def show_value(value: object) -> str:
    """A setting's value as one reads it in a line."""
    if isinstance(value, BaseModel):
        return "there"
    if value == NOT_THERE:
        return NOT_THERE
    text = value if isinstance(value, str) and value.isprintable() and " " not in value and value else None
    text = text or json.dumps(value, default=str, ensure_ascii=False)
    if len(text) <= 60:
        return text
    return f"...{text[-57:]}" if "/" in text else f"{text[:57]}..."  # of a path its end says more


def find_changes(before: Recipe, now: Recipe, *, files: bool = False) -> list[Change]:
    """The settings that count for a run's records and differ; with `files` the names of files too."""
    return list(_differ(before, now, "", files))


def _differ(before: object, now: object, name: str, files: bool) -> Iterator[Change]:
    if isinstance(before, BaseModel) and isinstance(now, BaseModel):
        fields = {**type(before).model_fields, **type(now).model_fields}
        for key, field in fields.items():
            if not is_unhashed(field) or (files and key in FILES):
                inner = key if name in ("", "stages") else f"{name}.{key}"
                yield from _differ(getattr(before, key, None), getattr(now, key, None), inner, files)
    elif before != now:
        yield Change(name, NOT_THERE if before is None else before, NOT_THERE if now is None else now)
