"""Generation and scoring with transformers models: batched, seeded per sample, prompts shared between samples.

The decoding loop is ours because `generate` draws all rows from one random stream (a sample would depend on its
neighbours), keeps finished rows in the batch, and recomputes a few-shot prefix for every prompt.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfimprove.engines.base import Completion, Request, Score, find_fitting
from selfimprove.engines.cache import new_cache, select_rows
from selfimprove.engines.departures import find_departures
from selfimprove.engines.model_folders import find_whole
from selfimprove.engines.models import keeps_state, load_model, read_config
from selfimprove.errors import EngineError
from selfimprove.prompting.chat import find_end
from selfimprove.prompting.prompts import (
    Continuation,
    decode_completion,
    encode_completion,
    encode_prompt,
    find_written,
)
from selfimprove.recipe import Sampling

SHARED_PREFIX = 32  # prompts that begin with this many equal tokens have them computed once
MAX_LOGITS = 1 << 28  # scored at once: a vocabulary of 262,144 has a gigabyte of them for 1,024 tokens
STATEFUL = "a recurrent or hybrid model, whose state this engine does not keep; set engine.name to vllm"
SHRINK_AT = 0.75  # finished rows leave the batch once at most this share of it is at work


@dataclass
class _Rows:
    """A batch under way; everything but the buffers is indexed by the row's place in the batch."""

    index: list[int]
    uniform: torch.Tensor  # [rows, max_tokens] draws in [0, 1)
    position: torch.Tensor  # [rows] position of the next token
    mask: torch.Tensor | None  # [rows, capacity], None where nothing is padded
    tokens: torch.Tensor  # [rows, max_tokens] what was written
    logprob: torch.Tensor  # [rows] float64
    logprobs: list[torch.Tensor] = field(default_factory=list)

    def select(self, rows: torch.Tensor) -> "_Rows":
        keep = rows.tolist()
        return _Rows(
            [self.index[row] for row in keep],
            self.uniform[rows],
            self.position[rows],
            None if self.mask is None else self.mask[rows],
            self.tokens[rows],
            self.logprob[rows],
            [step[rows] for step in self.logprobs],
        )


class TransformersEngine:
    """Runs a transformers causal language model.

    `base` is the model under a LoRA adapter; `chat` says that prompts were written by the tokenizer's chat template.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        base: str | Path | None = None,
        dtype: str = "float32",
        device: str = "auto",
        batch_size: int = 64,
        threads: int | None = None,
        chat: bool = False,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        if keeps_state(read_config(find_whole(model, base))):
            raise EngineError(f"{model}: {STATEFUL}")
        loaded, tokenizer = load_model(model, base=base, dtype=dtype, device=device)
        loaded.eval()
        self._take(loaded, tokenizer, batch_size, chat)

    def _take(self, model: Any, tokenizer: Any, batch_size: int, chat: bool) -> None:
        """Write and score with a model that is loaded."""
        self.model, self.tokenizer, self.batch_size, self.chat = model, tokenizer, batch_size, chat
        self.device = self.model.device
        text_config = self.model.config.get_text_config()
        self.layers: int = text_config.num_hidden_layers
        self.max_positions: int = getattr(text_config, "max_position_embeddings", 1 << 30)
        self.window: int | None = getattr(text_config, "sliding_window", None)
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.end = find_end(self.tokenizer, chat=chat)
        self.ends = sorted({end for end in [*ends, self.tokenizer.eos_token_id, self.end] if end is not None})

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        prompts = {request.prompt: [0] for request in requests}
        for prompt in prompts:
            prompts[prompt] = encode_prompt(self.tokenizer, prompt, chat=self.chat)
        fitting, too_long = find_fitting(requests, prompts, self.max_positions - sampling.max_tokens)
        yield from too_long
        # Equal prompts stay together, and rows of equal length need no padding.
        fitting.sort(key=lambda at: (len(prompts[requests[at].prompt]), requests[at].prompt, at))
        prefix = self._prefill_prefix([prompts[requests[at].prompt] for at in fitting], sampling.max_tokens)
        for start in range(0, len(fitting), self.batch_size):
            batch = fitting[start : start + self.batch_size]
            yield from self._generate_batch(batch, [requests[at] for at in batch], prompts, prefix, sampling, stop)

    def _prefill_prefix(self, prompts: Sequence[list[int]], room: int) -> tuple[int, Any] | None:
        """Compute the keys and values of what all prompts begin with, where that is worth it.

        Padding then stands between the prefix and the rest of a shorter prompt. A sliding window counts places in the
        cache, so where a text can outgrow the window the whole prompts are padded on the left instead.
        """
        if not prompts or (self.window is not None and max(map(len, prompts)) + room > self.window):
            return None
        low, high = min(prompts), max(prompts)
        shared = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
        shared = min(shared, min(map(len, prompts)) - 1)
        if shared < SHARED_PREFIX:
            return None
        cache = new_cache(self.layers, shared)
        ids = torch.tensor([low[:shared]], device=self.device)
        self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return shared, cache

    def _prefill(
        self, prompts: Sequence[list[int]], prefix: tuple[int, Any] | None, capacity: int
    ) -> tuple[Any, torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Compute different prompts, padded on the left; gives cache, next logits, mask [prompts, width], lengths."""
        shared = prefix[0] if prefix else 0
        tails = [prompt[shared:] for prompt in prompts]
        width = max(map(len, tails))
        ids = torch.full((len(tails), width), self.tokenizer.pad_token_id or 0)
        mask = torch.ones((len(tails), shared + width), dtype=torch.long)
        for row, tail in enumerate(tails):
            ids[row, width - len(tail) :] = torch.tensor(tail)
            mask[row, shared : shared + width - len(tail)] = 0
        padded = bool((mask == 0).any())
        ids, mask = ids.to(self.device), mask.to(self.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]
        rows = torch.zeros(len(tails), dtype=torch.long, device=self.device)
        cache = select_rows(prefix[1], rows, capacity) if prefix else new_cache(self.layers, capacity)
        logits = self.model(
            input_ids=ids,
            attention_mask=mask if padded else None,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return cache, logits, mask if padded else None, mask.sum(1)

    def _generate_batch(
        self,
        batch: Sequence[int],
        requests: Sequence[Request],
        prompts: dict[str, list[int]],
        prefix: tuple[int, Any] | None,
        sampling: Sampling,
        stop: Sequence[str],
    ) -> Iterator[Completion]:
        unique = list(dict.fromkeys(request.prompt for request in requests))
        longest = max(len(prompts[prompt]) for prompt in unique)
        capacity = longest + sampling.max_tokens
        cache, logits, mask, lengths = self._prefill([prompts[one] for one in unique], prefix, capacity)
        place = {prompt: at for at, prompt in enumerate(unique)}
        repeat = torch.tensor([place[request.prompt] for request in requests], device=self.device)
        if len(unique) < len(requests):
            cache, logits = select_rows(cache, repeat, capacity), logits[repeat]
        if mask is not None:
            room = mask.new_ones((len(unique), capacity - mask.shape[1]))
            mask = torch.cat([mask, room], dim=1)[repeat]
        rows = _Rows(
            list(batch),
            self._draws(requests, sampling),
            lengths[repeat],
            mask,
            torch.zeros((len(batch), sampling.max_tokens), dtype=torch.long, device=self.device),
            torch.zeros(len(batch), dtype=torch.float64, device=self.device),
        )
        yield from self._decode(rows, cache, logits, longest, sampling, stop)

    def _draws(self, requests: Sequence[Request], sampling: Sampling) -> torch.Tensor:
        """One counter-based random stream a request, so that no draw depends on the other rows."""
        if sampling.temperature == 0:
            return torch.zeros((len(requests), 0), device=self.device)
        streams = [np.random.Generator(np.random.Philox(key=request.seed)) for request in requests]
        draws = np.stack([stream.random(sampling.max_tokens) for stream in streams])
        return torch.from_numpy(draws).to(self.device)

    def _decode(
        self, rows: _Rows, cache: Any, logits: torch.Tensor, longest: int, sampling: Sampling, stop: Sequence[str]
    ) -> Iterator[Completion]:
        ends = torch.tensor(self.ends, device=self.device)
        alive = torch.ones(len(rows.index), dtype=torch.bool, device=self.device)
        for step in range(sampling.max_tokens):
            logits = logits.float()
            draws = rows.uniform[:, step] if sampling.temperature else None
            chosen = choose(logits, sampling, draws)
            logprobs = logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(1)
            rows.logprob += logprobs * alive
            rows.tokens[:, step] = chosen
            ended = alive & torch.isin(chosen, ends)
            stopped = self._stopped(rows, alive & ~ended, step, stop) if stop else torch.zeros_like(alive)
            for row in (ended | stopped).nonzero()[:, 0].tolist():
                yield self._completion(rows, row, step + 1, "stop", stop)
            alive &= ~(ended | stopped)
            working = int(alive.sum())
            if working == 0:
                return
            if step + 1 == sampling.max_tokens:
                break
            if working <= SHRINK_AT * len(rows.index):
                keep = alive.nonzero()[:, 0]
                cache = select_rows(cache, keep, cache.layers[0].capacity)
                rows, chosen, alive = rows.select(keep), chosen[keep], alive[keep]
            mask = None if rows.mask is None else rows.mask[:, : longest + step + 1]
            logits = self.model(
                input_ids=chosen[:, None],
                attention_mask=mask,
                position_ids=rows.position[:, None],
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
            rows.position = rows.position + 1
        for row in alive.nonzero()[:, 0].tolist():
            yield self._completion(rows, row, sampling.max_tokens, "length", stop)

    def _stopped(self, rows: _Rows, alive: torch.Tensor, step: int, stop: Sequence[str]) -> torch.Tensor:
        """Which rows' last tokens completed a stop string."""
        tail = max(map(len, stop)) + 8
        found = torch.zeros_like(alive)
        for row in alive.nonzero()[:, 0].tolist():
            text = self.tokenizer.decode(rows.tokens[row, max(0, step + 1 - tail) : step + 1].tolist())
            found[row] = any(mark in text for mark in stop)
        return found

    def _completion(self, rows: _Rows, row: int, count: int, finish: Any, stop: Sequence[str]) -> Completion:
        ids = rows.tokens[row, :count].tolist()
        text = decode_completion(self.tokenizer, ids, self.ends, stop)
        written = find_written(self.tokenizer, ids, self.ends, text)
        return Completion(rows.index[row], text, count, float(rows.logprob[row]), finish, written)

    @torch.inference_mode()
    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        prompts = {prompt: encode_prompt(self.tokenizer, prompt, chat=self.chat) for prompt, _ in pairs}
        texts = [encode_completion(self.tokenizer, text, self.end) for _, text in pairs]
        texts = texts if end else [ids[:-1] for ids in texts]
        sizes = [len(prompts[pair[0]]) + len(ids) for pair, ids in zip(pairs, texts, strict=True)]
        scores = {at: Score(0.0, 0, too_long=True) for at, size in enumerate(sizes) if size > self.max_positions}
        # Continuations of one prompt stay together, so that it is computed once.
        order = sorted(
            (at for at in range(len(pairs)) if at not in scores),
            key=lambda at: (len(prompts[pairs[at][0]]), pairs[at][0], len(texts[at])),
        )
        prefix = self._prefill_prefix([prompts[pairs[at][0]] for at in order], max(map(len, texts), default=0))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            unique = list(dict.fromkeys(pairs[at][0] for at in batch))
            longest = max(len(prompts[one]) for one in unique)
            cache, logits, mask, lengths = self._prefill([prompts[one] for one in unique], prefix, longest)
            place = {prompt: at for at, prompt in enumerate(unique)}
            widest = max(len(texts[at]) for at in batch)
            rows = max(1, MAX_LOGITS // (max(1, widest) * logits.shape[1]))
            for first in range(0, len(batch), rows):
                some = batch[first : first + rows]
                repeat = torch.tensor([place[pairs[at][0]] for at in some], device=self.device)
                found = self._score_rows([texts[at] for at in some], repeat, cache, logits, mask, lengths, longest)
                scores.update(zip(some, found, strict=True))
        return [scores[at] for at in range(len(pairs))]

    def _score_rows(
        self,
        texts: Sequence[list[int]],
        repeat: torch.Tensor,
        cache: Any,
        logits: torch.Tensor,
        mask: torch.Tensor | None,
        lengths: torch.Tensor,
        longest: int,
    ) -> list[Score]:
        """Score continuations of computed prompts; `repeat` [rows] is each row's prompt."""
        width = max(map(len, texts))
        table = torch.full((len(texts), max(1, width)), self.tokenizer.pad_token_id or 0)
        for row, ids in enumerate(texts):
            table[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        table = table.to(self.device)
        following = logits[repeat][:, None].float()
        if width > 1:
            room = None if mask is None else mask.new_ones((len(texts), width - 1))
            more = self.model(
                input_ids=table[:, :-1],
                attention_mask=None if mask is None or room is None else torch.cat([mask[repeat], room], dim=1),
                position_ids=lengths[repeat][:, None] + torch.arange(width - 1, device=self.device),
                past_key_values=select_rows(cache, repeat, longest + width - 1),
                use_cache=True,
            ).logits
            following = torch.cat([following, more.float()], dim=1)
        chosen = following.gather(2, table[..., None])[..., 0] - following.logsumexp(2)
        return [Score(float(chosen[row, : len(ids)].double().sum()), len(ids)) for row, ids in enumerate(texts)]

    def depart(self, pairs: Sequence[tuple[str, str]], most: int) -> list[list[str]]:
        """Where texts could have gone on otherwise (`engines.Departing`)."""
        prompts = [encode_prompt(self.tokenizer, prompt, chat=self.chat) for prompt, _ in pairs]
        texts = [encode_completion(self.tokenizer, text, self.end)[:-1] for _, text in pairs]
        asked = list(zip(prompts, texts, strict=True))
        return find_departures(self.model, self.tokenizer, asked, self.ends, most, self.max_positions)

    def close(self) -> None:
        """Free the model's memory."""
        with suppress(AttributeError):
            del self.model
        if self.device.type == "cuda":  # elsewhere memory goes back by itself
            gc.collect()
            torch.cuda.empty_cache()


class LiveEngine(TransformersEngine):
    """The same with a model that is being trained: equal weights, requests and batches give equal texts."""

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int, chat: bool) -> None:
        if keeps_state(model.config):
            raise EngineError(f"{tokenizer.name_or_path}: {STATEFUL}")
        self._take(model, tokenizer, batch_size, chat)
        self.sampled: dict[int, list[int]] = {}
        """By the number of the request: all tokens, the one that ended the text among them."""

    def write(self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()) -> list[Completion]:
        """The completions in order, by the model as it is used, not as it is trained (without dropout)."""
        self.sampled.clear()
        training = self.model.training
        self.model.eval()
        try:
            found = {one.index: one for one in self.generate(requests, sampling, stop)}
        finally:
            self.model.train(training)
        return [found[index] for index in range(len(requests))]

    def _completion(self, rows: _Rows, row: int, count: int, finish: Any, stop: Sequence[str]) -> Completion:
        self.sampled[rows.index[row]] = rows.tokens[row, :count].tolist()
        return super()._completion(rows, row, count, finish, stop)


def choose(logits: torch.Tensor, sampling: Sampling, draws: torch.Tensor | None) -> torch.Tensor:
    """Choose a token a row [rows] from logits [rows, vocabulary]: greedy, or by inverting the distribution at `draws`.

    Inverting the cumulative distribution takes one uniform number a token, so a row's draw does not depend on others.
    """
    if draws is None:
        return logits.argmax(1)
    probabilities = (logits / sampling.temperature).softmax(1)
    if sampling.top_p < 1.0:
        ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
        outside = ordered.cumsum(1) - ordered >= sampling.top_p
        probabilities = probabilities.masked_fill(outside.scatter(1, order, outside), 0.0)
    cumulative = probabilities.double().cumsum(1)
    at = torch.searchsorted(cumulative, (draws[:, None] * cumulative[:, -1:]), right=True)[:, 0]
    return at.clamp(max=logits.shape[1] - 1)
