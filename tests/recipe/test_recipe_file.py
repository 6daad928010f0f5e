import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfimprove.recipe import Build, Prompting, compose, stage_names
from selfimprove.recipe.engine_settings import EngineSettings, Ray, ServerSettings, VllmSettings
from selfimprove.recipe.file import load_recipe, write_recipe
from selfimprove.recipe.policies import POLICIES, find_policy
from selfimprove.recipe.task_settings import ArithmeticTask, Gsm8kTask, SvampTask
from selfimprove.settings import hashed_settings
from selfimprove.stages.evaluate import Evaluate
from selfimprove.stages.generate import Generate
from selfimprove.stages.rationalize import Rationalize
from selfimprove.stages.select import Select
from selfimprove.stages.sft import Sft
from selfimprove.stages.vote import MajorityVote
from selfimprove.stages.warmup import Warmup

SHIPPED = sorted((POLICIES / "recipes").glob("*.yaml"))
PLAIN = """\
name: plain
model: {path: some/model}
train:
  name: gsm8k
"""


def recipe_of(**stages: Any) -> Any:
    data = {"name": "x", "model": {"path": "m"}, "train": Gsm8kTask(), "stages": stages}
    return compose({}).model_validate(data)


@pytest.fixture
def plain(tmp_path: Path) -> str:
    path = tmp_path / "plain.yaml"
    path.write_text(PLAIN)
    return str(path)


def test_the_recipes_that_the_readme_names_are_there() -> None:
    assert {"arithmetic", "word-problems"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_loads_by_name_and_by_path(path: Path) -> None:
    recipe = load_recipe(path.stem)
    assert recipe == load_recipe(str(path))
    assert recipe.name == path.stem


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_written_recipe_is_the_same_recipe(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(path))
    (tmp_path / "recipe.yaml").write_text(write_recipe(recipe))
    again = load_recipe(str(tmp_path / "recipe.yaml"))
    assert again == recipe
    assert write_recipe(again) == write_recipe(recipe)


def defaults(settings: Any) -> dict[str, Any]:
    """What a settings model writes out in full, by its own fields alone."""
    return {
        name: defaults(value) if hasattr(value := getattr(settings, name), "model_fields") else value
        for name in type(settings).model_fields
    }


def test_every_default_is_written_out(plain: str) -> None:
    written = yaml.safe_load(write_recipe(load_recipe(plain)))
    assert list(written) == [name for name in compose({}).model_fields if name != "flow"]
    assert (written["seed"], written["rounds"], written["evaluate_on"]) == (0, 4, [])
    assert written["train"] == {
        "name": "gsm8k", "path": None, "held_out": 200, "limit": None,
        "answers": {"strict": False, "tolerance": 0.0, "relative_tolerance": 0.0, "units": "ignore"},
    }  # fmt: skip
    assert written["stages"]["rationalize"] is None and written["stages"]["warmup"] is None
    for name, stage in (("generate", Generate()), ("sft", Sft())):
        assert list(written["stages"][name]) == list(type(stage).model_fields)
        shown = {key: list(one) if isinstance(one, tuple) else one for key, one in defaults(stage).items()}
        assert written["stages"][name] == shown


def test_texts_survive_being_written(plain: str, tmp_path: Path) -> None:
    texts = {"cue": "\nA:", "question": "Frage {question} — é", "stop": ["\n", "# ", "  "], "trigger": "'yes: {no}'"}
    recipe = load_recipe(plain, [f"prompt={json.dumps(texts)}"])
    (tmp_path / "again.yaml").write_text(write_recipe(recipe))
    assert load_recipe(str(tmp_path / "again.yaml")).prompt == Prompting(**texts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("rounds=3", "rounds", 3),
        (" rounds =3", "rounds", 3),
        ("generate.samples=8", "stages.generate.samples", 8),
        ("stages.generate.samples=8", "stages.generate.samples", 8),
        ("sft.learning_rate=1e-4", "stages.sft.learning_rate", 0.0001),
        ("sft.lora.rank=4", "stages.sft.lora.rank", 4),
        ("sft.lora={}", "stages.sft.lora.rank", 8),
        ("sft.steps=null", "stages.sft.steps", None),
        ("rationalize.samples=2", "stages.rationalize.samples", 2),
        ("rationalize={}", "stages.rationalize", Rationalize()),
        ("prompt.stop=[a, 'b c']", "prompt.stop", ("a", "b c")),
        ("prompt.stop=[]", "prompt.stop", ()),
        ("prompt.cue='\\n'", "prompt.cue", "\\n"),
        ('prompt.cue="\\nA:"', "prompt.cue", "\nA:"),
        ('description="a=b: c"', "description", "a=b: c"),
        ("name='7'", "name", "7"),
        ("train={name: svamp, limit: 5}", "train", SvampTask(limit=5)),
        ("train.limit=7", "train.limit", 7),
        ("evaluate_on=[{name: svamp}, {name: gsm8k}]", "evaluate_on", (SvampTask(), Gsm8kTask())),
        ("model={path: other/model}", "model.path", "other/model"),
    ],
)
def test_an_override_sets_one_setting(plain: str, override: str, path: str, expected: Any) -> None:
    recipe = load_recipe(plain, [override])
    value: Any = recipe
    for part in path.split("."):
        value = getattr(value, part)
    assert value == expected
    before, after = load_recipe(plain).model_dump(), recipe.model_dump()
    changed = [name for name in before if before[name] != after[name]]
    assert changed in ([path.split(".")[0]], [])


def test_null_takes_a_stage_out() -> None:
    assert load_recipe("arithmetic").stages.rationalize is not None
    assert load_recipe("arithmetic", ["rationalize=null"]).stages.rationalize is None


def test_overrides_turn_a_built_model_into_a_pretrained_one() -> None:
    overrides = ["model.build=null", "model.path=owner/name", "warmup=null", "train={name: svamp}"]
    recipe = load_recipe("arithmetic", overrides)
    assert (recipe.model.path, recipe.model.build, recipe.train) == ("owner/name", None, SvampTask())


def test_the_last_override_counts(plain: str) -> None:
    assert load_recipe(plain, ["rounds=2", "rounds=9", "seed=3"]).rounds == 9


def test_files_are_found_beside_the_recipe_from_anywhere(tmp_path: Path) -> None:
    exemplars = tmp_path / "files" / "exemplars.yaml"
    exemplars.parent.mkdir()
    exemplars.write_text("exemplars: []")
    (tmp_path / "files" / "own.jsonl").write_text("")
    (tmp_path / "recipe.yaml").write_text(
        "name: files\nmodel: {path: files}\ntrain: {name: jsonl, path: files/own.jsonl, evaluate_path: nowhere.jsonl}\n"
        "evaluate_on:\n  - {name: svamp, path: files}\nprompt: {exemplars: files/exemplars.yaml}\n"
    )
    recipe = load_recipe(str(tmp_path / "recipe.yaml"))
    assert recipe.prompt.exemplars == str(exemplars)
    assert recipe.model.path == str(tmp_path / "files")
    assert recipe.train.path == str(tmp_path / "files" / "own.jsonl")  # type: ignore[union-attr]
    assert recipe.train.evaluate_path == "nowhere.jsonl"  # type: ignore[union-attr]
    assert recipe.evaluate_on[0].path == str(tmp_path / "files")  # type: ignore[union-attr]


def test_find_recipe_prefers_a_file_to_a_name(tmp_path: Path) -> None:
    own = tmp_path / "arithmetic"
    own.write_text(PLAIN)
    assert find_policy("recipes", str(own)) == own
    assert find_policy("recipes", "arithmetic").name == "arithmetic.yaml"


def names_of(settings: dict[str, Any], prefix: str = "") -> set[str]:
    return {
        found
        for name, value in settings.items()
        for found in ({f"{prefix}{name}"} | (names_of(value, f"{prefix}{name}.") if isinstance(value, dict) else set()))
    }


LAUNCH = ("launch", "launch_config", "processes", "launch_arguments")
UNHASHED = [
    "name",
    "description",
    "constitution",
    "rounds",
    "budget",
    "stop_at_collapse",
    "model.device",
    "model.overrule",
    "train.path",
    "prompt.exemplars",
    *(f"engine.{name}" for name in ("name", "batch_size", "threads", "canary", "token_logprobs", "options")),
    *(f"engine.vllm.{name}" for name in VllmSettings.model_fields),
    *(f"engine.server.{name}" for name in ServerSettings.model_fields),
    "judge.prompt",
    "stages.generate.kl_samples",
    "stages.evaluate.unseen",
    "report_to",
    "stages.verify.workers",
    "stages.verify.overlap",
    "stages.verify.labelled",
    *(f"ray.{name}" for name in Ray.model_fields),
    *(f"stages.{stage}.{name}" for stage in ("warmup", "sft") for name in LAUNCH),
    *(f"stages.{stage}.checkpoint_every" for stage in ("warmup", "sft")),
]
ADDED = [
    "flow",
    "decontaminate",
    "stages.evaluate.controller",
    "stages.select.vote",
    "stages.verify.thinking",
    *(f"stages.evaluate.{name}" for name in ("samples", "temperature", "standard", "extract", "limit", "training")),
    "stages.evaluate.everything",
    "stages.sft.fewest",
    "stages.sft.preferred_less",
    *(f"stages.{stage}.{name}" for stage in ("sft", "warmup") for name in ("loss_on", "packing", "restarts")),
    "stages.frontier.isolate",
]


def test_hashed_settings_leave_out_what_only_changes_the_speed() -> None:
    recipe = recipe_of(warmup=Warmup())
    every, hashed = names_of(recipe.model_dump()), names_of(hashed_settings(recipe))
    assert every - hashed == {*UNHASHED, *ADDED}
    assert hashed < every


def test_a_setting_that_came_later_counts_once_it_is_set() -> None:
    assert hashed_settings(Evaluate()) == {"max_tokens": None, "revise": False, "part_size": 512}
    assert hashed_settings(Evaluate(samples=8, temperature=0.7))["samples"] == 8
    assert hashed_settings(Select(vote=MajorityVote()))["vote"]["votes"] == 3
    assert "hide_answers" not in hashed_settings(ArithmeticTask())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (EngineSettings(batch_size=1, threads=1), EngineSettings(batch_size=9), True),
        (Sft(checkpoint_every=1), Sft(checkpoint_every=2), True),
        (Gsm8kTask(path="a"), Gsm8kTask(path="b"), True),
        (Sft(batch_size=1), Sft(batch_size=2), False),
        (Generate(samples=1), Generate(samples=2), False),
        (recipe_of(sft=Sft(steps=1)).stages, recipe_of(sft=Sft(steps=2)).stages, False),
        (ArithmeticTask(held_out=1), ArithmeticTask(held_out=2), False),
        (Build(layers=1), Build(layers=2), False),
    ],
)
def test_settings_that_compute_the_same_hash_the_same(one: Any, other: Any, same: bool) -> None:
    assert (hashed_settings(one) == hashed_settings(other)) is same


def test_stages_are_in_the_order_of_a_round() -> None:
    names = stage_names({})
    assert names.index("generate") < names.index("verify") < names.index("rationalize") < names.index("select")
    found = [
        "sft",
        "distill",
        "prefer",
        "reward",
        "rank",
        "label",
        "best",
        "dpo",
        "rl",
        "evaluate",
        "comply",
        "promote",
    ]
    assert names[-len(found) :] == found


def test_a_path_on_the_command_line_is_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, here = tmp_path / "recipes", tmp_path / "here"
    for folder in (beside, here):
        folder.mkdir()
        (folder / "problems.jsonl").write_text("")
    (beside / "mine.yaml").write_text("name: mine\nmodel: {path: a/b}\ntrain: {name: jsonl, path: problems.jsonl}\n")
    monkeypatch.chdir(here)
    assert load_recipe("../recipes/mine.yaml").train.path == str(beside / "problems.jsonl")  # type: ignore[union-attr]
    overridden = load_recipe("../recipes/mine.yaml", ["train.path=problems.jsonl"])
    assert overridden.train.path == str(here / "problems.jsonl")  # type: ignore[union-attr]
