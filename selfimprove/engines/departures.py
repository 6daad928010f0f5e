"""Where a text could have gone on otherwise: the likeliest other tokens at each of its tokens."""

from collections.abc import Callable, Sequence

import torch

from selfimprove.prompting.tokenizer import Tokenizer

MAX_TOKENS = 128  # of a text that is departed from


def find_departures(
    follow: Callable[[int, list[int]], torch.Tensor],
    tokenizer: Tokenizer,
    asked: Sequence[tuple[list[int], list[int]]],
    ends: Sequence[int],
    most: int,
    room: int,
) -> list[list[str]]:
    """For each prompt and text, as tokens, at most `most` texts that begin as it does and go on with another token,
    the likeliest first by the log-probability of all their tokens; special tokens, such as one that ends it, are left
    out, and there are none where prompt and text have no `room`.

    `follow` gives the logits [tokens, vocabulary] of each of a text's tokens after the prompt of that number. One
    sequence at a time, as its own length: what comes out depends on nothing that is asked with it, up to the rounding
    of a beginning that prompts share.
    """
    found: list[list[str]] = []
    for number, (prompt, whole) in enumerate(asked):
        text = whole[:MAX_TOKENS]
        if not prompt or not text or len(prompt) + len(text) > room:
            found.append([])
            continue
        logprobs = follow(number, text).float().log_softmax(-1)  # [tokens, vocabulary]
        chosen = torch.tensor(text, device=logprobs.device)[:, None]
        own = logprobs.gather(1, chosen)[:, 0]
        before = own.cumsum(0) - own
        logprobs.scatter_(1, chosen, -torch.inf)
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
