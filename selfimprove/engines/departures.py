"""Where a text could have gone on otherwise: the likeliest other tokens at each of its tokens."""

from collections.abc import Sequence
from typing import Any

import torch

from selfimprove.prompting.tokenizer import Tokenizer

MAX_TOKENS = 128  # of a text that is departed from


@torch.inference_mode()
def find_departures(
    model: Any,
    tokenizer: Tokenizer,
    asked: Sequence[tuple[list[int], list[int]]],
    ends: Sequence[int],
    most: int,
    room: int,
) -> list[list[str]]:
    """For each prompt and text, as tokens, at most `most` texts that begin as it does and go on with another token,
    the likeliest first by the log-probability of all their tokens; special tokens, such as one that ends it, are left
    out, and there are none where prompt and text have no `room`.

    One sequence at a time, as its own length: what comes out depends on nothing that is asked with it.
    """
    found: list[list[str]] = []
    for prompt, whole in asked:
        text = whole[:MAX_TOKENS]
        if not prompt or not text or len(prompt) + len(text) > room:
            found.append([])
            continue
        ids = torch.tensor([[*prompt, *text]], device=model.device)
        logits = model(input_ids=ids[:, :-1], logits_to_keep=len(text), use_cache=False).logits[0].float()
        logprobs = logits.log_softmax(-1)  # [tokens, vocabulary]
        own = logprobs.gather(1, ids[0, -len(text) :, None])[:, 0]
        before = own.cumsum(0) - own
        logprobs.scatter_(1, ids[0, -len(text) :, None], -torch.inf)
        logprobs[:, sorted({*ends, *tokenizer.all_special_ids})] = -torch.inf
        values, tokens = logprobs.topk(min(most, logprobs.shape[1]), dim=-1)
        ranked = sorted(
            (-float(before[at] + values[at, rank]), at, rank)
            for at in range(len(text))
            for rank in range(values.shape[1])
            if values[at, rank] > -torch.inf
        )
        texts: dict[str, None] = {}
        for _, at, rank in ranked:
            written = tokenizer.decode([*text[:at], int(tokens[at, rank])])
            if "\ufffd" not in written:  # half a character
                texts.setdefault(written)
            if len(texts) == most:
                break
        found.append(list(texts))
    return found
