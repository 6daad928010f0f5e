"""Every way in which a training can start: its first loss is that of the model given, computed in another way."""

import math
from pathlib import Path

import pytest
from small import small_recipe
from tiny_models import make_both

from selfimprove.engines import ScriptedEngine
from selfimprove.engines.model_files import ADAPTER
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.records import Checkpoint, Example, Preference
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder
from selfimprove.tasks.addition import parse_addition, write_rationale

LORA = "{rank: 2, alpha: 8}"  # that of the adapter given
ONCE = "steps: 1, batch_size: 64, learning_rate: 0.01, warmup_steps: 0, fewest: 1"
WAYS = {
    "all weights": ("whole", "null", "null"),
    "a new adapter": ("whole", LORA, LORA),
    "a new adapter, which dpo does not name": ("whole", LORA, "null"),
    "a new adapter of dpo": ("whole", "null", LORA),
    "the adapter given": ("adapter", LORA, LORA),
    "the adapter given, merged": ("adapter", "null", "null"),
    "the adapter given, merged, and a new one of dpo": ("adapter", "null", "{rank: 4}"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_both(tmp_path_factory.mktemp("models"))


def answer(prompt: str, seed: int) -> str:
    """Right or wrong by the seed, so that there are pairs."""
    operands = parse_addition(prompt.rpartition("?")[2])
    assert operands is not None
    first, second = map(int, operands)
    return write_rationale(first, second + seed % 2)


def mean_loss(folder: Path, base: str | None, texts: list[tuple[str, str]]) -> float:
    """Tokens' mean negative log-likelihood, by the engine that also evaluates."""
    engine = TransformersEngine(folder, base=base, device="cpu", threads=1)
    scores = engine.score(texts, end=True)
    return -sum(one.logprob for one in scores) / sum(one.tokens for one in scores)


@pytest.mark.parametrize("way", WAYS)
def test_the_first_loss_is_that_of_the_model_given(models: dict[str, Path], tmp_path: Path, way: str) -> None:
    model, sft, dpo = WAYS[way]
    recipe = small_recipe(
        tmp_path,
        *("rounds=1", "warmup=null", "model.build=null", f"model.path={models[model]}", "rationalize=null"),
        *("repair=null", "select.sources=samples", f"sft={{{ONCE}, lora: {sft}}}", "prefer={per_problem: 1}"),
        f"dpo={{{ONCE}, nll: 0.5, measure: 0, lora: {dpo}}}",
    )
    run = RunFolder(tmp_path / "run")
    run_loop(recipe, run, load=lambda checkpoint, session: ScriptedEngine(answer))
    trained, paired = (run.stage(1, name).manifest() for name in ("sft", "dpo"))
    assert trained and paired
    rows = [(one.prompt, one.completion) for one in run.stage(1, "select").read(Example)]
    given = mean_loss(models[model], None, rows)
    assert trained.metrics["curve"][0]["loss"] == pytest.approx(given, rel=2e-4)
    before, after = (run.stage(1, name).read(Checkpoint)[0] for name in ("sft", "dpo"))
    assert mean_loss(run.path / before.path, before.base, rows) < given
    chosen = [(one.prompt, one.chosen) for one in run.stage(1, "prefer").read(Preference)]
    likely = mean_loss(run.path / before.path, before.base, chosen)
    assert paired.metrics["curve"][0]["loss"] == pytest.approx(math.log(2) + 0.5 * likely, rel=2e-4)
    goes_on = sft != "null"
    assert (run.path / before.path / ADAPTER).is_file() == goes_on
    assert (run.path / after.path / ADAPTER).is_file() == (goes_on or dpo != "null")
    assert paired.metrics.get("adapter of") == ("sft" if goes_on and dpo == "null" else None)
    assert mean_loss(run.path / after.path, after.base and str(run.path / after.base), chosen) < likely


def test_the_adapter_of_a_warm_up_is_gone_on_with(tmp_path: Path) -> None:
    changes = (f"warmup.lora={LORA}", f"sft={{{ONCE}, start: last, lora: {LORA}}}", "rationalize=null", "repair=null")
    recipe = small_recipe(tmp_path, "rounds=1", "select.sources=samples", *changes)
    run = RunFolder(tmp_path / "run")
    run_loop(recipe, run, load=lambda checkpoint, session: ScriptedEngine(answer))
    before, after = (run.stage(*key).read(Checkpoint)[0] for key in ((0, "warmup"), (1, "sft")))
    initial = "round-00/warmup/initial"
    assert before.base == after.base == initial  # in the run's own folder, wherever that lies
    rows = [(one.prompt, one.completion) for one in run.stage(1, "select").read(Example)]
    given = mean_loss(run.path / before.path, str(run.path / initial), rows)
    trained = run.stage(1, "sft").manifest()
    assert trained and trained.metrics["curve"][0]["loss"] == pytest.approx(given, rel=2e-4)
    assert mean_loss(run.path / after.path, str(run.path / initial), rows) < given
