"""A reward model: a language model with a head of one number on it, built, loaded, and asked what texts are worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfimprove.engines.models import PLAIN, load_classifier, read_longest
from selfimprove.errors import ModelError
from selfimprove.prompting.chat import find_end
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.trainers.rewarding import (
    OTHER_TOKENIZER,
    Reading,
    encode_text,
    hash_vocabulary,
    read_reading,
    tell_form,
)


def make_reading(tokenizer: Tokenizer, *, chat: bool, longest: int) -> Reading:
    """How a reward model that is trained with a tokenizer reads texts.

    The padding token is never the end token: the model reads its reward at the last token that is no padding, and
    could not tell a text that ended from one that was cut off.
    """
    end = find_end(tokenizer, chat=chat)
    named = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    known = [*named, *tokenizer.added_tokens_decoder, 0, 1]
    pad = next(one for one in known if one is not None and one != end)
    return Reading(chat=chat, end=end, pad=pad, longest=longest, tokenizer=hash_vocabulary(tokenizer))


def sketch_reward_model(model: Any, *, pad: int) -> Any:
    """The classifier of one number for a causal language model, on torch's meta device; raises ModelError where there
    is none."""
    import torch
    from transformers import AutoModelForSequenceClassification

    plain = {name: one for name, one in model.config.to_dict().items() if name not in ("id2label", "label2id")}
    config = type(model.config).from_dict({**plain, "num_labels": 1})
    config.get_text_config().pad_token_id = pad
    try:
        with torch.device("meta"):
            return AutoModelForSequenceClassification.from_config(config, dtype=model.dtype, **PLAIN)
    except (ValueError, KeyError):
        raise ModelError(
            f"no reward model can be made of a {type(model).__name__}: transformers has no classifier of this kind; "
            "train one from a model of another kind"
        ) from None


def keep_layers(model: Any, layers: int | None) -> None:
    """Take all layers of a causal language model away but the first ones; raises ModelError where it has fewer."""
    import torch

    if layers is None:
        return
    config = model.config.get_text_config()
    there = config.num_hidden_layers
    if layers > there:
        raise ModelError(f"'layers: {layers}' of a reward model: {type(model).__name__} has {there} here; take fewer")
    stacks = [
        (owner, name)
        for owner in model.base_model.modules()
        for name, one in owner.named_children()
        if isinstance(one, torch.nn.ModuleList) and len(one) == there
    ]
    if len(stacks) != 1:
        raise ModelError(f"'layers: {layers}': it cannot be told which layers of a {type(model).__name__} to keep")
    [(owner, name)] = stacks
    setattr(owner, name, getattr(owner, name)[:layers])
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]


def build_reward_model(model: Any, *, pad: int, seed: int) -> Any:
    """A causal language model's layers under a new head of one number; raises ModelError where there is no such class.

    The head is drawn from `seed` alone with a standard deviation of 1/√(d + 1) (Ziegler et al., 2019, section 2.1.1),
    whatever was drawn before; the layers are the given model's own and no copy.
    """
    import torch

    made = sketch_reward_model(model, pad=pad)
    setattr(made, made.base_model_prefix, model.base_model)
    drawn = torch.Generator().manual_seed(seed)
    for module in made.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                width = parameter.shape[-1]
                fresh = torch.randn(parameter.shape, generator=drawn) / (width + 1) ** 0.5
                value = fresh if parameter.ndim > 1 else torch.zeros(parameter.shape)
                setattr(module, name, torch.nn.Parameter(value.to(model.device, model.dtype)))
    return made


class RewardModel:
    """The reward model in a folder."""

    def __init__(self, folder: str | Path, *, device: str, dtype: str, batch_size: int) -> None:
        self.folder, self.batch_size = Path(folder), batch_size
        self.reading = read_reading(folder)
        model, self.tokenizer = load_classifier(self.folder, dtype=dtype, device=device)
        self.model = model.eval()
        if (labels := self.model.config.num_labels) != 1:
            raise ModelError(f"{folder}: has a head of {labels} labels; a reward model's gives one number")
        self.longest = min(self.reading.longest, read_longest(self.folder) or self.reading.longest)

    def check(self, tokenizer: Tokenizer | None = None, chat: bool | None = None) -> None:
        """Raise ModelError where prompts were written by another tokenizer, or in another form than it has learned."""
        if hash_vocabulary(self.tokenizer) != self.reading.tokenizer:
            raise ModelError(f"{self.folder}: its tokenizer is not the one that this reward model was trained with")
        if tokenizer is not None and hash_vocabulary(tokenizer) != self.reading.tokenizer:
            raise ModelError(f"{self.folder}: {OTHER_TOKENIZER}")
        if chat is not None and chat != self.reading.chat:
            raise ModelError(tell_form(self.folder, chat=self.reading.chat))

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> tuple[list[float | None], int]:
        """The reward of each text, None where it is too long, and the number of tokens that were read."""
        import torch

        texts = zip(prompts, completions, strict=True)
        rows = [encode_text(self.tokenizer, prompt, text, self.reading) for prompt, text in texts]
        fitting = sorted((at for at, row in enumerate(rows) if len(row) <= self.longest), key=lambda at: len(rows[at]))
        values: list[float | None] = [None] * len(rows)
        with torch.inference_mode():
            raw = read_rewards(self.model, [rows[at] for at in fitting], self.reading.pad, batch_size=self.batch_size)
        for at, value in zip(fitting, raw, strict=True):
            values[at] = (value - self.reading.mean) / self.reading.scale
        return values, sum(len(rows[at]) for at in fitting)


def read_rewards(model: Any, rows: Sequence[Sequence[int]], pad: int, *, batch_size: int) -> list[float]:
    """The numbers that a model's head gives rows of tokens, padded on the right as in training."""
    import torch

    found: list[float] = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        width = max(map(len, batch))
        ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in batch], device=model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch], device=model.device)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        found += [float(one) for one in logits.float().squeeze(-1).tolist()]
    return found
