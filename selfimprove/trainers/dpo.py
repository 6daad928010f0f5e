"""DPO through TRL (Rafailov et al., 2023), with IRPO's likelihood of the chosen text beside it.

Pretokenized pairs in, a folder of safetensors out, resumable at any step.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from selfimprove.engines.models import load_model
from selfimprove.errors import TrainingError
from selfimprove.prompting.chat import find_end
from selfimprove.prompting.prompts import encode_prompt
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.trainers.common import Rows, count_processes, make_arguments, train_with
from selfimprove.trainers.job import DpoJob, Report, TrainResult
from selfimprove.trainers.tokens import CompletionTokens, longest_row, read_rows

TEXTS = ("chosen", "rejected")
WRONG = "wrong"  # the column with the probability that a pair's label is wrong
NEAR_HALF = 0.001  # at a half the pair says nothing, and the formula divides by zero


def train_dpo(job: DpoJob, report: Report | None = None) -> TrainResult:
    """Train and save to `job.output`, continuing from the newest whole checkpoint; raises TrainingError.

    The reference's log-probabilities are computed once, before the first step: by the model as it starts, or by
    `job.reference`.
    """

    def make_trainer(model: object, tokenizer: Tokenizer, rows: Rows, optimizer: object) -> Any:
        from trl import DPOConfig

        settings = job.settings
        mixed = settings.nll > 0
        # TRL's `sigmoid` has no label smoothing. Its `robust` has, and with a negative share, -e / (1 - 2e), that is
        # (1 - e) times the loss of the pair and e times that of the pair the other way round, as in cDPO.
        smooth = settings.loss == "sigmoid" and (settings.labels == "soft" or settings.label_smoothing > 0)
        loss = "robust" if smooth else settings.loss
        own = {
            "beta": settings.beta,
            "loss_type": [loss, "sft"] if mixed else [loss],
            "loss_weights": [1.0, settings.nll] if mixed else [1.0],
            "label_smoothing": 0.0 if smooth else settings.label_smoothing,
            "precompute_ref_log_probs": True,
        }
        reference = None
        if job.reference is not None:
            device = "cpu" if count_processes() > 1 else job.device  # TRL puts it where each process works
            reference, _ = load_model(job.reference, base=None, dtype=job.dtype, device=device)
        return _pretokenized_trainer()(
            model=model,
            ref_model=reference,
            data_collator=_make_collator(tokenizer) if smooth else None,
            args=make_arguments(DPOConfig, job, len(rows.data), **own),
            train_dataset=rows.data,
            processing_class=tokenizer,
            optimizers=(optimizer, None),
        )

    return train_with(job, report, lambda tokenizer: _tokenize(job, tokenizer), make_trainer)


def _pretokenized_trainer() -> Any:
    from trl import DPOTrainer

    class Pretokenized(DPOTrainer):  # type: ignore[misc]
        """Takes the rows as they are: TRL would tokenize the texts again, with special tokens in them."""

        def _prepare_dataset(self, dataset: object, *_: object) -> object:
            return dataset

        _signature_columns: Any
        label_smoothing: Any

        def _set_signature_columns_if_needed(self) -> None:
            super()._set_signature_columns_if_needed()
            self._signature_columns = [*dict.fromkeys([*self._signature_columns, WRONG])]

        def compute_ref_log_probs(self, model: Any, inputs: Any) -> object:
            return super().compute_ref_log_probs(model, {key: one for key, one in inputs.items() if key != WRONG})

        def _compute_loss(self, model: Any, inputs: Any, return_outputs: Any) -> object:
            wrong = inputs.get(WRONG)
            if wrong is not None:
                self.label_smoothing = -wrong / (1 - 2 * wrong)
            return super()._compute_loss(
                model, {key: one for key, one in inputs.items() if key != WRONG}, return_outputs
            )

    return Pretokenized


def _make_collator(tokenizer: Tokenizer) -> Any:
    """TRL's batches, each pair with the probability that its label is wrong."""
    import torch
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    plain = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id)

    def collate(rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
        return {**plain(rows), WRONG: torch.tensor([row[WRONG] for row in rows])}

    return collate


def _tokenize(job: DpoJob, tokenizer: Tokenizer) -> Rows:
    """Rows in TRL's columns of token ids; a pair of which one text is too long is left out whole."""
    from datasets import Dataset

    sampled = [f"{name}_{what}" for name in TEXTS for what in ("token_ids", "sampled_tokens")]
    pairs = read_rows(job.examples, ["prompt", *TEXTS, "ends", "margin"], sampled)
    prompts: dict[str, list[int]] = {}
    texts = CompletionTokens(tokenizer, find_end(tokenizer, chat=job.chat))
    columns: dict[str, list[Any]] = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": []}
    wrong: list[float] = []
    soft = job.settings.labels == "soft"
    left_out, longest = 0, longest_row(job)
    for row in pairs:
        if row["prompt"] not in prompts:
            prompts[row["prompt"]] = encode_prompt(tokenizer, row["prompt"], chat=job.chat)
        ids = prompts[row["prompt"]]
        chosen, rejected = (
            texts.encode(row[name], row.get(f"{name}_token_ids"), row.get(f"{name}_sampled_tokens")) for name in TEXTS
        )
        if not row["ends"]:
            chosen, rejected = chosen[:-1], rejected[:-1]
        if len(ids) + max(len(chosen), len(rejected)) > longest:
            left_out += 1
            continue
        for name, found in zip(columns, (ids, chosen, rejected), strict=True):
            columns[name].append(found)
        share = (1 - row["margin"]) / 2 if soft else job.settings.label_smoothing
        wrong.append(0.5 - NEAR_HALF if abs(share - 0.5) < NEAR_HALF else share)
    if not wrong:
        raise TrainingError(f"{job.output}: none of {len(pairs)} pairs to train on fits 'max_length: {longest}'")
    columns[WRONG] = wrong
    return Rows(Dataset.from_dict(columns), left_out, dict(texts.counts))
