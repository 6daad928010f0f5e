"""How people rank the responses to one prompt: a small file each beside the run, as notes are."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from selfimprove.errors import StoreError
from selfimprove.people.ratings import Rating
from selfimprove.records import ID_LENGTH, Record, replace_surrogates
from selfimprove.records.files import is_folder, read_bounded
from selfimprove.store.notes import DAMAGED, MAX_BY, MAX_COMMENT, MAX_FILE
from selfimprove.store.parts import named_errors, write_text
from selfimprove.store.run import RunFolder

FOLDER = "rankings"
MOST = 9  # responses that are shown at once, each with a key of its own
NAME = re.compile(rf"ranking-[0-9a-f]{{{ID_LENGTH}}}\.json")
Rank = Annotated[int, Field(ge=1, le=MOST)] | None


class Ranking(Record):
    """One person's ranking of responses to a problem; parents: the rationales, in the order in which they were shown.

    A person's last one of a problem is the one that holds. Ranks are from 1, the best; equal ones are a tie. Of those
    without a rank each is worse than those that have one, and nothing is known of them beside each other.
    """

    kind: ClassVar[str] = "ranking"
    problem: str
    ranks: tuple[Rank, ...]
    """Of each parent; all None where it was skipped."""
    reason: str = Field("", max_length=MAX_COMMENT)
    by: str = Field("", max_length=MAX_BY)
    writer: str = Field("", max_length=40)
    """As that of a note."""
    at: str = Field(max_length=40)

    @property
    def person(self) -> str:
        return person_of(self.by, self.writer) or f"one:{self.id}"

    @property
    def skipped(self) -> bool:
        return not any(self.ranks)


def person_of(by: str, writer: str) -> str:
    """Who ranks: the name, or without one the browser; nobody where neither is known."""
    return f"name:{by}" if by else f"browser:{writer}" if writer else ""


def write_ranking(
    folder: RunFolder, problem: str, responses: Sequence[str], ranks: Sequence[int | None], reason: str, by: str,
    writer: str,
) -> Ranking:  # fmt: skip
    """Keep a ranking; raises StoreError where it is not valid or cannot be written."""
    if not 2 <= len(responses) == len(ranks) <= MOST or len({*responses}) < len(responses):
        raise StoreError(f"two to {MOST} different responses are ranked at once")
    if any(one is not None and not 1 <= one <= len(ranks) for one in ranks):
        raise StoreError(f"a rank is a number from 1 to {len(ranks)}")
    if len(reason) > MAX_COMMENT or len(by) > MAX_BY:
        raise StoreError(f"a reason is at most {MAX_COMMENT} characters long, a name {MAX_BY}")
    made = Ranking(
        parents=tuple(responses), problem=problem, ranks=tuple(ranks), reason=replace_surrogates(reason),
        by=replace_surrogates(by), writer=writer, at=datetime.now(UTC).isoformat(timespec="microseconds"),
    )  # fmt: skip
    path = folder.path / FOLDER / f"ranking-{made.id}.json"
    with named_errors(path):
        path.parent.mkdir(exist_ok=True)
        if not is_folder(path.parent):
            raise StoreError(f"{path.parent}: is a link, which is not followed; put a folder there")
        write_text(path, made.model_dump_json(indent=1) + "\n")
    return made


class Rankings:
    """The rankings of a run; files are read once, and again only where new ones came."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._read: dict[Path, Ranking | None] = {}

    def all(self) -> list[Ranking]:
        """All that can be read, in the order of time."""
        path = self.folder.path / FOLDER
        there = set(path.glob("ranking-*.json")) if is_folder(path) else set()
        self._read = {one: self._read[one] if one in self._read else _read(one) for one in there}
        return sorted((one for one in self._read.values() if one), key=lambda one: (one.at, one.id))

    def damaged(self) -> dict[str, str]:
        """The files of rankings that are not what was written, with the reason; they are left out."""
        self.all()
        lost = [path for path, one in self._read.items() if one is None and NAME.fullmatch(path.name)]
        return {str(path.relative_to(self.folder.path)): DAMAGED for path in lost}

    def current(self) -> list[Ranking]:
        """What holds now: the last one of each person on each problem, those skipped too."""
        return list({(one.person, one.problem): one for one in self.all()}.values())


def _read(path: Path) -> Ranking | None:
    try:
        one = Ranking.model_validate_json(read_bounded(path, MAX_FILE))
        sound = 2 <= len(one.parents) == len(one.ranks) <= MOST
        return one if sound and path.name == f"ranking-{one.id}.json" else None
    except (OSError, ValueError):
        return None


def rate_by_rank(rankings: Sequence[Ranking], traces: Mapping[str, Mapping[str, str]]) -> Iterator[Rating]:
    """Rankings as ratings, of responses that `traces` gives by id: prompt, text, checkpoint.

    The prompt is the question, around which a run puts a form of its own, such as a chat template; for all of a problem
    that of the first response by id: what was ranked together was asked the same.
    """
    for one in rankings:
        known = [(trace, rank) for trace, rank in zip(one.parents, one.ranks, strict=True) if trace in traces]
        if one.skipped or len(known) < 2:
            continue
        prompt = traces[min(trace for trace, _ in known)]["prompt"]
        for trace, rank in known:
            yield Rating(
                rater=one.person, item=one.problem, response=trace, prompt=prompt, text=traces[trace]["text"],
                source=traces[trace]["checkpoint"], rank=rank, choice=None if rank else False,
            )  # fmt: skip
