"""DPO through TRL (Rafailov et al., 2023), with IRPO's likelihood of the chosen text beside it.

Pretokenized pairs in, a folder of safetensors out, resumable at any step.
"""

from typing import Any

from selfimprove.errors import TrainingError
from selfimprove.models import load_model
from selfimprove.prompts import encode_completion, encode_prompt
from selfimprove.trainers.common import Rows, make_arguments, train_with
from selfimprove.trainers.job import DpoJob, Report, TrainResult


def train_dpo(job: DpoJob, report: Report | None = None) -> TrainResult:
    """Train and save to `job.output`, continuing from the newest whole checkpoint; raises TrainingError.

    The reference's log-probabilities are computed once, before the first step: by the model as it starts, or by
    `job.reference`.
    """

    def make_trainer(model: Any, tokenizer: Any, rows: Rows, optimizer: Any) -> Any:
        from trl import DPOConfig, DPOTrainer

        class Pretokenized(DPOTrainer):  # type: ignore[misc]
            """Takes the rows as they are: TRL would tokenize the texts again, with special tokens in them."""

            def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
                return dataset

        settings = job.settings
        mixed = settings.nll > 0
        own = {
            "beta": settings.beta,
            "loss_type": [settings.loss, "sft"] if mixed else [settings.loss],
            "loss_weights": [1.0, settings.nll] if mixed else [1.0],
            "label_smoothing": settings.label_smoothing,
            "precompute_ref_log_probs": True,
        }
        reference = None
        if job.reference is not None:
            reference, _ = load_model(job.reference, base=None, dtype=job.dtype, device=job.device)
        return Pretokenized(
            model=model,
            ref_model=reference,
            args=make_arguments(DPOConfig, job, len(rows.data), **own),
            train_dataset=rows.data,
            processing_class=tokenizer,
            optimizers=(optimizer, None),
        )

    return train_with(job, report, lambda tokenizer: _tokenize(job, tokenizer), make_trainer)


def _tokenize(job: DpoJob, tokenizer: Any) -> Rows:
    """Rows in TRL's columns of token ids; a pair of which one text is too long is left out whole."""
    import pyarrow.parquet as pq
    from datasets import Dataset

    table = pq.read_table(job.examples, columns=["prompt", "chosen", "rejected", "ends"])
    prompts: dict[str, list[int]] = {}
    columns: dict[str, list[list[int]]] = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": []}
    left_out = tokens = 0
    for row in table.to_pylist():
        if row["prompt"] not in prompts:
            prompts[row["prompt"]] = encode_prompt(tokenizer, row["prompt"], chat=job.chat)
        ids = prompts[row["prompt"]]
        chosen, rejected = (encode_completion(tokenizer, row[name]) for name in ("chosen", "rejected"))
        if not row["ends"]:
            chosen, rejected = chosen[:-1], rejected[:-1]
        if len(ids) + max(len(chosen), len(rejected)) > job.settings.max_length:
            left_out += 1
            continue
        for name, found in zip(columns, (ids, chosen, rejected), strict=True):
            columns[name].append(found)
        tokens += 2 * len(ids) + len(chosen) + len(rejected)
    rows = len(columns["prompt_ids"])
    if not rows:
        raise TrainingError(
            f"{job.output}: none of {table.num_rows} pairs to train on fits 'max_length: {job.settings.max_length}'"
        )
    return Rows(Dataset.from_dict(columns), left_out, tokens / rows)
