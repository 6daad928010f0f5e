"""Rows that share text with held-out problems: found before anything is trained on them, and what is done about it."""

import json
from pathlib import Path

import pytest

from selfimprove.engines import ScriptedEngine
from selfimprove.engines.build import build_model
from selfimprove.errors import TrainingError
from selfimprove.recipe import Build, Recipe
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint, Evaluation, Example, Overlap, Problem
from selfimprove.results.status import print_status, to_json
from selfimprove.running.loop import run_loop
from selfimprove.running.session import Session
from selfimprove.store import RunFolder
from selfimprove.tasks import Arithmetic, load_task

HELD_OUT = {
    "a farmer keeps 12 brown cows on the north meadow and sells 7 of them at the old market. how many are left?": "5",
    "the baker puts 48 rolls into paper bags of 6 before sunrise on every monday. how many bags does she fill?": "8",
    "an old ship leaves the harbour with 9 sailors, and 4 more come aboard later. how many are there now?": "13",
}
COPIED, NUMBERS, _ = HELD_OUT
TRAINED = {
    NUMBERS.replace("48", "60").replace("6 b", "5 b"): "12",
    "ann has 3 pens. how many pens do two such girls have?": "6",
    "a train takes 4 hours for the way. how long does it take for half of it?": "2",
    "tim reads 5 pages a day. how many does he read in a week?": "35",
}
RECIPE = """
name: leaks
rounds: 1
model: {path: model, device: cpu}
train: {name: jsonl, path: train.jsonl, evaluate_path: held-out.jsonl}
engine: {threads: 1}
decontaminate: {action: warn}
stages:
  frontier: {problems: 4}
  generate: {samples: 1, max_tokens: 200}
  sft: {steps: 1, batch_size: 2, fewest: 1}
  evaluate: {}
  promote: {rule: always}
"""


def write(folder: Path, **changes: str) -> Recipe:
    for name, problems in (("train", TRAINED), ("held-out", HELD_OUT)):
        rows = (json.dumps({"question": question, "answer": answer}) for question, answer in problems.items())
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    (folder / "leaks.yaml").write_text(RECIPE)
    return load_recipe(str(folder / "leaks.yaml"), [f"decontaminate.{name}={value}" for name, value in changes.items()])


def load(_: Checkpoint, __: Session) -> ScriptedEngine:
    """Right about all, but for the last held-out problem; it says another question before it answers about pens."""

    def answer(prompt: str, seed: int) -> str:
        right = {**HELD_OUT, **TRAINED}[prompt]
        if prompt.startswith("an old ship"):
            return "#1"
        return f"{COPIED}\n#{right}" if "pens" in prompt else f"#{right}"

    return ScriptedEngine(answer)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that reads the problems."""
    folder = tmp_path_factory.mktemp("leaks")
    alphabet = "".join(sorted({*"".join([*HELD_OUT, *TRAINED]), *"0123456789#\n"}))
    shape = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, alphabet=alphabet)
    build_model(shape, folder / "model", seed=1)
    return folder


@pytest.fixture(scope="module")
def stopped(place: Path) -> tuple[Path, str]:
    """The folder with a run that stopped before training, and what it said."""
    folder = place
    with pytest.raises(TrainingError) as raised:
        run_loop(write(folder, action="stop"), RunFolder(folder / "run"), load=load)
    return folder, str(raised.value)


def found_by(run: RunFolder) -> set[tuple[str, str, str, bool]]:
    questions = {one.id: one.question for one in run.stage(0, "problems").read(Problem)}
    found = run.stage(1, "sft").read(Overlap)
    return {(one.rule, one.where, questions[one.parents[1]], one.dropped) for one in found}


def test_a_run_can_stop_before_anything_is_trained(stopped: tuple[Path, str]) -> None:
    folder, said = stopped
    assert said.startswith("round-01/sft: 2 of 4 rows share text with held-out problems, such as ")
    assert "\n" not in said and "--set decontaminate.action=drop --redo all" in said
    run = RunFolder(folder / "run")
    assert not list(run.stage(1, "sft").path.glob("checkpoint*"))
    assert found_by(run) == {("words", "completion", COPIED, False), ("words", "prompt", NUMBERS, False)}


def test_such_rows_are_left_out_or_reported_with_the_accuracy_on_the_rest(
    stopped: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = stopped
    run = RunFolder(folder / "run")
    sampled = (run.stage(1, "generate").path / "stage.json").read_bytes()
    run_loop(write(folder, action="drop"), run, load=load, redo=["all"])
    assert (run.stage(1, "generate").path / "stage.json").read_bytes() == sampled  # only what trains is done again
    examples = {one.id: one for one in run.stage(1, "select").read(Example)}
    trained = [examples[one] for one in run.stage(1, "sft").read(Checkpoint)[0].parents if one in examples]
    assert len(examples) == 4 and len(trained) == 2
    assert not any(COPIED in one.completion or one.prompt.startswith("the baker") for one in trained)
    assert {one[3] for one in found_by(run)} == {True}
    print_status(run)
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "round 1, sft: 2 of 4 rows are left out, which share text with 2 of 3 held-out problems (2 by words)" in printed
    )
    assert "without the" not in printed  # nothing of it was trained
    run_loop(write(folder), run, load=load, redo=["all"])
    whole = run.stage(1, "evaluate").read(Evaluation)
    assert (sum(one.correct for one in whole), sum(one.n for one in whole)) == (2, 3)
    shown = to_json(run)
    assert shown["without overlaps"] == {1: {"problems": 2, "n": 1, "correct": 0}}
    found = shown["overlaps"][0]["counts"]
    assert (found["rows"], found["found"], found["dropped"], found["problems"], found["evaluated"]) == (4, 2, 0, 2, 3)
    assert found["rules"] == {"words": 2}
    print_status(run)
    printed = " ".join(capsys.readouterr().out.split())
    assert "round 1, sft: WARNING: 2 of 4 rows share text with 2 of 3 held-out problems" in printed
    assert "without the 2 held-out problems that share text with what was trained: 0.0% of 1" in printed


def test_only_what_trains_and_what_follows_it_has_another_fingerprint(place: Path) -> None:
    without = write(place).model_copy(update={"decontaminate": None})
    plans = [Session(one, RunFolder(place / "none")).plan for one in (without, write(place))]
    changed = {str(one) for one in plans[0].values() if plans[1][one.key].fingerprint != one.fingerprint}
    assert changed == {"round-01/sft", "round-01/evaluate", "round-01/promote"}
    assert ((0, "problems") in plans[1][1, "sft"].reads, (0, "problems") in plans[0][1, "sft"].reads) == (True, False)


@pytest.mark.long
def test_what_rl_mixes_in_is_compared_too(tmp_path: Path) -> None:
    changes = (
        "rounds=1",
        "model.build={hidden_size: 32, intermediate_size: 64, layers: 1, heads: 1, head_size: 32}",
        "warmup={examples: 24, steps: 1, batch_size: 4}",
        "frontier.problems=4",
        "train.held_out=2",
        "rl={steps: 1, batch_size: 4, samples: 2, max_tokens: 8, ptx: 0.5}",
        "promote.rule=always",
        "decontaminate={action: drop}",
    )
    task = load_task(load_recipe("rlvr", changes).train)
    assert isinstance(task, Arithmetic)
    seed = task.seed_rationales(24, 0)[0][0]
    (tmp_path / "train.jsonl").write_text('{"question": "0+0=", "answer": "0"}')
    (tmp_path / "held.jsonl").write_text(json.dumps({"question": seed.question, "answer": seed.answer}))
    leaks = f"evaluate_on=[{{name: jsonl, path: {tmp_path}/train.jsonl, evaluate_path: {tmp_path}/held.jsonl}}]"
    run = RunFolder(tmp_path / "run")
    run_loop(load_recipe("rlvr", [*changes, leaks]), run)
    rows = {one.id for one in run.stage(0, "warmup").read(Example) if one.prompt == seed.question}
    found = [one for one in run.stage(1, "rl").read(Overlap) if one.parents[0] in rows]
    assert rows and {one.parents[0] for one in found} == rows
    assert {(one.rule, one.where, one.dropped) for one in found} == {("exact", "prompt", True)}
