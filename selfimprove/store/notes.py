"""What people say of traces: a small file a note beside the run, so that nobody's is lost when two write at once."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import ClassVar, Literal, get_args

from pydantic import Field

from selfimprove.errors import StoreError
from selfimprove.records import ID_LENGTH, Record, replace_surrogates
from selfimprove.records.files import is_folder, read_bounded
from selfimprove.store.parts import named_errors, write_text
from selfimprove.store.run import RunFolder

Mark = Literal["good", "bad", "unsure", "withdrawn"]
MARKS: tuple[str, ...] = get_args(Mark)
MAX_COMMENT = 4000
MAX_BY = 80
MAX_FILE = 64 * 1024
NAME = re.compile(rf"note-[0-9a-f]{{{ID_LENGTH}}}\.json")  # another file is nobody's note
DAMAGED = "damaged (it is not the note that was written)"


class Note(Record):
    """One person's mark on a trace; parents: rationale. The last one of a person on a trace is the one that holds."""

    kind: ClassVar[str] = "note"
    mark: Mark
    comment: str = Field("", max_length=MAX_COMMENT)
    by: str = Field("", max_length=MAX_BY)
    writer: str = Field("", max_length=40)
    """The hash of an id that the writer's browser keeps: it tells those apart who give no name."""
    at: str = Field(max_length=40)
    """UTC, as ISO 8601 to the microsecond."""

    @property
    def trace(self) -> str:
        return self.parents[0]

    @property
    def person(self) -> tuple[str, str]:
        """Who wrote it: the name, or without one the browser; of whom neither is known is another one each time."""
        return self.by, "" if self.by else self.writer or self.id


def write_note(folder: RunFolder, trace: str, mark: str, comment: str, by: str, writer: str = "") -> Note:
    """Keep a note; raises StoreError where it is not valid or cannot be written."""
    if mark not in MARKS:
        raise StoreError(f"a mark is one of {', '.join(MARKS)}")
    if len(comment) > MAX_COMMENT or len(by) > MAX_BY:
        raise StoreError(f"a comment is at most {MAX_COMMENT} characters long, a name {MAX_BY}")
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    comment, by = replace_surrogates(comment), replace_surrogates(by)
    fields = {"parents": (trace,), "mark": mark, "comment": comment, "by": by, "writer": writer, "at": at}
    note = Note.model_validate(fields)
    path = folder.path / "notes" / f"note-{note.id}.json"
    with named_errors(path):
        path.parent.mkdir(exist_ok=True)
        if not is_folder(path.parent):
            raise StoreError(f"{path.parent}: is a link, which is not followed; put a folder there")
        write_text(path, note.model_dump_json(indent=1) + "\n")
    return note


class Notes:
    """The notes of a run; files are read once, and again only where new ones came."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._read: dict[Path, Note | None] = {}

    def all(self) -> list[Note]:
        """All notes that can be read, in the order of time."""
        notes = self.folder.path / "notes"
        there = set(notes.glob("note-*.json")) if is_folder(notes) else set()
        known = {path: note for path, note in list(self._read.items()) if path in there}
        for path in there - known.keys():
            known[path] = _read(path)
        self._read = known
        return sorted((note for note in known.values() if note), key=lambda one: (one.at, one.id))

    def damaged(self) -> dict[str, str]:
        """The files of notes that are not what was written, with the reason; they are left out."""
        self.all()
        lost = [path for path, note in self._read.items() if note is None and NAME.fullmatch(path.name)]
        return {str(path.relative_to(self.folder.path)): DAMAGED for path in lost}

    def check(self) -> None:
        """Raise StoreError that names a note which is not what was written."""
        for name, reason in self.damaged().items():
            raise StoreError(f"{self.folder.path / name}: {reason}; move it away, and it is left out")

    def current(self) -> dict[str, list[Note]]:
        """What holds now: the last note of each person on each trace, by trace."""
        last = {(note.trace, note.person): note for note in self.all()}
        found: dict[str, list[Note]] = {}
        for note in last.values():
            if note.mark != "withdrawn":
                found.setdefault(note.trace, []).append(note)
        return found

    def marked(self, marks: tuple[str, ...]) -> tuple[str, ...]:
        """The traces that carry one of some marks."""
        return tuple(trace for trace, notes in self.current().items() if {note.mark for note in notes} & {*marks})


def _read(path: Path) -> Note | None:
    try:
        note = Note.model_validate_json(read_bounded(path, MAX_FILE))
        return note if note.parents and path.name == f"note-{note.id}.json" else None
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Agreement:
    """How far two people agree on the traces that both marked; Cohen's kappa (1960) is None where it has no value."""

    people: tuple[str, str]
    both: int
    same: int
    kappa: float | None
    differ: tuple[str, ...]
    """The traces that they mark otherwise."""


def name_person(note: Note) -> str:
    """A person as one is shown to others."""
    return note.by or f"no name ({note.writer[:6] or note.id[:6]})"


def find_agreements(notes: Notes) -> list[Agreement]:
    """Each pair of people that marked a trace in common."""
    marks: dict[str, dict[str, str]] = {}
    for trace, found in notes.current().items():
        for note in found:
            marks.setdefault(name_person(note), {})[trace] = note.mark
    pairs = []
    for one, other in combinations(sorted(marks), 2):
        shared = sorted(marks[one].keys() & marks[other].keys())
        if shared:
            seen = [(marks[one][trace], marks[other][trace]) for trace in shared]
            differ = tuple(trace for trace, (a, b) in zip(shared, seen, strict=True) if a != b)
            pairs.append(Agreement((one, other), len(shared), len(shared) - len(differ), _kappa(seen), differ))
    return pairs


def _kappa(seen: Sequence[tuple[str, str]]) -> float | None:
    """Agreement above that by chance, given how often each uses which mark."""
    n, same = len(seen), sum(a == b for a, b in seen)
    one, other = Counter(a for a, _ in seen), Counter(b for _, b in seen)
    chance = sum(one[mark] * other[mark] for mark in one) / n**2
    return (same / n - chance) / (1 - chance) if chance < 1 else None


PAIRS = ("prompt", "chosen", "rejected", "problem", "chosen_id", "rejected_id")


def note_pairs(notes: Notes, traces: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, str]]:
    """Preferences in TRL's columns: each text that people call good over each that they call bad, of one prompt.

    `traces` gives problem, prompt and text by id. What people do not agree on is left out.
    """
    agreed = {trace: {note.mark for note in found} - {"unsure"} for trace, found in notes.current().items()}
    sides: dict[tuple[str, str], dict[str, list[str]]] = {}
    for trace, marks in agreed.items():
        if len(marks) == 1 and trace in traces:
            key = (traces[trace]["problem"], traces[trace]["prompt"])
            sides.setdefault(key, {"good": [], "bad": []})[next(iter(marks))].append(trace)
    for (problem, prompt), found in sorted(sides.items()):
        for good in sorted(found["good"]):
            for bad in sorted(found["bad"]):
                if traces[good]["text"] != traces[bad]["text"]:
                    yield {"prompt": prompt, "chosen": traces[good]["text"], "rejected": traces[bad]["text"],
                           "problem": problem, "chosen_id": good, "rejected_id": bad}  # fmt: skip
