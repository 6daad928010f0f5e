"""Which runs a sweep has, how several go side by side, and what is said of its figures."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from small import record_ids, small_recipe

from selfimprove.errors import RecipeError
from selfimprove.records.stats import mean_interval
from selfimprove.results.sweep import Outcome, describe, to_json
from selfimprove.running.side_by_side import SideBySide
from selfimprove.running.sweep import Variant, make_variants, read_grid, read_seeds
from selfimprove.store import RunFolder


@pytest.mark.parametrize(
    ("text", "seeds"), [("0..4", [0, 1, 2, 3, 4]), ("7", [7]), ("0,3..5, 9", [0, 3, 4, 5, 9]), ("2..2", [2])]
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("a.b=1,2", ("a.b", ["1", "2"])),
        ("train.grades=[1,2],[3]", ("train.grades", ["[1,2]", "[3]"])),
        ("sft.lora={rank: 8, alpha: 16},null", ("sft.lora", ["{rank: 8, alpha: 16}", "null"])),
        ("prompt.cue=a=b", ("prompt.cue", ["a=b"])),
    ],
)
def test_grids(text: str, grid: tuple[str, list[str]]) -> None:
    assert read_grid(text) == grid


@pytest.mark.parametrize(
    ("seeds", "grids", "message"),
    [
        ("4..0", [], "--seeds 4..0: expected seeds such as 0..4"),
        ("a", [], "--seeds a: expected seeds"),
        ("", ["a"], "--grid a: expected key=value,value"),
        ("0..999999999", [], "expected seeds"),
        ("1,0..2", [], "a seed stands there twice"),
        (None, ["a.b="], "expected key=value,value"),
        (None, ["a.b=1,,2"], "expected key=value,value"),
        (None, ["a.b=1,1"], "a value stands there twice"),
        (None, ["a.b=1", "a.b=2"], "stands there twice"),
        (None, ["seed=1,2"], "--seeds chooses seeds"),
        (None, ["name=a,b"], "names the run"),
        ("0..99", ["a.b=1,2,3,4,5,6,7,8,9,10,11"], "a sweep of 1,100 runs; at most 1,000"),
    ],
)
def test_what_is_no_sweep(seeds: str | None, grids: Sequence[str], message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        make_variants("mine", seeds, grids)
    assert message in str(raised.value)


def test_every_combination_is_a_run_with_a_name_of_its_own() -> None:
    found = make_variants("mine", "0..1", ["select.require=answer,steps", "sft.steps=5,10"])
    assert [one.name for one in found][:3] == [
        "mine-require-answer-steps-5-seed-0",
        "mine-require-answer-steps-5-seed-1",
        "mine-require-answer-steps-10-seed-0",
    ]
    assert found[0].changes == [
        "select.require=answer",
        "sft.steps=5",
        "seed=0",
        "name=mine-require-answer-steps-5-seed-0",
    ]
    assert len({one.name for one in found}) == len(found) == 8
    alike = make_variants("m", None, ["model.path=/a/x,/b/x", "train.grades=[1],[2]"])
    assert len({one.name for one in alike}) == 4
    long = make_variants("m" * 90, "0..11", ["prompt.question=" + ",".join("ab")])
    assert len({one.name for one in long}) == 24 and all(len(one.name) <= 100 for one in long)


def test_the_interval_of_a_mean_is_students() -> None:
    assert mean_interval([0.1]) is None
    low, high = mean_interval([0.1, 0.2, 0.3]) or (0.0, 0.0)
    assert low == 0.0  # 0.2 - 4.3027 * 0.1 / sqrt(3), cut off at 0
    assert high == pytest.approx(0.2 + 4.302652729911275 * 0.1 / 3**0.5)
    assert mean_interval([0.5, 0.5]) == (0.5, 0.5)
    _, wider = mean_interval([0.1, 0.2, 0.3], together=2) or (0.0, 0.0)
    assert wider == pytest.approx(0.2 + 6.205346816570704 * 0.1 / 3**0.5)  # t at 0.9875 with 2 degrees of freedom


def test_the_report_gives_mean_interval_worst_and_what_differs() -> None:
    def outcome(settings: str, seed: int, reached: float | None) -> Outcome:
        return Outcome(Variant(f"m-{settings[-1]}-{seed}", (settings,), seed), 0.25, reached, 3)

    found = [outcome("a.b=1", seed, share) for seed, share in enumerate((0.5, 0.6, 0.55))]
    found += [outcome("a.b=2", seed, share) for seed, share in enumerate((0.7, 0.8, 0.75))]
    found += [outcome("a.b=3", seed, share) for seed, share in enumerate((0.9, None, None))]
    text = "\n".join(describe(found, 200))
    assert "m-1-0  50.0% in round 3 (from 25.0%)" in text
    assert "a.b=1  mean 55.0% (42.6% to 67.4%) over 3 seeds, worst 50.0% (seed 0)" in text
    assert "a.b=2  +20.0% (+20.0% to +20.0%) over 3 seeds: better" in text
    assert "a.b=3  90.0%, of one run, so without an interval; 2 of 3 runs have no evaluation" in text
    assert all(len(line) <= 60 for line in describe(found, 60))
    rows = to_json(found)
    assert [row["worst"] for row in rows] == [0.5, 0.7, 0.9]
    assert rows[0]["mean"] == pytest.approx(0.55) and rows[2]["interval"] is None
    # What looks better alone may not where it is one of several.
    found[3:6] = [outcome("a.b=2", seed, share) for seed, share in enumerate((0.55, 0.7, 0.63))]
    assert ": better" in "\n".join(describe(found[:6], 200))
    text = "\n".join(describe([*found[:6], *(outcome("a.b=4", seed, 0.6) for seed in range(3))], 200))
    assert "seed by seed, intervals that hold together:" in text and ": better" not in text


def command(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_commands_run_side_by_side_and_each_line_says_whose_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    # Each waits for a file of the other: one after the other they would never end.
    wait = "import pathlib, time\nopen({mine!r}, 'w').close()\n"
    wait += "while not pathlib.Path({other!r}).exists(): time.sleep(0.01)\n"
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    commands = {
        "one": command(wait.format(mine=one, other=other) + "print('done')"),
        "other": command(wait.format(mine=other, other=one) + "raise SystemExit('no such thing')"),
        "third": command("print('alone')"),
    }
    assert SideBySide(2, said.append).run(commands) == {"other": "no such thing"}
    assert sorted(said) == ["one: done", "other: no such thing", "third: alone"]


def test_what_runs_side_by_side_is_told_to_stop_once_and_what_waits_never_begins(tmp_path: Path) -> None:
    stopping = f"""
import pathlib, time
try:
    print("begun", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.2)
    pathlib.Path({str(tmp_path / "kept")!r}).touch()
"""

    def stop(line: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        SideBySide(1, stop).run({"one": command(stopping), "two": command(f"open({str(tmp_path / 'two')!r}, 'w')")})
    assert (tmp_path / "kept").exists() and not (tmp_path / "two").exists()


@pytest.mark.long
def test_a_sweep_side_by_side_makes_the_same_runs(tmp_path: Path) -> None:
    small_recipe(tmp_path)
    sweep = [sys.executable, "-m", "selfimprove.cli", "run", str(tmp_path / "small.yaml"), "--seeds", "0,1", "--json"]
    reports = []
    for name, more in (("one", ["--set", "rounds=1"]), ("two", ["--set", "rounds=1", "--at-once", "2"])):
        done = subprocess.run(
            [*sweep, *more, "--runs", str(tmp_path / name)], capture_output=True, text=True, check=True
        )
        reports.append(json.loads(done.stdout))
    first, second = ([record_ids(RunFolder(tmp_path / name / f"small-seed-{seed}")) for seed in (0, 1)]
                     for name in ("one", "two"))  # fmt: skip
    assert first == second and reports[0] == reports[1] and len(reports[0][0]["runs"]) == 2
