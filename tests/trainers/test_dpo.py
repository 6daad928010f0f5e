"""DPO through TRL: the loss beside a number worked out by hand, what is learned, resumption, adapters, long pairs."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_models import two_token_model
from transformers import AutoTokenizer

from selfimprove.engines.build import build_model
from selfimprove.engines.model_files import ADAPTER
from selfimprove.engines.tensors import hash_weights
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.errors import TrainingError
from selfimprove.recipe import Build, Lora
from selfimprove.records.stats import dpo_loss
from selfimprove.stages.dpo import Dpo
from selfimprove.tasks.addition import write_rationale
from selfimprove.trainers.dpo import _tokenize, train_dpo
from selfimprove.trainers.job import RESULT, DpoJob, TrainResult
from selfimprove.trainers.launch import launch_training

SHAPE = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, head_size=32)
PAIRS = [(11 * at % 97, 7 * at % 89) for at in range(1, 13)]
ROWS = [
    {
        "prompt": f"{a}+{b}=",
        "chosen": write_rationale(a, b),
        "rejected": write_rationale(a, b + 1),
        "ends": True,
        "margin": 1.0,
    }
    for a, b in PAIRS
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_model(SHAPE, folder, seed=5)
    return folder


def make_job(model: Path, folder: Path, rows: list[dict[str, str]], steps: int = 6, **changes: Any) -> DpoJob:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "examples.parquet")
    reference = changes.pop("held_to", None)
    quick = {"batch_size": 4, "learning_rate": 0.003, "checkpoint_every": 2, "warmup_steps": 0, **changes}
    return DpoJob(
        model=str(model),
        reference=reference,
        examples=folder / "examples.parquet",
        output=folder / "checkpoint",
        settings=Dpo(**quick),
        steps=steps,
        seed=2**40 + 7,
        device="cpu",
        threads=1,
    )


@pytest.mark.parametrize(
    ("nll", "expected"),
    [
        # margin = 0.1 * ((ln .6 - ln .4) - (ln .2 - ln .4)) = 0.1 ln 3; -ln sigmoid of it = ln(1 + 3^-0.1)
        (0.0, math.log(1 + 3**-0.1)),
        # and half the mean negative log-likelihood of the two chosen tokens, `1` and the end
        (0.5, math.log(1 + 3**-0.1) - 0.5 * (math.log(0.6) + math.log(0.2)) / 2),
    ],
)
def test_the_loss_is_the_one_worked_out_by_hand(model: Path, tmp_path: Path, nll: float, expected: float) -> None:
    policy = two_token_model(model, tmp_path / "policy", {"1": 0.6, "2": 0.2, "end": 0.2})
    reference = two_token_model(model, tmp_path / "reference", {"1": 0.4, "2": 0.4, "end": 0.2})
    rows = [{"prompt": "1+1=", "chosen": "1", "rejected": "2", "ends": True, "margin": 1.0}] * 4
    job = make_job(policy, tmp_path / "run", rows, 1, held_to=str(reference), nll=nll, learning_rate=1e-12, beta=0.1)
    assert train_dpo(job).curve[0].loss == pytest.approx(expected, abs=2e-5)
    scores = []
    for folder in (policy, reference):
        engine = TransformersEngine(folder, device="cpu")
        pairs = [("1+1=", "1"), ("1+1=", "2")]
        scores.append(tuple(one.logprob for one in engine.score(pairs, end=True)))
    assert scores[0] == pytest.approx((math.log(0.12), math.log(0.04)), abs=1e-5)
    ours, accuracy = dpo_loss([scores[0]], [scores[1]], beta=0.1)  # type: ignore[list-item]
    assert ours == pytest.approx(math.log(1 + 3**-0.1), abs=1e-6)
    assert accuracy == 1.0


@pytest.mark.parametrize("padding", ["<pad>", None])
def test_soft_labels_weigh_both_sides_of_each_pair(padding: str | None, model: Path, tmp_path: Path) -> None:
    policy = two_token_model(model, tmp_path / "policy", {"1": 0.6, "2": 0.2, "end": 0.2})
    tokenizer = AutoTokenizer.from_pretrained(policy)
    tokenizer.pad_token = padding
    tokenizer.save_pretrained(policy)
    reference = two_token_model(model, tmp_path / "reference", {"1": 0.4, "2": 0.4, "end": 0.2})
    row = {"prompt": "1+1=", "chosen": "1", "rejected": "2", "ends": True}
    # Margins of 1, 0.5 and 0 are right with the probabilities 1, 3/4 and (nearly) 1/2; x is 0.1 ln 3.
    rows = [{**row, "margin": margin} for margin in (1.0, 0.5, 0.0, 0.0)]
    right, wrong = math.log(1 + 3**-0.1), math.log(1 + 3**0.1)
    expected = (right + (0.75 * right + 0.25 * wrong) + (0.501 + 0.501) * right + (0.499 + 0.499) * wrong) / 4
    settings = {"held_to": str(reference), "nll": 0.0, "learning_rate": 1e-12, "beta": 0.1}
    soft = train_dpo(make_job(policy, tmp_path / "soft", rows, 1, **settings, labels="soft"))
    assert soft.curve[0].loss == pytest.approx(expected, abs=2e-5)
    hard = train_dpo(make_job(policy, tmp_path / "hard", rows, 1, **settings))
    assert hard.curve[0].loss == pytest.approx(right, abs=2e-5)
    # A text that noise chose against the odds, 1 to 3: its pair is the other way round with three quarters.
    turned = [{**row, "margin": -0.5} for row in rows]
    against = train_dpo(make_job(policy, tmp_path / "against", turned, 1, **settings, labels="soft"))
    assert against.curve[0].loss == pytest.approx(0.25 * right + 0.75 * wrong, abs=2e-5)
    smooth = train_dpo(make_job(policy, tmp_path / "smooth", rows, 1, **settings, label_smoothing=0.25))
    assert smooth.curve[0].loss == pytest.approx(0.75 * right + 0.25 * wrong, abs=2e-5)


def test_a_loss_far_out_does_not_overflow() -> None:
    assert dpo_loss([(0.0, 10_000.0)], [(0.0, 0.0)], beta=1.0) == (10_000.0, 0.0)
    assert dpo_loss([(0.0, -10_000.0)], [(0.0, 0.0)], beta=1.0) == (0.0, 1.0)


def test_pairs_are_learned_and_the_curve_says_how(model: Path, tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    job = make_job(model, tmp_path, ROWS, steps=12)
    result = train_dpo(job, lambda step, steps, logged: seen.append(logged))
    first, last = result.curve[0].values, result.curve[-1].values
    assert set(first) == {"margin", "accuracy", "chosen log-probability", "rejected log-probability"}
    assert last["margin"] > first["margin"]
    assert last["chosen log-probability"] > first["chosen log-probability"] + 5  # by the likelihood beside the loss
    assert {"margin", "loss", "tokens per second"} <= set(seen[-1])
    assert result.rows == len(ROWS)
    data = _tokenize(job, AutoTokenizer.from_pretrained(model)).data
    pairs = zip(data["prompt_ids"], data["chosen_ids"], data["rejected_ids"], strict=True)
    once = sum(2 * len(prompt) + len(chosen) + len(rejected) for prompt, chosen, rejected in pairs)
    assert (result.tokens, result.sequences) == (4 * once, 4 * 2 * len(ROWS))  # 12 steps of 4 pairs; no reference
    assert TrainResult.model_validate_json((job.output / RESULT).read_text()) == result


@pytest.mark.parametrize(
    ("stop_at", "changes"),
    [pytest.param(3, {}, marks=pytest.mark.long), (5, {}), (5, {"lora": Lora(rank=2, alpha=4)})],
)
def test_a_run_that_was_stopped_ends_with_the_same_weights(
    model: Path, tmp_path: Path, stop_at: int, changes: dict[str, Any]
) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, steps: int, logged: dict[str, float]) -> None:
        if step == stop_at:
            raise Stop

    whole, broken = (make_job(model, tmp_path / name, ROWS, **changes) for name in ("whole", "broken"))
    train_dpo(whole)
    with pytest.raises(Stop):
        train_dpo(broken, stop)
    assert train_dpo(broken).resumed_from == stop_at // 2 * 2
    assert hash_weights(broken.output) == hash_weights(whole.output)


@pytest.mark.long
def test_a_child_process_trains_the_same_weights(model: Path, tmp_path: Path) -> None:
    here = make_job(model, tmp_path / "here", ROWS)
    train_dpo(here)
    child = make_job(model, tmp_path / "child", ROWS, launch_arguments=("--cpu", "--num_processes", "1"))
    launch_training(child)
    assert hash_weights(child.output) == hash_weights(here.output)


def test_an_adapter_is_trained_on_and_on_and_saved_alone(model: Path, tmp_path: Path) -> None:
    lora = Lora(rank=2, alpha=4, targets=("q_proj", "v_proj"))
    first = make_job(model, tmp_path / "first", ROWS, lora=lora)
    assert train_dpo(first).trainable < 1_000
    second = make_job(first.output, tmp_path / "second", ROWS, lora=lora).model_copy(update={"base": str(model)})
    result = train_dpo(second)
    # Held to the adapter that it starts from, and not to the model under it: the first margin is none.
    assert result.curve[0].values["margin"] == pytest.approx(0.0, abs=1e-5)
    folders = [path.name for path in second.output.iterdir() if path.is_dir()]
    assert (second.output / ADAPTER).is_file() and folders == []
    assert json.loads((second.output / ADAPTER).read_text())["base_model_name_or_path"] == str(model)


def test_a_training_that_diverges_is_refused_in_one_line(model: Path, tmp_path: Path) -> None:
    """Both where a loss says so and where only the last step, whose loss is not logged, broke the weights."""
    for steps, rate, said in ((6, 1e30, r"the loss is nan at step \d of 6"), (1, 1e39, "the trained weights hold")):
        job = make_job(model, tmp_path / str(steps), ROWS, steps, learning_rate=rate, clip=0.0)
        with pytest.raises(TrainingError, match=rf"diverged: {said}.*; lower 'learning_rate' \(1e\+3"):
            train_dpo(job)
        assert not job.output.exists()


def test_a_pair_with_a_text_that_is_too_long_is_left_out(model: Path, tmp_path: Path) -> None:
    rows = [*ROWS, {"prompt": "1+1=", "chosen": "2", "rejected": "2" * 200, "ends": True, "margin": 1.0}]
    assert train_dpo(make_job(model, tmp_path / "some", rows, max_length=60)).left_out == 1
    shutil.rmtree(tmp_path / "some")
    with pytest.raises(TrainingError, match="none of 13 pairs to train on fits 'max_length: 5'"):
        train_dpo(make_job(model, tmp_path / "none", rows, max_length=5))


def test_special_tokens_in_a_text_are_text(model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    row = {"prompt": "1+1=", "chosen": tokenizer.eos_token, "rejected": "2", "margin": 1.0}
    rows = [{**row, "ends": ends} for ends in (True, False)]
    data = _tokenize(make_job(model, tmp_path, rows), tokenizer).data
    end = tokenizer.eos_token_id
    assert [ids.count(end) for ids in data["chosen_ids"]] == [1, 0]
    assert [ids[-1] == end for ids in data["rejected_ids"]] == [True, False]
