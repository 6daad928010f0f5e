"""What there is: policies, tasks, stages, models and runs, each with one line and where it is from."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from selfimprove.errors import SelfImproveError
from selfimprove.recipe.catalog import declared_by, extensions, known
from selfimprove.recipe.policies import POLICIES, policy_folders
from selfimprove.records import Checkpoint
from selfimprove.records.files import read_bounded
from selfimprove.results.overview import list_runs
from selfimprove.store import RunFolder

OURS = "built in"
MAX_POLICY = 1 << 20  # bytes of a file of which the first lines are shown
HUB = "models--"


@dataclass(frozen=True)
class Entry:
    """One thing that can be named."""

    name: str
    said: str
    source: str
    """Where it is from: a folder, an extension, or built in."""


def first_sentence(text: str | None) -> str:
    """The first sentence of the first paragraph."""
    return " ".join((text or "").strip().split("\n\n")[0].split()).partition(". ")[0].rstrip(".")


def list_policies(folder: str) -> Iterator[Entry]:
    """The files under `policies/FOLDER` by name: the first one of a name is the one that counts."""
    there: dict[str, Path] = {}
    hidden: dict[str, int] = {}
    for policies in policy_folders():
        for path in sorted((policies / folder).glob("*.yaml")):
            if path.stem in there and not path.samefile(there[path.stem]):
                hidden[path.stem] = hidden.get(path.stem, 0) + 1
            there.setdefault(path.stem, path)
    for name, path in sorted(there.items()):
        more = ", in place of the one that comes with the package" if hidden.get(name) else ""
        source = "comes with the package" if path.is_relative_to(POLICIES) else str(path.parent)
        yield Entry(name, _describe_policy(path), source + more)


def _describe_policy(path: Path) -> str:
    """What a policy file says of itself: its description, or the comment at its head."""
    try:
        text = read_bounded(path, MAX_POLICY)
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return "cannot be read"
    if isinstance(data, dict) and isinstance(data.get("description"), str):
        return first_sentence(data["description"])
    comment = [line.lstrip("#").strip() for line in text.split("\n\n")[0].splitlines() if line.startswith("#")]
    return first_sentence(" ".join(comment))


def _source(noun: str, name: str) -> str:
    """The extension that declares a name, or that it is built in."""
    for one in extensions():
        if name in declared_by(one).get(noun, ()):  # type: ignore[call-overload]
            return one.path or f"the package {one.name}"
    return OURS


def list_tasks(runs: Path) -> Iterator[Entry]:
    """The tasks; a name with a slash has any of several parts after it."""
    import selfimprove.tasks  # noqa: F401 (declares them)

    for name, (settings, _) in known("task").items():
        pattern = settings.model_fields["name"].default
        yield Entry(name if pattern == name else f"{name}/…", first_sentence(settings.__doc__), _source("task", name))


def list_stages(runs: Path) -> Iterator[Entry]:
    """The stages, in the order in which a recipe without a flow runs them."""
    for name, stage in known("stage").items():
        module = sys.modules[stage.run.__module__]
        yield Entry(name, first_sentence(module.__doc__), _source("stage", name))


def list_models(runs: Path) -> Iterator[Entry]:
    """What `--model` takes: checkpoints of runs, and what lies in the hub's cache on this machine."""
    for one in list_runs(runs):
        folder = RunFolder(runs / one.name)
        try:
            found = [(stage, made) for stage in folder.stages() if stage.manifest() for made in stage.read(Checkpoint)]
        except (SelfImproveError, OSError):
            continue  # `list runs` says what is wrong with it
        for stage, made in found:
            if made.role == "policy" and not Path(made.path).is_absolute() and (folder.path / made.path).is_dir():
                yield Entry(f"{one.name}/round-{stage.key[0]:02d}", f"trained by {made.method}", str(folder.path))
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    for path in sorted(cache.glob(f"{HUB}*--*")):
        if any(path.glob("snapshots/*/config.json")):
            yield Entry(path.name.removeprefix(HUB).replace("--", "/", 1), "downloaded from the hub", str(cache))


def _list_runs(runs: Path) -> Iterator[Entry]:
    for one in list_runs(runs):
        yield Entry(one.name, one.cells()[-1], str(runs / one.name))


KINDS: dict[str, tuple[str, Callable[[Path], Iterator[Entry]]]] = {
    "recipes": ("what `selfimprove run` takes", lambda runs: list_policies("recipes")),
    "constitutions": ("what a good answer is", lambda runs: list_policies("constitutions")),
    "controllers": ("rules by which a run steers itself", lambda runs: list_policies("controllers")),
    "triggers": ("ways to ask, for `selfimprove prompts`", lambda runs: list_policies("triggers")),
    "suites": ("tasks that `selfimprove evaluate` takes together", lambda runs: list_policies("suites")),
    "mixtures": (
        "data sets for instruction tuning, as `train: {name: …}`",
        lambda runs: list_policies("mixtures"),
    ),
    "tasks": ("what a recipe's `train: {name: …}` takes", list_tasks),
    "stages": ("what a recipe's `stages` and `flow` name", list_stages),
    "models": ("what `--model` takes on this machine", list_models),
    "runs": ("what was run", _list_runs),
}
"""What can be listed: what it is for, and what there is of it."""
