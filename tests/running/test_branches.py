"""A round can start from any checkpoint that was kept: the rounds are a tree, which is shown as it was made."""

import io
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from small import record_ids, small_recipe, weight_hashes
from viewing import serving

from selfimprove.engines import ScriptedEngine
from selfimprove.recipe.controllers import load_controller
from selfimprove.records import Action, Checkpoint, Health, Promotion, Rationale
from selfimprove.results.status import print_status, to_json
from selfimprove.running.decisions import replay
from selfimprove.running.estimate import print_plan
from selfimprove.running.loop import run_loop
from selfimprove.stages.health import measure_apart
from selfimprove.stages.rules import act
from selfimprove.store import RunFolder
from selfimprove.store.branches import Branch, describe_branches

RULES = """name: mine
rules:
  - name: back
    reason: to take another way
    when: [{figure: yield, op: ">=", value: 0, rounds: 3}]
    back_to: 1
    change: [{setting: generate.temperature, set: 0.7}]
    cool_down: 5
"""
QUICK = ("select.sources=seed", "warmup.steps=1", "sft.steps=1", "evaluate.part_size=100", "generate.part_size=100",
         "evaluate.controller=0.5", "rounds=5")  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("branches")
    rules = folder / "mine.yaml"
    rules.write_text(RULES)
    made = RunFolder(folder / "run")
    recipe = small_recipe(folder, f"decide.rules={rules}", *QUICK)
    run_loop(recipe, made, load=lambda *_: ScriptedEngine(lambda prompt, seed: f"#{seed % 7}"))
    return made


def trained(folder: RunFolder, round_: int) -> Checkpoint:
    return folder.stage(round_, "sft").read(Checkpoint)[0]


def test_a_round_goes_on_from_the_checkpoint_that_it_goes_back_to(run: RunFolder) -> None:
    (action,) = run.stage(4, "decide").read(Action)
    assert (action.rule, action.back_to) == ("back", 1)
    assert action.differences[0] == ("starts from", "the last checkpoint", "that of round 1")
    first = trained(run, 1)
    assert {one.checkpoint for one in run.stage(4, "generate").read(Rationale)} == {first.id}
    assert trained(run, 4).parents[0] == first.id
    # What it trained is compared with the checkpoint that it went on from.
    assert run.stage(4, "promote").read(Promotion)[0].parents == (trained(run, 4).id, first.id)
    assert trained(run, 5).parents[0] == trained(run, 4).id
    assert replay(run, 4)[1] == action


def test_the_tree_is_shown_in_status_viewer_and_plan(run: RunFolder, tmp_path: Path) -> None:
    found = {one["round"]: one["parent"] for one in to_json(run)["lineage"]}
    assert found == {0: None, 1: 0, 2: 1, 3: 2, 4: 1, 5: 4}
    out = io.StringIO()
    console = Console(file=out, width=200)
    print_status(run, console)
    print_plan(run.recipe(), run, console)
    said = out.getvalue()
    ways = [line.split() for line in said.splitlines() if "→" in line and "%" in line]
    assert [one for one in ways[0] if one.isdigit()] == ["0", "1", "4", "5"]
    assert ways[1][:2] == ["from", "1:"] and [one for one in ways[1][2:] if one.isdigit()] == ["2", "3"]
    assert "round 4 starts from the checkpoint that was kept in round 1" in said
    with serving(run.path.parent, tmp_path / "cache") as site:
        page = httpx.get(f"{site}/runs/run/decisions", timeout=60).text
    assert "Lineage of rounds" in page and "from 1: 2" in page and "that of round 1" in page


def branch(round_: int, parent: int | None, *, kept: bool | None = True, head: bool = False) -> Branch:
    return Branch(round_, f"c{round_}", parent, kept, 1, 2, head)


TREES = {
    "a line": ([branch(0, None), branch(1, 0), branch(2, 1, head=True)], ["0 50.0% → 1 50.0% → 2 50.0%"]),
    "each from the base": (
        [branch(0, None), branch(1, 0), branch(2, 0, head=True)], ["0 50.0% → 2 50.0%", "from 0: 1 50.0%"],
    ),
    "rolled back": (
        [branch(0, None), branch(1, 0, head=True), branch(2, 1, kept=False)],
        ["0 50.0% → 1 50.0%", "from 1: 2 50.0%, rolled back"],
    ),
    "a circle in an edited file": ([branch(1, 2), branch(2, 1, head=True)], ["1 50.0% → 2 50.0%"]),
    "nothing": ([], []),
}  # fmt: skip


@pytest.mark.parametrize("tree", TREES)
def test_a_tree_in_lines(tree: str) -> None:
    branches, lines = TREES[tree]
    assert describe_branches(branches) == lines


class Free:
    """Settings in which everything is 1 and may be changed."""

    def setting(self, name: str) -> float:
        return 1.0

    def refuses(self, changes: object) -> str:
        return ""


def figure(name: str, round_: int, value: float) -> Health:
    return Health(round=round_, figure=name, family="", value=value, low=value, high=value, n=100, counted="problems")


def test_the_best_checkpoint_that_was_kept_is_gone_back_to_once_the_last_one_is_surely_worse() -> None:
    controller = load_controller("default")
    refused = [figure("refused", at, float(at == 3)) for at in (1, 2, 3, 4)]
    right = {0: 10, 1: 80, 2: 95, 3: 99, 4: 70}  # of 100; round 3 was rolled back, so round 2 is the best that was kept
    health: list[Health] = list(refused)
    for at, count in right.items():
        outcomes = {at: [True] * count + [False] * (100 - count)}
        health += measure_apart(outcomes, [*health], [])
        if at < 4:
            assert all(one.rule != "fell-behind" for one in [act(at + 1, health, [], controller, Free())])
    behind = next(one for one in health if one.figure == "behind best" and one.round == 4)
    assert behind.value == pytest.approx(0.25) and behind.low > 0.1
    action = act(5, health, [], controller, Free())
    assert (action.rule, action.back_to, action.changes) == ("fell-behind", 2, ("sft.learning_rate=0.5",))
    assert behind.id in action.parents
    # Where that was done and its checkpoint rolled back, the best one is what the next round starts from already.
    later = [*health, figure("refused", 5, 1.0)]
    later += measure_apart({5: [True] * 60 + [False] * 40}, later, [action])
    assert next(one for one in later if one.figure == "behind best" and one.round == 5).value == 0
    assert act(7, later, [action], controller, Free()).rule != "fell-behind"


@pytest.mark.long
def test_a_kill_while_a_branch_is_taken_changes_nothing(tmp_path: Path) -> None:
    rules = tmp_path / "recipe" / "mine.yaml"
    rules.parent.mkdir()
    rules.write_text(RULES.replace("rounds: 3", "rounds: 2"))
    changes = [f"decide.rules={rules}", "evaluate.controller=0.5", "rounds=3", "budget=1G tokens"]
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    run_loop(small_recipe(tmp_path / "recipe", *changes), whole)
    moments = ["round-03/decide", "round-03/decide/stage.json", "round-03/generate/rationale-00000.parquet",
               "round-03/sft", "round-03/promote"]  # fmt: skip
    support = Path(__file__).parents[1] / "support"
    command = [sys.executable, str(support / "kill_run.py"), str(killed.path), *changes, *moments]
    done = subprocess.run(command, cwd=support, capture_output=True, text=True, timeout=500, check=False)
    assert done.stdout.endswith("finished the end\n") and done.stdout.count("killed") >= 3, done.stdout + done.stderr
    assert whole.stage(3, "decide").read(Action)[0].back_to == 1
    assert record_ids(killed) == record_ids(whole) and weight_hashes(killed) == weight_hashes(whole)
