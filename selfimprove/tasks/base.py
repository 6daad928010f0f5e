"""What a task offers, and the task of a fixed pool of problems."""

import gzip
import json
import random
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from selfimprove.errors import TaskError
from selfimprove.prompting.prompts import Exemplar
from selfimprove.recipe.task_settings import Comparison, VerifierSettings
from selfimprove.recipe.task_settings import PoolTask as PoolSettings
from selfimprove.records import Problem, derive_seed, digest
from selfimprove.tasks.standard import Standard

UTF8 = "utf-8-sig"  # with a byte-order mark or without
MAX_CHARACTERS = 256_000_000  # of one file, unpacked


class Task(Protocol):
    """Problems in groups, with held-out ones that training can never draw."""

    name: str
    verifier: VerifierSettings
    scored: bool
    """Whether the model picks an option by its log-probability, and writes nothing."""
    left_out: int
    """How many rows of its file make no problem and are left out."""

    @property
    def standards(self) -> Mapping[str, Standard]:
        """The prompts that others evaluate it with, by the values of `evaluate.standard`."""
        ...

    @property
    def exemplars(self) -> Sequence[Exemplar]:
        """The task's own worked problems for few-shot prompts, as far as it brings any."""
        ...

    @property
    def levels(self) -> Mapping[str, int]:
        """The level of each group."""
        ...

    @property
    def leads_to(self) -> Mapping[str, tuple[str, ...]]:
        """For each group, the groups that come directly before it: the frontier opens it after them."""
        ...

    @property
    def seeded(self) -> Set[str]:
        """The groups that seed rationales hold, which count as mastered before anything was sampled."""
        ...

    def held_out(self) -> Sequence[Problem]: ...

    def draw(self, group: str, count: int, seed: int) -> list[Problem]:
        """Draw at most `count` different training problems of a group; the same seed draws the same ones."""
        ...

    def fingerprint(self) -> str:
        """A hash of all problems that can be drawn or are held out."""
        ...


@runtime_checkable
class Isolating(Protocol):
    """What a task offers besides whose settings say `isolates`."""

    def isolate(self, group: str, step: int, count: int, seed: int) -> list[Problem]:
        """Draw at most `count` different training problems of a group in whose rationales one step, by its place from
        0, is the only hard one, and cannot be right by a wrong rule that is right by chance; none for a step of which
        there is no such problem."""
        ...


def pool_size(task: Task) -> int | None:
    """How many problems can be drawn for training; None where a task makes as many as are asked for."""
    return len(task.train()) if isinstance(task, PoolTask) else None


def draws_at_most(asked: int, task: Task | None) -> int:
    """What can be drawn of a task where so many problems are asked for."""
    there = pool_size(task) if task else None
    return asked if there is None else min(asked, there)


def compare_as(comparison: Comparison, settings: PoolSettings) -> VerifierSettings:
    """The verifier of a task whose answers are compared in this way, as strictly as its settings say."""
    return VerifierSettings(name=comparison, answers=settings.answers)


class PoolTask:
    """A task of fixed problems."""

    def __init__(
        self,
        name: str,
        train: Iterable[Problem],
        test: Iterable[Problem],
        *,
        verifier: VerifierSettings,
        exemplars: Sequence[Exemplar] = (),
        scored: bool = False,
        left_out: int = 0,
        standards: Mapping[str, Standard] | None = None,
        remarks: Sequence[str] = (),
    ) -> None:
        """`remarks` say what is odd about its files, in a line each."""
        self.name = name
        self.remarks = tuple(remarks)
        self.standards: Mapping[str, Standard] = standards or {}
        self.scored, self.left_out = scored, left_out
        self.verifier = verifier
        self.exemplars: Sequence[Exemplar] = tuple(exemplars)
        self._test = list({problem.id: problem for problem in test}.values())
        self._pools: dict[str, list[Problem]] = {}
        for problem in {problem.id: problem for problem in train}.values():
            self._pools.setdefault(problem.group, []).append(problem)
        train = sorted(self.train(), key=lambda one: one.level)
        self.levels = {problem.group: problem.level for problem in train}
        self.leads_to = {
            group: tuple(other for other, below in self.levels.items() if below == self._level_below(level))
            for group, level in self.levels.items()
        }

    @property
    def seeded(self) -> Set[str]:
        """None: there are no seed rationales, and the frontier begins with the lowest level."""
        return frozenset()

    def _level_below(self, level: int) -> int | None:
        return max((other for other in self.levels.values() if other < level), default=None)

    def held_out(self) -> Sequence[Problem]:
        return self._test

    def draw(self, group: str, count: int, seed: int) -> list[Problem]:
        pool = self._pools.get(group, [])
        return random.Random(seed).sample(pool, min(count, len(pool)))

    def train(self) -> list[Problem]:
        """All training problems."""
        return [problem for pool in self._pools.values() for problem in pool]

    def fingerprint(self) -> str:
        return digest(self.name, *(one.id for one in self.train()), "held out", *(one.id for one in self._test))


def question_key(question: str) -> str:
    """What makes two questions the same: their words, whatever the case and the spaces."""
    return " ".join(question.casefold().split())


def split_pool(
    problems: Sequence[Problem], held_out: int, *, whole: bool = False
) -> tuple[list[Problem], list[Problem]]:
    """Set problems aside by a hash of the question, so that the split depends on neither order nor seed: at most half
    of them, or with `whole` as many as there are."""
    first = {question_key(one.question): one for one in reversed(problems)}
    unique = sorted(first.values(), key=lambda one: derive_seed("held out", question_key(one.question)))
    test = {one.id for one in unique[: min(held_out, len(unique) if whole else len(unique) // 2)]}
    kept = test if whole else {one.id for one in unique}
    ordered = [one for one in problems if one.id in kept]
    return [one for one in ordered if one.id not in test], [one for one in ordered if one.id in test]


def take(problems: Sequence[Problem], count: int | None) -> list[Problem]:
    """The first `count` problems by a hash of the question, in their own order."""
    if count is None or count >= len(problems):
        return list(problems)
    chosen = sorted(problems, key=lambda one: derive_seed("take", question_key(one.question)))[:count]
    ids = {one.id for one in chosen}
    return [one for one in problems if one.id in ids]


def draw_evenly(task: Task, count: int, seed: int) -> list[Problem]:
    """Training problems evenly over the groups of a task; fewer where it has fewer."""
    drawn = [task.draw(group, count, derive_seed(seed, group)) for group in sorted(task.levels)]
    return [one for row in zip_longest(*drawn) for one in row if one is not None][:count]


def check_disjoint(train: Sequence[Task], held_out: Sequence[Problem]) -> None:
    """Check that no held-out question can be drawn for training; raises TaskError with one that can."""
    questions = {question_key(problem.question) for problem in held_out}
    for task in train:
        if not isinstance(task, PoolTask):
            continue  # arithmetic keeps its two sets apart by construction, and the loop checks each draw
        for problem in task.train():
            if question_key(problem.question) in questions:
                raise TaskError(
                    f"task '{task.name}': a training problem is held out too: {problem.question[:80]!r}; "
                    f"take it out of one of the two files"
                )


def read_text(path: Path, limit: int = MAX_CHARACTERS) -> str:
    """Read a text file of problems, unpacked if its name ends in .gz; raises TaskError with the reason."""
    try:
        with gzip.open(path, "rt", encoding=UTF8) if path.suffix == ".gz" else path.open(encoding=UTF8) as file:
            text = file.read(limit + 1)
    except (EOFError, zlib.error):
        raise TaskError(f"{path}: a damaged gzip file") from None
    except OSError as error:
        raise TaskError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TaskError(f"{path}: not a UTF-8 text file") from None
    if len(text) > limit:
        raise TaskError(f"{path}: holds more than {limit:,} characters; split it")
    return text


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """The objects of a JSONL file, each with its file and line; raises TaskError with these where one is no JSON."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            where = f"{path}:{number}"
            try:
                yield where, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise TaskError(f"{where}: not JSON ({error})") from None


def load_hub(data: str, split: str, subset: str | None = None, revision: str | None = None) -> Iterable[dict[str, Any]]:
    """Load a split of a data set from the hub; raises TaskError that says how to use a local copy."""
    from datasets import load_dataset

    try:
        rows: Iterable[dict[str, Any]] = load_dataset(data, subset, split=split, revision=revision)
    except Exception as error:  # the hub's client raises dozens of types for "not reachable"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TaskError(f"{data}: cannot be loaded from the hub ({reason[:120]}); set 'path' to a local copy") from None
    return rows
