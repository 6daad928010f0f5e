"""A run from verdicts to labels, reward models, ranks and what is trained: by SFT and by DPO."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from extending import TRAINED, forgotten_afterwards, imports, run_command, run_tiny, tiny_recipe
from small import record_ids

from selfimprove.engines.tensors import hash_weights
from selfimprove.records import Checkpoint, Decision, Example, Preference, Problem, Rationale, Reward, Verdict
from selfimprove.stages.reward import split_by_prompt
from selfimprove.store import RunFolder
from selfimprove.store.index import Index
from selfimprove.trainers.rewarding import reward_model_function

NAMES = ("frontier", "generate", "verify", "worth", "label", "reward", "rank", "best")
SETTINGS = {
    "worth": "{reward: verdict}",
    "label": "{by: worth, noise: 0.5, per_problem: 3}",
    "reward": f"{{models: 2, fewest: 1, held_out: 0.3, {TRAINED}}}",
    "rank": "{combine: min, part_size: 10}",
    "best": "{by: rank, gold: worth}",
}


def make_recipe(folder: Path, *last: str, **changes: str) -> Path:
    recipe = tiny_recipe(folder, (*NAMES, *last, "evaluate", "promote"), **(SETTINGS | changes))
    text = recipe.read_text().replace("verify, worth,", "verify, {worth: rank},").replace("flaws: 0.05", "flaws: 0.2")
    recipe.write_text(text)
    return recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    with forgotten_afterwards():
        return run_tiny(make_recipe(tmp_path_factory.mktemp("rewarded"), "sft"))


def read(run: RunFolder, stage: str, kind: type[Any]) -> list[Any]:
    return run.stage(1, stage).read(kind)


def test_from_verdicts_to_the_best_of_each_problem(run: RunFolder, tmp_path: Path) -> None:
    texts = {one.id: one for one in read(run, "generate", Rationale)}
    outcome = {one.rationale: one.outcome for one in read(run, "verify", Verdict)}
    worth = {one.rationale: one for one in read(run, "worth", Reward)}
    assert {one: reward.value for one, reward in worth.items()} == {
        one: float(said == "correct") for one, said in outcome.items()
    }
    assert set(worth) == set(texts) and {one.by for one in worth.values()} == {"worth"}
    pairs = read(run, "label", Preference)
    assert pairs and {one.source for one in pairs} == {"label"}
    assert all(one.margin in (0.0, pytest.approx(2 / (1 + math.exp(-2)) - 1)) for one in pairs)

    models = read(run, "reward", Checkpoint)
    assert [(one.role, one.method, one.base) for one in models] == [("reward", "reward", None)] * 2
    assert len({one.weights for one in models}) == 2
    trained, held_out = split_by_prompt(pairs, 0.3)
    assert set(models[0].parents[1:]) == {one.id for one in trained} and held_out
    metrics = run.stage(1, "reward").manifest().metrics  # type: ignore[union-attr]
    found = metrics["held out"]
    assert (found["pairs"], len(found["members"])) == (len(held_out), 2) and found["agreement"] is not None

    # What was ranked is what the models say of the prompts that they were trained on.
    ranked = read(run, "rank", Reward)
    problems = {one.id: one for one in read(run, "frontier", Problem)}
    asked = [texts[one.rationale] for one in ranked]
    prompts = [one.prompt for one in asked]
    assert {one.prompt for one in pairs} <= set(prompts)
    given = [
        reward_model_function(run.path / one.path, device="cpu")(
            prompts, [text.text for text in asked], [problems[text.problem] for text in asked]
        )
        for one in models
    ]
    for at, one in enumerate(ranked):
        assert one.parents[1:] == tuple(model.id for model in models)
        assert one.members == pytest.approx([each[at] for each in given], abs=1e-5)
        assert one.value == min(one.members)

    examples = read(run, "best", Example)
    value = {one.rationale: one.value for one in ranked}
    whole = [one for one in texts.values() if one.finish == "stop"]
    assert len(examples) == len({one.problem for one in whole})
    for example in examples:
        mine = [value[one.id] for one in whole if one.problem == texts[example.parents[0]].problem]
        assert value[example.parents[0]] == max(mine)
    decisions = read(run, "best", Decision)
    assert {one.rationale for one in decisions} == set(texts)
    assert {one.rationale for one in decisions if one.kept} == {one.parents[0] for one in examples}
    rows = run.stage(1, "best").manifest().metrics["best of n"]  # type: ignore[union-attr]
    right = [outcome[one.id] == "correct" for one in whole]
    assert rows[0]["n"] == 1 and rows[1]["reward"] > rows[0]["reward"] and 0 < rows[0]["gold"] <= 1
    assert rows[0]["gold"] == pytest.approx(sum(right) / len(right), abs=0.1)  # a mean over problems

    # Nothing that the reward models saw counts as trained; what they chose does.
    (policy,) = read(run, "sft", Checkpoint)
    assert set(policy.parents[1:]) == {one.id for one in examples}
    index = Index(run, tmp_path / "cache")
    index.refresh(force=True)
    rows = index.rows("SELECT id FROM trace WHERE trained <> 'no'")
    assert {row["id"] for row in rows} == {one.parents[0] for one in examples}
    index.close()


def test_a_stage_that_lost_its_second_model_makes_that_again_and_the_same(run: RunFolder) -> None:
    ids, home = record_ids(run), run.stage(1, "reward").path
    first, second = (home / "checkpoint" / one for one in ("1", "2"))
    before, written = hash_weights(second), (first / "model.safetensors").stat().st_mtime_ns
    for file in (*home.glob("*.parquet"), home / "stage.json"):
        file.unlink()
    shutil.rmtree(second)
    run_tiny(run.path.parent / "tiny.yaml")
    assert hash_weights(second) == before and (first / "model.safetensors").stat().st_mtime_ns == written
    assert record_ids(run) == ids
    assert not list(home.glob("training*"))


@pytest.mark.long
def test_the_best_over_the_worst_trains_by_dpo(tmp_path: Path) -> None:
    recipe = make_recipe(
        tmp_path,
        "dpo",
        reward=f"{{fewest: 1, {TRAINED}}}",
        best="{by: rank, into: dpo}",
        dpo=f"{{fewest: 1, pairs_of: [best], {TRAINED}}}",
    )
    folder = run_tiny(recipe)
    value = {one.rationale: one.value for one in read(folder, "rank", Reward)}
    pairs, (policy,) = read(folder, "best", Preference), read(folder, "dpo", Checkpoint)
    assert pairs and {one.source for one in pairs} == {"best"}
    for one in pairs:
        assert value[one.parents[0]] > value[one.parents[1]]
    assert {one.id for one in pairs} == set(policy.parents[1:]) and read(folder, "label", Preference)


@pytest.mark.long
def test_mistakes_of_a_user_are_one_line(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from selfimprove.engines.build import build_model
    from selfimprove.recipe import Build

    recipe = run.path.parent / "tiny.yaml"

    def say(*changes: str) -> str:
        words = [word for one in changes for word in ("--set", one)]
        assert run_command("run", recipe, "--runs", tmp_path, *imports("adder"), "--name", "other", *words) == 2
        (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("selfimprove: ")]
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        return line

    # All texts are right: of two alike there is no better one.
    said = say("engine.options.flaws=0", "label.noise=0")
    assert "round-01/reward: no pairs to train a reward model on" in said and said.endswith("/other --round 1")
    assert "'reward.fewest' asks for 500; sample more, or lower it" in say("reward.fewest=500")
    shutil.copytree(run.path / "round-01/reward/checkpoint/1", tmp_path / "theirs")
    build_model(Build(hidden_size=32, layers=1, heads=1, alphabet="0123456789+=#? \nx"), tmp_path / "x", seed=1)
    reading = json.loads((tmp_path / "theirs/reward.json").read_text())
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "x" / file, tmp_path / "theirs" / file)
    assert "its tokenizer is not the one that this reward model was trained with" in say(f"rank.path={tmp_path}/theirs")
    from transformers import AutoTokenizer

    from selfimprove.trainers.rewarding import hash_vocabulary

    reading["tokenizer"] = hash_vocabulary(AutoTokenizer.from_pretrained(tmp_path / "theirs"))
    (tmp_path / "theirs/reward.json").write_text(json.dumps(reading))
    assert "has another tokenizer than the model whose texts it is to score" in say(f"rank.path={tmp_path}/theirs")
    assert "/none: no such folder; 'path' names that of a reward model" in say(f"rank.path={tmp_path}/none")
