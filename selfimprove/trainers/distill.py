"""Self-distillation: the model's own texts, each next token drawn towards what the model says with the answer in sight.

Rows in, a folder of safetensors out, resumable at any step. The loss is a small one of its own: TRL's trainers of this
kind are experimental, write the texts themselves, and keep none of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from selfimprove.engines.models import load_model
from selfimprove.errors import TrainingError
from selfimprove.prompting.chat import find_end
from selfimprove.prompting.prompts import encode_prompt
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.trainers.common import Rows, make_arguments, place, train_with
from selfimprove.trainers.job import DistillJob, Report, TrainResult
from selfimprove.trainers.tokens import CompletionTokens, longest_row, read_rows

SHOWN = "shown_"
"""What the columns of a row begin with that the teacher reads."""


def train_distill(job: DistillJob, report: Report | None = None) -> TrainResult:
    """Train and save to `job.output`, continuing from the newest whole checkpoint; raises TrainingError.

    The teacher is the model as it starts, and stays as it is.
    """

    def make_trainer(model: object, tokenizer: Tokenizer, rows: Rows, optimizer: object) -> Any:
        from trl import SFTConfig, SFTTrainer

        teacher, _ = load_model(job.model, base=job.base, dtype=job.dtype, device=place(job))
        own = {"packing": False, "dataset_kwargs": {"skip_prepare_dataset": True}, "remove_unused_columns": False}
        return distilling_trainer(SFTTrainer, teacher.eval().requires_grad_(False), job.settings.divergence)(
            model=model,
            data_collator=_make_collator(tokenizer),
            args=make_arguments(SFTConfig, job, len(rows.data), **own),
            train_dataset=rows.data,
            processing_class=tokenizer,
            optimizers=(optimizer, None),
        )

    return train_with(job, report, lambda tokenizer: tokenize(job, tokenizer), make_trainer)


def tokenize(job: DistillJob, tokenizer: Tokenizer) -> Rows:
    """Each text twice, after its own prompt and after the one with the answer, with the same tokens; one for which
    there is no room in either is left out."""
    from datasets import Dataset

    rows = read_rows(job.examples, ["prompt", "hinted", "completion"], ["token_ids", "sampled_tokens"])
    texts = CompletionTokens(tokenizer, find_end(tokenizer, chat=job.chat))
    columns: dict[str, list[list[int]]] = {
        f"{who}{what}": [] for who in ("", SHOWN) for what in ("input_ids", "labels")
    }
    longest = longest_row(job)
    for row in rows:
        ids = texts.encode(row["completion"], row.get("token_ids"), row.get("sampled_tokens"))
        prompts = {who: encode_prompt(tokenizer, row[name], chat=job.chat)
                   for who, name in (("", "prompt"), (SHOWN, "hinted"))}  # fmt: skip
        if max(map(len, prompts.values())) + len(ids) > longest:
            continue
        for who, prompt in prompts.items():
            columns[f"{who}input_ids"].append([*prompt, *ids])
            columns[f"{who}labels"].append([*[-100] * len(prompt), *ids])
    count = len(columns["input_ids"])
    if not count:
        raise TrainingError(f"{job.output}: none of {len(rows)} rows to train on fits 'max_length: {longest}'")
    return Rows(Dataset.from_dict(columns), len(rows) - count, dict(texts.counts))


def _make_collator(tokenizer: Tokenizer) -> Callable[[Sequence[Mapping[str, Sequence[int]]]], dict[str, Any]]:
    """What makes batches of rows, those of the two prompts each as wide as its longest one."""
    import torch

    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def fill(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
        longest = max(map(len, rows))
        return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])

    def collate(rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        for who in ("", SHOWN):
            ids = [row[f"{who}input_ids"] for row in rows]
            batch[f"{who}input_ids"] = fill(ids, pad)
            batch[f"{who}attention_mask"] = fill([[1] * len(row) for row in ids], 0)
            batch[f"{who}labels"] = fill([row[f"{who}labels"] for row in rows], -100)
        return batch

    return collate


def diverge(trained: Any, shown: Any, divergence: Literal["reverse", "forward"]) -> Any:
    """KL in nats of each next token, of logits of the shape (tokens, vocabulary); gradients flow through `trained`."""
    from torch.nn.functional import kl_div, log_softmax

    ours, theirs = log_softmax(trained.float(), -1), log_softmax(shown.float(), -1)
    first, second = (theirs, ours) if divergence == "reverse" else (ours, theirs)
    # torch's `kl_div(q, p)` is KL(p || q).
    return kl_div(first, second, reduction="none", log_target=True).sum(-1)


def distilling_trainer(kind: Any, teacher: Any, divergence: Literal["reverse", "forward"]) -> Any:
    """TRL's SFT trainer with the divergence from the teacher as its loss, a mean over the tokens of the texts."""
    import torch

    def logits_of(model: Any, batch: Mapping[str, Any]) -> Any:
        """The logits of the tokens of the texts alone, in the order of rows and places, with (tokens, vocabulary)."""
        labels = batch["labels"]
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        return logits[:, :-1][labels[:, 1:] != -100]

    class Distilling(kind):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> object:
            teacher.to(inputs["input_ids"].device)
            with torch.no_grad():
                shown = logits_of(teacher, {name.removeprefix(SHOWN): one for name, one in inputs.items()
                                            if name.startswith(SHOWN)})  # fmt: skip
            trained = logits_of(model, inputs)
            losses = diverge(trained, shown, divergence)
            count = len(losses) if num_items_in_batch is None else num_items_in_batch
            loss = losses.sum() / count
            if self.args.average_tokens_across_devices and num_items_in_batch is not None:
                loss = loss * self.accelerator.num_processes  # which DDP divides by
            return (loss, {"logits": trained}) if return_outputs else loss

    return Distilling
