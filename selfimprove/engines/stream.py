"""Writing a text piece by piece, as a person waits for it: one prompt at a time, with transformers."""

from collections.abc import Iterator, Sequence
from typing import Any

from selfimprove.engines.base import Weights
from selfimprove.engines.model_folders import resolve_folder
from selfimprove.engines.models import load_model, read_longest
from selfimprove.errors import ModelError
from selfimprove.prompting.prompts import decode_completion, encode_prompt
from selfimprove.recipe import Model, Sampling

UNFINISHED = "\ufffd"  # what a tokenizer shows of a character of which bytes are missing


class Streamer:
    """A loaded model that writes one text at a time."""

    def __init__(self, weights: Weights, model: Model) -> None:
        """Load the weights, an adapter merged into its base; raises ModelError."""
        self.network, self.tokenizer = load_model(
            weights.path, base=weights.base, dtype=model.dtype, device=model.device
        )
        self.network.eval()
        self.chat = weights.chat
        ends = self.network.generation_config.eos_token_id
        self.ends = {*(ends if isinstance(ends, list) else [ends]), self.tokenizer.eos_token_id} - {None}
        self.longest = read_longest(resolve_folder(weights.base or weights.path)) or 1 << 30

    def count(self, prompt: str) -> int:
        """How many tokens a prompt has."""
        return len(encode_prompt(self.tokenizer, prompt, chat=self.chat))

    def write(self, prompt: str, sampling: Sampling, *, stop: Sequence[str] = (), seed: int = 0) -> Iterator[str]:
        """The pieces of a text as they come, up to its end, a stop string or the longest length.

        What may still become a stop string, or a character of several tokens, is held back until it is known.
        """
        import torch

        given = encode_prompt(self.tokenizer, prompt, chat=self.chat)
        room = min(sampling.max_tokens, self.longest - len(given))
        if room <= 0:
            raise ModelError(f"the prompt has {len(given)} tokens, and the model has places for {self.longest}")
        generator = torch.Generator().manual_seed(seed)
        step, cache = torch.tensor([given], device=self.network.device), None
        ids: list[int] = []
        shown = ""
        held = max((len(one) for one in stop), default=1) - 1
        for _ in range(room):
            with torch.inference_mode():
                out = self.network(input_ids=step, past_key_values=cache, use_cache=True)
            cache = getattr(out, "past_key_values", None)
            chosen = pick(out.logits[0, -1].float().cpu(), sampling, generator)
            ids.append(chosen)
            if chosen in self.ends:
                break
            text = decode_completion(self.tokenizer, ids, self.ends, stop)
            whole = self.tokenizer.decode(ids, skip_special_tokens=False)
            if any(one in whole for one in stop):
                break
            ready = text[: len(text) - held] if held else text
            if not text.endswith(UNFINISHED) and ready.startswith(shown) and len(ready) > len(shown):
                yield ready[len(shown) :]
                shown = ready
            following = [*given, *ids] if cache is None else [chosen]  # without a cache all is read again
            step = torch.tensor([following], device=self.network.device)
        text = decode_completion(self.tokenizer, ids, self.ends, stop)
        if text.startswith(shown) and len(text) > len(shown):
            yield text[len(shown) :]


def pick(logits: Any, sampling: Sampling, generator: Any) -> int:
    """A token by its logits: the likeliest at temperature 0, else drawn from the nucleus (Holtzman et al., 2020)."""
    import torch

    if sampling.temperature == 0:
        return int(logits.argmax())
    chances = torch.softmax(logits / sampling.temperature, -1)
    if sampling.top_p < 1:
        ordered, places = chances.sort(descending=True)
        ordered[ordered.cumsum(-1) - ordered >= sampling.top_p] = 0.0
        chances = torch.zeros_like(chances).scatter(0, places, ordered)
    return int(torch.multinomial(chances, 1, generator=generator))
