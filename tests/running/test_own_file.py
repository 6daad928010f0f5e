"""A model and a file of one's own: what is said of a small file, what a plan expects, and what an evaluation leaves
out."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from test_cli import call

from selfimprove.engines import Engine, ScriptedEngine
from selfimprove.engines.base import Completion
from selfimprove.engines.build import build_model
from selfimprove.errors import SelfImproveError, StoreError
from selfimprove.recipe import Build, Recipe
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint, Problem
from selfimprove.running.estimate import estimate, measure
from selfimprove.running.find_model import find_best, find_checkpoint, locate_model, with_model_found
from selfimprove.running.loop import run_loop
from selfimprove.running.progress import LineReport
from selfimprove.running.remarks import measure_sizes
from selfimprove.running.seen import find_seen
from selfimprove.running.session import Session
from selfimprove.store import RunFolder
from selfimprove.tasks.base import question_key

MINE = """
name: mine
rounds: 2
model: {path: model, device: cpu}
train: {name: jsonl, path: problems.jsonl, held_out: 40}
prompt: {style: zero-shot, hint: "{answer}?{question}"}
engine: {batch_size: 8, threads: 1}
stages:
  frontier: {problems: 10}
  generate: {samples: 2, max_tokens: 24}
  rationalize: {}
  sft: {batch_size: 16, learning_rate: 0.001, fewest: 1}
  evaluate: {max_tokens: 8}
  promote: {rule: always}
"""


class Adder(ScriptedEngine):
    """Right with every other problem; every fourth text ends at the longest length."""

    def generate(self, requests, sampling, stop=()):  # type: ignore[no-untyped-def]
        for one in super().generate(requests, sampling, stop):
            cut = one.index % 4 == 3
            yield Completion(one.index, one.text, one.tokens, one.logprob, "length" if cut else "stop")


def load(checkpoint: Checkpoint, session: Session) -> Engine:
    def write(prompt: str, seed: int) -> str:
        first, second = map(int, re.findall(r"(\d+)\+(\d+)=", prompt)[-1])
        return f"{first}+{second}={first + second + first % 2}"

    return Adder(write)


def read_mine(folder: Path, *changes: str) -> Recipe:
    return load_recipe(str(folder / "mine.yaml"), changes)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a file of 32 problems and a finished run `mine`, trained for real."""
    folder = tmp_path_factory.mktemp("own")
    build_model(Build(hidden_size=32, intermediate_size=32, layers=1, heads=1), folder / "model", seed=1)
    rows = [{"question": f"{at}+{at % 7}=", "answer": at + at % 7} for at in range(32)]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "mine.yaml").write_text(MINE)
    run_loop(read_mine(folder), RunFolder(folder / "runs/mine"), load=load)
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> RunFolder:
    return RunFolder(place / "runs/mine")


def test_what_a_small_file_cannot_give_is_said(place: Path, run: RunFolder, tmp_path: Path) -> None:
    shown = " ".join(
        call("plan", "mine.yaml", "--set", "frontier.problems=1000", "--runs", "none", folder=place).stdout.split()
    )
    assert "16 problems are held out and not 40 ('held_out'): at most half of its 32 different problems" in shown
    assert "a round draws 16 problems and not 1,000 ('frontier.problems')" in shown
    enough = call("plan", "mine.yaml", "--set", "train.held_out=8", "--runs", "none", folder=place).stdout
    assert "held out and not" not in enough
    assert "a round draws" not in enough
    assert not (place / "none").exists()


def test_texts_that_were_cut_off_and_a_training_of_one_step_are_said(
    place: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = run.stage(1, "generate").manifest()
    assert manifest is not None
    assert manifest.metrics["cut off"] == 5  # of 10 problems with two samples
    for name in ("generate", "sft", "select"):
        found = run.stage(1, name).manifest()
        assert found is not None
        LineReport().end(None, found, "")  # type: ignore[arg-type]
    generate, sft, select = capsys.readouterr().out.splitlines()
    assert "5 of 20 texts cut off at the longest length" in generate
    assert re.search(r"only 1 step on \d+ rows: too few to change what the model does", sft)
    assert "cut off" not in select
    shown = call("status", "mine", folder=place).stdout
    assert re.search(r"generate .* 10 of 40\s*$", shown, re.MULTILINE)
    stages = json.loads(call("status", "mine", "--json", folder=place).stdout)["stages"]
    assert [one["cut off"] for one in stages if one["stage"] == "generate"] == [5, 5]


def test_a_plan_after_the_first_round_is_within_a_factor_of_two(place: Path, run: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "mine")
    shutil.copytree(run.path, copy.path)
    shutil.rmtree(copy.path / "round-02")
    session = Session(read_mine(place), copy)
    rates, sizes = measure(session.recipe, copy, session.plan), measure_sizes(session.inputs)
    assert sizes.problems == 10
    low = high = real = 0
    for key, stage in session.plan.items():
        if key[0] == 2:
            found = estimate(stage, sizes, rates)
            assert found.measured, key
            low, high = low + found.tokens[0], high + found.tokens[1]
            real += sum(run.stage(*key).manifest().tokens.values())  # type: ignore[union-attr]
    assert low <= real <= high <= 4 * low
    assert real / 2 <= (low * high) ** 0.5 <= real * 2
    # Before anything was measured: no more than the problems that there are can take.
    fresh = Session(read_mine(place, "frontier.problems=1000"), RunFolder(tmp_path / "none/mine"))
    rates, sizes = measure(fresh.recipe, fresh.folder, fresh.plan), measure_sizes(fresh.inputs)
    assert sizes.problems == 16
    assert estimate(fresh.plan[1, "generate"], sizes, rates).tokens[1] == 16 * 2 * 24


def test_a_plan_borrows_no_lengths_of_other_settings(place: Path, run: RunFolder) -> None:
    def expect(*changes: str) -> Mapping[str, float]:
        session = Session(read_mine(place, "name=other", *changes), RunFolder(place / "runs/other"))
        return measure(session.recipe, session.folder, session.plan).length

    assert {"generate", "evaluate"} <= set(expect("generate.samples=5"))
    assert "generate" not in expect("generate.max_tokens=96")
    assert "evaluate" not in expect("evaluate.max_tokens=96")
    assert not expect("prompt.cue=x").keys() & {"generate", "evaluate"}
    assert not expect("train.level=level")


def test_a_run_and_a_round_of_it_name_a_model(place: Path, run: RunFolder) -> None:
    best = str(run.path / find_best(run).path)
    for target in ("mine", "mine/", str(run.path), f"{run.path}/"):
        assert locate_model(target, place / "runs") == best
    for target in ("mine/round-01", f"{run.path}/round-01", f"{run.path}/round-01/"):
        assert locate_model(target, place / "runs") == str(run.path / "round-01/sft/checkpoint")
    assert locate_model("mine/round-00", place / "runs") == str((place / "model").resolve())
    for target in ("owner/name", best, str(place / "model"), "nothing"):
        assert locate_model(target, place / "runs") == target
    with pytest.raises(StoreError, match=r"mine: round 7 has no checkpoint; rounds that have one: round-00, round-01"):
        find_checkpoint("mine/round-07", place / "runs")


def test_a_recipe_and_a_judge_name_a_run_too(place: Path, run: RunFolder) -> None:
    trained = str(run.path / "round-01/sft/checkpoint")
    for named in ("mine/round-01", f"{run.path}/round-01"):
        recipe = read_mine(place, "name=other", f"model.path={named}")
        assert with_model_found(recipe, place / "runs").model.path == trained
        judged = with_model_found(read_mine(place, f"judge.path={named}"), place / "runs")
        assert (judged.judge.path, judged.model.path) == (trained, read_mine(place).model.path)
    plain = read_mine(place)
    assert with_model_found(plain, place / "runs") is plain
    (place / "answers.jsonl").write_text('{"response": "3", "answer": "3"}\n')
    for command in (
        ("plan", "mine.yaml", "--set", "model.path=mine/round-07", "--set", "name=other"),
        ("verify", "answers.jsonl", "--verifier", "judge", "--judge-model", "mine/round-07"),
    ):
        done = call(*command, folder=place)
        assert done.returncode == 2 and "mine: round 7 has no checkpoint; rounds that have one" in done.stderr


def test_a_folder_with_an_emoji_in_its_name_is_a_model(place: Path, tmp_path: Path) -> None:
    """What is handed on as JSON is read as JSON, and not as YAML, which knows no pairs of escapes."""
    model = Path(shutil.copytree(place / "model", tmp_path / "mod\N{SLIGHTLY SMILING FACE} \u00e4 'a': b"))
    out = tmp_path / "r\N{GRINNING FACE}ns"
    done = call("plan", "mine.yaml", "--model", str(model), "--runs", str(out), "--name", "other", folder=place)
    assert done.returncode == 0, done.stderr
    assert "round-01/sft" in done.stdout


def evaluate(place: Path, name: str, *arguments: str) -> tuple[str, set[str]]:
    """What is said, and the questions that are asked."""
    done = call("evaluate", "jsonl", "--path", "problems.jsonl", "--set", "generate.max_tokens=4",
                "--set", "model.device=cpu", "--name", name, *arguments, folder=place)  # fmt: skip
    assert done.returncode == 0, done.stderr
    asked = RunFolder(place / "runs" / name).stage(0, "problems").read(Problem)
    return done.stderr, {question_key(one.question) for one in asked}


def test_what_a_checkpoint_was_trained_on_is_left_out_and_counted(place: Path, run: RunFolder) -> None:
    seen = find_seen(locate_model("mine/round-02", place / "runs"))
    drawn = {question_key(one.question) for at in (1, 2) for one in run.stage(at, "frontier").read(Problem)}
    assert seen.drawn == drawn
    assert set() < seen.trained < drawn
    said, asked = evaluate(place, "whole", "--model", "mine/round-02", "--all")
    assert f"{len(drawn)} of 32 problems were drawn for training by the run that made the model (mine)" in said
    assert f"rows of {len(seen.trained)} of them were kept: they are left out" in said
    assert len(asked) == 32 - len(drawn)
    assert not asked & drawn
    # Another model has seen nothing of it, and whoever wants to asks all.
    said, asked = evaluate(place, "plain", "--model", "model", "--all")
    assert "left out" not in said
    assert len(asked) == 32
    said, asked = evaluate(place, "seen", "--model", "mine", "--all", "--set", "evaluate.unseen=false")
    assert len(asked) == 32
    said, asked = evaluate(place, "half", "--model", "mine")
    assert "at most half of its 32 different problems are set aside; to evaluate all of them: --all" in said
    assert len(asked) == 16


def test_what_an_ancestor_was_trained_on_is_left_out_too(place: Path, run: RunFolder, tmp_path: Path) -> None:
    start = locate_model("mine/round-01", place / "runs")
    child = RunFolder(tmp_path / "runs/child")
    recipe = read_mine(place, "name=child", f"model.path={start}", "rounds=1", "seed=5", "frontier.problems=2")
    run_loop(recipe, child, load=load)
    seen = find_seen(str(child.path / "round-01/sft/checkpoint"))
    assert seen.runs == ["child", "mine"]
    own = {question_key(one.question) for one in child.stage(1, "frontier").read(Problem)}
    first = {question_key(one.question) for one in run.stage(1, "frontier").read(Problem)}
    assert seen.drawn == own | first


def test_a_changed_file_is_named_as_such(place: Path, run: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "mine")
    shutil.copytree(run.path, copy.path)
    (tmp_path / "more.jsonl").write_text(
        (place / "problems.jsonl").read_text() + '{"question": "9+99=", "answer": 108}\n'
    )
    with pytest.raises(StoreError, match=r"\(train\.path was .*problems\.jsonl and is .*more\.jsonl; the problems, "):
        run_loop(read_mine(place, f"train.path={tmp_path}/more.jsonl"), copy, load=load)
    said = r"\(seed was 0 and is 1; sft\.lora was not there and is there\); 19 of its stages"
    with pytest.raises(StoreError, match=said):
        run_loop(read_mine(place, "seed=1", "sft.lora.rank=2"), copy, load=load)
    with pytest.raises(
        StoreError, match=r"sft\.epochs was 1\.0 and is 2\.0.*; go on as before with --set sft\.epochs=1\.0, "
    ):
        run_loop(read_mine(place, "sft.epochs=2"), copy, load=load)


def test_a_start_in_vain_leaves_no_folder(place: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = Path(shutil.copytree(place / "model", tmp_path / "wider")) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_size": 64}))  # found as it is loaded
    models = [f"model.path={tmp_path}/{name}" for name in ("nowhere", "empty", "wider")]
    for change in (*models, "train.path=/nowhere.jsonl"):
        vain = RunFolder(tmp_path / "runs/vain")
        with pytest.raises(SelfImproveError):
            run_loop(read_mine(place, change), vain)
        assert not vain.path.exists(), change
    there = RunFolder(tmp_path / "runs/there")
    there.path.mkdir()
    with pytest.raises(SelfImproveError):
        run_loop(read_mine(place, "model.path=/nowhere"), there)
    assert there.path.exists()
