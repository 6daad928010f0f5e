"""What differs between the recipe that a run was made with and the one that it is to go on with."""

import json
import shlex
from collections.abc import Sequence

from selfimprove.errors import SelfImproveError
from selfimprove.recipe import Recipe
from selfimprove.recipe.changes import find_changes
from selfimprove.running.plan import PlannedStage
from selfimprove.store import RunFolder

SHOWN = 4  # differences that one line names


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
    undo = [f"--set {shlex.quote(one.undo)}" for one in found if one.undo]
    more = f" and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
    whole = len(undo) == len(found) <= SHOWN and not others
    return "; ".join(said[:SHOWN]) + more, " ".join(undo) if whole else ""


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
