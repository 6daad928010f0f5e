"""A round that is selected in parts: the decisions, the examples and the figures of one that is selected at once."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_critique, make_problem, make_rationale, make_revised, make_verdict
from small import SMALL, small_recipe

from selfimprove.errors import StoreError
from selfimprove.records import Checkpoint, Decision, Example, Problem, Rationale, Record, Verdict, by_id
from selfimprove.running.loop import describe, run_stage
from selfimprove.running.parts import Advance, FinishedPart, Job, Sequential
from selfimprove.running.session import Session
from selfimprove.stages import round_parts
from selfimprove.stages.select import HintCheck
from selfimprove.stages.vote import vote
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.order import Order
from selfimprove.store.rows import Rows

REVISING = SMALL.replace("train: {name", "constitution: short\ntrain: {name").replace(
    "  select:", "  critique: {}\n  revise: {lessons: true}\n  select:"
)
SAID = ["Two and two, taken together, are what is asked for here. #4", "Count on from the first number. #4", "#4", "#5"]


class Dice:
    """One round at random, in which the same is said of the same more often than in any real one."""

    def __init__(self, seed: int) -> None:
        self.rng, self.sample = random.Random(seed), 0
        self.problems = [self.ask(at) for at in range(10)]
        self.problems += [make_problem(one.question, one.answer, group="again", task=one.task)
                          for one in self.rng.sample(self.problems, 4)]  # fmt: skip
        self.rng.shuffle(self.problems)

    def ask(self, at: int) -> Problem:
        kind = self.rng.choice(["sum", "sum", "sum", "unknown", "open"])
        fields: dict[str, Any] = {"group": f"group {at % 3}"} | ({"task": "prompts/mine"} if kind == "open" else {})
        return make_problem(f"{at}+1=", str(at + 1) if kind == "sum" else None, **fields)

    def write(self, problem: Problem, prompt: str, *parents: str, text: str = "", **fields: Any) -> Rationale:
        self.sample += 1  # no two records are the same
        finish = "length" if self.rng.random() < 0.1 else "stop"
        said = text or self.rng.choice([*SAID, *SAID, f"{problem.answer}?{problem.question}"])
        more = {"parents": (problem.id, "c0ffee", *parents), "sample": self.sample, "finish": finish, "prompt": prompt}
        return make_rationale(problem, said, **more | fields)

    def judge(self, one: Rationale, problem: Problem) -> Verdict:
        known = problem.answer is not None
        outcome = self.rng.choice(["correct", "correct", "incorrect"]) if known else "undecided"
        steps = [self.rng.choice(["correct", "correct", "incorrect"]) for _ in range(self.rng.randrange(3))]
        return make_verdict(one, outcome, steps)  # type: ignore[arg-type]


def write_round(session: Session, seed: int) -> None:
    """What the stages before `select` write, and rows of round 0 and of the round before."""
    dice, rng, render = Dice(seed), random.Random(seed), session.prompts.render

    def close(name: str, *files: Sequence[Record], round_: int = 2) -> None:
        stage = session.plan[round_, name]
        disk = session.folder.stage(*stage.key, stage.fingerprint)
        disk.begin({})
        for number, records in enumerate(files or [[]]):
            disk.write_part(stage.main, number, records)
        disk.close(describe(stage, disk, max(1, len(files)), session.clock))

    def example(problem: Problem, said: str) -> Example:
        asked = rng.choice([render, session.prompts.render_question, of_old])(problem)
        return Example(prompt=asked, completion=said, origin="seed", group=problem.group)

    def of_old(problem: Problem) -> str:
        """A prompt that is written otherwise now, as where a chat template was changed."""
        return f"{problem.question} (of old)"

    def halves(records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
        return records[: len(records) // 2], records[len(records) // 2 :]

    problems = by_id(dice.problems)
    pool = [*by_id(example(one, said) for one in dice.problems for said in SAID if rng.random() < 0.4).values()]
    close("warmup", [Checkpoint(path="nothing", method="sft", weights=""), *pool[::2]], round_=0)
    close("select", pool[1::2], round_=1)
    close("frontier", dice.problems)
    written = [dice.write(one, rng.choice([render, of_old])(one))
               for one in dice.problems for _ in range(rng.randrange(1, 5))]  # fmt: skip
    verdicts = [dice.judge(one, problems[one.problem]) for one in written]
    unknown = [one for one in written if problems[one.problem].answer is None and not problems[one.problem].is_open]
    votes = list(vote(problems, unknown, same=lambda asked: [one.answer == answer for _, one, answer in asked]))
    if seed % 3 == 0:  # so that verdicts do not lie beside what they are about, and some are given twice
        verdicts += [dice.judge(one, problems[one.problem]) for one in rng.sample(written, 3)]
        rng.shuffle(verdicts)
    close("generate", *halves(written))
    close("verify", verdicts, votes)
    again = [dice.write(one, "#", rng.choice(written).id) for one in rng.choices(dice.problems, k=12)]
    close("repair", [*again, *(dice.judge(one, problems[one.problem]) for one in again)])
    with_answer = [one for one in dice.problems if one.answer]
    hinted = [
        dice.write(one, session.prompts.render_hint(one), text=rng.choice(["", f"{at}"]), origin="rationalized")
        for at, one in enumerate(rng.choices(with_answer, k=20))
    ]
    close("rationalize", [*hinted, *(dice.judge(one, problems[one.problem]) for one in hinted)])
    if (2, "revise") in session.plan:
        revise(close, dice, written, problems)


def revise(close: Any, dice: Dice, written: Sequence[Rationale], problems: dict[str, Problem]) -> None:
    """Chains of two revisions, kept or not."""
    found: list[Record] = []
    taken = dice.rng.sample(list(written), 10)
    critiques = [make_critique(one, step=1, seed=at) for at, one in enumerate(taken)]
    for one, critique in zip(taken, critiques, strict=True):
        response: Rationale = one
        for step in (1, 2):
            revised, revision = make_revised(
                response, dice.rng.choice(SAID), critique if step == 1 else None, step=step,
                kept=dice.rng.random() < 0.8, after=dice.rng.choice(["correct", None]),
            )  # fmt: skip
            found += [revised, dice.judge(revised, problems[one.problem]), revision]
            response = revised
    close("revise", [*critiques, *found])


def load(folder: Path, text: str, changes: Sequence[str]) -> Session:
    return Session(small_recipe(folder, *changes, text=text), RunFolder(folder / "small"))


def select_again(session: Session, size: int, monkeypatch: pytest.MonkeyPatch, runner: Any = None) -> Job:
    """Select the round in parts of about this size, whatever was selected before."""
    monkeypatch.setattr(round_parts, "ROWS", size)
    stage = session.plan[2, "select"]
    disk = session.folder.stage(*stage.key, stage.fingerprint)
    run_stage(stage, disk, session, runner or Sequential())
    return Job(stage, session, disk, session.clock)


def found(folder: Path) -> tuple[list[Record], list[Record], dict[str, Any]]:
    """The decisions and the examples, and what the manifest says of them."""
    disk = RunFolder(folder / "small").stage(2, "select")
    manifest = disk.manifest()
    assert isinstance(manifest, Manifest)
    return list(disk.read(Decision)), list(disk.read(Example)), {"counts": manifest.counts, **manifest.metrics}


def changes_of(rng: random.Random, revising: bool) -> list[str]:
    """Settings at random."""
    changes = [
        f"select.per_problem={rng.choice(['null', '1', '2'])}",
        f"select.rationalized_cap={rng.choice(['null', '0.1', '0.2'])}",
        f"select.hard_below={rng.choice(['0', '0.7'])}",
        f"select.require={rng.choice(['answer', 'steps', 'grounded'])}",
        f"select.sources={rng.choice(['samples', 'seed+samples'])}",
        f"select.pool={rng.choice(['fresh', 'cumulative'])}",
        f"prompt.style={rng.choice(['zero-shot', 'zero-shot-cot'])}",
        "generate.samples=4",
    ]
    changes += [rng.choice(["select.vote=null", "select.vote={votes: 1, length: 0.5}"])]
    return [*changes, f"revise.train={rng.choice(['all', 'last'])}"] if revising else changes


def without_select(folder: Path) -> None:
    shutil.rmtree(folder / "small/round-02/select", ignore_errors=True)


@pytest.mark.parametrize("seed", range(8))
def test_a_round_in_parts_of_any_size_is_the_round_at_once(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    text = REVISING if seed % 2 else SMALL
    changes = changes_of(rng, text is REVISING)
    changes += ["select.hard_below=0.9"] if seed % 3 == 0 else []
    session = load(tmp_path, text, changes)
    with session.folder:
        write_round(session, seed)
        job = select_again(session, 10**9, monkeypatch)
        assert len(job.parts) == 1 and job.disk.files_of(Decision)[1:] == []
        decisions, examples, metrics = found(tmp_path)
        assert len(decisions) == len(job.parts[0]) > 30 and examples
        for size in (1, 3, 8):
            without_select(tmp_path)
            session = load(tmp_path, text, changes)
            job = select_again(session, size, monkeypatch)
            assert len(job.parts) > 2 and all(job.parts[:-1])
            assert found(tmp_path) == (decisions, examples, metrics), (size, changes)
            assert [one for part in job.parts for one in part] == list(range(len(decisions)))


class Stopping(Sequential):
    """Makes parts from the last but one to the first, each in a session of its own as a cluster's workers do, and is
    killed on its way."""

    def __init__(self, left: int) -> None:
        self.left = left

    def make(self, job: Job, numbers: Sequence[int], advance: Advance) -> Iterator[FinishedPart]:
        for number in (*numbers[-2::-1], numbers[-1]):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            session = Session(job.session.recipe, job.session.folder)
            stage = session.plan[job.stage.key]
            disk = session.folder.stage(*stage.key, stage.fingerprint)
            yield Job(stage, session, disk, session.clock).make(number, advance)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("left", [1, 4])
def test_a_round_goes_on_after_a_kill_between_its_parts(
    seed: int, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = REVISING if seed % 2 else SMALL
    changes = [*changes_of(random.Random(seed), text is REVISING), "select.rationalized_cap=0.3"]
    session = load(tmp_path, text, changes)
    with session.folder:
        write_round(session, seed)
        select_again(session, 10**9, monkeypatch)
        expected = found(tmp_path)
        without_select(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            select_again(load(tmp_path, text, changes), 7, monkeypatch, Stopping(left))
        disk = session.folder.stage(2, "select")
        kept = {file: file.stat().st_mtime_ns for file in disk.files_of(Decision)}
        assert len(kept) == left
        # What a part cost is noted before it is finished: it may stand there twice.
        usage = disk.path / "usage.jsonl"
        usage.write_text(usage.read_text() + usage.read_text().splitlines(keepends=True)[0])
        select_again(load(tmp_path, text, changes), 7, monkeypatch, Stopping(100))
        assert found(tmp_path) == expected
        assert {file: file.stat().st_mtime_ns for file in kept} == kept


ON_RAY = """
import sys
from pathlib import Path
from selfimprove.recipe.catalog import import_file
from selfimprove.recipe.engine_settings import Ray
from selfimprove.recipe.file import load_recipe
from selfimprove.running.cluster import OnRay
from selfimprove.running.loop import run_stage
from selfimprove.running.session import Session
from selfimprove.store import RunFolder

folder, *changes = sys.argv[1:]
import_file(folder + "/small_parts.py")
run, recipe = RunFolder(Path(folder, "small")), load_recipe(folder + "/small.yaml", changes)
with run, OnRay(Ray(workers=2)) as runner:
    run.write_recipe(recipe)
    session = Session(recipe, run)
    stage = session.plan[2, "select"]
    run_stage(stage, run.stage(*stage.key, stage.fingerprint), session, runner)
"""


@pytest.mark.long
def test_a_round_is_selected_by_a_cluster_as_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    changes = [*changes_of(random.Random(5), True), "select.rationalized_cap=0.2"]
    session = load(tmp_path, REVISING, changes)
    with session.folder:
        write_round(session, 5)
        select_again(session, 10**9, monkeypatch)
    decisions, examples, metrics = found(tmp_path)
    assert {one.origin for one in examples} > {"sampled", "rationalized"}
    assert any(one.reason.startswith("over the cap on rationalized") for one in decisions)
    without_select(tmp_path)
    # Imported by the workers too, so that the round is cut everywhere.
    lines = "from selfimprove.stages import round_parts\n\nround_parts.ROWS = 8\n"
    (tmp_path / "small_parts.py").write_text(lines)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    done = subprocess.run([sys.executable, "-c", ON_RAY, str(tmp_path), *changes], capture_output=True, text=True,
                          timeout=400, env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    *same, spread = found(tmp_path)
    assert same == [decisions, examples] and spread.pop("ray")["workers"] == 2 and spread == metrics
    disk = RunFolder(tmp_path / "small").stage(2, "select")
    assert len(disk.files_of(Decision)) > 3 and list(disk.path.glob("usage.*.jsonl")), "no worker selected anything"


def test_a_hint_in_any_part_stops_the_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = load(tmp_path, SMALL, ["prompt.style=zero-shot"])
    with session.folder:
        write_round(session, 2)
        monkeypatch.setattr(HintCheck, "_given", frozenset())  # as if the prompts of old were given to no sample
        for size in (10**9, 3):
            without_select(tmp_path)
            with pytest.raises(StoreError, match=r"round-02/select: \d+ examples hold a prompt with the hint"):
                select_again(load(tmp_path, SMALL, ["prompt.style=zero-shot"]), size, monkeypatch)
            assert session.folder.stage(2, "select").manifest() is None


def test_a_round_that_was_begun_at_once_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = load(tmp_path, SMALL, [])
    with session.folder:
        write_round(session, 2)
        expected = select_again(session, 10**9, monkeypatch).disk
        before = found(tmp_path)
        # Killed before it was closed, and closed but without one of its files.
        for lost in ("stage.json", "example-00000.parquet", "decision-00000.parquet"):
            (expected.path / lost).unlink()
            again = load(tmp_path, SMALL, [])
            assert len(select_again(again, 3, monkeypatch).parts) == 1
            assert found(tmp_path) == before


def test_the_last_part_waits_for_the_decisions_of_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = load(tmp_path, SMALL, [])
    with session.folder:
        write_round(session, 2)

        class LastFirst(Sequential):
            def make(self, job: Job, numbers: Sequence[int], advance: Advance) -> Iterator[FinishedPart]:
                return super().make(job, numbers[::-1], advance)

        with pytest.raises(StoreError, match=r"round-02/select: 0 of \d+ decisions of other parts are seen"):
            select_again(session, 3, monkeypatch, LastFirst())


def order(folder: Path, problems: str) -> Order:
    """The order of samples of problems that are one letter each; a capital is a rationalization."""
    rationales = [
        make_rationale(make_problem(one.lower()), f"{at}", origin="rationalized" if one.isupper() else "sampled")
        for at, one in enumerate(problems)
    ]
    run = RunFolder(folder / f"run-{problems}")
    disk = run.stage(1, "generate")
    disk.begin({})
    disk.write_part("rationale", 0, rationales)
    asked = {one: make_problem(one).id for one in {*problems.lower()}}
    return Order(disk.rows(Rationale), {name: ord(one) for one, name in asked.items()})


def test_problems_are_cut_between_and_what_follows_from_earlier_rows_is_found(tmp_path: Path) -> None:
    cut = order(tmp_path, "aaabbbcccabA")
    assert cut.cut(6) == [range(0, 6), range(6, 11), range(11, 12)]
    assert cut.cut(100) == [range(0, 11), range(11, 12)]
    assert cut.with_kin(range(6, 11)).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert cut.with_kin(range(3, 6)).tolist() == [3, 4, 5], "a sample follows from no problem but its own"
    assert cut.with_kin(range(11, 12)).tolist() == [0, 1, 2, 9, 11]
    long = order(tmp_path, "aaaaaaaaaaaab")
    assert long.cut(4) == [range(0, 4), range(4, 8), range(8, 13), range(13, 13)], "a long problem is cut through"
    hinted = order(tmp_path, "aBaA")
    assert hinted.places(np.arange(4)).tolist() == [0, 1, 2, 3]
    assert hinted.places(np.array([0, 2])).tolist() == [0, 1]


@pytest.mark.parametrize("at_once", [1, 7, 4096])
def test_rows_at_places_are_those_and_no_others(tmp_path: Path, at_once: int) -> None:
    run = RunFolder(tmp_path / "run")
    disk = run.stage(1, "generate")
    disk.begin({})
    problems = [make_problem(str(at)) for at in range(40)]
    for number in range(4):
        disk.write_part("problem", number, problems[number * 10 : (number + 1) * 10])
    rows = Rows(Problem, disk.rows(Problem).files, at_once=at_once)
    rng = random.Random(at_once)
    for count in (0, 1, 5, 40):
        places = sorted(rng.sample(range(40), count))
        chosen = rows.at(places)
        assert len(chosen) == count and list(chosen) == [problems[at] for at in places]
        assert [one.question for one in chosen.pick("question")] == [str(at) for at in places]
        assert list(chosen[1:3]) == [problems[at] for at in places[1:3]]
        assert list(chosen.at(range(0, count, 2))) == [problems[at] for at in places[::2]]
    assert list(rows[7:33].at([0, 9, 25])) == [problems[at] for at in (7, 16, 32)]
    assert {one.question for one in rows.pick_of({problems[3].id, problems[30].id}, "question")} == {"3", "30"}
