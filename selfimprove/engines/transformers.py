"""Generation and scoring with transformers models: batched, seeded per sample, prompts shared between samples.

The decoding loop is ours because `generate` draws all rows from one random stream (a sample would depend on its
neighbours), keeps finished rows in the batch, and recomputes a few-shot prefix for every prompt.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from selfimprove.engines.attention import Span
from selfimprove.engines.base import Completion, Request, Score, find_fitting
from selfimprove.engines.cache import select_rows
from selfimprove.engines.departures import find_departures
from selfimprove.engines.grouping import Beginnings
from selfimprove.engines.memory import Batches, keep_memory
from selfimprove.engines.model_folders import find_whole
from selfimprove.engines.models import keeps_state, load_model, read_config
from selfimprove.engines.products import gives_numbers, pack_weights, unpack_weights
from selfimprove.engines.prompt_pass import PromptPass
from selfimprove.engines.rows import Rows, choose
from selfimprove.engines.token_costs import weigh_tokens
from selfimprove.errors import EngineError
from selfimprove.prompting.chat import find_end
from selfimprove.prompting.prompts import (
    Continuation,
    decode_completion,
    encode_completion,
    encode_prompt,
    find_written,
)
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.recipe import Sampling

MAX_LOGITS = 1 << 28  # scored at once: a vocabulary of 262,144 has a gigabyte of them for 1,024 tokens
STATEFUL = "a recurrent or hybrid model, whose state this engine does not keep; set engine.name to vllm"
SHRINK_AT = 0.75  # finished rows leave the batch once at most this share of it is at work


class TransformersEngine(PromptPass):
    """Runs a transformers causal language model.

    `base` is the model under a LoRA adapter; `chat` says that prompts were written by the tokenizer's chat template;
    `weigh` has it tell how likely each token was.
    """

    _weigh = False

    def __init__(
        self,
        model: str | Path,
        *,
        base: str | Path | None = None,
        dtype: str = "float32",
        device: str = "auto",
        batch_size: int | Literal["auto"] = 64,
        threads: int | None = None,
        chat: bool = False,
        weigh: bool = False,
    ) -> None:
        self._weigh = weigh
        if threads:
            torch.set_num_threads(threads)
        if keeps_state(read_config(find_whole(model, base))):
            raise EngineError(f"{model}: {STATEFUL}")
        loaded, tokenizer = load_model(model, base=base, dtype=dtype, device=device)
        loaded.eval()
        if pack_weights(loaded) and not gives_numbers(loaded):
            unpack_weights(loaded)
        self._take(loaded, tokenizer, batch_size, chat)

    def _take(self, model: Any, tokenizer: Tokenizer, batch_size: int | Literal["auto"], chat: bool) -> None:
        """Write and score with a model that is loaded."""
        self.model, self.tokenizer, self.chat = model, tokenizer, chat
        self.batches = Batches(model, batch_size)
        self.device = self.model.device
        text_config = self.model.config.get_text_config()
        self.layers: int = text_config.num_hidden_layers
        self.parameters = int(sum(one.numel() for one in self.model.parameters()))  # by them it is known what pays
        self.max_positions: int = getattr(text_config, "max_position_embeddings", 1 << 30)
        heads = text_config.num_attention_heads
        grouped = (getattr(text_config, "num_key_value_heads", None) or heads) != heads
        self._shared_at_once = grouped or bool(getattr(text_config, "attn_logit_softcapping", None))
        self._own_attention = self.model.config._attn_implementation
        self._shares: bool | None = None  # unknown before it was tried
        self._notes: dict[str, Any] = {}
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.end = find_end(self.tokenizer, chat=chat)
        self.ends = sorted({end for end in [*ends, self.tokenizer.eos_token_id, self.end] if end is not None})

    scores = tells = True
    max_logits = MAX_LOGITS

    def take_notes(self) -> dict[str, Any]:
        """What the record says of how the model was asked."""
        notes, self._notes = self._notes, {}
        return {"engine": notes} if notes else {}

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        prompts = {request.prompt: [0] for request in requests}
        for prompt in prompts:
            prompts[prompt] = encode_prompt(self.tokenizer, prompt, chat=self.chat)
        fitting, too_long = find_fitting(requests, prompts, self.max_positions - sampling.max_tokens)
        yield from too_long
        with keep_memory():
            beginnings = self._find_beginnings([requests[at].prompt for at in fitting], prompts, sampling.max_tokens)
            fitting = beginnings.order(fitting, [request.prompt for request in requests])
            while fitting:
                tails = [beginnings.tail(requests[at].prompt) for at in fitting]
                batch = fitting[: self.batches.cut(tails, sampling.max_tokens)]
                left = dict.fromkeys(batch)
                try:
                    asked = [requests[at] for at in batch]
                    for one in self._generate_batch(batch, asked, beginnings, sampling, stop):
                        del left[one.index]
                        yield one
                except RuntimeError as error:
                    self._shrink(len(batch), error)
                fitting = [*left, *fitting[len(batch) :]]

    def _shrink(self, rows: int, error: RuntimeError) -> None:
        self.batches.shrink(rows, error)
        self._notes["out of memory with rows"] = rows
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _generate_batch(
        self,
        batch: Sequence[int],
        requests: Sequence[Request],
        beginnings: Beginnings,
        sampling: Sampling,
        stop: Sequence[str],
    ) -> Iterator[Completion]:
        unique = list(dict.fromkeys(request.prompt for request in requests))
        longest = max(beginnings.tail(prompt) for prompt in unique)
        capacity = longest + sampling.max_tokens
        cache, logits, mask, lengths = self._prefill(unique, beginnings, capacity)
        place = {prompt: at for at, prompt in enumerate(unique)}
        repeat = torch.tensor([place[request.prompt] for request in requests], device=self.device)
        if len(unique) < len(requests):
            cache, logits = select_rows(cache, repeat, capacity), logits[repeat]
        if mask is not None:
            room = mask.new_ones((len(unique), capacity - mask.shape[1]))
            mask = torch.cat([mask, room], dim=1)[repeat]
        groups = [beginnings.number(request.prompt) for request in requests]
        rows = Rows(
            list(batch),
            self._draws(requests, sampling),
            lengths[repeat],
            mask,
            torch.zeros((len(batch), sampling.max_tokens), dtype=torch.long, device=self.device),
            torch.zeros(len(batch), dtype=torch.float64, device=self.device),
            torch.zeros((len(batch), sampling.max_tokens), device=self.device) if self._weigh else None,
            groups,
            beginnings.spans(groups),
        )
        yield from self._decode(rows, cache, logits, longest, beginnings, sampling, stop)

    def _draws(self, requests: Sequence[Request], sampling: Sampling) -> torch.Tensor:
        """One counter-based random stream a request, so that no draw depends on the other rows."""
        if sampling.temperature == 0:
            return torch.zeros((len(requests), 0), device=self.device)
        streams = [np.random.Generator(np.random.Philox(key=request.seed)) for request in requests]
        draws = np.stack([stream.random(sampling.max_tokens) for stream in streams])
        return torch.from_numpy(draws).to(self.device)

    def _decode(
        self,
        rows: Rows,
        cache: Any,
        logits: torch.Tensor,
        longest: int,
        beginnings: Beginnings,
        sampling: Sampling,
        stop: Sequence[str],
    ) -> Iterator[Completion]:
        ends = torch.tensor(self.ends, device=self.device)
        alive = torch.ones(len(rows.index), dtype=torch.bool, device=self.device)
        for step in range(sampling.max_tokens):
            logits = logits.float()
            draws = rows.uniform[:, step] if sampling.temperature else None
            chosen = choose(logits, sampling, draws)
            logprobs = logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(1)
            rows.logprob += logprobs * alive
            if rows.each is not None:
                rows.each[:, step] = logprobs
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
                rows, chosen, alive = rows.select(keep, beginnings), chosen[keep], alive[keep]
            mask = None if rows.mask is None else rows.mask[:, : longest + step + 1]
            logits = self.model(
                input_ids=chosen[:, None],
                attention_mask=mask,
                position_ids=rows.position[:, None],
                past_key_values=cache,
                use_cache=True,
                **self._tell(rows.spans, rows.position[:, None]),
            ).logits[:, -1]
            rows.position = rows.position + 1
        for row in alive.nonzero()[:, 0].tolist():
            yield self._completion(rows, row, sampling.max_tokens, "length", stop)

    def _stopped(self, rows: Rows, alive: torch.Tensor, step: int, stop: Sequence[str]) -> torch.Tensor:
        """Which rows' last tokens completed a stop string."""
        tail = max(map(len, stop)) + 8
        found = torch.zeros_like(alive)
        for row in alive.nonzero()[:, 0].tolist():
            text = self.tokenizer.decode(rows.tokens[row, max(0, step + 1 - tail) : step + 1].tolist())
            found[row] = any(mark in text for mark in stop)
        return found

    def _completion(self, rows: Rows, row: int, count: int, finish: Any, stop: Sequence[str]) -> Completion:
        ids = rows.tokens[row, :count].tolist()
        text = decode_completion(self.tokenizer, ids, self.ends, stop)
        written = find_written(self.tokenizer, ids, self.ends, text)
        each = None if rows.each is None else rows.each[row, :count].tolist()
        lengths, costs = weigh_tokens(self.tokenizer, written, text, each) or (None, None)
        return Completion(rows.index[row], text, count, float(rows.logprob[row]), finish, written, lengths, costs)

    @torch.inference_mode()
    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        prompts = {prompt: encode_prompt(self.tokenizer, prompt, chat=self.chat) for prompt, _ in pairs}
        texts = [encode_completion(self.tokenizer, text, self.end) for _, text in pairs]
        texts = texts if end else [ids[:-1] for ids in texts]
        sizes = [len(prompts[pair[0]]) + len(ids) for pair, ids in zip(pairs, texts, strict=True)]
        scores = {at: Score(0.0, 0, too_long=True) for at, size in enumerate(sizes) if size > self.max_positions}
        order = [at for at in range(len(pairs)) if at not in scores]
        with keep_memory():
            beginnings = self._find_beginnings([pairs[at][0] for at in order], prompts, steps=1)
            # Continuations of one prompt stay together, so that it is computed once.
            order = beginnings.order(order, [prompt for prompt, _ in pairs], [len(ids) for ids in texts])
            while order:
                room = max(len(texts[at]) for at in order)
                batch = order[: self.batches.cut([beginnings.tail(pairs[at][0]) for at in order], room)]
                try:
                    asked = [(pairs[at][0], texts[at]) for at in batch]
                    scores.update(zip(batch, self._score_batch(asked, beginnings), strict=True))
                except RuntimeError as error:
                    self._shrink(len(batch), error)
                else:
                    order = order[len(batch) :]
        return [scores[at] for at in range(len(pairs))]

    def _score_batch(self, pairs: Sequence[tuple[str, list[int]]], beginnings: Beginnings) -> list[Score]:
        unique = list(dict.fromkeys(prompt for prompt, _ in pairs))
        longest = max(beginnings.tail(prompt) for prompt in unique)
        prefill = self._prefill(unique, beginnings, longest)
        place = {prompt: at for at, prompt in enumerate(unique)}
        widest = max(len(ids) for _, ids in pairs)
        rows = max(1, self.max_logits // (max(1, widest) * prefill[1].shape[1]))
        found: list[Score] = []
        for first in range(0, len(pairs), rows):
            some = pairs[first : first + rows]
            repeat = torch.tensor([place[prompt] for prompt, _ in some], device=self.device)
            spans = beginnings.spans([beginnings.number(prompt) for prompt, _ in some])
            found += self._score_rows([ids for _, ids in some], repeat, prefill, spans, longest)
        return found

    def _score_rows(
        self,
        texts: Sequence[list[int]],
        repeat: torch.Tensor,
        prefill: tuple[Any, torch.Tensor, torch.Tensor | None, torch.Tensor],
        spans: Sequence[Span],
        longest: int,
    ) -> list[Score]:
        """Score continuations of computed prompts; `repeat` [rows] is each row's prompt."""
        cache, logits, mask, lengths = prefill
        width = max(map(len, texts))
        table = torch.full((len(texts), max(1, width)), self.tokenizer.pad_token_id or 0)
        for row, ids in enumerate(texts):
            table[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        table = table.to(self.device)
        following = logits[repeat][:, None].float()
        if width > 1:
            room = None if mask is None else mask.new_ones((len(texts), width - 1))
            positions = lengths[repeat][:, None] + torch.arange(width - 1, device=self.device)
            more = self.model(
                input_ids=table[:, :-1],
                attention_mask=None if mask is None or room is None else torch.cat([mask[repeat], room], dim=1),
                position_ids=positions,
                past_key_values=select_rows(cache, repeat, longest + width - 1),
                use_cache=True,
                **self._tell(spans, positions),
            ).logits
            following = torch.cat([following, more.float()], dim=1)
        chosen = following.gather(2, table[..., None])[..., 0] - following.logsumexp(2)
        return [Score(float(chosen[row, : len(ids)].double().sum()), len(ids)) for row, ids in enumerate(texts)]

    @torch.inference_mode()
    def depart(self, pairs: Sequence[tuple[str, str]], most: int) -> list[list[str]]:
        """Where texts could have gone on otherwise (`engines.Departing`)."""
        prompts = {prompt: encode_prompt(self.tokenizer, prompt, chat=self.chat) for prompt, _ in pairs}
        texts = [encode_completion(self.tokenizer, text, self.end)[:-1] for _, text in pairs]
        whole = {prompt: ids for prompt, ids in prompts.items() if ids}
        with keep_memory():
            beginnings = self._find_beginnings([prompt for prompt, _ in pairs if prompt in whole], whole, steps=1)
            # Those that share a beginning stay together, so that it is computed once.
            order = sorted(range(len(pairs)), key=lambda at: beginnings.number(pairs[at][0]))
            found = find_departures(
                lambda number, text: self._follow(pairs[order[number]][0], text, beginnings),
                self.tokenizer, [(prompts[pairs[at][0]], texts[at]) for at in order], self.ends, most,
                self.max_positions,
            )  # fmt: skip
        ways = dict(zip(order, found, strict=True))
        return [ways[at] for at in range(len(pairs))]

    def close(self) -> None:
        """Free the model's memory."""
        with suppress(AttributeError):
            del self.model
        if self.device.type == "cuda":  # elsewhere memory goes back by itself
            gc.collect()
            torch.cuda.empty_cache()
