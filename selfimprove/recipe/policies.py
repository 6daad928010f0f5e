"""The files under `policies/`: found by path, or by name in the working folder, the user's own folder or the shipped
ones."""

import os
from collections.abc import Iterator
from pathlib import Path

from selfimprove.errors import RecipeError, suggest
from selfimprove.records.files import is_file
from selfimprove.shipping.shipped import find_shipped

POLICIES = find_shipped("policies")
SHOWN = 200  # characters of a name in a mistake
NOUNS = {
    "recipes": "recipe",
    "constitutions": "constitution",
    "controllers": "controller",
    "exemplars": "file of exemplars",
    "triggers": "file of triggers",
    "accelerate": "accelerate config",
    "suites": "suite",
    "mixtures": "mixture",
}


def policy_folders() -> Iterator[Path]:
    """Where names are looked up, in this order: `./policies`, `~/.config/selfimprove/policies`, the shipped ones.

    `XDG_CONFIG_HOME` moves the second one.
    """
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111 (no home is no error)
    yield from (Path("policies"), Path(home) / "selfimprove" / "policies", POLICIES)


def find_policy(folder: str, name: str) -> Path:
    """Find a YAML file by path, or by name under `policies/FOLDER`; raises RecipeError with the nearest name."""
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or is_file(path):
        if not is_file(path):
            raise RecipeError(f"{str(path)[:SHOWN]}: no such {NOUNS[folder]}{suggest(path.stem, policy_names(folder))}")
        return path
    if found := find_named(folder, f"{name}.yaml"):
        return found
    raise RecipeError(f"no {NOUNS[folder]} '{name[:SHOWN]}' in policies/{folder}{suggest(name, policy_names(folder))}")


def find_named(folder: str, file: str) -> Path | None:
    """The first `policies/FOLDER/FILE` in the order of `policy_folders`."""
    return next((path for policies in policy_folders() if is_file(path := policies / folder / file)), None)


def policy_names(folder: str, suffix: str = ".yaml") -> set[str]:
    """The names of all files under `policies/FOLDER`, wherever they are looked for."""
    return {path.stem for policies in policy_folders() for path in (policies / folder).glob(f"*{suffix}")}
