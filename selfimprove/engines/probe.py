"""What a server can do, found by asking it before the work begins."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from selfimprove.engines.canary import TEXTS
from selfimprove.engines.http import Refused
from selfimprove.engines.servers import Server
from selfimprove.errors import EngineError

# vLLM's own parameters, which SGLang and llama.cpp know in part. Without them a server samples by what stands in the
# model's generation_config.json, or by defaults of its own.
SAMPLING: dict[str, Any] = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
EXTRAS: dict[str, Any] = {**SAMPLING, "return_token_ids": True}
WRITTEN = 8  # tokens that a probe asks for
REASONING = ("reasoning_content", "reasoning")  # where servers put what a model thinks


@dataclass(frozen=True)
class Abilities:
    """What a server can do; of several servers what all can.

    `prompts`: taken as token ids, as texts, or only as the user's turn of a chat. `extras`: takes vLLM's parameters.
    `ids`: gives the written tokens. `scoring`: how it scores a text. `limit`: tokens that it has room for.
    """

    prompts: Literal["ids", "text", "chat"]
    extras: bool = False
    ids: bool = False
    logprobs: bool = False
    seeds: bool = False
    stops: bool = False
    scoring: Literal["prompt_logprobs", "echo", ""] = ""
    limit: int = 1 << 30

    def common(self, other: "Abilities") -> "Abilities":
        """What both can do."""
        order = ("ids", "text", "chat")
        joined: dict[str, Any] = {
            one.name: getattr(self, one.name) and getattr(other, one.name) for one in fields(self) if one.type is bool
        }
        return Abilities(
            prompts=max(self.prompts, other.prompts, key=order.index),
            scoring=self.scoring if self.scoring == other.scoring else "",
            limit=min(self.limit, other.limit),
            **joined,
        )

    def covers(self, other: "Abilities") -> bool:
        """Whether a server that can do this can take the place of one that can do the other.

        What sampling alone shows is left out: a model that is sure of itself writes the same with any seed.
        """
        return replace(self.common(other), seeds=other.seeds, stops=other.stops) == other

    def notes(self) -> list[str]:
        """What cannot be done, in words for the record."""
        said = {
            "prompts are sent as texts, not as token ids": self.prompts == "text",
            "prompts are the user's turn of the server's own chat template": self.prompts == "chat",
            "no log-probabilities of what is written": not self.logprobs,
            "seeds do nothing: samples cannot be repeated": not self.seeds,
            "stop strings do nothing: texts are cut here, their tokens count what was cut": not self.stops,
            "cannot score texts": not self.scoring,
            "may sample by defaults of its own, such as a top_k": not self.extras,
        }
        return [words for words, so in said.items() if so]


def read_choice(answer: Any) -> dict[str, Any]:
    """The one choice of an answer, with its `text`; raises one of pool.NONSENSE where there is none."""
    choice = dict(answer["choices"][0])
    if "text" not in choice:
        choice["text"] = _read_message(choice["message"])
    if not isinstance(choice["text"], str):
        raise TypeError("no text")
    return choice


def _read_message(message: Mapping[str, object]) -> object:
    """The text of a chat's answer; what a server set apart as reasoning stands before it, between marks of thinking."""
    content = message.get("content")
    if isinstance(content, list):  # a list of parts
        content = "".join(str(one["text"]) for one in content if one.get("type", "text") == "text")
    thought = next((message[name] for name in REASONING if isinstance(message.get(name), str) and message[name]), "")
    if not thought:
        return content or ""
    # Thinking that was cut off has no end: what follows it would be the answer.
    return f"<think>\n{thought}\n</think>\n\n{content}" if content else f"<think>\n{thought}"


def read_logprobs(choice: Mapping[str, object]) -> list[float] | None:
    """The log-probabilities of the written tokens, in the form of OpenAI's or llama.cpp's completions."""
    found = choice.get("logprobs")
    if not isinstance(found, dict):
        return None
    values = found.get("token_logprobs")
    if values is None and isinstance(found.get("content"), list):
        values = [one["logprob"] for one in found["content"]]
    if not values or not all(isinstance(one, (int, float)) and math.isfinite(one) for one in values):
        return None
    return [float(one) for one in values]


class Probe:
    """Asks one server; `encode` gives a prompt's token ids as training does, `chat` says that a template wrote it."""

    def __init__(self, server: Server, encode: Callable[[str], Sequence[int]], *, chat: bool) -> None:
        self._server, self._encode, self._chat = server, encode, chat
        self._text = TEXTS[2][0]
        self._ids = list(encode(self._text))

    async def name_model(self, wanted: str | None) -> int:
        """Find the model's name and its longest text; raises EngineError where it is not there."""
        try:
            listed = (await self._server.http.get("/models") or {}).get("data") or []
            names = [str(one["id"]) for one in listed]
        except Refused as refusal:
            if refusal.status != 404:
                raise
            listed, names = [], []
        except (TypeError, KeyError, AttributeError):
            listed, names = [], []
        if wanted and names and wanted not in names:
            shown = ", ".join(names[:4])
            raise EngineError(f"{self._server.http.url}: serves no model '{wanted}' (engine.server.model), but {shown}")
        if not wanted and not names:
            raise EngineError(f"{self._server.http.url}: lists no models; name one with engine.server.model")
        whole = [name for name, one in zip(names, listed, strict=True) if not one.get("parent")]  # no adapters of it
        if not wanted and len(whole) > 1:
            shown = ", ".join(whole[:4]) + (" …" if len(whole) > 4 else "")
            raise EngineError(
                f"{self._server.http.url}: serves {len(whole)} models ({shown}); name one with engine.server.model"
            )
        self._server.model = wanted or (whole or names)[0]
        entry = listed[names.index(self._server.model)] if names else {}
        limit = entry.get("max_model_len")
        return limit if isinstance(limit, int) and limit > 0 else 1 << 30

    async def find(self, limit: int) -> Abilities:
        """What the server can do; raises EngineError where it cannot write at all."""
        found, reasons, missing = None, [], True
        for prompts, extras in (("ids", True), ("ids", False), ("text", True), ("text", False)):
            try:
                found = await self._try(prompts, extras)
                break
            except Refused as refusal:
                if refusal.status in (401, 403):
                    raise
                reasons.append(str(refusal))
                missing = missing and refusal.status in (404, 405, 501)
        # Only where there is nothing else: prompts that a template wraps are not those that are trained.
        if found is None and missing and not self._chat:
            try:
                await self._ask("chat", False)
                found = Abilities("chat")
            except Refused as refusal:
                reasons.append(str(refusal))
        if found is None:
            raise EngineError(f"{self._server.http.url}: takes none of this model's prompts as they are: {reasons[-1]}")
        sampled = await self._sample(found)
        if not any(sampled) and not found.ids:
            await self._check_written(found)
        more = {
            # Some servers answer everything from a cache, or sample nothing: then no seed is told from another.
            "seeds": sampled[0] is not None and sampled[0] == sampled[1] and len(set(sampled)) > 1,
            "stops": await self._knows_stops(found),
            "scoring": await self._scores(found),
            "limit": limit,
        }
        return Abilities(**{**vars(found), **more})

    async def _try(self, prompts: Any, extras: bool) -> Abilities:
        """Write greedily in one dialect; raises Refused where the server does not speak it."""
        answer = await self._ask(prompts, extras, logprobs=1)
        choice, usage = read_choice(answer), answer.get("usage") or {}
        counted = usage.get("prompt_tokens")
        if isinstance(counted, int) and counted != len(self._ids):
            raise Refused(
                400, f"it reads a prompt of {len(self._ids)} tokens as {counted}, so it serves another model or puts "
                "its own template around prompts"
            )  # fmt: skip
        written, ids = read_logprobs(choice), choice.get("token_ids")
        count = len(ids) if isinstance(ids, list) else usage.get("completion_tokens")
        logprobs = written is not None and (count is None or len(written) == count)
        return Abilities(prompts, extras=extras, ids=isinstance(ids, list), logprobs=logprobs)

    async def _ask(self, prompts: str, extras: bool, **more: object) -> Any:
        body: dict[str, Any] = {"model": self._server.model, "max_tokens": WRITTEN, "temperature": 0.0}
        if prompts == "chat":
            body |= {"messages": [{"role": "user", "content": self._text}], **more}
            return await self._server.http.post("/chat/completions", body)
        body |= {"prompt": self._ids if prompts == "ids" else self._text, **(EXTRAS if extras else {}), **more}
        return await self._server.http.post("/completions", body)

    async def _text_of(self, found: Abilities, **more: object) -> str | None:
        try:
            choice = read_choice(await self._ask(found.prompts, found.extras, **more))
        except Refused:
            return None
        return str(choice["text"])

    async def _check_written(self, found: Abilities) -> None:
        """Raise EngineError where a server writes tokens of which it shows no text."""
        answers = [await self._ask(found.prompts, found.extras, temperature=one) for one in (0.0, 1.0, 1.0)]
        choices = [read_choice(one) for one in answers]
        counts = [(one.get("usage") or {}).get("completion_tokens") for one in answers]
        # A model may end at once, which is one token.
        if any(one["text"] for one in choices) or all(isinstance(one, int) and one <= 1 for one in counts):
            return
        shown = {name: value for name, value in choices[0].items() if name not in ("text", "logprobs", "index")}
        raise EngineError(
            f"{self._server.http.url}: every answer to a first question is an empty text: {str(shown)[:200]}; does it "
            "think in secret, or in a field that is not known here? Have it serve the model without a reasoning parser"
        )

    async def _sample(self, found: Abilities) -> list[str | None]:
        """What it writes by five seeds, of which the first two are the same."""
        return [await self._text_of(found, temperature=1.0, seed=seed) for seed in (1, 1, 2, 3, 4)]

    async def _knows_stops(self, found: Abilities) -> bool:
        free = await self._text_of(found)
        if not free:
            return True  # nothing to stop before
        mark = free[len(free) // 2]
        return await self._text_of(found, stop=[mark]) == free[: free.index(mark)]

    async def _scores(self, found: Abilities) -> Literal["prompt_logprobs", "echo", ""]:
        if found.prompts != "ids":
            return ""
        ways: tuple[tuple[Literal["prompt_logprobs", "echo"], dict[str, Any]], ...] = (
            ("prompt_logprobs", score_by_prompt(self._ids)),
            ("echo", score_by_echo(self._ids)),
        )
        for way, body in ways:
            if way == "prompt_logprobs" and not found.extras:
                continue
            try:
                answer = await self._server.http.post("/completions", {"model": self._server.model, **body})
                if len(read_scores(answer, way, self._ids, 1)) == len(self._ids) - 1:
                    return way
            except (Refused, ValueError, TypeError, KeyError, IndexError):
                continue
        return ""


def score_by_prompt(ids: Sequence[int], first: int = 1) -> dict[str, object]:
    """The request that scores the tokens from number `first` by vLLM's prompt_logprobs.

    The last token is not part of the prompt: it is the only one that may be written after it, and vLLM's
    log-probabilities are those before that restriction. So a text that fills the model can be scored, and one token
    after a long prompt comes out of the prefix cache.
    """
    body = {"prompt": list(ids[:-1]), "max_tokens": 1, "temperature": 0.0, "logprobs": 0, **SAMPLING}
    more = {"prompt_logprobs": 0} if first < len(ids) - 1 else {}
    return {**body, "allowed_token_ids": [ids[-1]], **more}


def score_by_echo(ids: Sequence[int], first: int = 1) -> dict[str, object]:
    """The request that scores all tokens, whatever the first wanted, by repeating them as OpenAI's completions did."""
    return {"prompt": list(ids), "max_tokens": 0, "temperature": 0.0, "logprobs": 1, "echo": True}


def read_scores(answer: Any, way: str, ids: Sequence[int], first: int) -> list[float]:
    """The log-probabilities of the tokens from number `first`; raises ValueError or KeyError for anything else."""
    choice = answer["choices"][0]
    if way == "echo":
        values = choice["logprobs"]["token_logprobs"][first : len(ids)]
    else:
        values = [choice["logprobs"]["token_logprobs"][0]]
        if first < len(ids) - 1:
            shown = choice["prompt_logprobs"]
            values = [shown[at][str(ids[at])]["logprob"] for at in range(first, len(ids) - 1)] + values
    numbers = all(isinstance(one, (int, float)) and math.isfinite(one) for one in values)
    if len(values) != len(ids) - first or not numbers:
        raise ValueError("not a log-probability for each token")
    return [float(one) for one in values]
