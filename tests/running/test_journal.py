"""What a kill in the middle of a part costs: what was being asked for, and nothing that was there."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from chain import Adder, mixed_recipe
from small import record_ids, small_recipe

from selfimprove.engines import Completion, Request, Score, ScriptedEngine
from selfimprove.recipe import Recipe, Sampling
from selfimprove.records import Rationale
from selfimprove.running.loop import run_loop
from selfimprove.running.progress import where_it_is
from selfimprove.store import RunFolder
from selfimprove.store.journal import TEXTS, Journal


class Killed(BaseException):
    """Ends a run as a signal would, wherever it is."""


class Counting(ScriptedEngine):
    """Gives the last request first, with token ids, and ends the run after `most` texts."""

    def __init__(self, write: Callable[[str, int], str], asked: list[str], most: int = 10**9) -> None:
        super().__init__(write)
        self.asked, self.most = asked, most

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        for index in reversed(range(len(requests))):
            if len(self.asked) == self.most:
                raise Killed
            request = requests[index]
            self.asked.append(f"{request.prompt} {request.seed} {sampling.max_tokens}")
            text = self.write(request.prompt, request.seed)
            yield Completion(index, text, len(text) + 1, -0.1 * len(text) - 1 / 3, "stop", (3, len(text)))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    changes = (
        "rounds=1",
        "select.sources=seed",
        "warmup.steps=1",
        "sft.steps=1",
        "generate.part_size=100",
        "evaluate.part_size=100",
    )
    return small_recipe(tmp_path_factory.mktemp("recipe"), *changes)


def run(recipe: Recipe, folder: Path, most: int = 10**9) -> list[str]:
    """Run with an engine of our own; what it was asked."""
    asked: list[str] = []
    engine = Counting(lambda prompt, seed: f"#{seed % 100} \ud800\u2028{prompt}", asked, most)
    run_loop(recipe, RunFolder(folder), load=lambda *_: engine)
    return asked


def test_a_kill_in_the_middle_of_a_part_loses_no_text_that_was_written(recipe: Recipe, tmp_path: Path) -> None:
    whole = run(recipe, tmp_path / "whole")
    folder, asked = tmp_path / "killed", list[str]()
    held_out = len(RunFolder(tmp_path / "whole").stage(0, "evaluate").read(Rationale))
    for most in (3, held_out - 3 + 5, 9):  # in the evaluation's only part, and twice in that of the samples
        engine = Counting(lambda prompt, seed: f"#{seed % 100} \ud800\u2028{prompt}", before := [], most)
        with pytest.raises(Killed):
            run_loop(recipe, RunFolder(folder), load=lambda *_, engine=engine: engine)
        asked += before
    (journal,) = folder.glob(f"round-*/*/{TEXTS}")
    lines = journal.read_bytes().splitlines(keepends=True)
    damaged = bytearray(lines[-2])
    damaged[30] ^= 1
    journal.write_bytes(b"".join([*lines[:-2], bytes(damaged), lines[-1][:-9]]))  # one flipped bit, one torn line
    assert "parts of round 1 generate: 0, texts of the next one: 12" in where_it_is(RunFolder(folder))
    asked += run(recipe, folder)
    assert sorted(set(asked)) == sorted(whole) and len(asked) == len(whole) + 2
    ours, theirs = RunFolder(folder), RunFolder(tmp_path / "whole")
    assert record_ids(ours) == record_ids(theirs)
    assert ours.stage(1, "generate").read(Rationale) == theirs.stage(1, "generate").read(Rationale)
    for key in ((0, "evaluate"), (1, "generate")):
        one, other = ours.stage(*key).manifest(), theirs.stage(*key).manifest()
        assert one and other and one.tokens == other.tokens
    assert not list(folder.glob(f"round-*/*/{TEXTS}"))


def test_each_process_writes_a_journal_of_its_own_and_reads_those_of_its_part(tmp_path: Path) -> None:
    Journal(tmp_path, 3, "one").add("a", {"text": "x\ud800"})
    Journal(tmp_path, 3, "other").add("b", {"text": "y"})
    Journal(tmp_path, 4, "one").add("c", {"text": "z"})
    (tmp_path / "texts-00003.link.jsonl").symlink_to(tmp_path / "texts-00004.one.jsonl")
    found = Journal(tmp_path, 3)
    assert found.known == {"a": {"text": "x\ud800"}, "b": {"text": "y"}}
    found.clear()
    assert [one.name for one in tmp_path.glob(TEXTS)] == ["texts-00004.one.jsonl"]


class Paid(Adder):
    """Notes each text and each score that it gives, and ends the run after `most` of them."""

    def __init__(self, paid: list[tuple[Any, ...]], most: int) -> None:
        super().__init__()
        self.paid, self.most = paid, most

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        for one in super().generate(requests, sampling, stop):
            self.pay((requests[one.index].prompt, requests[one.index].seed, sampling.max_tokens))
            yield one

    def score(self, pairs: Any, *, end: bool = False) -> list[Score]:
        if len(self.paid) + len(pairs) > self.most:
            raise Killed
        self.paid += map(tuple, pairs)
        return super().score(pairs, end=end)

    def pay(self, asked: tuple[Any, ...]) -> None:
        if len(self.paid) >= self.most:
            raise Killed
        self.paid.append(asked)


def test_no_stage_asks_a_model_twice_however_often_it_is_killed(tmp_path: Path) -> None:
    changes = [f"{name}.part_size=1000" for name in ("generate", "verify", "revise", "evaluate", "comply")]
    recipe = mixed_recipe(tmp_path, *changes, "engine.batch_size=3", "comply.thought=true")
    whole, paid, killed = list[tuple[Any, ...]](), list[tuple[Any, ...]](), set[str]()
    theirs, ours = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    run_loop(recipe, theirs, load=lambda *_: Paid(whole, 10**9))
    done = False
    while not done:
        some: list[tuple[Any, ...]] = []
        try:
            run_loop(recipe, ours, load=lambda *_, some=some: Paid(some, 31))
            done = True
        except Killed:
            killed.add(next(one.path.name for one in ours.stages() if not one.closed))
        paid += some
    print(len(whole), len(paid), killed)
    assert record_ids(ours) == record_ids(theirs)
    assert sorted(map(repr, paid)) == sorted(map(repr, whole))
    assert [one.manifest().tokens for one in ours.stages()] == [one.manifest().tokens for one in theirs.stages()]
