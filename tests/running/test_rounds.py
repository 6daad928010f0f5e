"""What rounds decide, with an engine whose answers are known: roll-back, promotion, LoRA on a given model."""

from pathlib import Path

from small import small_recipe

from selfimprove.engines import ScriptedEngine
from selfimprove.engines.build import build_model
from selfimprove.engines.tensors import hash_weights
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.recipe import Build
from selfimprove.records import Checkpoint, Evaluation, Promotion, Rationale
from selfimprove.running.loop import run_loop
from selfimprove.running.plan import PlannedStage
from selfimprove.running.report import Silent
from selfimprove.running.session import Session
from selfimprove.store import Manifest, RunFolder
from selfimprove.tasks.addition import parse_addition, write_rationale


def answer(prompt: str) -> str:
    operands = parse_addition(prompt.rpartition("?")[2])
    assert operands is not None
    return write_rationale(*map(int, operands))


def right_until_trained(checkpoint: Checkpoint, session: Session) -> ScriptedEngine:
    """The first checkpoint answers everything, every trained one nothing."""
    return ScriptedEngine(lambda prompt, seed: "#0" if checkpoint.method == "sft" else answer(prompt))


def test_a_round_that_the_paired_test_calls_worse_is_rolled_back(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run_loop(small_recipe(tmp_path, "promote.rule=not-worse"), run, load=right_until_trained)
    first = run.stage(0, "warmup").read(Checkpoint)[0]
    for round_ in (1, 2):
        promotion = run.stage(round_, "promote").read(Promotion)[0]
        assert not promotion.promoted
        assert "rolled back, the paired test says worse: 0 problems won, 16 lost of 16" in promotion.reason
        assert promotion.checkpoint == first.id
        assert {one.checkpoint for one in run.stage(round_, "generate").read(Rationale)} == {first.id}
    # The second round went on from the first checkpoint, not from the one that was rolled back.
    assert run.stage(2, "sft").read(Checkpoint)[0].parents[0] == first.id


def test_without_a_test_every_round_is_kept(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run_loop(small_recipe(tmp_path, "promote.rule=always"), run, load=right_until_trained)
    trained = run.stage(1, "sft").read(Checkpoint)[0]
    assert {one.checkpoint for one in run.stage(2, "generate").read(Rationale)} == {trained.id}


def test_lora_on_a_given_model_goes_on_with_its_adapter(tmp_path: Path) -> None:
    model = tmp_path / "model"
    build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1), model, seed=1)
    recipe = small_recipe(
        tmp_path,
        *("warmup=null", "model.build=null", f"model.path={model}", "rationalize=null", "select.sources=samples"),
        *("sft.lora={rank: 2}", "sft.epochs=1", "sft.steps=null"),
    )
    run = RunFolder(tmp_path / "run")
    run_loop(recipe, run, load=lambda checkpoint, session: ScriptedEngine(lambda prompt, seed: answer(prompt)))
    base = run.stage(0, "base").read(Checkpoint)[0]
    first, second = (run.stage(round_, "sft").read(Checkpoint)[0] for round_ in (1, 2))
    assert base.weights == hash_weights(model)
    assert (first.parents[0], second.parents[0]) == (base.id, first.id)
    assert len({base.weights, first.weights, second.weights}) == 3
    assert (run.path / second.path / "adapter_config.json").is_file()
    assert second.base == str(model)
    engine = TransformersEngine(run.path / second.path, base=second.base, device="cpu", threads=1)
    assert len(engine.score([("1+2=", "3")])) == 1


def test_accuracy_counts_the_decided_problems(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    half = ScriptedEngine(lambda prompt, seed: answer(prompt) if int(prompt[0]) % 2 else "#0")
    run_loop(small_recipe(tmp_path, "rounds=0"), run, load=lambda checkpoint, session: half)
    found = run.stage(0, "evaluate").read(Evaluation)
    assert sum(one.n for one in found) == 16
    assert 0 < sum(one.correct for one in found) < 16
    assert all(one.low <= one.accuracy <= one.high for one in found)


def test_a_round_with_too_few_rows_trains_nothing_and_says_so(tmp_path: Path) -> None:
    model = tmp_path / "model"
    build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1), model, seed=1)
    recipe = small_recipe(
        tmp_path,
        *("warmup=null", "model.build=null", f"model.path={model}", "rationalize=null", "repair=null", "rounds=1"),
        *("select.sources=samples", "sft.fewest=1000", "prefer={}", "dpo={fewest: 1000}"),
    )
    said: list[str] = []

    class Lines(Silent):
        def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None:
            said.append(f"{stage.name}: {summary}")

    def write(prompt: str, seed: int) -> str:
        return answer(prompt) if seed % 2 else "#0"

    run = RunFolder(tmp_path / "run")
    run_loop(recipe, run, load=lambda checkpoint, session: ScriptedEngine(write), report=Lines())
    base = run.stage(0, "base").read(Checkpoint)[0]
    for name, rows in (("sft", "rows"), ("dpo", "pairs")):
        assert [one.id for one in run.stage(1, name).read(Checkpoint)] == [base.id]
        line = next(one for one in said if one.startswith(f"{name}: "))
        assert f" {rows}, fewer than " in line and "fewest: 1000': nothing is trained" in line
        assert not (run.stage(1, name).path / "checkpoint").exists()
