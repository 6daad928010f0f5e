"""Generation and scoring with vLLM in this process: prompts share what they begin with, rounds share the engine."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from selfimprove.engines import vllm_start
from selfimprove.engines.base import Completion, Request, Score, Weights, find_fitting
from selfimprove.engines.checkpoints import full_folder, read_adapter, read_ends, read_shape, same_tokenizer
from selfimprove.engines.model_folders import find_tokenizer, resolve_folder
from selfimprove.engines.models import read_longest, read_tokenizer
from selfimprove.engines.shareable import write_whole
from selfimprove.engines.token_costs import weigh_tokens
from selfimprove.engines.vllm_start import on_cpu, reason
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
from selfimprove.recipe import Model, Sampling
from selfimprove.recipe.engine_settings import EngineSettings

WINDOW = 1024  # requests in the engine at a time: more than it runs together, and no more memory for longer lists
MAX_LOGITS = 1 << 28  # scored at once: a vocabulary of 262,144 has a gigabyte of them for 1,024 tokens
MAX_LAST = 128  # last tokens of one text that vLLM scores together


class VllmEngine:
    """Runs a model with vLLM, and takes the weights of later rounds without a new start.

    A completion is a function of its prompt and seed, up to the rounding that differs between batches; the seed's
    stream is vLLM's own, so samples are others than those of the transformers engine, and greedy ones are the same.
    """

    def __init__(self, weights: Weights, *, settings: EngineSettings, model: Model) -> None:
        self.settings, self.model, self._weigh = settings, model, settings.token_logprobs
        self.weights = weights
        self.merges = on_cpu()  # where vLLM's kernels take three times as long with an adapter
        self._merged: TemporaryDirectory[str] | None = None
        self.folder = self._merge(weights) if self.merges and weights.base else full_folder(weights)
        self.adapter = None if self.merges else read_adapter(weights)
        self._load_tokenizer(weights)
        longest = read_longest(self.folder)
        self.llm: Any = vllm_start.start(
            self.folder, self.tokenizer_folder, model=model, settings=settings, longest=longest, adapter=self.adapter
        )
        running = self.llm.llm_engine.vllm_config
        self.max_positions: int = running.model_config.max_model_len
        self.block: int = running.cache_config.block_size
        self.room: int = self.block * running.cache_config.num_gpu_blocks  # tokens in the cache
        self.rows = max(1, MAX_LOGITS // running.model_config.get_vocab_size())  # tokens whose logits fit
        self.interpreted = running.device_config.device_type == "cpu" and running.model_config.enforce_eager
        self.asleep = self.broken = False
        self._names, self._adapters = count(), count(1)
        self._finished: dict[str, Any] = {}
        self._lora: Any = None
        if self.adapter:
            try:
                self._load_adapter(weights)
            except EngineError:
                self.close()
                raise

    def _load_tokenizer(self, weights: Weights) -> None:
        self.tokenizer_folder = find_tokenizer(weights.path, weights.base)
        self.tokenizer: Tokenizer = read_tokenizer(weights.path, weights.base)
        self.end = find_end(self.tokenizer, chat=weights.chat)
        self.ends = sorted({*read_ends(self.folder, self.tokenizer), self.end})
        self.chat = weights.chat

    # --- writing ---------------------------------------------------------------------------------------------

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        prompts = {one: encode_prompt(self.tokenizer, one, chat=self.chat) for one in {one.prompt for one in requests}}
        fitting, too_long = find_fitting(requests, prompts, self.max_positions - sampling.max_tokens)
        yield from too_long
        plain = self._sampling(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            stop=list(stop),
            stop_token_ids=self.ends,
            ignore_eos=True,  # the tokens that end a text are those above
            logprobs=0,  # of the chosen token, before temperature and top_p
            detokenize=bool(stop),
            skip_special_tokens=False,  # a stop string may be one
            spaces_between_special_tokens=False,
        )

        def ask() -> Iterator[tuple[int, list[int], Any]]:
            for index in fitting:
                params = copy.copy(plain)
                params.seed = requests[index].seed if sampling.temperature else None
                yield index, prompts[requests[index].prompt], params

        for index, output in self._run(ask()):
            yield self._completion(index, output.outputs[0], stop)

    def _completion(self, index: int, written: Any, stop: Sequence[str]) -> Completion:
        if written.finish_reason not in ("stop", "length"):
            raise EngineError(f"{self.weights.path}: vLLM gave up on a prompt ('{written.finish_reason}')")
        ids = list(written.token_ids)
        text = decode_completion(self.tokenizer, ids, self.ends, stop)
        own = find_written(self.tokenizer, ids, self.ends, text)
        each = [one[name].logprob for name, one in zip(ids, written.logprobs, strict=True)] if self._weigh else None
        lengths, costs = weigh_tokens(self.tokenizer, own, text, each) or (None, None)
        total = float(written.cumulative_logprob)
        return Completion(index, text, len(ids), total, written.finish_reason, own, lengths, costs)

    def _sampling(self, **values: object) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        try:
            return SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, skip_clone=True, **values)
        except Exception as error:  # its own class, or ValueError: a temperature over 2, such as
            raise EngineError(f"engine 'vllm': {reason(error)}") from None

    def _run(self, asked: Iterable[tuple[int, list[int], Any]]) -> Iterator[tuple[int, Any]]:
        """Yield each request's number and output as it finishes; raises EngineError where the engine fails.

        Equal prompts are requests of their own, because the samples of one request (`n`) get seeds that depend on
        their number; the prefix cache computes the prompt once all the same.
        """
        self._wake(self.folder)
        feed, under_way = iter(asked), dict[str, int]()
        try:
            while True:
                for number, ids, params in islice(feed, WINDOW - len(under_way)):
                    name = str(next(self._names))
                    self._call("add_request", name, {"prompt_token_ids": ids}, params, lora_request=self._lora)
                    under_way[name] = number
                if not under_way:
                    return
                for name in under_way.keys() & self._finished.keys() or self._step(under_way):
                    yield under_way.pop(name), self._finished.pop(name)
        finally:
            for name in under_way:
                self._finished.pop(name, None)
            if under_way and not self.broken:
                with suppress(EngineError):
                    self._call("abort_request", list(under_way))

    def _step(self, under_way: dict[str, int]) -> list[str]:
        """Compute one step; gives the names of those under way that it finished, and keeps those of others."""
        outputs = [one for one in self._call("step") if one.finished]
        self._finished |= {one.request_id: one for one in outputs}
        return [one.request_id for one in outputs if one.request_id in under_way]

    def _call(self, name: str, *arguments: object, **named: object) -> Any:
        """Call vLLM's engine; raises EngineError, and the engine is used no more, where that fails."""
        if self.broken:
            raise EngineError(f"{self.weights.path}: vLLM has stopped; the same command goes on with a new one")
        try:
            if not self.interpreted:
                return getattr(self.llm.llm_engine, name)(*arguments, **named)
            # One small function of vLLM's would be compiled all the same, which takes a compiler and 20 seconds.
            with torch.compiler.set_stance("force_eager"):
                return getattr(self.llm.llm_engine, name)(*arguments, **named)
        except Exception as error:  # vLLM raises whatever its parts raise
            self.broken = True
            raise EngineError(
                f"{self.weights.path}: vLLM has stopped ({reason(error)}); what was written is kept, and the same "
                "command goes on"
            ) from None

    # --- scoring ---------------------------------------------------------------------------------------------

    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        prompts = {one: encode_prompt(self.tokenizer, one, chat=self.chat) for one in {prompt for prompt, _ in pairs}}
        texts = [encode_completion(self.tokenizer, text, self.end) for _, text in pairs]
        texts = texts if end else [ids[:-1] for ids in texts]
        pieces: list[tuple[int, list[int], list[int]]] = []  # pair, what comes before, what is scored
        too_long = set()
        for at, ((prompt, _), ids) in enumerate(zip(pairs, texts, strict=True)):
            before = prompts[prompt]
            if not before or len(before) + len(ids) > self.max_positions:
                too_long.add(at)
                continue
            for start in range(0, len(ids), self.rows):
                pieces.append((at, before + ids[:start], ids[start : start + self.rows]))
        sums = [0.0] * len(pairs)
        for at, logprob in self._score_pieces(pieces):
            sums[at] += logprob
        return [
            Score(0.0, 0, too_long=True) if at in too_long else Score(sums[at], len(ids))
            for at, ids in enumerate(texts)
        ]

    def _score_pieces(self, pieces: Sequence[tuple[int, list[int], list[int]]]) -> Iterator[tuple[int, float]]:
        """Score tokens after others, in portions whose beginnings fit into the cache together."""
        order = sorted(pieces, key=lambda one: one[1])
        portion: list[tuple[int, list[int], list[int]]] = []
        taken = 0
        for piece in order:
            size = len(piece[1]) + len(piece[2]) + self.block
            if portion and taken + size > self.room // 2:
                yield from self._score_portion(portion)
                portion, taken = [], 0
            portion.append(piece)
            taken += size
        yield from self._score_portion(portion)

    def _score_portion(self, pieces: Sequence[tuple[int, list[int], list[int]]]) -> Iterator[tuple[int, float]]:
        """Score pieces: first the cache is filled with what comes before, then only what is scored is computed.

        The last token's log-probability is that of a token to come, so that a text may fill the model's whole length
        and options of one token need one pass a prompt.
        """
        before = {tuple(one[1]) for one in pieces if len(one[1]) > self.block and len(one[2]) > 1}
        plain = self._sampling(temperature=0.0, max_tokens=1, detokenize=False)
        for _ in self._run((0, list(ids), plain) for ids in sorted(before)):
            pass
        groups: dict[tuple[tuple[int, ...], int], list[int]] = {}
        for number, (_, context, ids) in enumerate(pieces):
            groups.setdefault((tuple(context + ids[:-1]), len(context)), []).append(number)
        asked = [
            (key[0], key[1], numbers[start : start + MAX_LAST])
            for key, numbers in groups.items()
            for start in range(0, len(numbers), MAX_LAST)
        ]
        again = []
        for which, output in self._run(self._ask_scores(asked, pieces, use_cache=True)):
            if output.num_cached_tokens >= asked[which][1]:
                again.append(asked[which])  # some of what is scored was in the cache, and so was not computed
            else:
                yield from self._read_scores(asked[which], pieces, output)
        for which, output in self._run(self._ask_scores(again, pieces, use_cache=False)):
            yield from self._read_scores(again[which], pieces, output)

    def _ask_scores(
        self, asked: Sequence[tuple[tuple[int, ...], int, list[int]]], pieces: Sequence[Any], *, use_cache: bool
    ) -> Iterator[tuple[int, list[int], Any]]:
        for which, (context, first, numbers) in enumerate(asked):
            params = self._sampling(
                temperature=0.0,
                max_tokens=1,
                detokenize=False,
                prompt_logprobs=0 if len(context) > first else None,
                logprob_token_ids=list(dict.fromkeys(pieces[one][2][-1] for one in numbers)),
                skip_reading_prefix_cache=not use_cache,
            )
            yield which, list(context), params

    def _read_scores(
        self, asked: tuple[tuple[int, ...], int, list[int]], pieces: Sequence[Any], output: Any
    ) -> Iterator[tuple[int, float]]:
        context, first, numbers = asked
        written = sum(output.prompt_logprobs[at][context[at]].logprob for at in range(first, len(context)))
        following = output.outputs[0].logprobs[0]
        for one in numbers:
            yield pieces[one][0], written + following[pieces[one][2][-1]].logprob

    # --- other weights ---------------------------------------------------------------------------------------

    def swap(self, weights: Weights) -> bool:
        """Serve other weights of the same shape, or another adapter of the same base; False where that takes a new
        engine. On a CPU adapters are merged, and are weights as others are."""
        if self.broken:
            return False
        folder, adapter = full_folder(weights), None if self.merges else read_adapter(weights)
        if adapter and (folder != self.folder or not self.adapter or not self.adapter.holds(adapter)):
            return False
        if read_shape(folder) != read_shape(self.folder):
            return False
        if not same_tokenizer(find_tokenizer(weights.path, weights.base), self.tokenizer_folder):
            return False
        if self.merges and weights.base:
            folder = self._merge(weights)
        known = self.weights.hash if self.weights.base is None else ""
        new = folder != self.folder or (weights.base is None and known not in ("", weights.hash))
        if new and self.adapter:
            return False  # the layers under adapters keep their weights
        if new and not self.asleep:
            self._load(folder)
        self._wake(folder)
        self._load_tokenizer(weights)
        if adapter:
            self._load_adapter(weights)
        else:
            self._lora = None
        self.weights = weights
        return True

    def _merge(self, weights: Weights) -> Path:
        """A folder with an adapter's base and the adapter in one, which lasts until the next one; raises ModelError."""
        merged = TemporaryDirectory(prefix="selfimprove-")
        write_whole(weights.path, weights.base, self.model.dtype, Path(merged.name))
        if self._merged:
            self._merged.cleanup()
        self._merged = merged
        return Path(merged.name)

    def _load(self, folder: Path) -> None:
        """Put a folder's weights in the place of those served; raises EngineError."""
        self._call("collective_rpc", "serve_weights", args=(str(folder),))
        self.folder = folder
        # What was computed with the weights before must not be read again.
        if not self._call("reset_prefix_cache"):
            self.broken = True
            raise EngineError(f"{folder}: vLLM is still writing with the weights before; the same command goes on")

    def _load_adapter(self, weights: Weights) -> None:
        from vllm.lora.request import LoRARequest

        number = next(self._adapters)  # the prefix cache and vLLM's own store go by it
        self._lora = LoRARequest(f"{weights.hash}-{number}", number, str(resolve_folder(weights.path)))
        self._call("add_lora", self._lora)

    def rest(self) -> None:
        """Give the GPU's memory to others until text is asked for again; on a CPU there is none to give."""
        if self.asleep or self.broken or not self.llm.llm_engine.model_config.enable_sleep_mode:
            return
        # Level 2 forgets the weights, which lie on the disk; level 1 keeps them, and adapters, in the host's memory.
        self._call("sleep", 2 if self.adapter is None else 1)
        self.asleep = True

    def _wake(self, folder: Path) -> None:
        """Take the memory back, with the weights of a folder."""
        if not self.asleep:
            return
        vllm_start.free_memory()  # what was trained meanwhile
        self._call("wake_up")
        self.asleep = False
        if self.adapter is None:
            self._load(folder)

    def close(self) -> None:
        """End the engine and its workers, and free its memory."""
        with suppress(AttributeError):
            vllm_start.stop(self.llm)
            del self.llm
        if self._merged:
            self._merged.cleanup()
