"""Which weights servers serve, and giving them others: what cannot be told or given is said, never assumed."""

import asyncio
import time
from pathlib import Path
from typing import Any

from selfimprove.engines.base import Weights
from selfimprove.engines.canary import TEXTS, TOLERANCE
from selfimprove.engines.checkpoints import full_folder, read_adapter, read_shape, same_tokenizer
from selfimprove.engines.http import Failed, Refused
from selfimprove.engines.model_folders import find_tokenizer, resolve_folder
from selfimprove.engines.probe import Abilities, read_scores, score_by_echo, score_by_prompt
from selfimprove.engines.servers import Server
from selfimprove.errors import EngineError

ADAPTERS = "selfimprove-"  # what the names of adapters begin with
LOADING = 900.0  # seconds that a server may take to load weights
CLEARING = 60.0  # seconds that the prefix cache may take to become free
HOW = (
    "start it with `selfimprove serve --key`, let the run start its own (engine.server.start), or start vLLM with "
    "VLLM_SERVER_DEV_MODE=1 and --worker-extension-cls selfimprove.engines.server_worker.ServedWeights"
)


def name_folder(folder: Path) -> str:
    """What weights are called whose hash nobody took."""
    return f"folder:{folder.resolve()}"


def name_weights(weights: Weights) -> str:
    """What a server calls the whole model's weights; of an adapter those under it."""
    own = weights.hash if weights.base is None else ""
    return own or name_folder(full_folder(weights))


def name_adapter(weights: Weights) -> str:
    """What a server calls a LoRA adapter."""
    return f"{ADAPTERS}{weights.hash}"


def fits(old: Weights, new: Weights) -> bool:
    """Whether a server that was started with the one can serve the other without a new start."""
    if read_shape(full_folder(old)) != read_shape(full_folder(new)):
        return False
    if not same_tokenizer(find_tokenizer(old.path, old.base), find_tokenizer(new.path, new.base)):
        return False
    before, after = read_adapter(old), read_adapter(new)
    if after is None:
        return before is None or full_folder(old) == full_folder(new)
    return before is not None and before.holds(after) and full_folder(old) == full_folder(new)


class Served:
    """Makes sure that each server serves `weights`; `swaps` says that others were served before, `untold` that some
    server did not tell what it serves."""

    def __init__(self, weights: Weights, dtype: str) -> None:
        self.weights, self.swaps, self.untold = weights, False, False
        self._tolerance = TOLERANCE[dtype]
        self._scores: list[float] | None = None

    def change(self, weights: Weights) -> None:
        """Have other weights served from the next `ensure` on."""
        self.weights, self.swaps, self._scores = weights, True, None

    async def ensure(self, server: Server) -> None:
        """Give a server the weights, unless it says that it has them; raises EngineError where it cannot take any."""
        if self.weights.base is not None:
            await self._ensure_adapter(server)
            return
        served = await self._read(server)
        self.untold = self.untold or served is None
        names = {name_weights(self.weights), name_folder(full_folder(self.weights))}
        if served is None and self.swaps:
            raise EngineError(f"{server.http.url}: cannot take the weights of a round while it runs; {HOW}")
        if served is None or served in names:
            return
        folder = str(full_folder(self.weights).resolve())
        name = name_weights(self.weights)
        try:
            await self._call(server, "serve_named", folder=folder, name=name)
        except Failed as failure:
            if failure.status is None:
                raise  # it died or does not answer
            raise EngineError(
                f"{server.http.url}: cannot load {folder} ({failure}); is it a model of the same shape, and does the "
                "server see that folder?"
            ) from None
        await self._clear_cache(server)
        if await self._read(server) != name:
            raise EngineError(f"{server.http.url}: does not serve the weights that it was given")

    async def _read(self, server: Server) -> str | None:
        """The name of what a server serves, or None where it does not tell."""
        try:
            found = await self._call(server, "served_weights")
        except Refused:
            return None
        except Failed as failure:
            if failure.status != 500:
                raise
            return None  # vLLM's answer where its workers do not know the call
        names = {one["weights"] for one in found}
        return names.pop() if len(names) == 1 else ""

    async def _call(self, server: Server, method: str, **given: str) -> list[dict[str, Any]]:
        """Call all workers of a server."""
        body = {"method": method, "kwargs": given}
        found = await server.http.post("//collective_rpc", body, timeout=LOADING if given else None)
        return list(found["results"])

    async def _clear_cache(self, server: Server) -> None:
        """Forget what was computed with the weights before: vLLM would go on with it."""
        deadline = time.monotonic() + CLEARING
        while not (await server.http.post("//reset_prefix_cache"))["success"]:
            if time.monotonic() > deadline:
                raise EngineError(f"{server.http.url}: still writes for others with the weights before")
            await asyncio.sleep(0.1)

    async def _ensure_adapter(self, server: Server) -> None:
        """Load a LoRA adapter beside the model; requests name it, so none can be answered by another."""
        name = name_adapter(self.weights)
        listed = [str(one["id"]) for one in (await server.http.get("/models"))["data"]]
        if name not in listed:
            try:
                path = str(resolve_folder(self.weights.path).resolve())
                await server.http.tell("/load_lora_adapter", {"lora_name": name, "lora_path": path}, timeout=LOADING)
            except (Refused, Failed) as refusal:
                if refusal.status is None:
                    raise
                raise EngineError(
                    f"{server.http.url}: cannot load the adapter {self.weights.path} ({refusal}); {HOW}; with LoRA "
                    "vLLM needs VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora"
                ) from None
        for old in listed:
            if old.startswith(ADAPTERS) and old != name:
                await server.http.tell("/unload_lora_adapter", {"lora_name": old})
        server.model = name

    async def compare(self, server: Server, able: Abilities, ids: list[int]) -> None:
        """Make sure that a server gives the log-probabilities that the others give, or that it gave before.

        A server that does not tell what it serves could have been started again with something else.
        """
        if not able.scoring:
            return
        body = score_by_echo(ids) if able.scoring == "echo" else score_by_prompt(ids)
        answer = await server.http.post("/completions", {"model": server.model, **body})
        scores = read_scores(answer, able.scoring, ids, 1)
        if self._scores is None:
            self._scores = scores
        difference = sum(abs(a - b) for a, b in zip(scores, self._scores, strict=True)) / len(scores)
        if difference > self._tolerance:
            raise EngineError(
                f"{server.http.url}: serves other weights than the other servers, or than before: log-probabilities "
                f"of a fixed text differ by {difference:.2g} a token"
            )


PROBE = TEXTS[1][0] + TEXTS[1][1]
