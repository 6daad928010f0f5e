"""What differs between the recipe that a run was made with and the one that it is to go on with."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from selfimprove.errors import SelfImproveError
from selfimprove.recipe import Recipe
from selfimprove.running.plan import PlannedStage
from selfimprove.settings import is_unhashed
from selfimprove.store import RunFolder

SHOWN = 4  # differences that one line names
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
        return f"{self.name}={show_value(self.before)}" if len(show_value(self.before)) <= 40 else None


def show_value(value: Any) -> str:
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


def _differ(before: Any, now: Any, name: str, files: bool) -> Iterator[Change]:
    if isinstance(before, BaseModel) and isinstance(now, BaseModel):
        fields = {**type(before).model_fields, **type(now).model_fields}
        for key, field in fields.items():
            if not is_unhashed(field) or (files and key in FILES):
                inner = key if name in ("", "stages") else f"{name}.{key}"
                yield from _differ(getattr(before, key, None), getattr(now, key, None), inner, files)
    elif before != now:
        yield Change(name, NOT_THERE if before is None else before, NOT_THERE if now is None else now)


def describe_redo(changed: Sequence[PlannedStage], folder: RunFolder, recipe: Recipe) -> str:
    """Which stages were made otherwise, what changed since, and what can be done."""
    names = [str(stage) for stage in changed]
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    said, back = describe_changes(recipe, folder, changed)
    many = f"{len(names)} of its stages would" if len(names) > 1 else "1 of its stages would"
    return (
        f"was made with another recipe or other data{f' ({said})' if said else ''}; {many} have to be done again "
        f"({shown}); {f'go on as before with {back}, ' if back else ''}choose another --name, or discard them with "
        f"--redo all"
    )


def describe_changes(recipe: Recipe, folder: RunFolder, stages: Sequence[PlannedStage]) -> tuple[str, str]:
    """What changed since these stages were made, and how to go on as before; empty where it cannot be told."""
    try:
        before = folder.recipe() if folder.has_recipe() else None
    except SelfImproveError:
        before = None
    found = find_changes(before, recipe) if before else []
    said, others = [str(one) for one in found], _describe_others(folder, stages)
    if others and before:
        said += [str(one) for one in find_changes(before, recipe, files=True) if one not in found]
    said += others
    undo = [one.undo for one in found]
    more = f" and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
    back = (
        " ".join(f"--set {one}" for one in undo) if found and all(undo) and not others and len(found) <= SHOWN else ""
    )
    return "; ".join(said[:SHOWN]) + more, back


def _describe_others(folder: RunFolder, stages: Sequence[PlannedStage]) -> list[str]:
    """What else differs in what the stages' fingerprints hold: the content of files, and the program."""
    found: dict[str, None] = {}
    for stage in stages:
        disk = folder.stage(*stage.key)
        was, now = disk.opened_with(), json.loads(json.dumps(dict(stage.settings), default=str))
        if was.get("data") != now.get("data"):
            found["the problems, the exemplars or the judge are others"] = None
        if was.get("constitution") != now.get("constitution"):
            found["the constitution is another"] = None
        manifest = disk.manifest()
        if manifest and manifest.version != stage.version:
            found[f"this version of selfimprove makes '{stage.name}' otherwise"] = None
    return list(found)
