"""What a kill in the middle of a part costs: what was being asked for, and nothing that was there."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from builders import make_problem, make_rationale
from chain import Adder, mixed_recipe
from small import record_ids, small_recipe

from selfimprove.engines import Completion, Request, Score, ScriptedEngine
from selfimprove.engines.build import build_model
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.recipe import Build, Judge, Recipe, Sampling
from selfimprove.recipe.task_settings import JsonlTask
from selfimprove.records import Rationale, Verdict
from selfimprove.running.clock import Clock
from selfimprove.running.journaled import JournaledEngine, journaled_rewards
from selfimprove.running.loop import run_loop
from selfimprove.running.progress import where_it_is
from selfimprove.stages.verify import Verify
from selfimprove.store import RunFolder
from selfimprove.store.journal import TEXTS, Journal
from selfimprove.tasks import load_task
from selfimprove.verifiers.judging import Judging


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
            yield Completion(
                index, text, len(text) + 1, -0.1 * len(text) - 1 / 3, "stop", (3, len(text)), (0, len(text)), (7, 250)
            )


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    changes = (
        "rounds=1",
        "select.sources=seed",
        "warmup.steps=1",
        "sft.steps=1",
        "generate.part_size=100",
        "evaluate.part_size=100",
        "engine.batch_size=1",
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


@pytest.mark.long  # seventeen starts of a run with two trainings
def test_no_stage_asks_a_model_twice_however_often_it_is_killed(tmp_path: Path) -> None:
    changes = [f"{name}.part_size=1000" for name in ("generate", "verify", "revise", "evaluate")]
    recipe = mixed_recipe(tmp_path, *changes, "engine.batch_size=1")
    whole, paid, killed = list[tuple[Any, ...]](), list[tuple[Any, ...]](), set[str]()
    theirs, ours = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    run_loop(recipe, theirs, load=lambda *_: Paid(whole, 10**9))
    done = False
    while not done:
        some: list[tuple[Any, ...]] = []
        try:
            run_loop(recipe, ours, load=lambda *_, some=some: Paid(some, 27))
            done = True
        except Killed:
            killed.add(next(one.path.name for one in ours.stages() if not one.closed))
        paid += some
    assert killed >= {"generate", "revise", "prefer", "dpo", "evaluate"}  # the others of this flow ask no model
    assert record_ids(ours) == record_ids(theirs)
    assert sorted(map(repr, paid)) == sorted(map(repr, whole))
    assert [one.manifest().tokens for one in ours.stages()] == [one.manifest().tokens for one in theirs.stages()]


def test_what_a_kill_interrupts_is_written_again_in_the_same_company(tmp_path: Path) -> None:
    """A model's log-probabilities differ in their last digits by what else is computed, and with them records' ids."""
    build_model(Build(hidden_size=64, layers=2, heads=2, head_size=32), tmp_path, seed=1)
    engine = TransformersEngine(tmp_path, device="cpu", threads=1, batch_size=8)
    requests = [Request(f"{at % 3}+{at % 7}=", 7 * at) for at in range(20)]

    def write(folder: str, most: int = 100) -> dict[int, Completion]:
        journaled = JournaledEngine(engine, "c", Journal(tmp_path, 0, folder), Clock(), written=8, scored=8)
        found = islice(journaled.generate(requests, Sampling(temperature=1.0, max_tokens=24)), most)
        return {one.index: one for one in found}

    whole = write("whole")
    Journal(tmp_path, 0).clear()
    killed: dict[int, Completion] = {}
    for most in (3, 8, 13, 19, 20):
        killed = write("killed", most)
        assert len(killed) == most
    assert killed == whole and sorted(whole) == [*range(20)]


def test_scores_are_asked_for_once_and_always_in_the_same_company(tmp_path: Path) -> None:
    """The last digits of a score hang on what is scored with it."""
    pairs = [(f"{at // 2}", "(A)" if at % 2 else (7, at)) for at in range(14)]
    whole, paid, clock = list[tuple[Any, ...]](), list[tuple[Any, ...]](), Clock()

    def score(paid: list[tuple[Any, ...]], most: int, folder: str, end: bool = True) -> list[Score]:
        engine = JournaledEngine(
            Tokens(paid, most), "checkpoint", Journal(tmp_path, 0, folder), clock, written=None, scored=3
        )
        return engine.score(pairs, end=end)

    (tmp_path / "texts-00000.broken.jsonl").write_text('0123456789abcdef ["x", {"scores": []}]\n')
    for most in (4, 5, 100):
        some: list[tuple[Any, ...]] = []
        try:
            found = score(some, most, "killed")
        except Killed:
            assert most < 100
        paid += some
    assert paid == pairs  # in blocks of four, since what follows one prompt is scored together
    Journal(tmp_path, 0).clear()
    assert score(whole, 100, "whole") == found and whole == pairs
    assert clock.tokens == {"scored": 4 + 8}  # what was known is counted, as the process that asked was killed
    again: list[tuple[Any, ...]] = []
    assert score(again, 100, "whole", end=False) and again == pairs  # another question


class Tokens(Paid):
    """Scores that tell what they were asked with."""

    def score(self, pairs: Any, *, end: bool = False) -> list[Score]:
        super().score([(prompt, "") for prompt, _ in pairs])
        self.paid[-len(pairs) :] = pairs
        return [Score(-1 / 3 * len(pairs) - at, 1) for at, _ in enumerate(pairs)]


def test_rewards_are_asked_for_once(tmp_path: Path) -> None:
    texts, asked, clock = [f"{at}" for at in range(7)], list[str](), Clock()

    def ask(prompts: Sequence[str], completions: Sequence[str], problems: Any) -> list[float | None]:
        if len(asked) == 6 and "6" in completions:
            asked.append("killed")
            raise Killed
        asked.extend(completions)
        clock.count(scored=len(completions))
        return [None if one == "2" else int(one) / 3 for one in completions]

    def rewards(journal: Journal | None, *models: str) -> list[float | None]:
        return journaled_rewards(ask, models, lambda: journal, clock, 2)(texts, texts, [make_problem("?", None)] * 7)

    with pytest.raises(Killed):
        rewards(Journal(tmp_path, 0), "mean", "weights")
    before = dict(clock.tokens)
    assert rewards(Journal(tmp_path, 0), "mean", "weights") == [0.0, 1 / 3, None, 1.0, 4 / 3, 5 / 3, 2.0]
    assert asked == [*texts[:6], "killed", "6"] and before == {"scored": 6} and clock.tokens == {"scored": 13}
    rewards(Journal(tmp_path, 0), "mean", "other weights")  # another model has to be asked
    rewards(None)
    assert asked[8:] == texts * 2


def test_a_verdict_that_took_a_worker_is_given_once(tmp_path: Path) -> None:
    """A judge's answers are texts of its own; verdicts that our own code gives at once are not worth a line."""
    asked = [make_problem(f"{at}?", rf"\sin 2x+{at}", task="jsonl") for at in range(3)]
    judged = [(one, make_rationale(one, "", answer=rf"{at}+2\sin x\cos x")) for at, one in enumerate(asked)]
    seven = make_problem("7?", "7", task="jsonl")
    judged.insert(1, (seven, make_rationale(seven, "", answer="8")))
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(f'{{"question": "q{at}", "answer": "1"}}\n' for at in range(4)))
    task = load_task(JsonlTask(path=str(path)))

    def judge(known: bool) -> list[Verdict]:
        judging = Judging(Verify(), Judge(), [task], lambda _: []).remembering(Journal(tmp_path, 0), lambda _: [])
        try:
            found = judging.judge(iter(judged))
            verdicts = [next(found), next(found), next(found)] if not known else list(found)[:3]
            assert (judging.pool._server is None) is known
            return verdicts
        finally:
            judging.close()

    first = judge(known=False)
    assert [one.outcome for one in first] == ["correct", "incorrect", "correct"]
    del judged[3]  # which was not given before the kill
    lines = list(Journal(tmp_path, 0).known.values())
    assert [one["reason"] for one in lines] == [first[0].reason, first[2].reason]
    assert judge(known=True) == first
