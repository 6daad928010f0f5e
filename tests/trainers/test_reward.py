"""Reward models through TRL: what a text is read as, the loss by hand, what is learned, resumption, ensembles."""

import math
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny_models import make_gemma, make_llama
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
)

from selfimprove.engines.build import build_model
from selfimprove.engines.tensors import hash_weights
from selfimprove.errors import ModelError, TrainingError
from selfimprove.recipe import Build, Lora, RewardTraining
from selfimprove.records import Problem
from selfimprove.trainers.job import RewardJob, TrainResult
from selfimprove.trainers.reward import tokenize_pairs, train_reward
from selfimprove.trainers.reward_model import RewardModel, keep_layers, make_reading
from selfimprove.trainers.rewarding import READING, combine_rewards, encode_text, reward_model_function

SHAPE = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, head_size=32)
ROWS = [
    {"prompt": f"{at}+1=", "chosen": f"{at + 1}", "rejected": f"{at}{at}", "ends": True, "margin": margin}
    for at, margin in enumerate([1.0, 0.5, 0.0, 1.0, 1.0, 0.25, 1.0, 1.0])
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_model(SHAPE, folder, seed=5)
    return folder


def make_job(model: Path, folder: Path, rows: list[dict[str, Any]] = ROWS, **changes: Any) -> RewardJob:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "examples.parquet")
    own = {name: changes.pop(name) for name in ("steps", "seed", "member") if name in changes}
    quick = {"batch_size": len(rows), "learning_rate": 0.003, "checkpoint_every": 2, **changes}
    return RewardJob(
        model=str(model),
        examples=folder / "examples.parquet",
        output=folder / "checkpoint",
        settings=RewardTraining(**quick),
        device="cpu",
        threads=1,
        **{"steps": 4, "seed": 2**40 + 7, **own},
    )


def raw_rewards(folder: Path, name: str) -> list[float]:
    """What a saved model gives the texts of ROWS, asked as all stages ask, in its own units."""
    found = RewardModel(folder, device="cpu", dtype="float32", batch_size=3)
    values, _ = found.score([one["prompt"] for one in ROWS], [one[name] for one in ROWS])
    return [found.reading.mean + found.reading.scale * float(one or 0.0) for one in values]


def soft_plus(x: float) -> float:
    return math.log1p(math.exp(-x))


@pytest.mark.parametrize(
    ("changes", "padding"),
    [
        ({"margin": 0.5, "center": 0.2}, "<pad>"),
        (
            {"labels": "soft", "weight": [1.0, 0.5]},
            "<eos>",
        ),  # the reward is read at the end token, and not at the last one before padding
        pytest.param({}, "<pad>", marks=pytest.mark.long),
        pytest.param({"center": 0.2}, "<eos>", marks=pytest.mark.long),
    ],
)
def test_the_loss_in_training_follows_from_the_rewards_afterwards(
    changes: dict[str, Any], padding: str, model: Path, tmp_path: Path
) -> None:
    """Had training read texts otherwise than scoring does, with or without begin or end, the two would differ."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = padding
    copy = tmp_path / "model"
    build_model(SHAPE, copy, seed=5)
    tokenizer.save_pretrained(copy)
    weights = [changes.get("weight", [1.0])[at % len(changes.get("weight", [1.0]))] for at in range(len(ROWS))]
    rows = [{**row, "weight": weight} for row, weight in zip(ROWS, weights, strict=True)]
    changes = {name: value for name, value in changes.items() if name != "weight"}
    job = make_job(copy, tmp_path / "run", rows, steps=1, **{"learning_rate": 1e-12, "center": 0.0, **changes})
    result = train_reward(job)
    chosen, rejected = raw_rewards(job.output, "chosen"), raw_rewards(job.output, "rejected")
    settings, losses = job.settings, []
    for row, good, bad in zip(rows, chosen, rejected, strict=True):
        right = (1 + row["margin"]) / 2 if settings.labels == "soft" else 1.0
        ahead = good - bad - settings.margin * row["margin"]
        loss = right * soft_plus(ahead) + (1 - right) * soft_plus(-ahead)
        losses.append(row["weight"] * len(ROWS) / sum(weights) * loss + settings.center * (good + bad) ** 2)
    assert result.curve[0].loss == pytest.approx(sum(losses) / len(losses), abs=2e-5)
    assert len(set(chosen)) == len(ROWS)


@pytest.mark.parametrize("padding", ["<pad>", "<eos>", None])
def test_a_text_begins_and_ends_alike_wherever_it_is_read(padding: str | None, model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = padding
    reading = make_reading(tokenizer, chat=False, longest=64)
    assert reading.pad != reading.end == tokenizer.eos_token_id
    data = tokenize_pairs(make_job(model, tmp_path), tokenizer, reading).data
    for row, ids in zip(ROWS, data["chosen_ids"], strict=True):
        assert ids == encode_text(tokenizer, row["prompt"], row["chosen"], reading)
        assert (ids[0], ids[-1], ids.count(reading.end)) == (tokenizer.bos_token_id, reading.end, 1)
    written = encode_text(tokenizer, "1+1=", "2<eos>", reading)
    assert written.count(reading.end) == 1  # what is written out is text


@pytest.mark.long
def test_pairs_are_learned_and_a_stopped_training_ends_with_the_same_weights(model: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, steps: int, logged: dict[str, float]) -> None:
        if step == 7:
            raise Stop

    whole, broken = (make_job(model, tmp_path / name, steps=12, learning_rate=0.01) for name in ("whole", "broken"))
    result: TrainResult = train_reward(whole)
    assert result.curve[-1].loss < 0.5 < result.curve[0].loss and result.curve[-1].values["accuracy"] == 1.0
    ahead = zip(raw_rewards(whole.output, "chosen"), raw_rewards(whole.output, "rejected"), strict=True)
    assert all(good > bad for good, bad in ahead)
    with pytest.raises(Stop):
        train_reward(broken, stop)
    assert train_reward(broken).resumed_from == 6
    assert hash_weights(broken.output) == hash_weights(whole.output)


@pytest.mark.long
def test_members_of_an_ensemble_have_heads_of_their_own_and_an_adapter_is_merged(model: Path, tmp_path: Path) -> None:
    jobs = {
        name: make_job(model, tmp_path / name, steps=2, seed=seed, **more)
        for name, seed, more in (
            ("first", 1, {"learning_rate": 1e-12}), ("again", 1, {"learning_rate": 1e-12}),
            ("second", 2, {"learning_rate": 1e-12}), ("adapter", 1, {"lora": Lora(rank=2), "learning_rate": 0.01}),
        )
    }  # fmt: skip
    results = {name: train_reward(job) for name, job in jobs.items()}
    weights = {name: hash_weights(job.output) for name, job in jobs.items()}
    assert weights["first"] == weights["again"] != weights["second"]
    assert results["adapter"].trainable < results["first"].trainable / 2
    assert not (jobs["adapter"].output / "adapter_config.json").exists()
    assert raw_rewards(jobs["adapter"].output, "chosen") != raw_rewards(jobs["first"].output, "chosen")
    assert (
        len({len(one) for one in zip(*(raw_rewards(job.output, "chosen") for job in jobs.values()), strict=True)}) == 1
    )
    folders = [jobs[name].output for name in ("first", "second")]
    prompts, texts = [one["prompt"] for one in ROWS], [one["chosen"] for one in ROWS]
    problems = [Problem(question=one, answer=None, task="t") for one in prompts]
    alone = [reward_model_function(one, device="cpu")(prompts, texts, problems) for one in folders]
    for combine in ("mean", "min"):
        both = reward_model_function(folders, combine=combine, device="cpu")(prompts, texts, problems)  # type: ignore[arg-type]
        assert both == combine_rewards(alone, combine)  # type: ignore[arg-type]
    both = reward_model_function(folders, device="cpu")(["1" * 600, "1+1="], ["2", "2"], problems[:2])
    assert both[0] is None and both[1] is not None
    # Rewards are told in units of what the model gave the texts that it was trained on.
    rewards = [one for name in ("chosen", "rejected") for one in raw_rewards(folders[0], name)]
    reading = RewardModel(folders[0], device="cpu", dtype="float32", batch_size=8).reading
    assert reading.mean == pytest.approx(sum(rewards) / len(rewards), abs=1e-5)


def test_a_smaller_reward_model_is_the_first_layers_of_the_larger_one(tmp_path: Path) -> None:
    """As transformers runs a model of which it is told that it has fewer layers."""
    llama = make_llama(tmp_path / "llama")
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=32, n_layer=2, n_head=2, n_positions=32))
    gpt2.save_pretrained(tmp_path / "gpt2")
    ids = torch.tensor([[3, 4, 5, 6]])
    for folder in (llama, make_gemma(tmp_path / "gemma", llama), tmp_path / "gpt2"):
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        whole = model.base_model(ids).last_hidden_state
        keep_layers(model, 1)
        fewer = AutoModelForCausalLM.from_pretrained(folder, num_hidden_layers=1, **one_type(model)).eval()
        found = model.base_model(ids).last_hidden_state
        assert torch.equal(found, fewer.base_model(ids).last_hidden_state) and not torch.equal(found, whole)
        assert model.config.num_hidden_layers == 1
        with pytest.raises(ModelError, match=f"'layers: 3' of a reward model: {type(model).__name__} has 1 here"):
            keep_layers(model, 3)
    job = make_job(llama, tmp_path / "small", steps=2, layers=1)
    train_reward(job)
    assert len(RewardModel(job.output, device="cpu", dtype="float32", batch_size=8).model.base_model.layers) == 1


def one_type(model: Any) -> dict[str, Any]:
    """What else transformers has to be told of a model of one layer whose layers differ."""
    found = getattr(model.config, "layer_types", None)
    return {"layer_types": found} if found else {}


def test_rewards_of_several_models_become_one_by_hand() -> None:
    given = [[1.0, 2.0, None], [3.0, -2.0, 1.0]]
    assert combine_rewards(given, "mean") == [2.0, 0.0, None]
    assert combine_rewards(given, "min") == [1.0, -2.0, None]


def test_tokens_are_those_of_both_texts_of_real_pairs(model: Path, tmp_path: Path) -> None:
    """Neither padding nor what the last batch lacks is counted."""
    job = make_job(model, tmp_path, steps=None, batch_size=5, epochs=2.0)
    result = train_reward(job)
    tokenizer = AutoTokenizer.from_pretrained(model)
    data = tokenize_pairs(job, tokenizer, make_reading(tokenizer, chat=False, longest=512)).data
    once = sum(len(ids) for name in ("chosen_ids", "rejected_ids") for ids in data[name])
    assert (result.tokens, result.sequences, result.steps) == (2 * once, 2 * 2 * len(ROWS), 4)


def test_a_training_that_diverges_is_refused_in_one_line(model: Path, tmp_path: Path) -> None:
    """Both where a loss says so and where only the last step, whose loss is not logged, broke the weights."""
    for steps, rate, said in ((6, 1e30, r"the loss is nan at step \d of 6"), (1, 1e39, "rewards that are no finite")):
        job = make_job(model, tmp_path / str(steps), steps=steps, learning_rate=rate, clip=0.0)
        with pytest.raises(TrainingError, match=rf"diverged: .*{said}.*; lower 'learning_rate' \(1e\+3"):
            train_reward(job)
        assert not job.output.exists()


def test_mistakes_are_one_line(model: Path, tmp_path: Path) -> None:
    cut = [{**one, "ends": False} for one in ROWS]
    with pytest.raises(TrainingError, match="none of 8 pairs to train on fits 'max_length: 512'"):
        train_reward(make_job(model, tmp_path / "cut", cut))
    long = [*ROWS, {**ROWS[0], "chosen": "1" * 100}]
    job = make_job(model, tmp_path / "long", long, steps=1, max_length=50)
    assert train_reward(job).left_out == 1
    other = tmp_path / "other"
    build_model(Build(hidden_size=32, layers=1, heads=1, alphabet="0123456789+=x"), other, seed=1)
    with pytest.raises(ModelError, match="has another tokenizer than the model whose texts it is to score; train one"):
        reward_model_function(job.output, tokenizer=AutoTokenizer.from_pretrained(other), device="cpu")
    two = tmp_path / "two"  # with reward.json beside a classifier of two labels
    shutil.copytree(job.output, two)
    config = AutoConfig.from_pretrained(two, num_labels=2)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(two)
    with pytest.raises(ModelError, match="/two: has a head of 2 labels; a reward model's gives one number"):
        reward_model_function(two, device="cpu")
    with pytest.raises(ModelError, match="was trained on plain prompts, and would be asked by a chat template"):
        reward_model_function(job.output, chat=True, device="cpu")
    with pytest.raises(ModelError, match=f"is no reward model of a run .it has no {READING}.; train one with 'reward'"):
        reward_model_function(model, device="cpu")


def worth(text: str) -> float:
    """A reward that is known: sevens are good, threes are bad, and each digit costs a little."""
    return 1.5 * text.count("7") - 1.5 * text.count("3") - 0.2 * len(text)


@pytest.mark.long
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_on_pairs_with_known_rewards_it_ranks_within_two_points_of_the_bayes_rate(
    labels: str, model: Path, tmp_path: Path
) -> None:
    """Labels are drawn as Bradley and Terry have it: nobody is right more often than the mean of σ(|difference|)."""
    rng = random.Random(0)

    def write() -> str:
        return "".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 9)))

    rows = []
    for _ in range(4000):
        first, second = write(), write()
        better = 1 / (1 + math.exp(worth(second) - worth(first)))
        # A soft label is the labeller's own probability, and not which text he happened to choose.
        ahead = rng.random() < better if labels == "hard" else better >= 0.5
        chosen, rejected = (first, second) if ahead else (second, first)
        rows.append(
            {"prompt": "=", "chosen": chosen, "rejected": rejected, "ends": True, "margin": abs(2 * better - 1)}
        )
    job = make_job(model, tmp_path, rows, batch_size=64, steps=350, learning_rate=0.005, warmup_steps=10, labels=labels)
    train_reward(job)
    asked = reward_model_function(job.output, device="cpu")
    pairs = [(write(), write()) for _ in range(1500)]
    problems = [Problem(question="=", answer=None, task="t")] * len(pairs)
    first, second = (asked(["="] * len(pairs), [one[at] for one in pairs], problems) for at in (0, 1))
    best = right = 0.0
    for (one, other), mine, theirs in zip(pairs, first, second, strict=True):
        sure = 1 / (1 + math.exp(-abs(worth(one) - worth(other))))
        best += sure / len(pairs)
        agrees = (float(mine or 0.0) > float(theirs or 0.0)) == (worth(one) > worth(other))
        right += (sure if agrees else 1 - sure) / len(pairs)
    print(f"{labels}: Bayes {best:.3f}, the model {right:.3f}")
    assert 0.7 < best < 0.85
    assert right > best - 0.02
