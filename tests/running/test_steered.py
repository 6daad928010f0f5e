"""A run that steers itself, end to end: what it decides is done, recorded, shown, replayed, and survives a kill."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import web
from rich.console import Console
from small import record_ids, small_recipe, weight_hashes
from viewing import serving

from selfimprove.engines import ScriptedEngine
from selfimprove.errors import TaskError
from selfimprove.recipe import Recipe
from selfimprove.records import Action, Effect, Evaluation, Health, Prediction, Problem, Promotion, Rationale
from selfimprove.results.compare import read_side
from selfimprove.results.overview import list_runs
from selfimprove.results.status import print_status, to_json
from selfimprove.running.changes import describe_changes
from selfimprove.running.decisions import replay
from selfimprove.running.figures import round_figures
from selfimprove.running.inputs import Inputs
from selfimprove.running.loop import run_loop
from selfimprove.running.plan import build_plan
from selfimprove.stages.split import controllers
from selfimprove.store import RunFolder

RULES = """name: mine
version: 3
rules:
  - name: enough
    reason: this was long enough
    when: [{figure: yield, op: ">=", value: 0, rounds: 2}]
    stop: true
  - name: warmer
    reason: to see another temperature
    when: [{figure: yield, op: "<=", value: 1, bound: interval}]
    change:
      - {setting: generate.temperature, scale: 1.5, at_most: 1.4}
      - {setting: repair.samples, add: 1}
    expects: {figure: yield, direction: up, by: 0}
"""
QUICK = ("select.sources=seed", "warmup.steps=1", "sft.steps=1", "evaluate.part_size=100", "generate.part_size=100",
         "rounds=4")  # fmt: skip


def steered(folder: Path, *changes: str) -> Recipe:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.yaml"
    path.write_text(RULES)
    return small_recipe(folder, f"decide.rules={path}", "evaluate.controller=0.5", "promote.rule=not-worse", *QUICK,
                        *changes)  # fmt: skip


def answer(prompt: str, seed: int) -> str:
    """Right or not by the seed."""
    first, _, rest = prompt.rpartition("?")[2].partition("+")
    right = seed % 3 and first.isdigit() and rest.rstrip("=").isdigit()
    return f"#{int(first) + int(rest.rstrip('=')) if right else seed % 7}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunFolder]:
    folder = tmp_path_factory.mktemp("steered")
    recipe = steered(folder)
    run = RunFolder(folder / "run")
    run_loop(recipe, run, load=lambda *_: ScriptedEngine(answer))
    return recipe, run


def test_what_is_decided_is_done_and_recorded(run: tuple[Recipe, RunFolder]) -> None:
    _, folder = run
    first, second, third = (folder.stage(at, "decide").read(Action)[0] for at in (1, 2, 3))
    assert (first.rule, first.reason) == ("", "there is no round to go by yet")
    assert second.differences == [("generate.temperature", "1.0", "1.4"), ("repair.samples", "2", "3")]
    assert {one.temperature for one in folder.stage(1, "generate").read(Rationale)} == {1.0}
    assert {one.temperature for one in folder.stage(2, "generate").read(Rationale)} == {1.4}
    assert second.version.startswith("mine 3 ")
    assert second.considered == ("enough: yield is looked at over 2 rounds: too early",)
    seen = folder.stage(2, "decide").read(Health)
    assert [one.id for one in seen if one.figure == "yield" and not one.family] == list(second.parents)
    (prediction,) = folder.stage(2, "decide").read(Prediction)
    (effect,) = folder.stage(3, "decide").read(Effect)
    assert effect.parents[0] == prediction.id and effect.came_true in ("yes", "no")
    # The third ends the run: nothing stands after it, and the same command has nothing to do.
    assert third.stop and third.rule == "enough"
    assert {one.key for one in folder.stages() if one.key[0] >= 3} == {(3, "decide")}


def test_the_yield_that_is_read_is_that_of_the_records(run: tuple[Recipe, RunFolder]) -> None:
    from selfimprove.records import Verdict

    _, folder = run
    problems = {one.id: one.group for one in folder.stage(1, "frontier").read(Problem)}
    of = {one.id: problems[one.problem] for one in folder.stage(1, "generate").read(Rationale)}
    outcomes = [(of[one.rationale], one.outcome) for one in folder.stage(1, "verify").read(Verdict)]
    for one in folder.stage(2, "decide").read(Health):
        if one.figure == "yield":
            mine = [outcome == "correct" for group, outcome in outcomes if one.family in ("", group)]
            assert (one.n, one.value) == (len(mine), sum(mine) / len(mine))


def test_replaying_a_decision_from_what_it_recorded_gives_the_same_one(run: tuple[Recipe, RunFolder]) -> None:
    _, folder = run
    for round_ in (1, 2, 3):
        recorded, again = replay(folder, round_)
        assert again == recorded and again.id == recorded.id


def test_going_on_does_nothing_twice(run: tuple[Recipe, RunFolder]) -> None:
    recipe, folder = run
    ids = record_ids(folder)
    run_loop(recipe, folder, load=lambda *_: ScriptedEngine(answer))
    assert record_ids(folder) == ids


def test_it_is_shown_wherever_a_run_is_shown(run: tuple[Recipe, RunFolder]) -> None:
    _, folder = run
    out = io.StringIO()
    print_status(folder, Console(file=out, width=200))
    said = " ".join(out.getvalue().split())
    assert "finished early in round 3 (enough: stop; this was long enough" in said
    assert "Decisions" in said and "generate.temperature 1.0 → 1.4" in said
    found = to_json(folder)["decisions"]
    assert [one["rule"] for one in found] == ["", "warmer", "enough"]
    assert found[1]["expected"]["figure"] == "yield" and len(found[1]["effects"]) == 1
    assert {one.name: one.state for one in list_runs(folder.path.parent)}["run"] == "finished early"
    figures = round_figures(folder, 2)
    assert figures["decide/acted"] == 1 and 0 <= figures["health/yield"] <= 1


def test_the_viewer_has_a_page_of_decisions(run: tuple[Recipe, RunFolder], tmp_path: Path) -> None:
    _, folder = run
    with serving(folder.path.parent, tmp_path / "cache") as site:
        page = web.get(f"{site}/runs/run/decisions", timeout=60).text
    assert "<code>generate.temperature</code> 1.0 → 1.4" in page and "the run ends" in page
    assert "enough: yield is looked at over 2 rounds: too early" in page and "predicted" in page
    (second,) = folder.stage(2, "decide").read(Action)
    assert f"/runs/run/records/{second.id}" in page and f"/runs/run/records/{second.parents[0]}" in page


def test_nothing_that_steers_or_promotes_goes_by_what_is_reported(run: tuple[Recipe, RunFolder]) -> None:
    recipe, folder = run
    held_out = folder.stage(0, "problems").read(Problem)
    apart = controllers(held_out, 0.5)
    assert 0 < len(apart) < len(held_out)
    reported = sum(one.n + one.undecided for one in folder.stage(1, "evaluate").read(Evaluation))
    assert reported == len(held_out) - len(apart)
    asked = {one.question for one in held_out if one.id not in apart}
    assert {question for question, _ in read_side("run", folder.path.parent, 1).answers} == asked
    (promotion,) = folder.stage(1, "promote").read(Promotion)
    assert f"of {len(apart)} " in promotion.reason
    read = {key for one in build_plan(recipe, "data").values() if one.name == "decide" for key in one.reads}
    assert {name for _, name in read} == {"warmup", "frontier", "generate", "verify", "repair", "rationalize", "select",
                                          "promote", "decide"}  # fmt: skip
    with pytest.raises(
        TaskError, match=r"evaluate\.controller: 0\.01 of \d+ held-out problems leaves none for the con"
    ):
        Inputs(steered(folder.path.parent / "none", "evaluate.controller=0.01"))


def test_changed_rules_are_noticed(run: tuple[Recipe, RunFolder], tmp_path: Path) -> None:
    recipe, folder = run
    other = tmp_path / "other.yaml"
    other.write_text(RULES.replace("scale: 1.5", "scale: 1.2"))
    changed = small_recipe(tmp_path, f"decide.rules={other}", "evaluate.controller=0.5", "promote.rule=not-worse",
                           *QUICK)  # fmt: skip
    plans = [build_plan(one, "data") for one in (recipe, changed)]
    assert plans[0][1, "decide"].fingerprint != plans[1][1, "decide"].fingerprint
    said, _ = describe_changes(changed, folder, [plans[1][1, "decide"]])
    assert "the rules by which it steers itself are others" in said


def test_settings_that_steering_adds_change_no_plan_without_it(tmp_path: Path) -> None:
    plain, named = small_recipe(tmp_path), small_recipe(tmp_path, "decide=null", "evaluate.controller=0")
    assert [one.fingerprint for one in build_plan(plain, "data").values()] == [
        one.fingerprint for one in build_plan(named, "data").values()
    ]


@pytest.mark.long
def test_a_kill_while_it_decides_changes_nothing(tmp_path: Path) -> None:
    """Killed with SIGKILL as `decide` begins, writes, and has written: the finished run is the undisturbed one."""
    rules = tmp_path / "recipe" / "mine.yaml"
    rules.parent.mkdir()
    rules.write_text(RULES)
    changes = [f"decide.rules={rules}", "evaluate.controller=0.5", "promote.rule=not-worse", "rounds=3"]
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    run_loop(small_recipe(tmp_path / "recipe", *changes), whole)
    moments = ["round-01/decide", "round-02/decide", "round-02/decide/action-00000.parquet", "round-03/decide"]
    support = Path(__file__).parents[1] / "support"
    command = [sys.executable, str(support / "kill_run.py"), str(killed.path), *changes, *moments]
    done = subprocess.run(command, cwd=support, capture_output=True, text=True, timeout=500, check=False)
    assert done.stdout.endswith("finished the end\n"), done.stdout + done.stderr
    assert done.stdout.count("killed") >= 3, done.stdout + done.stderr
    assert record_ids(killed) == record_ids(whole) and weight_hashes(killed) == weight_hashes(whole)
    assert whole.stage(3, "decide").read(Action)[0].stop
