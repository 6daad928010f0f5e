"""Batches of packed rows, and rows that count more or less than others in the loss."""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from typing import Any

from selfimprove.prompting.tokenizer import Tokenizer

WEIGHTS, LENGTHS = "loss_weights", "lengths"
"""Columns of rows: the weight of each sequence, and how long each is that one row holds."""


def pack(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which sequences go into one row of at most `room` tokens: the longest first, each where it fits best."""
    packs: list[list[int]] = []
    left: list[tuple[int, int]] = []  # the room of each pack that has some, and its place
    for one in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        at = bisect_left(left, (lengths[one], -1))
        if at < len(left):
            rest, place = left.pop(at)
        else:
            rest, place = room, len(packs)
            packs.append([])
        packs[place].append(one)
        insort(left, (rest - lengths[one], place))
    return packs


def scale_weights(weights: Sequence[float], learned: Sequence[int]) -> list[float]:
    """Weights of sequences so that a token has the weight 1 on average; `learned` counts each one's tokens."""
    mean = sum(one * count for one, count in zip(weights, learned, strict=True)) / sum(learned)
    return [one / mean for one in weights]


def make_collator(tokenizer: Tokenizer) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    """What makes batches of rows that hold several sequences, or sequences with weights.

    Of packed rows the positions begin anew with each sequence, and there is no attention mask: by that transformers
    knows that a sequence sees itself alone. What fills a row up has the position 0.
    """
    import torch

    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def fill(rows: Sequence[Sequence[Any]], value: object) -> object:
        longest = max(map(len, rows))
        return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])

    def collate(rows: list[dict[str, Any]]) -> dict[str, object]:
        ids = [row["input_ids"] for row in rows]
        batch = {"input_ids": fill(ids, pad), "labels": fill([row["labels"] for row in rows], -100)}
        lengths = [row.get(LENGTHS) or [len(row["input_ids"])] for row in rows]
        if LENGTHS in rows[0]:
            batch["position_ids"] = fill([[at for one in each for at in range(one)] for each in lengths], 0)
        else:
            batch["attention_mask"] = fill([[1] * len(row) for row in ids], 0)
        if WEIGHTS in rows[0]:
            pairs = [zip(row[WEIGHTS], each, strict=True) for row, each in zip(rows, lengths, strict=True)]
            batch[WEIGHTS] = fill([[one for one, count in row for _ in range(count)] for row in pairs], 0.0)
        return batch

    return collate


def weighted_trainer(kind: Any) -> Any:
    """TRL's SFT trainer with a loss in which each token has its sequence's weight."""
    from torch.nn.functional import cross_entropy

    class Weighted(kind):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> object:
            weights, labels = inputs.pop(WEIGHTS)[:, 1:], inputs.pop("labels")[:, 1:]
            outputs = model(**inputs, use_cache=False)
            logits = outputs.logits[:, :-1].float()
            losses = cross_entropy(logits.transpose(1, 2), labels, reduction="none", ignore_index=-100)
            count = (labels != -100).sum() if num_items_in_batch is None else num_items_in_batch
            loss = (losses * weights).sum() / count
            if self.args.average_tokens_across_devices and num_items_in_batch is not None:
                loss = loss * self.accelerator.num_processes  # which DDP divides by
            return (loss, outputs) if return_outputs else loss

    return Weighted
