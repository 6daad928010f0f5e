"""Loading models and tokenizers, with errors that say what to do."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfimprove.errors import ModelError
from selfimprove.prompting.prompts import Chat, neutralize_special_tokens
from selfimprove.recipe import Build
from selfimprove.records.files import Stamp, stamp_of

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
ADAPTER = "adapter_config.json"


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def check_path(model: str) -> None:
    """Find out early that a model's folder is missing or is no model; hub names pass."""
    path = Path(model).expanduser()
    if path.exists() and not ((path / "config.json").is_file() or (path / ADAPTER).is_file()):
        raise ModelError(f"{model}: no config.json in this folder, so it is not a transformers model")
    if not path.exists() and (model.startswith((".", "/", "~")) or model.count("/") != 1):
        raise ModelError(f"{model}: no such model; give a folder that holds a config.json, or a hub name 'owner/name'")


def load_model(model: str | Path, *, base: str | Path | None, dtype: str, device: str) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer, an adapter merged into its base; raises ModelError."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    transformers.utils.logging.disable_progress_bar()
    name = str(model)
    check_path(name)
    adapter = (Path(name) / ADAPTER).is_file()
    if adapter and base is None:
        base = json.loads((Path(name) / ADAPTER).read_text())["base_model_name_or_path"]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = str(base) if adapter else name
    try:
        loaded = AutoModelForCausalLM.from_pretrained(weights, dtype=getattr(torch, dtype))
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{weights}: cannot be loaded ({_reason(error)})") from None
    if adapter:
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(loaded, name).merge_and_unload()
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{name}: its tokenizer has no end token, so the model could not learn where to stop")
    return loaded.to(device), tokenizer


def load_tokenizer(model: str, base: str | None = None) -> tuple[Any, int]:
    """A model's tokenizer, and how many tokens the model has places for; raises ModelError."""
    from transformers import AutoConfig, AutoTokenizer

    check_path(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        config = AutoConfig.from_pretrained(base or read_base(model) or model).get_text_config()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{model}: cannot be loaded ({_reason(error)})") from None
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{model}: its tokenizer has no end token, so the model could not learn where to stop")
    return tokenizer, int(getattr(config, "max_position_embeddings", 1 << 30))


def read_base(model: str | Path) -> str | None:
    """The model under a LoRA adapter, or None where a folder holds all weights."""
    adapter = Path(model) / ADAPTER
    return str(json.loads(adapter.read_text())["base_model_name_or_path"]) if adapter.is_file() else None


def load_chat(model: str) -> Chat | None:
    """The chat template of a model's tokenizer as a function of messages, or None where it has none."""
    from transformers import AutoTokenizer

    check_path(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{model}: its tokenizer cannot be loaded ({_reason(error)})") from None
    if not getattr(tokenizer, "chat_template", None):
        return None
    specials = list(tokenizer.all_special_tokens)

    def render(messages: list[dict[str, str]]) -> str:
        safe = [{**one, "content": neutralize_special_tokens(one["content"], specials)} for one in messages]
        return str(tokenizer.apply_chat_template(safe, tokenize=False, add_generation_prompt=True))

    return render


def build_model(shape: Build, folder: Path, seed: int) -> None:
    """Write a Llama with random weights and its character-level tokenizer to a folder that any tool loads."""
    import torch
    import transformers
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

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
    config = LlamaConfig(
        vocab_size=len(characters),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.head_size,
        max_position_embeddings=shape.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def resolve_folder(model: str) -> Path:
    """The folder of a model: a local one, or the hub's snapshot of it; raises ModelError."""
    check_path(model)
    path = Path(model).expanduser()
    if path.exists():
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=["*.safetensors", "*.json", "*.model", "*.txt"]))
    except Exception as error:  # the hub's client raises dozens of types for "not reachable"
        raise ModelError(f"{model}: cannot be loaded from the hub ({_reason(error)})") from None


def hash_weights(folder: Path) -> str:
    """Hash the names, shapes and bytes of all tensors in a folder's safetensors files; raises ModelError.

    Files that are as they were when a process hashed them last are not read again.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder}: holds no safetensors weights")
    stamps = tuple(map(stamp_of, files))
    if stamps not in _HASHES:
        _HASHES[stamps] = _hash_tensors(files)
    return _HASHES[stamps]


_HASHES: dict[tuple[Stamp, ...], str] = {}


def _hash_tensors(files: Sequence[Path]) -> str:
    from safetensors import SafetensorError, safe_open

    result = hashlib.sha256()
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in sorted(tensors.keys()):
                    tensor = tensors.get_tensor(name).contiguous()
                    result.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}\n".encode())
                    result.update(tensor.view(-1).view(_uint8()).numpy().tobytes())
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"{file}: its weights cannot be read ({_reason(error)})") from None
    return result.hexdigest()[:32]


def _uint8() -> Any:
    import torch

    return torch.uint8
