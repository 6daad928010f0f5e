"""What people keep beside a run for the viewer: tags and a note on the run, whether it is hidden, and saved filters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from selfimprove.errors import StoreError
from selfimprove.records import hash_text, replace_surrogates
from selfimprove.records.files import is_folder, is_regular, read_bounded
from selfimprove.store.parts import named_errors, write_text
from selfimprove.store.run import RunFolder

MAX_TAGS = 12
MAX_TAG = 40
MAX_NOTE = 2000
MAX_NAME = 60
MAX_QUERY = 4000
MAX_FILE = 64 * 1024
MAX_FILTERS = 50
Kept = TypeVar("Kept", bound=BaseModel)


class Labels(BaseModel):
    """What people say of a run as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    tags: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=MAX_TAG)], ...], Field(max_length=MAX_TAGS)
    ] = ()
    note: Annotated[str, Field(max_length=MAX_NOTE)] = ""
    hidden: bool = False


class SavedFilter(BaseModel):
    """The filters of a list of traces under a name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    query: Annotated[str, Field(max_length=MAX_QUERY)]


def split_tags(text: str) -> tuple[str, ...]:
    """The tags that a line names, apart by commas, each once; raises StoreError where there are too many."""
    tags = tuple(dict.fromkeys(one for part in text.split(",") if (one := " ".join(part.split()))))
    if len(tags) > MAX_TAGS or any(len(tag) > MAX_TAG for tag in tags):
        raise StoreError(f"a run has at most {MAX_TAGS} tags of at most {MAX_TAG} characters")
    return tags


def read_labels(folder: RunFolder) -> Labels:
    """What is kept of a run; nothing where nothing is, or where the file cannot be read."""
    return _read(_labels_file(folder), Labels) or Labels()


def write_labels(folder: RunFolder, tags: Sequence[str], note: str, hidden: bool) -> None:
    """Keep tags and a note of a run; raises StoreError where they are too long or cannot be written."""
    if len(note) > MAX_NOTE:
        raise StoreError(f"the note of a run is at most {MAX_NOTE} characters long")
    labels = Labels(tags=split_tags(",".join(tags)), note=note, hidden=hidden)
    _write(_labels_file(folder), labels)


def read_filters(folder: RunFolder) -> list[SavedFilter]:
    """The saved filters of a run by name; those that cannot be read are left out."""
    notes = folder.path / "notes"
    paths = sorted(notes.glob("filter-*.json")) if is_folder(notes) else []
    found = (_read(path, SavedFilter) for path in paths[:MAX_FILTERS])
    return sorted((one for one in found if one), key=lambda one: one.name)


def write_filter(folder: RunFolder, name: str, query: str) -> None:
    """Keep filters under a name, in the place of those of that name; without filters the name is removed."""
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME or len(query) > MAX_QUERY:
        raise StoreError(f"a filter has a name of at most {MAX_NAME} characters")
    path = _filter_file(folder, name)
    if not query:
        with named_errors(path):
            path.unlink(missing_ok=True)
        return
    if not is_regular(path) and len(read_filters(folder)) >= MAX_FILTERS:
        raise StoreError(f"a run has at most {MAX_FILTERS} saved filters; remove one first")
    _write(path, SavedFilter(name=replace_surrogates(name), query=query))


def _labels_file(folder: RunFolder) -> Path:
    return folder.path / "notes" / "run.json"


def _filter_file(folder: RunFolder, name: str) -> Path:
    return folder.path / "notes" / f"filter-{hash_text(replace_surrogates(name))}.json"


def _read(path: Path, kind: type[Kept]) -> Kept | None:
    try:
        return kind.model_validate_json(read_bounded(path, MAX_FILE))
    except (OSError, ValueError):
        return None


def _write(path: Path, value: BaseModel) -> None:
    with named_errors(path):
        path.parent.mkdir(exist_ok=True)
        if not is_folder(path.parent):
            raise StoreError(f"{path.parent}: is a link, which is not followed; put a folder there")
        write_text(path, replace_surrogates(value.model_dump_json(indent=1)) + "\n")
