"""Packed rows train as rows of their own do, tokens that are not learned are not, and rows count by their weights."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny_models import make_gemma, make_llama
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfimprove.engines.build import build_model
from selfimprove.recipe import Build, SupervisedTraining
from selfimprove.trainers.job import SftJob
from selfimprove.trainers.packing import LENGTHS, WEIGHTS, make_collator, pack, scale_weights
from selfimprove.trainers.sft import tokenize_examples, train_sft

ROWS = [("1+2=", "3", 1.0), ("12+34=", "46", 3.0), ("1=", "1", 1.0), ("10+20+30=", "60", 0.5), ("7=", "7+0", 1.0)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    llama = make_llama(folder / "llama")
    return {"llama": llama, "gemma": make_gemma(folder / "gemma", llama)}


def make_job(folder: Path, model: Path, *, weighted: bool = False, **settings: Any) -> SftJob:
    """One step over all rows at once."""
    folder.mkdir(parents=True)
    names = ["prompt", "completion", "weight"][: 3 if weighted else 2]
    pq.write_table(
        pa.table({name: [row[at] for row in ROWS] for at, name in enumerate(names)}), folder / "rows.parquet"
    )
    chosen = SupervisedTraining(**{"batch_size": 8, "learning_rate": 0.01, "clip": 0.0, "max_length": 24, **settings})
    return SftJob(model=str(model), examples=folder / "rows.parquet", output=folder / "checkpoint", settings=chosen,
                  steps=1, seed=1, device="cpu", threads=1)  # fmt: skip


def tokenized(job: SftJob) -> tuple[Any, Any]:
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    return tokenizer, tokenize_examples(job, tokenizer).data


def log_probabilities(model: Any, row: dict[str, Any]) -> list[float]:
    """Of the tokens that are learned of one sequence, by itself."""
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
    with torch.no_grad():
        found = model(input_ids=ids).logits[0].log_softmax(-1)
    return [float(found[at - 1, label]) for at, label in enumerate(labels) if label != -100]


def test_each_row_goes_where_it_fits_best() -> None:
    lengths = [5, 9, 3, 3, 7, 1]
    packs = pack(lengths, 10)
    assert sorted(at for one in packs for at in one) == list(range(6))
    assert sorted(sorted(lengths[at] for at in one) for one in packs) == [[1, 9], [3, 5], [3, 7]]
    assert pack([], 10) == []


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_a_packed_row_sees_itself_alone(models: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Gemma's layers see a window of 8 tokens, and it knows packed rows by their positions as Llama does."""
    tokenizer, alone = tokenized(make_job(tmp_path / "alone", models[name]))
    _, packed = tokenized(make_job(tmp_path / "packed", models[name], packing=True))
    assert len(packed) < len(alone) == len(ROWS) and sum(map(len, packed[LENGTHS])) == len(ROWS)
    model = AutoModelForCausalLM.from_pretrained(models[name]).eval()
    batch = make_collator(tokenizer)(list(packed))
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch, use_cache=False).logits.log_softmax(-1)
    learned = (labels[:, 1:] != -100).nonzero().tolist()
    together = sorted(float(logits[row, at, labels[row, at + 1]]) for row, at in learned)
    by_itself = sorted(one for row in alone for one in log_probabilities(model, row))
    assert together == pytest.approx(by_itself, abs=1e-4)


def test_packed_rows_train_as_others_do(models: dict[str, Path], tmp_path: Path) -> None:
    results = [
        train_sft(make_job(tmp_path / str(packing), models["llama"], packing=packing)) for packing in (False, True)
    ]
    assert [one.rows for one in results] == [len(ROWS)] * 2
    assert results[0].sequences == results[1].sequences and results[0].tokens == results[1].tokens
    assert results[0].curve[0].loss == pytest.approx(results[1].curve[0].loss, rel=1e-5)
    found = [AutoModelForCausalLM.from_pretrained(tmp_path / str(one) / "checkpoint") for one in (False, True)]
    for one, other in zip(found[0].parameters(), found[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("packing", [False, True])
def test_rows_count_by_their_weights(models: dict[str, Path], tmp_path: Path, packing: bool) -> None:
    plain = tokenized(make_job(tmp_path / "plain", models["llama"]))
    assert WEIGHTS not in plain[1].column_names
    job = make_job(tmp_path / "weighted", models["llama"], weighted=True, packing=packing)
    model = AutoModelForCausalLM.from_pretrained(models["llama"]).eval()
    each = [log_probabilities(model, row) for row in plain[1]]
    whole = sum(row[2] * len(found) for row, found in zip(ROWS, each, strict=True))
    expected = -sum(row[2] * sum(found) for row, found in zip(ROWS, each, strict=True)) / whole
    assert train_sft(job).curve[0].loss == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(-sum(map(sum, each)) / sum(map(len, each)), rel=1e-3)


def test_weights_keep_the_size_of_the_loss() -> None:
    scaled = scale_weights([1.0, 3.0], [10, 5])
    assert scaled[1] == pytest.approx(3 * scaled[0]) and 10 * scaled[0] + 5 * scaled[1] == pytest.approx(15)
    assert math.isclose(sum(scale_weights([2.0, 2.0], [1, 9])), 2.0)


def test_prompts_are_learned_where_it_is_asked_for(models: dict[str, Path], tmp_path: Path) -> None:
    _, own = tokenized(make_job(tmp_path / "completion", models["llama"]))
    _, all_ = tokenized(make_job(tmp_path / "all", models["llama"], loss_on="all"))
    for one, other in zip(own, all_, strict=True):
        assert one["input_ids"] == other["input_ids"] and other["labels"] == [-100, *other["input_ids"][1:]]
        completion = [label for label in one["labels"] if label != -100]
        assert one["input_ids"][-len(completion) :] == completion and one["labels"].count(-100) > 1


def test_on_a_cpu_only_learned_positions_go_through_the_output_layer(tmp_path: Path) -> None:
    """With thousands of letters nearly all of the work is there, and prompts are most of the rows."""
    letters = "".join(chr(0x4E00 + at) for at in range(2000)) + "0123456789+="
    build_model(Build(hidden_size=16, intermediate_size=16, layers=1, heads=1, alphabet=letters), tmp_path / "model", 0)
    work = {}
    for name in ("completion", "all"):
        job = make_job(tmp_path / name, tmp_path / "model", loss_on=name, max_length=64)
        pq.write_table(pa.table({"prompt": ["1+2+3+4+5+6+7+8+9+10="] * 4, "completion": ["55"] * 4}), job.examples)
        with FlopCounterMode(display=False) as counter:
            train_sft(job)
        work[name] = counter.get_total_flops()
    assert 0 < work["completion"] < 0.3 * work["all"]
