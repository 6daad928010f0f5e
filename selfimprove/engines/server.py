"""OpenAI-compatible servers as an engine: vLLM, SGLang, llama.cpp, Ollama, hosted ones, and those started here.

Each sample is a request of its own with its own seed, so that none depends on the others; the n of the API is not used.
"""

import json
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from selfimprove.engine_settings import EngineSettings
from selfimprove.engines.background import Background
from selfimprove.engines.base import Completion, Request, Score, Weights
from selfimprove.engines.http import Http, Refused
from selfimprove.engines.pool import Pace, Pool, Server
from selfimprove.engines.probe import (
    EXTRAS,
    Abilities,
    Probe,
    read_choice,
    read_logprobs,
    read_scores,
    score_by_echo,
    score_by_prompt,
)
from selfimprove.errors import EngineError
from selfimprove.models import load_tokenizer
from selfimprove.prompts import cut_at_stop, encode_completion, encode_prompt
from selfimprove.recipe import Model, Sampling

SEEDS = 1 << 31  # servers differ in how large a seed may be
# What a hosted server's filter cut off has not ended by itself. Any other ending, such as an abort, is no answer.
FINISHES: dict[str, Literal["stop", "length"]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "length",
    "tool_calls": "stop",
}


class ServerEngine:
    """Asks servers for one checkpoint's texts; raises EngineError where they cannot be used."""

    def __init__(self, weights: Weights, *, settings: EngineSettings, model: Model, pace: Pace | None = None) -> None:
        self.settings, self.dtype = settings.server, model.dtype
        self.weights = weights
        self.tokenizer, self.max_positions = load_tokenizer(weights.path, weights.base)
        self._encode = lru_cache(maxsize=256)(self._encode_prompt)  # the samples of one prompt come one after the other
        self.abilities: Abilities | None = None
        key = self._read_key()
        urls = self._find_urls()
        servers = [Server(Http(url, key, self.settings.timeout), self.settings.concurrency) for url in urls]
        self._pool = Pool(servers, self._admit, patience=self.settings.patience, pace=pace or Pace())
        self._background = Background()
        try:
            self._background.run(self._pool.open())
            for note in self.take_notes()["server"]["cannot"]:
                self._pool.say(f"{', '.join(urls)}: {note}")
        except BaseException as error:
            self.close()
            raise self._explain(error) from None

    def _read_key(self) -> str | None:
        name = self.settings.key
        if name is None:
            return None
        if not os.environ.get(name):
            raise EngineError(f"engine.server.key: the environment variable {name} is not set; put the key into it")
        return os.environ[name]

    def _find_urls(self) -> Sequence[str]:
        if not self.settings.urls:
            raise EngineError("engine.server: name servers with 'urls', or start some here with 'start'")
        return self.settings.urls

    def _encode_prompt(self, prompt: str) -> list[int]:
        return encode_prompt(self.tokenizer, prompt, chat=self.weights.chat)

    def _explain(self, error: BaseException) -> BaseException:
        """What a server's refusal means to the user."""
        if not isinstance(error, Refused):
            return error
        where = ", ".join(server.http.url for server in self._pool.servers)
        if error.status in (401, 403):
            name = self.settings.key
            hint = f"the key in {name} is not accepted" if name else "name the variable of its key, engine.server.key"
            return EngineError(f"{where}: {error} ({hint})")
        return EngineError(f"{where}: refuses a request: {error}")

    # --- what the servers can do -----------------------------------------------------------------------------------

    async def _admit(self, server: Server) -> None:
        """Make sure that a server can do what the others can; raises EngineError, Refused, Failed."""
        probe = Probe(server, self._encode, chat=self.weights.chat)
        limit = await probe.name_model(self.settings.model)
        found = await probe.find(min(limit, self.max_positions))
        if self.abilities is None:
            self.abilities = found
        elif not self._pool.opened:
            self.abilities = self.abilities.common(found)
        elif not found.covers(self.abilities):
            lost = [note for note in found.notes() if note not in self.abilities.notes()]
            raise EngineError(f"{server.http.url}: cannot do what it could, or the others can: {'; '.join(lost)}")

    @property
    def scores(self) -> bool:
        """Whether texts can be scored."""
        return bool(self.abilities and self.abilities.scoring)

    def take_notes(self) -> dict[str, Any]:
        """What the record says of the servers: what they cannot do, and how often they were asked in vain so far."""
        cannot = self.abilities.notes() if self.abilities else []
        urls = [server.http.url for server in self._pool.servers]
        return {"server": {"urls": urls, "cannot": cannot, "since its start": dict(self._pool.counts)}}

    # --- texts -----------------------------------------------------------------------------------------------------

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        assert self.abilities is not None
        able, chat = self.abilities, self.abilities.prompts == "chat"
        path = "/chat/completions" if chat else "/completions"
        plain: dict[str, Any] = {
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            **({"stop": list(stop)} if stop else {}),
            **({"logprobs": 0 if able.ids else 1} if able.logprobs else {}),
            **(EXTRAS if able.extras else {}),
        }

        async def write(index: int) -> Completion:
            request = requests[index]
            ids = self._encode(request.prompt)
            too_long = Completion(index, "", 0, 0.0, "too_long")
            if not 0 < len(ids) <= able.limit - sampling.max_tokens:
                return too_long
            body = {**plain, "seed": request.seed % SEEDS} if sampling.temperature else plain
            if chat:
                body = {**body, "messages": [{"role": "user", "content": request.prompt}]}
            else:
                body = {**body, "prompt": ids if able.prompts == "ids" else request.prompt}
            try:
                return await self._pool.ask(path, body, lambda answer: self._read(answer, index, able, stop))
            except Refused as refusal:
                if refusal.too_long:
                    return too_long
                raise

        width = self.settings.concurrency * len(self._pool.servers)
        try:
            yield from self._background.stream(write, len(requests), width)
        except Refused as refusal:
            raise self._explain(refusal) from None

    def _read(self, answer: Any, index: int, able: Abilities, stop: Sequence[str]) -> Completion:
        """One answer; raises one of pool.NONSENSE where it makes no sense."""
        choice = read_choice(answer)
        finish = FINISHES[choice["finish_reason"]]
        ids = choice["token_ids"] if able.ids else None
        logprobs = read_logprobs(choice) if able.logprobs else None
        if able.logprobs and logprobs is None:
            raise ValueError("no log-probabilities")
        if ids is not None:
            # Decoded here, so that it is the same text as of an engine in this process.
            text, tokens = self.tokenizer.decode(ids, skip_special_tokens=True), len(ids)
        else:
            text = choice["text"] if "text" in choice else choice["message"]["content"] or ""
            tokens = len(logprobs) if logprobs else self._count(answer, text)
        if logprobs is not None and len(logprobs) != tokens:
            raise ValueError("not a log-probability for each token")
        cut = cut_at_stop(text, stop)
        return Completion(
            index, cut, tokens, None if logprobs is None else sum(logprobs), "stop" if cut != text else finish
        )

    def _count(self, answer: Any, text: str) -> int:
        counted = (answer.get("usage") or {}).get("completion_tokens")
        return counted if isinstance(counted, int) else len(encode_completion(self.tokenizer, text))

    # --- scores ----------------------------------------------------------------------------------------------------

    def score(self, pairs: Sequence[tuple[str, str]], *, end: bool = False) -> list[Score]:
        assert self.abilities is not None
        able = self.abilities
        if not able.scoring:
            where = ", ".join(server.http.url for server in self._pool.servers)
            raise EngineError(
                f"{where}: cannot score texts, which this recipe needs (the canary, tasks scored by log-probability, "
                f"feedback, DPO); use vLLM's server, or go without: engine.canary=false, stages.dpo.measure=0"
            )
        make = score_by_echo if able.scoring == "echo" else score_by_prompt

        async def score(at: int) -> tuple[int, Score]:
            prompt, text = self._encode(pairs[at][0]), encode_completion(self.tokenizer, pairs[at][1])
            text = text if end else text[:-1]
            if len(prompt) + len(text) > able.limit:
                return at, Score(0.0, 0, too_long=True)
            if not text:
                return at, Score(0.0, 0)
            ids, first = [*prompt, *text], len(prompt)
            try:
                values = await self._pool.ask(
                    "/completions", make(ids, first), lambda answer: read_scores(answer, able.scoring, ids, first)
                )
            except Refused as refusal:
                if refusal.too_long:
                    return at, Score(0.0, 0, too_long=True)
                raise
            return at, Score(sum(values), len(values))

        width = self.settings.concurrency * len(self._pool.servers)
        try:
            found = dict(self._background.stream(score, len(pairs), width))
        except Refused as refusal:
            raise self._explain(refusal) from None
        return [found[at] for at in range(len(pairs))]

    def close(self) -> None:
        """Let go of the servers."""
        background = getattr(self, "_background", None)
        if background and not background.loop.is_closed():
            background.run(self._pool.close())
            background.close()


def read_shape(folder: str) -> dict[str, Any]:
    """What must be equal for weights to take the place of others: the model's configuration."""
    path = Path(folder) / "config.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return {name: value for name, value in found.items() if not name.startswith("_") and name != "transformers_version"}
