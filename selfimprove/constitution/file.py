"""Reading constitutions: by path or by name, on top of the one that a file extends, refused where lint finds errors."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfimprove.constitution.lint import find_errors, find_warnings
from selfimprove.constitution.model import Constitution, Principle
from selfimprove.errors import RecipeError, suggest
from selfimprove.recipe.policies import find_policy
from selfimprove.recipe.yaml import Document, Location, dump, find_mistakes, find_places, read_document, validate
from selfimprove.records.files import is_file


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
MAX_PASSES = 20  # in which what is not valid is taken away, an outer part after an inner one


def load_constitution(name: str | Path, *, alone: bool = False) -> Constitution:
    """Read a constitution by path or by name; raises RecipeError for the first error that lint finds.

    One that stands `alone`, as a run's own does, may not extend another file.
    """
    mistakes: list[str] = []
    document = read_constitution(find_policy("constitutions", str(name)), mistakes, alone=alone)
    if mistakes:
        raise RecipeError(mistakes[0])
    constitution = validate(Constitution, document)
    errors = find_errors(constitution, document)
    if errors:
        raise RecipeError(errors[0])
    return constitution


def check_constitution(name: str | Path) -> tuple[Path, Constitution | None, list[str], list[str]]:
    """Look for every mistake: where the file lies, the constitution if it can be read, its errors and warnings."""
    path = find_policy("constitutions", str(name))
    mistakes: list[str] = []
    try:
        document = read_constitution(path, mistakes)
    except RecipeError as error:
        return path, None, [*mistakes, str(error)], []
    mistakes += find_mistakes(Constitution, document)
    constitution, left_out = validate_rest(document)
    mistakes += find_errors(constitution, document, left_out)
    if mistakes:
        return path, None if left_out else constitution, list(dict.fromkeys(mistakes)), []
    return path, constitution, [], find_warnings(constitution, document)


def validate_rest(document: Document) -> tuple[Constitution, set[Location]]:
    """The constitution with a stand-in for all that is not valid, and the places of these."""
    data, left_out = copy.deepcopy(document.data), set[Location]()
    for _ in range(MAX_PASSES):
        found = find_places(Constitution, data)
        if not found:
            return Constitution.model_validate(data), left_out
        for place, missing in found:
            left_out.add(_mend(data, place, missing=missing))
    return Constitution(name="unnamed", principles=()), {()}


def _mend(data: Mapping[str, object], place: Location, *, missing: bool) -> Location:
    """Take away what is not valid at a place, or put a stand-in where something is missing; the place that this is."""
    above: list[Any] = [data]
    for key in place[:-1]:
        try:
            above.append(above[-1][key])
        except (KeyError, IndexError, TypeError):  # taken away already
            return place
    *_, parent = above
    key, number = place[-1], next((one for one in place if isinstance(one, int)), 0)
    if isinstance(parent, dict) and missing:
        stand_in = {"principles": [], "id": f"principle-{number}", "name": "unnamed"}
        parent[key] = stand_in.get(str(key), f"Stand-in {number}.")
    elif isinstance(parent, dict):
        parent.pop(key, None)
    elif isinstance(parent, list) and len(place) == 2:  # a principle
        parent[int(key)] = {}
    else:  # one of a list: the others would move
        return _mend(data, place[:-1], missing=False)
    return place


def write_constitution(constitution: Constitution, *, defaults: bool = True) -> str:
    """A constitution as YAML, with every default written out or with none."""
    data = constitution.model_dump(mode="json", exclude_defaults=not defaults)
    for said, principle in zip(data["principles"], constitution.principles, strict=True):
        if principle.check:  # its kind is a default of its class
            said["check"] = {"name": principle.check.name, **said["check"]}
    return dump(data)


def read_constitution(
    path: Path, mistakes: list[str], below: tuple[Path, ...] = (), *, alone: bool = False
) -> Document:
    """Read a constitution file on top of the one that it extends; each key keeps the file and line that it is from.

    Mistakes after which the rest can still be read are added to `mistakes`.
    """
    document = read_document(path, mistakes)
    mistakes += _find_doubled_ids(document)
    extended, removed = document.data.pop("extends", None), document.data.pop("remove", None)
    if extended is None:
        if removed is not None:
            mistakes.append(f"{document.where(('remove',))}: 'remove' needs 'extends': there is nothing to remove from")
        return document
    where = document.where(("extends",))
    if alone:
        raise RecipeError(f"{where}: the constitution of a run stands alone, and this one extends another file")
    base_path = _find_base(path, extended, where, mistakes)
    if base_path is None:
        return _stand_alone(document)
    chain = (*below, path)
    if base_path.resolve() in {one.resolve() for one in chain} or len(chain) > MAX_DEPTH:
        names = " → ".join(str(one) for one in (*chain, base_path))
        raise RecipeError(f"{where}: constitutions extend each other in a circle, or too deeply: {names}")
    return _merge(read_constitution(base_path, mistakes, chain), document, removed, mistakes)


def _find_base(path: Path, extended: object, where: str, mistakes: list[str]) -> Path | None:
    """The file that another one extends; None where there is no such file, which is added to the mistakes."""
    if not isinstance(extended, str):
        mistakes.append(f"{where}: 'extends' names one constitution, by path or by name, not {extended!r:.60}")
        return None
    beside = path.parent / extended
    try:
        return beside if is_file(beside) else find_policy("constitutions", extended)
    except RecipeError as error:
        mistakes.append(f"{where}: {error}")
        return None


def _stand_alone(document: Document) -> Document:
    """A file without the one that it extends: what it changes there has words, so that nothing else is missing."""
    for place, principle in enumerate(_principles(document)):
        if _id(principle) is not None:
            principle.setdefault("text", f"Unknown {place}.")
    return document


def _principles(document: Document) -> list[Any]:
    found = document.data.get("principles")
    return found if isinstance(found, list) else []


def _id(principle: object) -> str | None:
    """The id of a principle as it stands in a file, where it has one."""
    found = principle.get("id") if isinstance(principle, dict) else None
    return found if isinstance(found, str) else None


def _find_doubled_ids(document: Document) -> list[str]:
    seen: dict[str, int] = {}
    found = []
    for place, principle in enumerate(_principles(document)):
        name = _id(principle)
        if name is None:
            continue
        if name in seen:
            first = document.lines[("principles", seen[name], "id")]
            where = document.where(("principles", place, "id"))
            found.append(f"{where}: two principles have the id '{name}' (first in line {first})")
        seen.setdefault(name, place)
    return found


def _merge(base: Document, document: Document, removed: object, mistakes: list[str]) -> Document:
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
    dropped = _check_removed(base, document, removed, mistakes)
    own = {name: at for at, one in enumerate(_principles(document)) if (name := _id(one)) is not None}
    principles: list[Any] = []
    for place, principle in enumerate(_principles(base)):
        identity = _id(principle)
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
    known = [name for one in principles if (name := _id(one)) is not None]
    for at, principle in enumerate(_principles(document)):
        if _id(principle) in known and _id(principle) not in own:
            continue
        if isinstance(principle, dict) and "text" not in principle and isinstance(principle.get("id"), str):
            mistakes.append(
                f"{document.where(('principles', at, 'id'))}: '{base.source}' has no principle "
                f"'{principle['id']}' to change, and a new one needs a 'text'{suggest(principle['id'], known)}"
            )
            continue
        _graft(merged, ("principles", len(principles)), document, ("principles", at))
        principles.append(principle)
    merged.data["principles"] = principles
    return merged


def _check_removed(base: Document, document: Document, removed: object, mistakes: list[str]) -> set[str]:
    if removed is None:
        return set()
    where = document.where(("remove",))
    if not isinstance(removed, list):
        mistakes.append(f"{where}: 'remove' is a list of ids, not {removed!r:.60}")
        return set()
    known = {name for one in _principles(base) if (name := _id(one)) is not None}
    for place, name in enumerate(removed):
        if str(name) not in known:
            where = document.where(("remove", place))
            mistakes.append(f"{where}: '{base.source}' has no principle '{name}'{suggest(str(name), known)}")
    return {str(name) for name in removed}


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
