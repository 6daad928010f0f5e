"""SFT through TRL: pretokenized rows in, a folder of safetensors out, resumable at any step."""

from collections.abc import Callable
from typing import Any

from selfimprove.errors import TrainingError
from selfimprove.prompting.chat import find_end
from selfimprove.prompting.prompts import encode_prompt
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.recipe import SupervisedTraining
from selfimprove.trainers.common import Rows, make_arguments, train_with
from selfimprove.trainers.job import Report, SftJob, TrainingJob, TrainResult
from selfimprove.trainers.packing import LENGTHS, WEIGHTS, make_collator, pack, scale_weights, weighted_trainer
from selfimprove.trainers.tokens import CompletionTokens, longest_row, read_rows


def train_sft(job: SftJob, report: Report | None = None) -> TrainResult:
    """Train and save to `job.output`, continuing from the newest whole checkpoint; raises TrainingError."""
    return train_with(job, report, lambda tokenizer: tokenize_examples(job, tokenizer), make_sft_trainer(job))


def make_sft_trainer(job: TrainingJob, **arguments: object) -> Callable[[Any, Any, Rows, Any], Any]:
    """What makes TRL's SFT trainer of a model, a tokenizer, rows and an optimizer; `arguments` are further ones of its
    configuration."""

    def make(model: object, tokenizer: Tokenizer, rows: Rows, optimizer: object) -> Any:
        from trl import SFTConfig, SFTTrainer

        own = {"packing": False, "dataset_kwargs": {"skip_prepare_dataset": True}, **arguments}
        columns = rows.data.column_names
        collator = None
        if LENGTHS in columns or WEIGHTS in columns:
            own["remove_unused_columns"], collator = False, make_collator(tokenizer)
        kind = weighted_trainer(SFTTrainer) if WEIGHTS in columns else SFTTrainer
        return kind(
            model=model,
            data_collator=collator,
            args=make_arguments(SFTConfig, job, len(rows.data), **own),
            train_dataset=rows.data,
            processing_class=tokenizer,
            optimizers=(optimizer, None),
        )

    return make


def tokenize_examples(job: TrainingJob, tokenizer: Tokenizer) -> Rows:
    """Rows with input_ids and labels (-100 on what is not learned), so that no text of a model becomes a special
    token; packed, and with weights, where that is asked for."""
    settings = job.settings if isinstance(job.settings, SupervisedTraining) else SupervisedTraining()
    rows = read_rows(job.examples, ["prompt", "completion"], ["token_ids", "sampled_tokens", "weight"])
    prompts: dict[str, list[int]] = {}
    completions = CompletionTokens(tokenizer, find_end(tokenizer, chat=job.chat))
    inputs: list[list[int]] = []
    labels: list[list[int]] = []
    weights: list[float] = []
    left_out, longest = 0, longest_row(job)
    for row in rows:
        prompt = row["prompt"]
        if prompt not in prompts:
            prompts[prompt] = encode_prompt(tokenizer, prompt, chat=job.chat)
        ids = prompts[prompt]
        target = completions.encode(row["completion"], row.get("token_ids"), row.get("sampled_tokens"))
        if len(ids) + len(target) > longest:
            left_out += 1
            continue
        inputs.append([*ids, *target])
        # Nothing goes before the first token, which in a packed row would be learned from another sequence.
        shown = [-100] * len(ids) if settings.loss_on == "completion" else [-100, *ids[1:]]
        labels.append([*shown, *target])
        weights.append(row.get("weight", 1.0))
    if not inputs:
        raise TrainingError(f"{job.output}: none of {len(rows)} rows to train on fits 'max_length: {longest}'")
    data = _arrange(inputs, labels, weights, settings)
    return Rows(data, left_out, dict(completions.counts), sequences=len(inputs))


def _arrange(
    inputs: list[list[int]], labels: list[list[int]], weights: list[float], settings: SupervisedTraining
) -> Any:
    """The data set of sequences, several in a row where they are packed."""
    from datasets import Dataset

    lengths = [len(one) for one in inputs]
    packs = pack(lengths, settings.max_length) if settings.packing else [[at] for at in range(len(inputs))]
    columns: dict[str, list[Any]] = {
        name: [[token for at in row for token in column[at]] for row in packs]
        for name, column in (("input_ids", inputs), ("labels", labels))
    }
    if settings.packing:
        columns[LENGTHS] = [[lengths[at] for at in row] for row in packs]
    if any(one != 1.0 for one in weights):
        scaled = scale_weights(weights, [sum(token != -100 for token in one) for one in labels])
        columns[WEIGHTS] = [[scaled[at] for at in row] for row in packs]
    return Dataset.from_dict(columns)
