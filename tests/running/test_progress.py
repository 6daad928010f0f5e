"""What a person sees while a run goes on: how far, how fast, how long yet, what was written; on any terminal."""

import io
import re
import unicodedata
from pathlib import Path

import pytest
from builders import make_problem, make_rationale, make_verdict
from rich.cells import cell_len

from selfimprove.recipe import Recipe
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Evaluation, Record
from selfimprove.records.console import SafeConsole
from selfimprove.records.stats import wilson
from selfimprove.running.clock import Clock
from selfimprove.running.display import describe_ahead, describe_reached, describe_stage, draw, sparkline
from selfimprove.running.outlook import LOOKING, Outlook, Reached
from selfimprove.running.plan import Plan, build_plan
from selfimprove.running.progress import BarReport, LineReport, where_it_is
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.manifest import Seconds

HOSTILE = "so\nthe \x1b[31manswer\u202e is 数学の問題 " + "7" * 500


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("arithmetic", ["rounds=3", "repair=null"])


@pytest.fixture(scope="module")
def plan(recipe: Recipe) -> Plan:
    return build_plan(recipe, "data")


def make_manifest(round_: int, stage: str, seconds: float, **counts: int) -> Manifest:
    took = Seconds(wall=seconds + 1, elapsed=seconds + 1, imports=1)
    return Manifest(
        round=round_, stage=stage, version=1, fingerprint="f", settings={}, main="rationale", counts=counts, parts=1,
        seconds=took, tokens={}, metrics={}, packages={}, files={}, sizes={},
    )  # fmt: skip


def close(run: RunFolder, round_: int, stage: str, records: list[Record], seconds: float = 2.0) -> Manifest:
    """A closed stage with these records."""
    disk = run.stage(round_, stage, "f")
    disk.begin({})
    disk.write_part(records[0].kind, 0, records)
    manifest = make_manifest(round_, stage, seconds, **{one.kind: 1 for one in records})
    disk.close(manifest)
    return manifest


def evaluation(n: int, correct: int) -> Evaluation:
    low, high = wilson(correct, n)
    return Evaluation(parents=("c",), task="arithmetic", level=1, group="1+1", n=n, correct=correct, undecided=0,
                      wrong_reason=0, low=low, high=high)  # fmt: skip


def finished_round(run: RunFolder, round_: int, correct: int, text: str = "right") -> None:
    good, bad = (make_rationale(make_problem(), f"{said} {round_}", round=round_) for said in (text, "wrong"))
    close(run, round_, "generate", [good, bad], 20.0)
    close(run, round_, "verify", [make_verdict(good, "correct"), make_verdict(bad, "incorrect")], 3.0)
    close(run, round_, "evaluate", [evaluation(50, correct)], 5.0)


def test_stages_ahead_and_the_time_left_come_from_what_was_measured(plan: Plan) -> None:
    look = Outlook()
    assert describe_stage(look, 0.0) == "reading the recipe and its problems"
    names = [stage.name for stage in plan.values() if stage.round == 1]
    for name in names:
        look.end(make_manifest(1, name, 10.0))
    look.begin(plan[2, "generate"], now=100.0)
    assert look.ahead()[0] == (2, "verify")
    assert [name for round_, name in look.ahead() if round_ == 3] == names
    after = names[names.index("generate") + 1 :]
    # Nothing of it is done yet: as long as in the round before.
    assert look.seconds_left(104.0) == (6.0 + 10.0 * (len(after) + len(names)), True)
    look.progress(1, 80, "350 tokens/s")
    look.progress(40, 80, "")
    assert describe_stage(look, 121.0) == "round 2 of 3 generate, 40 of 80, 350 tokens/s, 21 s left of it"
    assert describe_ahead(look, 121.0).startswith(
        "then verify, rationalize, select, sft, evaluate, promote; 1 round after"
    )
    assert re.search(r"about \d+ (s|min) left$", describe_ahead(look, 121.0))
    first = Outlook()
    first.begin(plan[1, "generate"], now=0.0)
    assert first.seconds_left(5.0) == (0.0, False)
    assert describe_stage(first, 5.0) == "round 1 of 3 generate, 5 s so far"
    first.progress(1, 3, "")
    first.progress(2, 3, "")
    assert "more than" in describe_ahead(first, 60.0) and "not measured yet" in describe_ahead(first, 60.0)


def test_parts_that_were_there_do_not_count_as_fast(plan: Plan) -> None:
    """A stage of 100 that goes on at 90 has 10 to do, and has done one in 5 seconds."""
    look = Outlook()
    look.begin(plan[1, "generate"], now=0.0)
    look.progress(91, 100, "")
    assert look.seconds_of_stage(5.0) == 45.0


def test_a_run_that_goes_on_shows_what_it_reached_and_wrote(plan: Plan, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for round_, correct in ((0, 10), (1, 20), (2, 45)):
        finished_round(run, round_, correct)
    look = Outlook(run)
    assert [one.correct for one in look.reached] == [10, 20, 45]
    assert describe_reached(look) == "accuracy 90.0% (78.6% to 95.7%) of 50 in round 2  ▁▃█"
    look.look(now=LOOKING)
    assert (look.accepted, look.rejected) == ("right 2", "wrong 2")
    finished_round(run, 3, 5)
    look.look(now=LOOKING + 1)  # too early
    assert look.accepted == "right 2"
    look.look(now=2 * LOOKING)
    assert (look.accepted, look.rejected) == ("right 3", "wrong 3")
    (run.path / "round-03/verify/verdict-00000.parquet").write_bytes(b"torn")
    look.look(now=4 * LOOKING)
    assert look.accepted == "right 3"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 300])
def test_every_line_fits_and_nothing_that_was_written_steers_the_terminal(plan: Plan, width: int) -> None:
    look = Outlook()
    look.reached = [Reached(at, 50, 10 + at) for at in range(12)]
    look.accepted = look.rejected = HOSTILE
    look.begin(plan[1, "generate"], now=0.0)
    look.progress(40, 160, "1,350 tokens/s")
    for bars in (True, False):
        lines = draw(look, width, 12.0, bars=bars)
        assert all(cell_len(line) <= width for line in lines), lines
        assert not any(unicodedata.category(one) in ("Cc", "Cf") for line in lines for one in line)
        assert len(lines) <= 8
        whole = " ".join(lines)
        assert "round 1 of 3 generate" in " ".join(whole.split()) if width >= 40 else "round 1" in whole
        assert any(line.startswith("right: so") for line in lines) and any(
            line.startswith("wrong: so") for line in lines
        )
        assert ("━" in whole) == (bars and width >= 120)


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([Reached(at, 10, correct) for at, correct in enumerate((0, 5, 10))]) == "▁▅█"
    assert sparkline([Reached(at, 10, 3) for at in range(3)]) == "▅▅▅"
    assert sparkline([]) == ""


@pytest.mark.parametrize("width", [30, 100])
def test_a_terminal_shows_finished_stages_and_the_one_that_goes_on(plan: Plan, tmp_path: Path, width: int) -> None:
    run = RunFolder(tmp_path)
    finished_round(run, 0, 10)
    shown = io.StringIO()
    console = SafeConsole(file=shown, force_terminal=True, width=width, height=20, color_system=None)
    with BarReport(console, run) as report:
        report.begin(plan[1, "generate"])
        report.progress(1, 4, "12 tokens/s")
        report._live.refresh()
        report.end(plan[1, "generate"], make_manifest(1, "generate", 7.0), "done")
    text = shown.getvalue()
    assert "12 tokens/s" in " ".join(text.split())
    assert "accuracy 20.0%" in text and "right: right 0" in text
    assert re.search(r"round 1 generate, 8\.0\s+s,\s+done", text)


def test_plain_lines_say_what_is_ahead_once_and_what_is_left_after_a_round(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    report = LineReport()
    for key, stage in plan.items():
        report.begin(stage)
        report.progress(1, 2, "9 tokens/s")
        report.end(stage, make_manifest(*key, 40.0), "")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "begins with round 0 problems, then warmup, evaluate; 3 rounds after it"
    assert sum(line.startswith("begins") for line in lines) == 1
    assert [line for line in lines if "to go" in line] == [
        "3 rounds to go, how long is known once the first of them is done",
        "2 rounds to go, about 11 min",
        "1 round to go, about 5 min",
    ]
    assert not any("\x1b" in line for line in lines)
    report.EVERY = 0.0  # type: ignore[misc]
    report.begin(plan[1, "generate"])
    report.progress(1, 2, "9 tokens/s")
    assert "round 1 of 3 generate, 1 of 2, 9 tokens/s" in capsys.readouterr().out


def test_a_start_that_goes_on_says_so_before_a_stage_is_done(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert where_it_is(run) == ""
    run.stage(0, "problems", "f").begin({})
    assert where_it_is(run) == f"{tmp_path}: goes on; stages that are done: 0, parts of round 0 problems: 0"


def test_the_speed_is_that_of_the_model() -> None:
    clock = Clock()
    assert clock.speed() == ""
    clock.count(written=3000)
    assert clock.speed() == ""
    clock.model += 2.0
    assert clock.speed() == "1,500 tokens/s"
    clock.lap()
    assert clock.speed() == ""
