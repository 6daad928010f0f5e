"""Small models with random weights, made from a recipe's settings."""

from pathlib import Path
from typing import Any

from selfimprove.recipe import Build


def build_model(shape: Build, folder: Path, seed: int) -> None:
    """Write a model with random weights and its character-level tokenizer to a folder that any tool loads."""
    import torch
    import transformers
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    characters = [*special, *dict.fromkeys(shape.alphabet)]
    raw = Tokenizer(models.WordLevel({one: at for at, one in enumerate(characters)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    raw.decoder = decoders.Fuse()
    raw.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    # The padding token differs from the end token, or the model would never learn to stop.
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _make_model(shape, len(characters))
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def sketch_model(shape: Build) -> object:
    """The layers of a model that `build_model` would write, without weights, on torch's meta device."""
    import torch

    with torch.device("meta"):
        return _make_model(shape, len(set(shape.alphabet)) + 4)


def _make_model(shape: Build, vocabulary: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM, SmolLM3Config, SmolLM3ForCausalLM

    common: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_size,
        "max_position_embeddings": shape.max_positions,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if not shape.nope_layers and shape.rope_window is None:
        return LlamaForCausalLM(LlamaConfig(**common))
    with_rope = [layer not in shape.nope_layers for layer in range(1, shape.layers + 1)]
    if shape.rope_window is not None:
        seen = ["sliding_attention" if one else "full_attention" for one in with_rope]
        common |= {"use_sliding_window": True, "sliding_window": shape.rope_window, "layer_types": seen}
    return SmolLM3ForCausalLM(SmolLM3Config(**common, no_rope_layers=[int(one) for one in with_rope]))
