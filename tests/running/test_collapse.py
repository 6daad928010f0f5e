"""A planted collapse is acted on: a run ends where it is told to, and the shipped rules answer to it."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from small import record_ids, small_recipe

from selfimprove.engines import Engine, ScriptedEngine
from selfimprove.errors import RecipeError
from selfimprove.records import Action, Checkpoint, Health
from selfimprove.results.overview import list_runs
from selfimprove.results.status import print_status
from selfimprove.running.decisions import replay
from selfimprove.running.loop import run_loop
from selfimprove.running.session import Session
from selfimprove.store import RunFolder

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
QUICK = ("select.sources=seed", "warmup.steps=1", "sft.steps=1", "evaluate.part_size=100", "generate.part_size=100",
         "repair=null", "rationalize=null", "rounds=5")  # fmt: skip


def vary(prompt: str, seed: int) -> str:
    """A text of its own for each sample, right or not."""
    said = " ".join(WORDS[(seed // 12**at) % 12] for at in range(6))
    return f"{said}\n#{seed % 7}"


def collapse(checkpoint: Checkpoint, session: Session) -> Engine:
    """A model that repeats itself once it was trained in a round."""
    if checkpoint.path.startswith("round-00") or checkpoint.method == "base":
        return ScriptedEngine(vary)
    return ScriptedEngine(lambda *_: "again and again\n#1")


def run(folder: RunFolder, *changes: str, healthy: bool = False) -> None:
    recipe = small_recipe(folder.path.parent, *QUICK, *changes)
    run_loop(recipe, folder, load=(lambda *_: ScriptedEngine(vary)) if healthy else collapse)


def rounds(folder: RunFolder) -> set[int]:
    return {one.key[0] for one in folder.stages() if one.closed}


def test_a_run_ends_once_its_texts_have_collapsed_for_so_many_rounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, stop = RunFolder(tmp_path / "run"), "stop_at_collapse={rounds: 2}"
    run(folder, stop)
    # It shows in rounds 2 and 3; what round 3 has begun it does to its end.
    assert rounds(folder) == {0, 1, 2, 3} and folder.stage(3, "promote").closed
    said = capsys.readouterr().err
    assert "ends before round-04/frontier: the texts repeat each other: distinct-3 fell from" in said
    assert "since round 2; change or take out 'stop_at_collapse' to go on" in said
    assert {one.name: one.state for one in list_runs(tmp_path)}["run"] == "finished early"
    out = io.StringIO()
    print_status(folder, Console(file=out, width=200))
    assert "finished early after round 3 (the texts repeat each other" in " ".join(out.getvalue().split())
    before = record_ids(folder)
    run(folder, stop)
    assert record_ids(folder) == before
    run(folder, "stop_at_collapse={rounds: 3}")  # the setting changes what is done and no record
    assert rounds(folder) == {0, 1, 2, 3, 4}
    run(folder)
    assert rounds(folder) == {0, 1, 2, 3, 4, 5}


def test_other_signs_and_healthy_texts_end_nothing(tmp_path: Path) -> None:
    for name, changes, healthy in (
        ("other", ("stop_at_collapse={rounds: 1, signs: [same rows]}",), False),
        ("one", ("stop_at_collapse={rounds: 1, signs: [repetition, same rows]}",), False),
        ("healthy", ("stop_at_collapse={rounds: 1}",), True),
    ):
        folder = RunFolder(tmp_path / name)
        run(folder, *changes, "rounds=3", healthy=healthy)
        assert rounds(folder) == {0, 1, 2, 3}
    assert {one.state for one in list_runs(tmp_path)} == {"finished"}


def test_one_sign_is_enough_where_it_is_told_so(tmp_path: Path) -> None:
    for at, more in enumerate(("signs: [repetition]", "signs: [repetition, same rows], fewest: 1")):
        folder = RunFolder(tmp_path / str(at))
        run(folder, f"stop_at_collapse={{rounds: 1, {more}}}", "rounds=3")
        assert rounds(folder) == {0, 1, 2}


def test_a_sign_that_there_is_not_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"stop_at_collapse\.signs\.0.*'repetitions'"):
        small_recipe(tmp_path, "stop_at_collapse={signs: [repetitions]}")


@pytest.mark.parametrize("healthy", [False, True])
def test_the_shipped_rules_answer_to_a_collapse(tmp_path: Path, healthy: bool) -> None:
    folder = RunFolder(tmp_path / "run")
    run(folder, "decide.rules=default", "rounds=3", healthy=healthy)
    third = folder.stage(3, "decide")
    (action,) = third.read(Action)
    seen = {one.figure: one for one in third.read(Health) if not one.family}
    assert seen["collapse"].round == 2 and seen["collapse"].counted == "signs"
    recorded, again = replay(folder, 3)
    assert again == recorded
    if healthy:
        assert seen["collapse"].value < 2 and action.rule != "texts-collapse"
        assert any(one.startswith("texts-collapse: collapse") for one in action.considered)
        return
    assert seen["collapse"].value >= 2 and seen["distinct left"].value < 0.7 and seen["forms left"].value < 0.7
    assert action.rule == "texts-collapse" and action.parents == (seen["collapse"].id,)
    assert action.differences == [("generate.temperature", "1.0", "1.3"), ("sft.start", "last", "base")]
