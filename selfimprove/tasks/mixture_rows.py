"""The rows of a mixture's data sets, and the templates that ask for them."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selfimprove.errors import RecipeError, TaskError, suggest
from selfimprove.prompting.sandbox import Sandbox
from selfimprove.prompting.templates import OPTIONS, WHOLE, Rendered, RowTemplate, Unrendered
from selfimprove.recipe.mixture import DataSet
from selfimprove.recipe.promptsource import load_templates
from selfimprove.recipe.task_settings import DatasetTask
from selfimprove.recipe.yaml import Document
from selfimprove.records import derive_seed, hash_text, replace_surrogates
from selfimprove.tasks.dataset import MISSING, look_up
from selfimprove.tasks.tables import Columns, Unreadable, read_cells, read_rows

MAX_FILES = 1000  # of one data set
EVERYTHING = Columns(((),))


@dataclass(frozen=True)
class Item:
    """A row of a data set, and its place: a file and a line."""

    place: str
    values: Mapping[str, Any]
    template: str = ""
    """The one template that it is there for, where rows are rendered already."""

    @cached_property
    def key(self) -> str:
        return hash_text(repr(sorted(self.values.items(), key=lambda one: str(one[0]))))


class Ready:
    """In place of a template where rows are rendered already."""

    reasons = has_options = shows_options = False

    def __init__(self, name: str, settings: DataSet) -> None:
        assert settings.rendered is not None
        self.name, self._columns, self.inverts = name, settings.rendered, name in settings.inverted

    def render(self, rows: Sequence[Mapping[str, object]], seeds: Sequence[int]) -> list[Rendered | Unrendered]:
        return [self._read(row) for row in rows]

    def _read(self, row: Mapping[str, object]) -> Rendered | Unrendered:
        given = [look_up(row, name) for name in (self._columns.prompt, self._columns.completion)]
        for name, value in zip((self._columns.prompt, self._columns.completion), given, strict=True):
            if not isinstance(value, str):
                return Unrendered(f"'{name}' is {'missing' if value is MISSING else 'not a text'}")
        prompt, completion = map(str, given)
        return Rendered(prompt.strip(), completion.strip().removesuffix(self._columns.end or "\0").strip())


@dataclass(frozen=True)
class Source:
    """A data set of a mixture: its rows and its templates by name."""

    name: str
    settings: DataSet
    items: tuple[Item, ...]
    templates: Mapping[str, RowTemplate | Ready]
    unreadable: tuple[str, ...]
    """What is wrong with the rows that could not be read, with their places."""

    @property
    def group(self) -> str:
        return f"{self.settings.cluster}: {self.name}"

    def fingerprint(self) -> str:
        return hash_text("\0".join(one.key for one in self.items))


def read_source(name: str, settings: DataSet, document: Document, folders: Sequence[Path], sandbox: Sandbox) -> Source:
    """Read a data set of a mixture; raises TaskError or RecipeError with the place of what is wrong."""
    where = document.where(("data_sets", name, "path"))
    items: list[Item] = []
    unreadable: list[str] = []
    files = _find_files(settings, folders, where)
    for file, template in files:
        for place, row in _rows(file, settings):
            if not isinstance(row, Mapping):
                reason = row.reason if isinstance(row, Unreadable) else "is no object with columns"
                unreadable.append(f"{Path(file).name}, {place}: {reason}")
                continue
            items.append(Item(f"{Path(file).name}, {place}", _clean(_with_columns(row, settings.columns)), template))
            if len(items) == settings.limit:
                break
    if not items:
        raise TaskError(f"{where}: '{name}' has no rows{f'; {unreadable[0]}' if unreadable else ''}")
    templates: dict[str, RowTemplate | Ready]
    if settings.rendered:
        templates = {one: Ready(one, settings) for one in dict.fromkeys(one for _, one in files)}
        if missing := [one for one in settings.inverted if one not in templates]:
            raise TaskError(
                f"{document.where(('data_sets', name, 'inverted'))}: '{name}' has no template '{missing[0]}'"
                f"{suggest(missing[0], templates)}"
            )
        _check_rendered(items, templates, where)
    else:
        made = list(_make_templates(name, settings, document, folders, sandbox))
        columns = dict.fromkeys(str(key) for one in items[:100] for key in one.values)
        _check_columns(made, columns, name)
        templates = {one.name: one for one in made}
    return Source(name, settings, tuple(items), templates, tuple(unreadable))


def _find_files(settings: DataSet, folders: Sequence[Path], where: str) -> list[tuple[str, str]]:
    """The files of a data set, each with the name of its template where rows are rendered already."""
    path = os.path.expanduser(settings.path)  # noqa: PTH111 (an unknown ~user is no error, but a name)
    if not settings.rendered:
        found = next((folder / path for folder in folders if (folder / path).exists()), None)
        if found is None and Path(path).suffix:
            raise TaskError(
                f"{where}: there is no file '{path[:200]}' in {_or(folders)}; name the folder with 'train.path'"
            )
        return [(str(found or path), "")]
    for folder in folders:
        files = sorted(glob.glob(path, root_dir=folder))[: MAX_FILES + 1]  # noqa: PTH207 (a path may be absolute)
        if len(files) > MAX_FILES:
            raise TaskError(f"{where}: {path[:200]!r} stands for more than {MAX_FILES:,} files")
        if files:
            stems = [Path(one).name.split(".")[0] for one in files]
            shared = _shared_start(stems) if len(stems) > 1 else ""
            return [(str(folder / one), stem.removeprefix(shared)) for one, stem in zip(files, stems, strict=True)]
    raise TaskError(_no_file(path, folders, where))


def _no_file(path: str, folders: Sequence[Path], where: str) -> str:
    return f"{where}: there is no file '{path[:200]}' in {_or(folders)}; name its folder with 'train.path'"


def _shared_start(stems: Sequence[str]) -> str:
    """What all names begin with, up to a _."""
    first, last = min(stems), max(stems)
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[: first.rfind("_", 0, same) + 1]


def _or(folders: Sequence[Path]) -> str:
    return " or ".join(dict.fromkeys(str(one) for one in folders))


def _rows(file: str, settings: DataSet) -> Iterator[tuple[str, object]]:
    if settings.header:
        return read_cells(Path(file), settings.header, quoted=settings.quoted)
    reading = DatasetTask(path=file, config=settings.config, split=settings.split)
    return read_rows(file, reading, EVERYTHING, settings.split)


def _with_columns(row: Mapping[str, object], columns: Mapping[str, str]) -> Mapping[str, Any]:
    """A row with further columns; a name with dots in it makes values within values."""
    if not columns:
        return row
    made: dict[str, Any] = dict(row)
    found = {name: _gather(row, path) for name, path in columns.items()}
    for name in columns:
        made.pop(name.split(".")[0], None)
    for name, value in found.items():
        if value is MISSING:
            continue
        *outer, last = name.split(".")
        target = made
        for part in outer:
            target = target.setdefault(part, {})
        target[last] = value
    return made


def _gather(row: object, path: str) -> object:
    """What stands at a path in which * stands for each of a list."""
    before, star, after = path.partition("*")
    found = look_up(row, before.rstrip("."))
    if not star or not isinstance(found, list):
        return MISSING if star else found
    inner = [_gather(one, after.lstrip(".")) for one in found]
    return MISSING if MISSING in inner else inner


def _clean(value: object) -> Any:
    """Plain JSON that a template can be given: no lone surrogates, and other values as their texts."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _clean(inner) for key, inner in value.items()}
    return [_clean(inner) for inner in value] if isinstance(value, (list, tuple)) else str(value)


def _check_rendered(items: Sequence[Item], templates: Mapping[str, Any], where: str) -> None:
    """That there is a prompt and a completion in some of the rows."""
    found = [templates[one.template].render([one.values], [0])[0] for one in items[:100]]
    if all(isinstance(one, Unrendered) for one in found):
        assert isinstance(found[0], Unrendered)
        names = ", ".join(map(repr, list(items[0].values)[:20])) or "none"
        raise TaskError(f"{where}: {found[0].reason} (columns: {names}); name yours with 'rendered.prompt' and "
                        "'rendered.completion'")  # fmt: skip


def _make_templates(
    name: str, settings: DataSet, document: Document, folders: Sequence[Path], sandbox: Sandbox
) -> Iterator[RowTemplate]:
    if settings.promptsource:
        place = document.where(("data_sets", name, "promptsource"))
        path = next((file for folder in folders if (file := folder / settings.promptsource).is_file()), None)
        if path is None:
            raise RecipeError(f"{place}: there is no file '{settings.promptsource}' in {_or(folders)}")
        found, places = load_templates(path)
        for at, one in enumerate(settings.use):
            if one not in found:
                where = document.where(("data_sets", name, "use", at))
                raise RecipeError(f"{where}: {path.name} has no template '{one}'{suggest(one, found)}")
        for one in settings.use or found:
            template = found[one]
            options = {OPTIONS: template.answer_choices} if template.answer_choices else {}
            yield RowTemplate(
                template.name, {**options, WHOLE: template.jinja}, places[one],
                inverts=template.metadata.original_task is False,
                shows_options=bool(template.metadata.choices_in_prompt), strict=False, sandbox=sandbox,
            )  # fmt: skip
    for own, mine in settings.templates.items():
        parts = {
            "prompt": mine.prompt,
            "completion": mine.completion,
            "rationale": mine.rationale,
            OPTIONS: mine.options,
        }
        yield RowTemplate(
            own, {key: text for key, text in parts.items() if text is not None},
            document.where(("data_sets", name, "templates", own)),
            inverts=mine.inverts, shows_options=mine.shows_options, sandbox=sandbox,
        )  # fmt: skip


def _check_columns(templates: Sequence[RowTemplate], columns: Mapping[str, object], name: str) -> None:
    """That templates speak of what rows have."""
    for one in templates:
        missing = [column for column in one.names() if column not in columns]
        if missing:
            raise RecipeError(
                f"{one.where}: the template '{one.name}' speaks of '{missing[0]}', which no row of '{name}' has"
                f"{suggest(missing[0], columns)}"
            )


def seed_of(seed: int, item: Item, template: str) -> int:
    """What a template draws by chance depends on the row, and not on when it is asked for."""
    return derive_seed(seed, item.place, template) % (1 << 32)
