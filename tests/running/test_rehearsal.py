"""What a training would refuse is said by `plan` and `run` before anything is sampled, in one line."""

import re
import warnings
from pathlib import Path

import pytest
from rich.console import Console
from small import small_recipe
from tiny_models import make_both
from transformers import AutoTokenizer, GraniteConfig, GraniteForCausalLM

from selfimprove.engines import Engine
from selfimprove.engines.build import build_model, sketch_model
from selfimprove.engines.models import build_skeleton
from selfimprove.errors import SelfImproveError
from selfimprove.recipe.recipe import Build
from selfimprove.records import Checkpoint
from selfimprove.running.estimate import print_plan
from selfimprove.running.loop import run_loop
from selfimprove.running.session import Session
from selfimprove.store import RunFolder

ADAPTER, GRANITE = "model.path={adapter}", "model.path={granite}"
STAGES = "flow=[frontier, generate, verify, select, {}, evaluate, promote]"
WRITES = "samples: 2, batch_size: 4, steps: 1"
REFUSED = {
    "layers that the model lacks": (
        ["sft.lora={targets: [query_key_value]}"],
        "'sft' .*'lora.targets': .* no layers called query_key_value; choose from down_proj, .*q_proj",
    ),
    "layers of dpo alone": (["dpo={lora: {targets: [w1, q_proj2]}}"], "'dpo' could not be trained: 'lora.targets'"),
    "another rank in dpo": (
        ["sft.lora={rank: 2}", "dpo={lora: {rank: 4}}"],
        "'dpo.lora': it goes on with the adapter of 'sft', which has other settings .rank: 2.; write the same",
    ),
    "the base as the reference of an adapter": (
        ["sft.lora={}", "dpo={reference: base}"],
        "'dpo' goes on with the adapter of 'sft', and 'reference: base'",
    ),
    "another rank than the adapter given": (
        [ADAPTER, "sft.lora={rank: 4, alpha: 8}"],
        "is a LoRA adapter, .*write 'lora.rank: 2' instead of 4",
    ),
    "the base as the reference of an adapter in rl": (
        [STAGES.format("sft, rl"), "sft.lora={}", f"rl={{reference: base, {WRITES}}}"],
        "'rl' goes on with the adapter of 'sft', and 'reference: base'",
    ),
    "texts that rl has no room for": (
        [STAGES.format("sft, rl"), f"rl={{max_length: 26, max_tokens: 24, {WRITES}}}"],
        "'rl.max_tokens: 24' leaves no room for a question: a short one has 5 tokens, and 'rl.max_length' has room for "
        "26 in all",
    ),
    "texts that the model has no room for": (
        [STAGES.format("sft, rl"), f"rl={{max_length: 900, max_tokens: 511, {WRITES}}}"],
        "'rl.max_tokens: 511' leaves no room .* the model has room for 512 in all",
    ),
    "a model of a kind without classifiers": (
        [GRANITE, STAGES.format("prefer, reward, sft"), "prefer={}", "reward={}"],
        "'reward' could not be trained: no reward model can be made of a GraniteForCausalLM",
    ),
    "an adapter of a reward model": (
        ["reward={lora: {targets: [w1]}}", "prefer={}", STAGES.format("prefer, reward, sft")],
        "'reward' could not be trained: 'lora.targets'",
    ),
    "rows that cannot fit": (["sft.max_length=5"], "sft.max_length"),
    "pairs that cannot fit": (["dpo={max_length: 5}"], "'dpo.max_length: 5' leaves out every row"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    models = make_both(tmp_path_factory.mktemp("models"))
    granite = tmp_path_factory.mktemp("granite")
    tokenizer = AutoTokenizer.from_pretrained(models["whole"])
    tokenizer.save_pretrained(granite)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    GraniteForCausalLM(GraniteConfig(vocab_size=len(tokenizer), **shape, **ids)).save_pretrained(granite)
    return {**models, "granite": granite}


def never(checkpoint: Checkpoint, session: Session) -> Engine:
    raise AssertionError("an engine was loaded")


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_training_would_refuse_is_said_before_the_first_token(
    models: dict[str, Path], tmp_path: Path, case: str
) -> None:
    changes, said = REFUSED[case]
    recipe = small_recipe(
        tmp_path,
        *("warmup=null", "model.build=null", f"model.path={models['whole']}", "rationalize=null", "repair=null"),
        *(["prefer={}"] if "dpo" in "".join(changes) else []),
        *("select.sources=samples", *(one.format(**models) if one in (ADAPTER, GRANITE) else one for one in changes)),
    )
    run = RunFolder(tmp_path / "run")
    with pytest.raises(SelfImproveError, match=said) as refused:
        print_plan(recipe, run, Console(quiet=True))
    with pytest.raises(SelfImproveError, match=said):
        run_loop(recipe, run, load=never)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "sft.lora={targets: [query_key_value]}",
            "'sft' .*model.build.* no layers called query_key_value; choose from",
        ),
        ("sft.max_length=5", "'sft.max_length: 5' leaves out every row: a short question has [0-9]+ tokens"),
        ("warmup.max_length=5", "'warmup.max_length: 5' leaves out every row: a short question has [0-9]+ tokens"),
        (
            "warmup.lora={rank: 2} sft.lora={rank: 4}",
            "'sft.lora': it goes on with the adapter of 'warmup', which has other settings .rank: 2.; write the same",
        ),
        ("warmup.lora={targets: [w9]}", "'warmup' could not be trained: .* no layers called w9; choose from"),
    ],
)
def test_a_model_that_is_built_is_rehearsed_too(tmp_path: Path, change: str, said: str) -> None:
    recipe, run = small_recipe(tmp_path, *re.split(" (?=[a-z]+[.])", change)), RunFolder(tmp_path / "run")
    with warnings.catch_warnings(), pytest.raises(SelfImproveError, match=said) as refused:
        warnings.filterwarnings("error", message="The PEFT config")  # which a user would see
        print_plan(recipe, run, Console(quiet=True))
    with pytest.raises(SelfImproveError, match=said):
        run_loop(recipe, run, load=never)
    assert "\n" not in str(refused.value) and not run.has_recipe()


def test_a_sketch_of_a_built_model_has_its_layers_and_shapes(tmp_path: Path) -> None:
    shape = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, alphabet="aab")
    build_model(shape, tmp_path, seed=0)
    read = {name: tensor.shape for name, tensor in build_skeleton(tmp_path).state_dict().items()}
    assert read == {name: tensor.shape for name, tensor in sketch_model(shape).state_dict().items()}


def test_a_plan_says_whose_adapter_is_trained_on(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("warmup=null", "model.build=null", f"model.path={models['adapter']}", "rationalize=null", "prefer={}")
    lora = "{rank: 2, alpha: 8, targets: all-linear}"
    recipe = small_recipe(tmp_path, *changes, "select.sources=samples", f"sft.lora={lora}", "dpo={beta: 0.1}")
    print_plan(recipe, RunFolder(tmp_path / "run"), Console(quiet=True))
    assert capsys.readouterr().err == "selfimprove: 'dpo' has no 'lora', and goes on with the adapter of 'sft'\n"
