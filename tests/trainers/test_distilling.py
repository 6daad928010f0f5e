"""Self-distillation: the loss beside a number worked out by hand, what is learned, resumption, adapters, long rows."""

import math
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny_models import two_token_model
from transformers import AutoTokenizer

from selfimprove.engines.build import build_model
from selfimprove.engines.model_files import ADAPTER
from selfimprove.engines.tensors import hash_weights
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.errors import TrainingError
from selfimprove.recipe import Build, Lora
from selfimprove.stages.distill import Distill
from selfimprove.stages.sft import Sft
from selfimprove.trainers.distill import diverge, tokenize, train_distill
from selfimprove.trainers.job import DistillJob, SftJob
from selfimprove.trainers.sft import train_sft

ROWS = [
    {"prompt": f"{a}+{b}=", "hinted": f"{a + b}?{a}+{b}=", "completion": f"#{a + b + a % 2}"}
    for a, b in ((11 * at % 97, 7 * at % 89) for at in range(1, 13))
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that copies the answer where it is shown, and knows nothing without it."""
    folder = tmp_path_factory.mktemp("model")
    build_model(Build(hidden_size=32, intermediate_size=64, layers=2, heads=2, head_size=16), folder / "new", seed=5)
    shown = [{"prompt": f"{answer}?{a}+{b}=", "completion": f"#{answer}"}
             for a in range(0, 97, 3) for b in range(0, 89, 8) for answer in (a * 7 % 90 + b,)]  # fmt: skip
    job = SftJob(
        model=str(folder / "new"), examples=folder / "examples.parquet", output=folder / "checkpoint", steps=150,
        settings=Sft(optimizer="muon", learning_rate=0.02, batch_size=32), seed=1, device="cpu", threads=1,
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(shown), job.examples)
    train_sft(job)
    return folder / "checkpoint"


def make_job(model: Path, folder: Path, rows: list[dict[str, str]], steps: int = 6, **changes: Any) -> DistillJob:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "examples.parquet")
    quick = {"batch_size": 4, "learning_rate": 0.003, "checkpoint_every": 2, **changes}
    return DistillJob(
        model=str(model), examples=folder / "examples.parquet", output=folder / "checkpoint", settings=Distill(**quick),
        steps=steps, seed=2**40 + 7, device="cpu", threads=1,
    )  # fmt: skip


def test_the_divergence_is_the_one_worked_out_by_hand() -> None:
    ours, theirs = torch.tensor([[0.6, 0.2, 0.2]]).log() + 3.0, torch.tensor([[0.4, 0.4, 0.2]]).log() - 1.0
    reverse = 0.6 * math.log(0.6 / 0.4) + 0.2 * math.log(0.2 / 0.4)
    forward = 0.4 * math.log(0.4 / 0.6) + 0.4 * math.log(0.4 / 0.2)
    assert diverge(ours, theirs, "reverse").tolist() == pytest.approx([reverse], abs=1e-6)
    assert diverge(ours, theirs, "forward").tolist() == pytest.approx([forward], abs=1e-6)
    assert diverge(ours, ours - 7.0, "reverse").tolist() == pytest.approx([0.0], abs=1e-6)


def test_a_model_that_does_not_look_at_its_prompt_has_nothing_to_learn(model: Path, tmp_path: Path) -> None:
    same = two_token_model(model, tmp_path / "same", {"1": 0.6, "2": 0.2, "end": 0.2})
    found = train_distill(make_job(same, tmp_path / "run", ROWS, 1, learning_rate=1e-12))
    assert found.curve[0].loss == pytest.approx(0.0, abs=1e-6)


def test_the_loss_is_the_mean_over_the_tokens_of_the_texts(model: Path, tmp_path: Path) -> None:
    """Prompts of two lengths, so that rows are padded, and texts of two lengths, so that a mean over rows differs."""
    rows = [*ROWS[:3], {"prompt": "1+1=", "hinted": "2?1+1=", "completion": "#"}]
    loss = train_distill(make_job(model, tmp_path / "run", rows, 1, learning_rate=1e-12)).curve[0].loss
    network, tokenizer = _load(model), AutoTokenizer.from_pretrained(model)
    total, count = 0.0, 0
    for row in rows:
        text = [*tokenizer(row["completion"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        logits = []
        for name in ("prompt", "hinted"):
            prompt = tokenizer(row[name])["input_ids"]
            prompt = prompt[:-1] if prompt[-1] == tokenizer.eos_token_id else prompt
            with torch.no_grad():
                logits.append(network(torch.tensor([[*prompt, *text]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1))
        ours, theirs = logits
        total += float((ours.exp() * (ours - theirs)).sum())
        count += len(text)
    assert loss == pytest.approx(total / count, rel=1e-4) and loss > 0.1


@pytest.mark.parametrize("divergence", ["reverse", "forward"])
def test_the_model_comes_to_say_without_the_hint_what_it_says_with_it(
    divergence: str, model: Path, tmp_path: Path
) -> None:
    job = make_job(model, tmp_path / "run", ROWS, 80, divergence=divergence, optimizer="muon", learning_rate=0.01)
    curve = train_distill(job).curve
    assert curve[-1].loss < curve[0].loss / 2
    right = [(row["prompt"], f"#{row['hinted'].partition('?')[0]}") for row in ROWS]
    before, after = (
        sum(one.logprob for one in TransformersEngine(folder, device="cpu").score(right, end=True))
        for folder in (model, job.output)
    )
    assert after > before + len(ROWS)  # more than a nat a text, of right ones, which stood in no row


def test_going_on_after_a_kill_gives_the_same_weights(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path / "whole", ROWS)
    train_distill(job)
    again = make_job(model, tmp_path / "cut", ROWS)
    for folder in job.workspace.glob("checkpoint-*"):
        if folder.name != "checkpoint-4":
            shutil.rmtree(folder)
    shutil.copytree(job.workspace, again.workspace)
    result = train_distill(again)
    assert result.resumed_from == 4 and result.steps == 6
    assert hash_weights(again.output) == hash_weights(job.output)


def test_an_adapter_is_trained_towards_its_base_with_the_hint(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path / "run", ROWS, lora=Lora(rank=2, alpha=4))
    first = train_distill(job)
    assert (job.output / ADAPTER).is_file() and first.trainable < 5000
    # What goes on from an adapter has the whole of it as its teacher: nothing to learn where it read both alike.
    further = make_job(job.output, tmp_path / "further", ROWS, lora=Lora(rank=2, alpha=4))
    second = train_distill(further.model_copy(update={"base": str(model)}))
    assert second.curve[0].loss != first.curve[0].loss and second.curve[0].loss > 0.1


def test_a_text_without_room_after_either_prompt_is_left_out(model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [ROWS[0], {**ROWS[1], "hinted": "1" * 40 + ROWS[1]["hinted"]}]
    found = tokenize(make_job(model, tmp_path / "one", rows, max_length=30), tokenizer)
    assert (len(found.data), found.left_out) == (1, 1)
    labels, shown = found.data[0]["labels"], found.data[0]["shown_labels"]
    assert [one for one in labels if one != -100] == [one for one in shown if one != -100]
    with pytest.raises(TrainingError, match="none of 2 rows to train on fits 'max_length: 3'"):
        train_distill(make_job(model, tmp_path / "none", rows, max_length=3))


def _load(folder: Path) -> Any:
    from selfimprove.engines.models import load_model

    return load_model(folder, base=None, dtype="float32", device="cpu")[0].eval()
