"""The parts in which a stage goes over a whole round, each with what follows for it from the others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from selfimprove.prompting.prompts import PromptFormat
from selfimprove.records import Problem, Rationale, Record, by_id
from selfimprove.settings import Settings
from selfimprove.stages.base import Desk
from selfimprove.stages.earlier import read_written
from selfimprove.store.join import Judged
from selfimprove.store.order import Order

ROWS = 50_000
"""Rationales in a part, of which one takes 1.3 CPU seconds; what each process looks over first takes as long for a
million. What a stage wrote is in files of this size, so that another one is another version of it."""
MARK = "the question 5c0f1e"


@dataclass(frozen=True)
class Lot:
    """What a part is decided from."""

    judged: Judged
    """The rationales of the part, and earlier ones of their problems and of those that are asked in the same words."""
    ordinals: Sequence[int]
    """Where each of them stands in the order of the round, those written with a hint after all others."""
    problems: Mapping[str, Problem]
    """Theirs."""
    first: int
    """The ordinal at which the part begins; what stands before it is another part's."""
    last: bool
    """Whether no part comes after it."""
    whole: bool
    """Whether it is all of the round."""


class _Cut:
    """A round that is cut: its order, and where its problems lie."""

    def __init__(self, desk: Desk[Settings]) -> None:
        written, problems = desk.once(read_written), desk.scan(Problem)
        self.place_of = {identity: place for place, identity in enumerate(problems.ids())}
        rows = zip(self.place_of if len(self.place_of) == len(problems) else problems.ids(),
                   problems.values("question"), problems.values("task"), strict=True)  # fmt: skip
        earlier = ((one.id, one.question, one.task) for one in written.earlier.problems.values())
        prompts = desk.prompts
        render = prompts.render if desk.trains_full_prompt else prompts.render_question
        self.order = Order(written.judged.rationales, number_kin(chain(rows, earlier), prompts, render))


def parts_of_round(desk: Desk[Settings], written: type[Record]) -> list[range]:
    """The ordinals of each part: one for a small round; else the last one holds what was written with a hint, and may
    be empty. `written` is what the stage writes for each rationale."""
    count = len(desk.scan(Rationale))
    if count <= ROWS or _was_begun_whole(desk, written, count):
        return [range(count)]
    parts = desk.once(_Cut).order.cut(ROWS)
    return parts if len(parts) > 2 or parts[-1] else [range(count)]


def _was_begun_whole(desk: Desk[Settings], written: type[Record], count: int) -> bool:
    """Whether a round lies there in one part: before rounds were cut, all were."""
    manifest, there = desk.manifest, desk.scan_written(written)
    return manifest.parts == 1 if manifest else len(there.files) == 1 and len(there) == count


def read_lot(desk: Desk[Settings], part: Sequence[int], parts: Sequence[range]) -> Lot:
    """What a part, which is one of these, is decided from."""
    assert isinstance(part, range)
    written = desk.once(read_written)
    if len(parts) == 1:
        return Lot(written.judged, part, written.problems, first=0, last=True, whole=True)
    cut = desk.once(_Cut)
    ordinals = cut.order.with_kin(part)
    places = cut.order.places(ordinals)
    asked = cut.order.problems(places)
    problems = desk.scan(Problem).at(sorted(cut.place_of[one] for one in asked if one in cut.place_of))
    return Lot(
        written.judged.at(places),
        ordinals.tolist(),
        {**by_id(problems.pick(*Problem.model_fields)), **written.earlier.problems},
        first=part.start,
        last=part == parts[-1],
        whole=False,
    )


def count_by_group(desk: Desk[Settings]) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """The right samples and the decided ones of a round by problem, and the group of each problem."""
    written, problems = desk.once(read_written), desk.scan(Problem)
    group_of = dict(zip(problems.ids(), problems.values("group"), strict=True))
    group_of |= {name: one.group for name, one in written.earlier.problems.items()}
    return desk.once(_Cut).order.count_right(written.judged), group_of


def number_kin(
    problems: Iterable[tuple[str, str, str]], prompts: PromptFormat, render: Callable[[Problem], str]
) -> dict[str, int]:
    """By problem: a number that those share whose prompts are the same, and as good as no others.

    `problems` are ids, questions and tasks. A prompt is what its task has around the question, and a chat template
    takes spaces away at the ends of that, or breaks up special tokens by them.
    """
    frames: dict[str, tuple[str, str]] = {}
    numbers = {}
    for identity, question, task in problems:
        if task not in frames:
            asked = Problem(question=MARK, answer="", task=task, level=0, group="")
            before, _, after = render(asked).partition(MARK)
            frames[task] = before, after
        before, after = frames[task]
        text = f"{before}{question}{after}"
        numbers[identity] = hash("".join(text.split()) if prompts.chat else text)
    return numbers
