"""What the transformers engine computes of prompts before it writes or scores: what they share once, their own tokens
after it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from selfimprove.engines.attention import Sharing, Span, use_shared_attention
from selfimprove.engines.cache import new_cache, select_rows
from selfimprove.engines.grouping import Beginnings, count_call, count_last, group_stems
from selfimprove.prompting.tokenizer import Tokenizer


class PromptPass:
    """A model's pass over prompts; the engine that inherits it loads the model and fills in what is declared here."""

    model: Any
    tokenizer: Tokenizer
    device: Any
    layers: int
    parameters: int
    _shared_at_once: bool
    _own_attention: str
    _shares: bool | None
    _notes: dict[str, Any]

    def _find_beginnings(self, asked: Sequence[str], prompts: Mapping[str, list[int]], steps: int) -> Beginnings:
        """What the prompts share, where the model's attention can make use of it."""
        samples = Counter(asked)
        unique = {prompt: prompts[prompt] for prompt in samples}
        call = count_call(self.layers, self.parameters, steps)
        groups = group_stems(list(unique.values()), list(samples.values()), call)
        if (groups or self._shared_at_once) and self._shares is None:
            reason = use_shared_attention(self.model)
            self._shares = reason is None
            self._notes["attention"] = "shared prefixes" if reason is None else f"{self._own_attention}: {reason}"
        return Beginnings(unique, groups if self._shares else [], self._compute_beginning)

    def _compute_beginning(self, tokens: list[int]) -> object:
        cache = new_cache(self.layers, len(tokens))
        ids = torch.tensor([tokens], device=self.device)
        self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **self._tell())
        return cache

    def _tell(self, spans: Sequence[Span] = (), positions: torch.Tensor | None = None) -> dict[str, object]:
        """What a call of the model is told besides; nothing where its attention is transformers' own."""
        return {"sharing": Sharing(spans, positions)} if spans or (self._shares and self._shared_at_once) else {}

    def _prefill(
        self, prompts: Sequence[str], beginnings: Beginnings, capacity: int
    ) -> tuple[Any, torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Compute what different prompts do not share; gives cache, next logits, mask [prompts, width], lengths.

        Where many differ in their last tokens alone, such as steps that a text is forced to, what stands before these
        is computed once.
        """
        tails = [beginnings.rest(prompt) for prompt in prompts]
        groups = [beginnings.number(prompt) for prompt in prompts]
        last = count_last(tails, groups, count_call(self.layers, self.parameters, steps=0))
        if not last:
            return self._compute_tails(tails, prompts, beginnings, capacity)
        stems: dict[tuple[int, tuple[int, ...]], int] = {}
        keys = [(group, tuple(tail[:-last])) for group, tail in zip(groups, tails, strict=True)]
        repeat = torch.tensor([stems.setdefault(key, len(stems)) for key in keys], device=self.device)
        some = dict(zip(keys, prompts, strict=True))  # one of those that begin so
        cache, _, mask, lengths = self._compute_tails(
            [list(stem) for _, stem in stems], [some[key] for key in stems], beginnings, capacity
        )
        positions = lengths[repeat][:, None] + torch.arange(last, device=self.device)
        if mask is not None:
            mask = torch.cat([mask, mask.new_ones((len(stems), last))], dim=1)[repeat]
        cache = select_rows(cache, repeat, capacity)
        logits = self.model(
            input_ids=torch.tensor([tail[-last:] for tail in tails], device=self.device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **self._tell(beginnings.spans(groups), positions),
        ).logits[:, -1]
        return cache, logits, mask, lengths[repeat] + last

    def _compute_tails(
        self, tails: Sequence[list[int]], prompts: Sequence[str], beginnings: Beginnings, capacity: int
    ) -> tuple[Any, torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Compute tokens, padded on the left, that follow what the prompts share."""
        width = max(map(len, tails))
        ids = torch.full((len(tails), width), self.tokenizer.pad_token_id or 0)
        mask = torch.ones((len(tails), width), dtype=torch.long)
        for row, tail in enumerate(tails):
            ids[row, width - len(tail) :] = torch.tensor(tail)
            mask[row, : width - len(tail)] = 0
        padded = bool((mask == 0).any())
        ids, mask = ids.to(self.device), mask.to(self.device)
        starts = torch.tensor([beginnings.length(prompt) for prompt in prompts], device=self.device)
        positions = starts[:, None] + (mask.cumsum(1) - 1).clamp(min=0)
        cache = new_cache(self.layers, capacity)
        logits = self.model(
            input_ids=ids,
            attention_mask=mask if padded else None,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **self._tell(beginnings.spans([beginnings.number(prompt) for prompt in prompts]), positions),
        ).logits[:, -1]
        return cache, logits, mask if padded else None, starts + mask.sum(1)

    def _follow(self, prompt: str, text: list[int], beginnings: Beginnings) -> torch.Tensor:
        """The logits [tokens, vocabulary] of each token of a text after a prompt, as a batch of its own."""
        ids = torch.tensor([[*beginnings.rest(prompt), *text[:-1]]], device=self.device)
        shared: dict[str, Any] = {"use_cache": False}
        if start := beginnings.length(prompt):
            positions = torch.arange(start, start + ids.shape[1], device=self.device)[None]
            told = self._tell(beginnings.spans([beginnings.number(prompt)]), positions)
            cache = new_cache(self.layers, ids.shape[1])
            shared = {"position_ids": positions, "past_key_values": cache, "use_cache": True, **told}
        logits: torch.Tensor = self.model(input_ids=ids, logits_to_keep=len(text), **shared).logits[0]
        return logits
