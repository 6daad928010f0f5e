"""OpenAI-compatible servers as an engine: vLLM, SGLang, llama.cpp, Ollama, hosted ones, and those started here.

Each sample is a request of its own with its own seed, so that none depends on the others; the n of the API is not used.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Literal

from selfimprove.engines.background import Background
from selfimprove.engines.base import Completion, Request, Score, Weights
from selfimprove.engines.http import Busy, Failed, Http, Refused
from selfimprove.engines.models import load_tokenizer
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
from selfimprove.engines.server_key import read_key
from selfimprove.engines.server_weights import PROBE, Served, fits
from selfimprove.engines.servers import Pace, Pool, Server
from selfimprove.engines.supervisor import Supervisor
from selfimprove.engines.token_costs import weigh_tokens
from selfimprove.errors import EngineError
from selfimprove.prompting.chat import find_end
from selfimprove.prompting.prompts import (
    Continuation,
    cut_at_stop,
    decode_completion,
    encode_completion,
    encode_prompt,
    find_written,
)
from selfimprove.recipe import Model, Sampling
from selfimprove.recipe.engine_settings import EngineSettings

SEEDS = 1 << 31  # servers differ in how large a seed may be
# What a hosted server's filter cut off has not ended by itself. Any other ending, such as an abort, is no answer.
FINISHES: dict[str, Literal["stop", "length"]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "length",
    "tool_calls": "stop",
    "eos_token": "stop",
    "eos": "stop",
    "stop_sequence": "stop",
}


class ServerEngine:
    """Asks servers for one checkpoint's texts; raises EngineError where they cannot be used."""

    def __init__(self, weights: Weights, *, settings: EngineSettings, model: Model, pace: Pace | None = None) -> None:
        self.settings, self.weights = settings.server, weights
        self._weigh = settings.token_logprobs
        self.abilities: Abilities | None = None
        self.asleep = False
        self.tokenizer, self.max_positions = load_tokenizer(weights.path, weights.base)
        self._end = find_end(self.tokenizer, chat=weights.chat)
        self._ends = {self._end, self.tokenizer.eos_token_id}
        self._encode = lru_cache(maxsize=256)(self._encode_prompt)  # the samples of one prompt come one after the other
        self._first = weights  # what the servers were started for: with room for its adapter, or for none
        self._served = Served(weights, model.dtype)
        self._supervisor: Supervisor | None = None
        self._background: Background | None = None
        try:
            self._pool = self._connect(settings, model, pace or Pace())
        except BaseException as error:
            self.close()
            raise self._explain(error) from None

    def _connect(self, settings: EngineSettings, model: Model, pace: Pace) -> Pool:
        """Find the servers, or start them, and what they can do."""
        key, patience = self._read_key(), self.settings.patience
        self._urls = self._find_urls(settings, model, key)
        servers = [Server(Http(url, key, self.settings.timeout), self.settings.concurrency) for url in self._urls]
        pool = self._pool = Pool(servers, self._admit, patience=patience, pace=pace, lost=self._find_loss)
        self._background = Background()
        self._background.run(pool.open())
        for note in self.take_notes()["server"]["cannot"]:
            pool.say(f"{', '.join(self._urls)}: {note}")
        return pool

    @property
    def _loop(self) -> Background:
        if self._background is None:
            raise EngineError("the engine was closed before its texts were taken")
        return self._background

    def _read_key(self) -> str | None:
        """The servers' key; those that are started here, and take new weights, have one in any case."""
        if self.settings.key is not None:
            return read_key(self.settings.key, "engine.server.key")
        return secrets.token_urlsafe(24) if self.settings.start else None

    def _find_urls(self, settings: EngineSettings, model: Model, key: str | None) -> Sequence[str]:
        """The servers' addresses, once those that are started here answer."""
        if bool(self.settings.urls) == bool(self.settings.start):
            raise EngineError("engine.server: name servers with 'urls', or have some started here with 'start'")
        if self.settings.urls:
            return self.settings.urls
        count = self.settings.start
        self._supervisor = Supervisor(self.weights, model=model, settings=settings, count=count, key=key)
        self._supervisor.wait()
        return self._supervisor.urls

    def _find_loss(self) -> str:
        return self._supervisor.lost if self._supervisor else ""

    def _encode_prompt(self, prompt: str) -> list[int]:
        return encode_prompt(self.tokenizer, prompt, chat=self.weights.chat)

    def _explain(self, error: BaseException) -> BaseException:
        """What a server's refusal means to the user."""
        if not isinstance(error, Refused):
            return error
        where = ", ".join(self._urls)
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
        await self._served.ensure(server)
        found = await probe.find(min(limit, self.max_positions))
        if self.abilities is None:
            self.abilities = found
        elif not self._pool.opened:
            self.abilities = self.abilities.common(found)
        elif not found.covers(self.abilities):
            lost = [note for note in found.notes() if note not in self.abilities.notes()]
            raise EngineError(f"{server.http.url}: cannot do what it could, or the others can: {'; '.join(lost)}")
        await self._served.compare(server, found, self._encode(PROBE))

    @property
    def scores(self) -> bool:
        """Whether texts can be scored."""
        return bool(self.abilities and self.abilities.scoring)

    @property
    def tells(self) -> bool:
        """Whether all servers told which weights they serve."""
        return not self._served.untold

    def take_notes(self) -> dict[str, Any]:
        """What the record says of the servers: what they cannot do, and how often they were asked in vain so far."""
        cannot = self.abilities.notes() if self.abilities else []
        return {"server": {"urls": list(self._urls), "cannot": cannot, "since its start": dict(self._pool.counts)}}

    # --- texts -----------------------------------------------------------------------------------------------------

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        assert self.abilities is not None
        self._wake()
        weights = self.weights
        most = sampling.max_tokens
        able, chat = self.abilities, self.abilities.prompts == "chat"
        path = "/chat/completions" if chat else "/completions"
        plain: dict[str, Any] = {
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            **({"stop": list(stop)} if stop else {}),
            **({"logprobs": 0 if able.ids else 1} if able.logprobs else {}),
            **(EXTRAS | {"stop_token_ids": sorted(self._ends)} if able.extras else {}),
        }

        async def write(index: int) -> Completion:
            if self.weights is not weights:
                raise EngineError("texts were asked for, and the weights swapped before they were taken")
            request = requests[index]
            ids = self._encode(request.prompt)
            too_long = Completion(index, "", 0, 0.0, "too_long")
            if not 0 < len(ids) <= able.limit - sampling.max_tokens:
                return too_long
            body = {**plain, "seed": request.seed % SEEDS} if sampling.temperature else plain
            if chat:
                body = {**body, "messages": [{"role": "user", "content": request.prompt}]}
            else:
                body = {**body, "prompt": ids if able.prompts == "ids" else self._as_text(request.prompt)}
            try:
                return await self._pool.ask(path, body, lambda answer: self._read(answer, index, able, stop, most))
            except Refused as refusal:
                if refusal.too_long:
                    return too_long
                raise

        width = self.settings.concurrency * len(self._pool.servers)
        try:
            yield from self._loop.stream(write, len(requests), width)
        except Refused as refusal:
            raise self._explain(refusal) from None

    def _read(self, answer: object, index: int, able: Abilities, stop: Sequence[str], most: int) -> Completion:
        """One answer; raises one of pool.NONSENSE where it makes no sense."""
        choice = read_choice(answer)
        finish = choice.get("finish_reason")
        if finish is not None and finish not in FINISHES:
            raise ValueError(f"ended by {finish!r}")
        finish = None if finish is None else FINISHES[finish]
        ids = choice["token_ids"] if able.ids else None
        written = None
        logprobs = read_logprobs(choice) if able.logprobs else None
        if able.logprobs and logprobs is None:
            raise ValueError("no log-probabilities")
        if ids is not None:
            if not all(type(one) is int and 0 <= one < 1 << 31 for one in ids):
                raise ValueError("no token ids")
            # Decoded here, so that it is the same text as of an engine in this process.
            text, tokens = decode_completion(self.tokenizer, ids, self._ends), len(ids)
            cut = decode_completion(self.tokenizer, ids, self._ends, stop)
            written = find_written(self.tokenizer, ids, self._ends, cut)
        else:
            text = choice["text"]
            tokens = len(logprobs) if logprobs else self._count(answer, text)
            cut = cut_at_stop(text, stop)
        if logprobs is not None and len(logprobs) != tokens:
            raise ValueError("not a log-probability for each token")
        finish = finish or ("length" if tokens >= most else "stop")  # some servers do not say it
        lengths, costs = (self._weigh and weigh_tokens(self.tokenizer, written, cut, logprobs)) or (None, None)
        total = None if logprobs is None else sum(logprobs)
        return Completion(index, cut, tokens, total, "stop" if cut != text else finish, written, lengths, costs)

    def _as_text(self, prompt: str) -> str:
        """A prompt for a server that takes texts, which puts the begin token before them itself."""
        begin = self.tokenizer.bos_token
        return prompt.removeprefix(begin) if self.weights.chat and begin else prompt

    def _count(self, answer: Any, text: str) -> int:
        counted = (answer.get("usage") or {}).get("completion_tokens")
        return counted if isinstance(counted, int) else len(encode_completion(self.tokenizer, text, self._end))

    # --- scores ----------------------------------------------------------------------------------------------------

    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        assert self.abilities is not None
        self._wake()
        able = self.abilities
        if not able.scoring:
            where = ", ".join(self._urls)
            raise EngineError(
                f"{where}: cannot score texts, which this recipe needs (the canary, tasks scored by log-probability, "
                f"feedback, DPO); use vLLM's server, or go without: engine.canary=false, stages.dpo.measure=0"
            )
        make = score_by_echo if able.scoring == "echo" else score_by_prompt

        async def score(at: int) -> tuple[int, Score]:
            prompt, text = self._encode(pairs[at][0]), encode_completion(self.tokenizer, pairs[at][1], self._end)
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
            found = dict(self._loop.stream(score, len(pairs), width))
        except Refused as refusal:
            raise self._explain(refusal) from None
        return [found[at] for at in range(len(pairs))]

    # --- weights ---------------------------------------------------------------------------------------------------

    def swap(self, weights: Weights) -> bool:
        """Have every server serve other weights: one that is away now takes them before it is asked again."""
        if not fits(self._first, weights):
            if self._supervisor:
                return False
            where = ", ".join(self._urls)
            raise EngineError(
                f"{where}: serve a model of another shape or vocabulary than {weights.path}; have the run start its "
                "own servers (engine.server.start), which are started anew for it"
            )
        self._wake()
        if (weights.path, weights.hash) != (self.weights.path, self.weights.hash):
            self._encode.cache_clear()
            self.weights = weights
            if self._supervisor:
                self._supervisor.weights = weights
            try:
                self._loop.run(self._pool.admit_all(lambda: self._served.change(weights)))
            except Refused as refusal:
                raise self._explain(refusal) from None
        return True

    def rest(self) -> None:
        """Have the servers that were started here give back their GPUs' memory; on a CPU there is none to give."""
        if self._supervisor and not self._supervisor.cpu and not self.asleep:
            self._call_all("//sleep?level=1")
            self.asleep = True

    def _wake(self) -> None:
        if self.asleep:
            self._call_all("//wake_up")
            self.asleep = False

    def _call_all(self, path: str) -> None:
        """Call every server that is there; one that is away is started anew, and awake."""

        async def call() -> None:
            for server in self._pool.servers:
                with suppress(Failed, Busy):
                    await server.http.tell(path)

        try:
            self._loop.run(call())
        except Refused as refusal:
            raise self._explain(refusal) from None

    def close(self) -> None:
        """Let go of the servers, and end those that were started here."""
        if self._background:
            self._background.close(self._pool.close)
            self._background = None
        if self._supervisor:
            self._supervisor.close()
            self._supervisor = None
