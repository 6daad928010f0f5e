"""Reward models through TRL: Bradley-Terry on pairs, of which each text is encoded as it will be when it is scored."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import isfinite
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from selfimprove.engines.models import load_model
from selfimprove.errors import TrainingError
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.recipe.launch import SHARDED
from selfimprove.trainers.adapters import add_adapter
from selfimprove.trainers.common import Rows, make_arguments, place, train_with
from selfimprove.trainers.job import Report, RewardJob, TrainResult
from selfimprove.trainers.reward_model import build_reward_model, keep_layers, make_reading, read_rewards
from selfimprove.trainers.rewarding import READING, Reading, encode_text
from selfimprove.trainers.tokens import longest_row, read_rows
from selfimprove.trainers.watch import diverged

MEASURED = 500  # pairs by whose texts rewards are brought to one scale
TEXTS = ("chosen", "rejected")
RIGHT = "right"  # the column with the probability that a pair's label is right
WEIGHT = "weight"  # the column with how much a pair counts, 1 on average
OWN = (RIGHT, WEIGHT)


def train_reward(job: RewardJob, report: Report | None = None) -> TrainResult:
    """Train and save to `job.output`, continuing from the newest whole checkpoint; raises TrainingError.

    What is saved is a sequence classifier of one label that any tool loads, an adapter merged into it, and beside it
    how it reads texts.
    """
    made: dict[str, Any] = {}

    def load(job: RewardJob) -> tuple[Any, Any]:
        model, tokenizer = load_model(job.model, base=job.base, dtype=job.dtype, device=place(job))
        reading = made["reading"] = make_reading(tokenizer, chat=job.chat, longest=longest_row(job))
        keep_layers(model, job.settings.layers)
        reward = build_reward_model(model.requires_grad_(), pad=reading.pad, seed=job.seed)
        if job.settings.lora:
            reward = add_adapter(reward, job.settings.lora, base=job.model, seed=job.seed, task="SEQ_CLS")
        tokenizer = deepcopy(tokenizer)  # others share it
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(reading.pad)  # which trainers give the model
        return reward, tokenizer

    def tokenize(tokenizer: Tokenizer) -> Rows:
        rows = made["rows"] = tokenize_pairs(job, tokenizer, made["reading"])
        return rows

    def save(model: object, folder: Path) -> None:
        _save(job, model, folder, made["rows"], made["reading"])

    make = _make_trainer(job, made)
    return train_with(job, report, tokenize, make, load=load, save=save)


def _make_trainer(job: RewardJob, made: dict[str, Any]) -> Any:
    def make(model: Any, tokenizer: Tokenizer, rows: Rows, optimizer: Any) -> Any:
        import torch
        from trl import RewardConfig, RewardTrainer
        from trl.trainer.reward_trainer import DataCollatorForPreference

        reading: Reading = made["reading"]
        plain = DataCollatorForPreference(pad_token_id=reading.pad)

        def collate(rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
            columns = {name: torch.tensor([row[name] for row in rows]) for name in OWN if name in rows[0]}
            return {**plain(rows), **columns}

        class WeighedPairs(RewardTrainer):  # type: ignore[misc]
            """Counts a pair as right with its probability, and else the other way round; and as much as it weighs."""

            _signature_columns: Any

            def _set_signature_columns_if_needed(self) -> None:
                super()._set_signature_columns_if_needed()
                self._signature_columns = [*dict.fromkeys([*self._signature_columns, *OWN])]

            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> object:
                right, weight = inputs.pop(RIGHT, 1.0), inputs.pop(WEIGHT, None)
                loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **more)
                chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
                ahead = chosen - rejected - inputs.get("margin", 0.0)
                # -log σ(-x) is -log σ(x) + x, so that of a pair that is wrong with some probability only this is added.
                more_loss = (1 - right) * ahead
                if weight is not None:
                    more_loss = weight * more_loss - (weight - 1) * torch.nn.functional.logsigmoid(ahead)
                loss = loss + more_loss.mean()
                return (loss, outputs) if return_outputs else loss

        own = {*OWN} & {*rows.data.column_names}
        columns = {"data_collator": collate if own else plain}
        trainer = (WeighedPairs if own else RewardTrainer)(
            model=model,
            args=make_arguments(
                RewardConfig, job, len(rows.data), center_rewards_coefficient=job.settings.center or None
            ),
            train_dataset=rows.data,
            processing_class=tokenizer,
            optimizers=(optimizer, None),
            **columns,
        )
        if trainer.accelerator.distributed_type in SHARDED:
            raise TrainingError("a reward model is not trained with its weights spread over processes; take 'ddp'")
        return trainer

    return make


def tokenize_pairs(job: RewardJob, tokenizer: Tokenizer, reading: Reading) -> Rows:
    """Rows in TRL's columns of token ids; a pair is left out whole where a text of it is too long, and where its texts
    are cut out of longer ones: the model will be asked about whole ones."""
    from datasets import Dataset

    pairs = read_rows(job.examples, ["prompt", "chosen", "rejected", "ends", "margin"], [WEIGHT])
    settings = job.settings
    columns: dict[str, list[Any]] = {"chosen_ids": [], "rejected_ids": []}
    margins: list[float] = []
    weights: list[float] = []
    for row in pairs:
        chosen, rejected = (
            encode_text(tokenizer, row["prompt"], row[name], reading) for name in ("chosen", "rejected")
        )
        if row["ends"] and max(len(chosen), len(rejected)) <= reading.longest:
            columns["chosen_ids"].append(chosen)
            columns["rejected_ids"].append(rejected)
            margins.append(row["margin"])
            weights.append(row.get(WEIGHT) or 1.0)  # a file of before has none
    if not margins:
        raise TrainingError(
            f"{job.output}: none of {len(pairs)} pairs to train on fits 'max_length: {reading.longest}'"
        )
    if settings.margin:
        columns["margin"] = [settings.margin * one for one in margins]
    if settings.labels == "soft":
        columns[RIGHT] = [(1 + one) / 2 for one in margins]
    if len({*weights}) > 1:  # the same for all is no weight
        columns[WEIGHT] = [one / fmean(weights) for one in weights]
    return Rows(Dataset.from_dict(columns), len(pairs) - len(margins))


def _save(job: RewardJob, model: Any, folder: Path, rows: Rows, reading: Reading) -> None:
    """Save the whole classifier, and how it reads texts with mean and deviation of what it gives those it has seen."""
    import torch

    if hasattr(model, "peft_config"):
        model = model.merge_and_unload()
    model.eval()
    some = rows.data.select(range(min(MEASURED, len(rows.data))))
    texts = [list(one) for name in ("chosen_ids", "rejected_ids") for one in some[name]]
    with torch.inference_mode():
        rewards = read_rewards(model, texts, reading.pad, batch_size=64)
    if not all(map(isfinite, rewards)):
        raise diverged(job, "the trained model gives rewards that are no finite numbers")
    reading = reading.model_copy(update={"mean": fmean(rewards), "scale": pstdev(rewards) or 1.0})
    model.save_pretrained(folder)
    (folder / READING).write_text(reading.model_dump_json(indent=1))
