"""Reading constitutions: by path or by name, on top of the one that a file extends, refused where lint finds errors."""

import copy
from pathlib import Path
from typing import Any

from selfimprove.constitution.lint import find_errors, find_warnings
from selfimprove.constitution.model import Constitution, Principle
from selfimprove.errors import RecipeError
from selfimprove.policy_files import find_policy
from selfimprove.yaml_files import Document, Location, dump, find_mistakes, read_document, suggest, validate


class ConstitutionFile(Constitution):
    """A constitution as it is written down, where it may stand on another one."""

    extends: str | None = None
    """Another constitution, by path or by name: what is not said here is taken from there, principles go by their
    ids."""
    remove: tuple[str, ...] = ()
    """Ids of principles that are not taken over."""
    principles: tuple[Principle, ...] = ()


OWN = ("name", "version", "description", "extends", "remove")  # never inherited
MAX_DEPTH = 8


def load_constitution(name: str | Path, *, alone: bool = False) -> Constitution:
    """Read a constitution by path or by name; raises RecipeError for the first error that lint finds.

    One that stands `alone`, as a run's own does, may not extend another file.
    """
    document = read_constitution(find_policy("constitutions", str(name)), alone=alone)
    constitution = validate(Constitution, document)
    errors = find_errors(constitution, document)
    if errors:
        raise RecipeError(errors[0])
    return constitution


def check_constitution(name: str | Path) -> tuple[Path, Constitution | None, list[str], list[str]]:
    """Look for every mistake: where the file lies, the constitution if it can be read, its errors and warnings."""
    path = find_policy("constitutions", str(name))
    try:
        document = read_constitution(path)
    except RecipeError as error:
        return path, None, [str(error)], []
    mistakes = find_mistakes(Constitution, document)
    if mistakes:
        return path, None, mistakes, []
    constitution = validate(Constitution, document)
    return path, constitution, find_errors(constitution, document), find_warnings(constitution, document)


def write_constitution(constitution: Constitution, *, defaults: bool = True) -> str:
    """A constitution as YAML, with every default written out or with none."""
    data = constitution.model_dump(mode="json", exclude_defaults=not defaults)
    for said, principle in zip(data["principles"], constitution.principles, strict=True):
        if principle.check:  # its kind is a default of its class
            said["check"] = {"name": principle.check.name, **said["check"]}
    return dump(data)


def read_constitution(path: Path, below: tuple[Path, ...] = (), *, alone: bool = False) -> Document:
    """Read a constitution file on top of the one that it extends; each key keeps the file and line that it is from."""
    document = read_document(path)
    _check_ids(document)
    extended, removed = document.data.pop("extends", None), document.data.pop("remove", None)
    if extended is None:
        if removed is not None:
            raise RecipeError(
                f"{document.where(('remove',))}: 'remove' needs 'extends': there is nothing to remove from"
            )
        return document
    where = document.where(("extends",))
    if alone:
        raise RecipeError(f"{where}: the constitution of a run stands alone, and this one extends another file")
    if not isinstance(extended, str):
        raise RecipeError(f"{where}: 'extends' names one constitution, by path or by name, not {extended!r}")
    beside = path.parent / extended
    base_path = beside if beside.is_file() else _find(extended, where)
    chain = (*below, path)
    if base_path.resolve() in {one.resolve() for one in chain} or len(chain) > MAX_DEPTH:
        names = " → ".join(str(one) for one in (*chain, base_path))
        raise RecipeError(f"{where}: constitutions extend each other in a circle, or too deeply: {names}")
    return _merge(read_constitution(base_path, chain), document, removed)


def _find(name: str, where: str) -> Path:
    try:
        return find_policy("constitutions", name)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None


def _principles(document: Document) -> list[Any]:
    found = document.data.get("principles")
    return found if isinstance(found, list) else []


def _check_ids(document: Document) -> None:
    seen: dict[str, int] = {}
    for place, principle in enumerate(_principles(document)):
        name = principle.get("id") if isinstance(principle, dict) else None
        if not isinstance(name, str):
            continue
        if name in seen:
            first = document.lines[("principles", seen[name], "id")]
            where = document.where(("principles", place, "id"))
            raise RecipeError(f"{where}: two principles have the id '{name}' (first in line {first})")
        seen[name] = place


def _merge(base: Document, document: Document, removed: Any) -> Document:
    """Put a file on top of another: principles by id, in the base's order and then the new ones, the rest by key."""
    merged = copy.copy(document)
    merged.lines, merged.sources = dict(document.lines), dict(document.sources)
    merged.data = {**{key: value for key, value in base.data.items() if key not in OWN}, **document.data}
    for key in base.data:
        if key not in OWN and key not in document.data:
            _graft(merged, (key,), base, (key,))
    if "principles" in document.data and not isinstance(document.data["principles"], list):
        return merged
    for location in [one for one in merged.lines if one[:1] == ("principles",) and len(one) > 1]:
        del merged.lines[location]
        merged.sources.pop(location, None)
    dropped = _check_removed(base, document, removed)
    own = {one.get("id"): at for at, one in enumerate(_principles(document)) if isinstance(one, dict)}
    principles: list[Any] = []
    for place, principle in enumerate(_principles(base)):
        identity = principle.get("id") if isinstance(principle, dict) else None
        if identity in dropped:
            continue
        _graft(merged, ("principles", len(principles)), base, ("principles", place))
        if identity in own:
            at = own.pop(identity)
            changes = _principles(document)[at]
            for key in changes:
                _graft(merged, ("principles", len(principles), key), document, ("principles", at, key))
            principle = {**principle, **changes}
        principles.append(principle)
    known = [one["id"] for one in principles if isinstance(one, dict) and "id" in one]
    for at, principle in enumerate(_principles(document)):
        if isinstance(principle, dict) and principle.get("id") in known and principle.get("id") not in own:
            continue
        if isinstance(principle, dict) and "text" not in principle and isinstance(principle.get("id"), str):
            raise RecipeError(
                f"{document.where(('principles', at, 'id'))}: '{base.source}' has no principle "
                f"'{principle['id']}' to change, and a new one needs a 'text'{suggest(principle['id'], known)}"
            )
        _graft(merged, ("principles", len(principles)), document, ("principles", at))
        principles.append(principle)
    merged.data["principles"] = principles
    return merged


def _check_removed(base: Document, document: Document, removed: Any) -> set[str]:
    if removed is None:
        return set()
    where = document.where(("remove",))
    if not isinstance(removed, list):
        raise RecipeError(f"{where}: 'remove' is a list of ids, not {removed!r}")
    known = {str(one.get("id")) for one in _principles(base) if isinstance(one, dict)}
    for place, name in enumerate(removed):
        if name not in known:
            where = document.where(("remove", place))
            raise RecipeError(f"{where}: '{base.source}' has no principle '{name}'{suggest(str(name), known)}")
    return set(removed)


def _graft(target: Document, at: Location, source: Document, from_: Location) -> None:
    """Take over the lines of a part of another document, in place of what stood there."""
    for location in [one for one in target.lines if one[: len(at)] == at]:
        del target.lines[location]
        target.sources.pop(location, None)
    for location, line in source.lines.items():
        if location[: len(from_)] == from_:
            moved = at + location[len(from_) :]
            target.lines[moved] = line
            target.sources[moved] = source.sources.get(location, source.source)
