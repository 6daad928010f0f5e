"""Generation and scoring with transformers models: batched, seeded per sample, prompts shared between samples.

The decoding loop is ours because `generate` draws all rows from one random stream (a sample would depend on its
neighbours), keeps finished rows in the batch, and recomputes a few-shot prefix for every prompt.
"""

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from selfimprove.engines.attention import Sharing, Span, use_shared_attention
from selfimprove.engines.base import Completion, Request, Score, find_fitting
from selfimprove.engines.cache import new_cache, select_rows
from selfimprove.engines.departures import find_departures
from selfimprove.engines.grouping import Beginnings, count_call, count_last, group_stems
from selfimprove.engines.memory import Batches, keep_memory
from selfimprove.engines.model_folders import find_whole
from selfimprove.engines.models import keeps_state, load_model, read_config
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


class TransformersEngine:
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
        first = dict(zip(reversed(keys), reversed(prompts), strict=True))  # one of those that begin so
        cache, _, mask, lengths = self._compute_tails(
            [list(stem) for _, stem in stems], [first[key] for key in stems], beginnings, capacity
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

    def close(self) -> None:
        """Free the model's memory."""
        with suppress(AttributeError):
            del self.model
        if self.device.type == "cuda":  # elsewhere memory goes back by itself
            gc.collect()
            torch.cuda.empty_cache()
