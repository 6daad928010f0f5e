"""The files under `policies/`: found by path, or by name in the working folder or beside the package."""

from pathlib import Path

from selfimprove.errors import RecipeError
from selfimprove.recipe.yaml import suggest

POLICIES = Path(__file__).resolve().parent.parent.parent / "policies"
NOUNS = {
    "recipes": "recipe",
    "constitutions": "constitution",
    "triggers": "file of triggers",
    "accelerate": "accelerate config",
}


def find_policy(folder: str, name: str) -> Path:
    """Find a YAML file by path, or by name under `policies/FOLDER`; raises RecipeError with the nearest name."""
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise RecipeError(f"{path}: no such {NOUNS[folder]}{suggest(path.stem, policy_names(folder))}")
        return path
    for policies in (Path("policies"), POLICIES):
        found = policies / folder / f"{name}.yaml"
        if found.is_file():
            return found
    raise RecipeError(f"no {NOUNS[folder]} '{name}' in policies/{folder}{suggest(name, policy_names(folder))}")


def policy_names(folder: str) -> set[str]:
    """The names of all files under `policies/FOLDER`."""
    return {path.stem for policies in (Path("policies"), POLICIES) for path in (policies / folder).glob("*.yaml")}
