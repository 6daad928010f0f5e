"""Verification beside generation: the same records, whatever happens to either, and seconds that add up."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small import record_ids, small_recipe
from test_parts import damage_pages

from selfimprove.engines import ScriptedEngine
from selfimprove.errors import StoreError
from selfimprove.records import Checkpoint, Rationale, Verdict
from selfimprove.results.times import verified_beside
from selfimprove.running.clock import Clock
from selfimprove.running.loop import run_loop
from selfimprove.running.session import Loader, Session
from selfimprove.store import RunFolder
from selfimprove.tasks.addition import parse_addition, write_rationale

FIRST, LAST = "round-01/verify/verdict-00000.parquet", "round-01/generate/rationale-00002.parquet"
ONE_ROUND = ("rounds=1", "repair=null", "rationalize=null")
PATIENCE = 20.0  # seconds


def writes(run: RunFolder, then: Callable[[], None]) -> Loader:
    """An engine that calls a function before it writes anything of the last part of round 1."""

    def load(checkpoint: Checkpoint, session: Session) -> ScriptedEngine:
        def write(prompt: str, seed: int) -> str:
            if (run.path / "round-01/generate/rationale-00001.parquet").exists() and not (run.path / LAST).exists():
                then()
            operands = parse_addition(prompt)
            if operands is None:  # the judge's question
                return "Yes"
            return write_rationale(*map(int, operands)) if seed % 3 else "#0"

        return ScriptedEngine(write)

    return load


def await_first(run: RunFolder) -> None:
    """Wait until verdicts are there; without overlap they never come."""
    deadline = time.monotonic() + PATIENCE
    while not (run.path / FIRST).exists():
        assert time.monotonic() < deadline, "no verdict while the engine was at work"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that verified after it had generated."""
    folder = tmp_path_factory.mktemp("in-turn")
    run = RunFolder(folder / "run")
    run_loop(small_recipe(folder, *ONE_ROUND, "verify.overlap=false"), run, load=writes(run, lambda: None))
    return run


def test_verdicts_come_while_the_engine_writes_and_are_the_same(in_turn: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run_loop(small_recipe(tmp_path, *ONE_ROUND), run, load=writes(run, lambda: await_first(run)))
    assert record_ids(run) == record_ids(in_turn)
    assert len(run.stage(1, "verify").read(Verdict)) == 24
    assert not [one for one in threading.enumerate() if one.name == "verify"]


def test_seconds_beside_generation_are_those_of_the_verification(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    started = time.perf_counter()
    run_loop(small_recipe(tmp_path, *ONE_ROUND), run, load=writes(run, lambda: await_first(run)))
    spent = time.perf_counter() - started
    manifests = [manifest for stage in run.stages() if (manifest := stage.manifest())]
    [verify] = [one for one in manifests if one.stage == "verify"]
    rows = run.stage(1, "verify").usage()
    [waited] = [at for at, row in enumerate(rows) if row.wall == 0]
    beside, rest = rows[:waited], rows[waited + 1 :]
    assert beside and all(row.elapsed == 0 < row.wall for row in beside)
    assert [row.part for row in (*beside, *rest)] == [0, 1, 2]
    assert [sum(row.counts.values()) for row in rows] == [*[10] * len(beside), 0, *[10] * (2 - len(beside)), 4]
    assert verify.seconds.model == 0 and not verify.tokens
    hidden = sum(row.wall for row in beside) - rows[waited].elapsed
    assert verify.seconds.wall - (verify.seconds.elapsed or 0.0) == pytest.approx(hidden)
    assert verified_beside(manifests) == pytest.approx(max(0.0, hidden))
    assert sum(one.seconds.elapsed or 0.0 for one in manifests) <= spent


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_run_that_ends_in_the_middle_of_both_goes_on(end: str, in_turn: RunFolder, tmp_path: Path) -> None:
    run, recipe = RunFolder(tmp_path / "run"), small_recipe(tmp_path, *ONE_ROUND)

    def stop() -> None:
        await_first(run)
        if end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise KeyboardInterrupt

    if end == "killed":
        if not (pid := os.fork()):
            run_loop(recipe, run, load=writes(run, stop))
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    else:
        with pytest.raises(KeyboardInterrupt):
            run_loop(recipe, run, load=writes(run, stop))
    assert (run.path / FIRST).exists() and not (run.path / LAST).exists()
    kept = (run.path / FIRST).stat().st_mtime_ns
    run_loop(recipe, run, load=writes(run, lambda: None))
    assert record_ids(run) == record_ids(in_turn)
    assert (run.path / FIRST).stat().st_mtime_ns == kept


def test_an_error_beside_generation_is_raised_in_its_turn(tmp_path: Path) -> None:
    run, recipe = RunFolder(tmp_path / "run"), small_recipe(tmp_path, *ONE_ROUND)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_loop(recipe, run, load=writes(run, stop))
    damage_pages(run.path / "round-01/generate/rationale-00000.parquet")  # read back by the thread alone
    with pytest.raises(StoreError, match=r"generate/rationale-00000.parquet: damaged"):
        run_loop(recipe, run, load=writes(run, lambda: None))
    assert run.stage(1, "generate").closed
    assert len(run.stage(1, "generate").read_part(Rationale, 2)) == 4


def test_where_a_model_judges_nothing_runs_beside(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert not Session(small_recipe(tmp_path), run).judging.asks
    judged = small_recipe(tmp_path, *ONE_ROUND, "verify.second={verifier: judge}", "verify.overlap=true")
    assert Session(judged, run).judging.asks
    seen = []
    load = writes(run, lambda: seen.append([one.name for one in threading.enumerate()]))
    run_loop(judged, run, load=load)
    assert seen and not any("verify" in names for names in seen)


def test_a_thread_with_a_clock_of_its_own_is_not_counted_twice() -> None:
    cpu, beside = [10.0], [0.0]
    clock = Clock(cpu=lambda: cpu[0])
    clock.beside = lambda: beside[0]
    cpu[0], beside[0] = 15.0, 2.0
    assert clock.lap()["cpu"] == 3.0
    cpu[0], beside[0] = 17.0, 3.0
    clock.end_beside()
    assert clock.lap()["cpu"] == 1.0
    cpu[0] = 18.0
    assert clock.lap()["cpu"] == 1.0
    clock.beside = lambda: 0.5
    assert clock.lap()["cpu"] == -0.5  # of a thread that ran before it was known; sums stay right
    clock.end_beside()
    cpu[0] = 19.0
    assert clock.lap()["cpu"] == 1.0


def test_an_engine_is_idle_while_it_is_loaded_and_not_at_work() -> None:
    clock = Clock()
    with clock.time_model():
        time.sleep(0.02)
        clock.hold()  # loading is work, and over now
    time.sleep(0.03)
    with clock.time_model():
        time.sleep(0.05)
    first = clock.lap()
    assert first["model"] >= 0.07
    assert 0.08 <= first["loaded"] <= first["wall"] - 0.02
    assert 0.03 <= first["idle"] <= first["loaded"] - 0.05
    time.sleep(0.02)
    clock.release()
    time.sleep(0.05)
    second = clock.lap()
    assert second["idle"] == second["loaded"] and 0.02 <= second["loaded"] <= second["wall"] - 0.05
    assert clock.lap()["loaded"] == 0
