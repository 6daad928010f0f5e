"""The rounds of a run as a tree: from which checkpoint each one went on, read from the records of what was trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from selfimprove.records import Checkpoint, Evaluation, Promotion
from selfimprove.store.evaluated import counts
from selfimprove.store.run import RunFolder


@dataclass(frozen=True)
class Branch:
    """What a round trained; the model before round 1 stands as round 0."""

    round: int
    checkpoint: str
    parent: int | None
    """The round whose checkpoint it went on from; None of round 0."""
    kept: bool | None
    """Whether it was promoted; None where that is not decided, or nothing decides."""
    correct: int
    """Of the `n` held-out problems that are reported."""
    n: int
    head: bool
    """Whether its checkpoint is the one that was kept last."""

    @property
    def said(self) -> str:
        """The round and its accuracy."""
        accuracy = f" {self.correct / self.n:.1%}" if self.n else ""
        return f"{self.round}{accuracy}{', rolled back' if self.kept is False else ''}"


def read_branches(folder: RunFolder) -> list[Branch]:
    """The rounds of a run that trained something, in order; raises StoreError where a file is damaged."""
    stages = sorted((one for one in folder.stages() if one.manifest() is not None), key=lambda one: one.key[0])
    trained: dict[int, list[Checkpoint]] = {}
    home: dict[str, int] = {}  # the round of each checkpoint
    kept: dict[str, bool] = {}
    right: dict[str, tuple[int, int]] = {}
    head = ""
    for stage in stages:
        for one in stage.read(Checkpoint):
            if one.role == "policy" and one.id not in home:
                home[one.id] = stage.key[0]
                trained.setdefault(stage.key[0], []).append(one)
        for promotion in (one for one in stage.read(Promotion) if len(one.parents) > 1):
            kept[promotion.parents[0]], head = promotion.promoted, promotion.checkpoint
        # One checkpoint may be evaluated in several ways in its round, of which the last one counts.
        evaluated: dict[str, tuple[int, int]] = {}
        for each in (one for one in stage.read(Evaluation) if one.parents):
            correct, n = evaluated.get(each.parents[0], (0, 0))
            evaluated[each.parents[0]] = correct + each.correct, n + each.n
        whole = bool(evaluated) and counts(folder, *stage.key)
        right |= {name: pair for name, pair in evaluated.items() if whole or name not in right}
    found, lasts = [], {round_: _last(one) for round_, one in sorted(trained.items())}
    head = head or next((one.id for one in reversed(lasts.values())), "")
    for round_, checkpoints in sorted(trained.items()):
        last = lasts[round_]
        starts = [one.parents[0] for one in checkpoints if one.parents and one.parents[0] in home]
        earlier = [home[one] for one in starts if home[one] < round_]
        parent = earlier[0] if earlier else 0 if round_ else None
        found.append(Branch(round_, last.id, parent, kept.get(last.id), *right.get(last.id, (0, 0)), last.id == head))
    return found


def _last(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The one that no other one of its round went on from."""
    used = {one.parents[0] for one in checkpoints if one.parents}
    return next((one for one in reversed(checkpoints) if one.id not in used), checkpoints[-1])


def paths(branches: Sequence[Branch]) -> Iterator[list[Branch]]:
    """The tree as ways without a fork: first the one that leads to what was kept last, then each that leaves another
    one, from where it leaves it."""
    by_round = {one.round: one for one in branches}
    heads = [one.round for one in branches if one.head]
    drawn: set[int] = set()
    for end in [*heads, *sorted((one.round for one in branches), reverse=True)]:
        way: list[Branch] = []
        at: int | None = end
        while at is not None and at in by_round and at not in drawn:
            way.append(by_round[at])
            drawn.add(at)
            at = by_round[at].parent if by_round[at].parent != at else None
        if way:
            yield way[::-1]


def describe_branches(branches: Sequence[Branch]) -> list[str]:
    """The tree in lines, such as `0 55.0% → 1 70.2% → 3 80.1%` and `from 1: 2 69.0%, rolled back`."""
    lines = []
    for at, way in enumerate(paths(branches)):
        start = f"from {way[0].parent}: " if at and way[0].parent is not None else ""
        lines.append(start + " → ".join(one.said for one in way))
    return lines
