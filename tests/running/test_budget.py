"""A run ends early between two stages once its budget is spent, by its records, and goes on where it is raised."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from small import record_ids, small_recipe

from selfimprove.engines import ScriptedEngine
from selfimprove.errors import RecipeError
from selfimprove.recipe.budget import Budget, Ledger, parse_budget
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Action, Health
from selfimprove.results.overview import list_runs
from selfimprove.results.status import print_status, to_json
from selfimprove.running.clock import Clock
from selfimprove.running.decisions import replay
from selfimprove.running.loop import run_loop
from selfimprove.running.plan import build_plan
from selfimprove.store import RunFolder
from selfimprove.store.ledger import read_ledger

RULES = """name: mine
rules:
  - name: near-the-end
    reason: there is no room for another round
    when: [{figure: rounds left, op: "<", value: 1}]
    stop: true
  - name: careful
    reason: half of it is spent
    when: [{figure: budget left, op: "<", value: 0.5}]
    change: [{setting: generate.samples, set: 1}]
"""
QUICK = ("select.sources=seed", "warmup.steps=1", "sft.steps=1", "evaluate.part_size=100", "generate.part_size=100")


def run(folder: RunFolder, *changes: str) -> None:
    recipe = small_recipe(folder.path.parent, *QUICK, *changes)
    run_loop(recipe, folder, load=lambda *_: ScriptedEngine(lambda prompt, seed: f"#{seed % 7}"))


def closed(folder: RunFolder) -> list[str]:
    return sorted(one.name for one in folder.stages() if one.closed)


def said(folder: RunFolder) -> str:
    out = io.StringIO()
    print_status(folder, Console(file=out, width=200))
    return " ".join(out.getvalue().split())


def test_it_ends_between_two_stages_and_goes_on_where_the_budget_is_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "part")
    run(whole, "rounds=1")
    first = read_ledger(whole, small_recipe(tmp_path, *QUICK, "budget=1G tokens"))
    assert first is not None
    # Room for what round 0 takes and not a token more: the next stage that would begin is the first one of round 1.
    budget = f"budget={first.by_round[0]:.0f} tokens"
    run(part, "rounds=1", budget)
    assert {one.partition("/")[0] for one in closed(part)} == {"round-00"}
    assert "ends before round-01/frontier: the budget of" in capsys.readouterr().err
    assert {one.name: one.state for one in list_runs(tmp_path)}["part"] == "finished early"
    assert "finished early in round 0 (the budget of" in said(part) and "A budget of" in said(part)
    found = to_json(part)["budget"]
    assert (found["unit"], found["left"], found["spent"]) == ("tokens", 0.0, first.by_round[0])
    before = record_ids(part)
    run(part, "rounds=1", budget)  # the same command has nothing to do, by what lies on disk
    assert record_ids(part) == before
    run(part, "rounds=1", "budget=1G tokens")
    assert record_ids(part) == record_ids(whole)
    assert to_json(part)["budget"]["left"] > 0 and "finished early" not in said(part)


def test_rounds_and_seconds_are_counted_off_the_manifests(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "rounds")
    run(folder, "rounds=3", "budget=1 round")
    assert {one.partition("/")[0] for one in closed(folder)} == {"round-00", "round-01"}
    manifests = [manifest for stage in folder.stages() if (manifest := stage.manifest())]
    for unit, seconds in (
        ("", sum(one.seconds.cpu for one in manifests)),
        (" gpu", sum(one.seconds.model for one in manifests)),
    ):
        ledger = read_ledger(folder, small_recipe(tmp_path, f"budget=1h{unit}"))
        assert ledger is not None and ledger.spent == pytest.approx(seconds) and seconds > 0
        assert ledger.left == pytest.approx(3600 - seconds)
    # A stage that a kill left open counts by the parts that it has noted.
    stage = folder.stage(1, "generate")
    spent, cost = manifests_tokens(folder), sum(sum(one.tokens.values()) for one in stage.usage())
    (stage.path / "stage.json").unlink()
    assert manifests_tokens(folder) == spent and cost > 0


def manifests_tokens(folder: RunFolder) -> float:
    ledger = read_ledger(folder, small_recipe(folder.path.parent, "budget=1G tokens"))
    assert ledger is not None
    return ledger.spent


def test_what_is_left_is_a_figure_that_rules_go_by(tmp_path: Path) -> None:
    rules = tmp_path / "mine.yaml"
    rules.write_text(RULES)
    folder = RunFolder(tmp_path / "steered")
    run(folder, "rounds=5", f"decide.rules={rules}", "budget=4 rounds")
    actions = [folder.stage(at, "decide").read(Action)[0].rule for at in (1, 2, 3, 4)]
    assert actions == ["", "", "", "careful"]
    left = [
        one.value for at in (2, 3, 4) for one in folder.stage(at, "decide").read(Health) if one.figure == "budget left"
    ]
    assert left == [0.75, 0.5, 0.25]
    assert not folder.stage(5, "decide").closed  # all four are made, and the loop ends before the fifth
    run(folder, "rounds=5", f"decide.rules={rules}", "budget=4 rounds")
    for at in (1, 2, 3, 4):
        recorded, again = replay(folder, at)
        assert again == recorded
    other = RunFolder(tmp_path / "near")
    tokens = read_ledger(folder, small_recipe(tmp_path, "budget=1G tokens"))
    assert tokens is not None
    budget = int(tokens.by_round[0] + 1.499 * tokens.by_round[1])
    run(other, "rounds=4", f"decide.rules={rules}", f"budget={budget} tokens")
    (last,) = other.stage(2, "decide").read(Action)
    assert last.stop and last.rule == "near-the-end" and "(rounds left 0.49" in last.reason


BUDGETS = {
    "30m": (1800, "cpu"), "1h30m gpu": (5400, "gpu"), "90s": (90, "cpu"), "2M tokens": (2e6, "tokens"),
    "1.5k tokens": (1500, "tokens"), "5 rounds": (5, "rounds"), "1 round": (1, "rounds"), "1d": (86400, "cpu"),
}  # fmt: skip


@pytest.mark.parametrize("text", BUDGETS)
def test_a_budget_is_read(text: str) -> None:
    assert parse_budget(text) == Budget(*BUDGETS[text])  # type: ignore[arg-type]
    assert load_recipe("arithmetic", {"budget": text}).budget == text


@pytest.mark.parametrize("text", ["30 minutes", "0s", "-3m", "m", "1e9s", "3 rounds gpu", "9" * 300 + "s", ""])
def test_a_budget_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(
        RecipeError, match=r"'budget' must be a time such as 30m or '1h30m gpu', or '2M tokens', or '5 r"
    ):
        load_recipe("arithmetic", [f"budget={json.dumps(text)}"])


def test_a_budget_changes_no_fingerprint(tmp_path: Path) -> None:
    plans = [build_plan(small_recipe(tmp_path, *changes), "data") for changes in ((), ("budget=3m",))]
    assert [one.fingerprint for one in plans[0].values()] == [one.fingerprint for one in plans[1].values()]


def test_a_child_that_was_waited_for_counts_as_cpu_time() -> None:
    import subprocess
    import sys

    clock = Clock()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert clock.lap()["cpu"] > 0.02


def test_one_expensive_round_does_not_say_that_there_is_no_room_for_another() -> None:
    budget = parse_budget("5m")
    costs = {0: 30.0, 1: 24.0, 2: 25.0, 3: 24.0, 4: 60.0}
    ledger = Ledger(budget, costs)
    assert ledger.left == pytest.approx(137)
    assert ledger.rounds_left(4) == pytest.approx(137 / 25)  # of 25, 24 and 60
    assert ledger.rounds_left(1) == pytest.approx(137 / 24)  # the start is no round
    assert ledger.rounds_left(0) == 1000
