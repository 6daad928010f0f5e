"""SFT through TRL: pretokenized rows in, a folder of safetensors out, resumable at any step."""

from collections.abc import Callable
from typing import Any

from selfimprove.errors import TrainingError
from selfimprove.prompting.chat import find_end
from selfimprove.prompting.prompts import encode_prompt
from selfimprove.trainers.common import Rows, make_arguments, train_with
from selfimprove.trainers.job import Report, SftJob, TrainingJob, TrainResult
from selfimprove.trainers.tokens import CompletionTokens, read_rows


def train_sft(job: SftJob, report: Report | None = None) -> TrainResult:
    """Train and save to `job.output`, continuing from the newest whole checkpoint; raises TrainingError."""
    return train_with(job, report, lambda tokenizer: tokenize_examples(job, tokenizer), make_sft_trainer(job))


def make_sft_trainer(job: TrainingJob, **arguments: Any) -> Callable[[Any, Any, Rows, Any], Any]:
    """What makes TRL's SFT trainer of a model, a tokenizer, rows and an optimizer; `arguments` are further ones of its
    configuration."""

    def make(model: Any, tokenizer: Any, rows: Rows, optimizer: Any) -> Any:
        from trl import SFTConfig, SFTTrainer

        own = {"packing": False, "dataset_kwargs": {"skip_prepare_dataset": True}, **arguments}
        return SFTTrainer(
            model=model,
            args=make_arguments(SFTConfig, job, len(rows.data), **own),
            train_dataset=rows.data,
            processing_class=tokenizer,
            optimizers=(optimizer, None),
        )

    return make


def tokenize_examples(job: TrainingJob, tokenizer: Any) -> Rows:
    """Rows with input_ids and labels (-100 on the prompt), so that no text of a model becomes a special token."""
    from datasets import Dataset

    rows = read_rows(job.examples, ["prompt", "completion"], ["token_ids", "sampled_tokens"])
    prompts: dict[str, list[int]] = {}
    completions = CompletionTokens(tokenizer, find_end(tokenizer, chat=job.chat))
    inputs, labels, left_out = [], [], 0
    for row in rows:
        prompt = row["prompt"]
        if prompt not in prompts:
            prompts[prompt] = encode_prompt(tokenizer, prompt, chat=job.chat)
        ids = prompts[prompt]
        target = completions.encode(row["completion"], row.get("token_ids"), row.get("sampled_tokens"))
        if len(ids) + len(target) > job.settings.max_length:
            left_out += 1
            continue
        inputs.append([*ids, *target])
        labels.append([-100] * len(ids) + target)
    if not inputs:
        raise TrainingError(
            f"{job.output}: none of {len(rows)} rows to train on fits 'max_length: {job.settings.max_length}'"
        )
    data = Dataset.from_dict({"input_ids": inputs, "labels": labels})
    return Rows(data, left_out, sum(map(len, inputs)) / len(inputs), dict(completions.counts))
