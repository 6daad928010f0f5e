"""Tiny real models for tests of the engines, whose logits are far apart, so that rounding cannot change a choice."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaForCausalLM,
)

from selfimprove.engines.build import build_model
from selfimprove.recipe import Build


def save_sharpened(network: torch.nn.Module, folder: Path, factor: float = 6.0) -> Path:
    """Save a network with logits far apart."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                parameter *= factor
    network.save_pretrained(folder)  # type: ignore[operator]
    return folder


def make_llama(folder: Path, seed: int = 1, *, tied: bool = True, **shape: Any) -> Path:
    """A Llama with a character-level tokenizer."""
    build_model(Build(**{"hidden_size": 32, "intermediate_size": 64, "layers": 2, "heads": 1} | shape), folder, seed)
    network = AutoModelForCausalLM.from_pretrained(folder)
    if not tied:
        network.config.tie_word_embeddings = False
        generator = torch.Generator().manual_seed(seed)
        head = torch.randn(network.lm_head.weight.shape, generator=generator) * 0.02
        network.lm_head.weight = torch.nn.Parameter(head)
    return save_sharpened(network, folder)


def make_gemma(folder: Path, tokenizer: Path, seed: int = 0) -> Path:
    """A Gemma 3, whose layers see a window of 8 tokens but for each second one."""
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    config = Gemma3TextConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(tokenizer)),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"] * 2,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(seed)
    return save_sharpened(Gemma3ForCausalLM(config), folder)


def make_adapter(folder: Path, base: Path, seed: int = 1, targets: Sequence[str] | str = "all-linear") -> Path:
    """A LoRA adapter of rank 2 that changes what its base says."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=2, target_modules=list(targets) if not isinstance(targets, str) else targets)
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in network.named_parameters():
            if "lora_" in name:
                parameter.normal_(generator=generator)
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def make_both(folder: Path) -> dict[str, Path]:
    """A whole model of one layer, and an adapter on it."""
    whole = make_llama(folder / "whole", layers=1)
    return {"whole": whole, "adapter": make_adapter(folder / "adapter", whole)}


def two_token_model(like: Path, folder: Path, share: dict[str, float]) -> Path:
    """A model that gives each next token the same probabilities, whatever stands before it."""
    tokenizer = AutoTokenizer.from_pretrained(like)
    config = AutoConfig.from_pretrained(like)
    config.tie_word_embeddings = False
    made = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weights in made.named_parameters():
            weights.fill_(1.0 if "embed_tokens" in name or "norm" in name else 0.0)
        made.lm_head.weight.fill_(-1e4 / config.hidden_size)
        for token, probability in share.items():
            identity = tokenizer.eos_token_id if token == "end" else tokenizer.convert_tokens_to_ids(token)
            made.lm_head.weight[identity] = math.log(probability) / config.hidden_size
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
