"""Loading models and tokenizers, with errors that say what to do; no code that a model brings is ever run."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from selfimprove.engines.model_files import (
    ADAPTER,
    CONFIG,
    check_config,
    check_start,
    check_weights,
    describe_failure,
    has_tokenizer,
    read_base,
    read_json,
)
from selfimprove.engines.model_folders import find_tokenizer, find_whole, resolve_folder
from selfimprove.engines.tensors import holds
from selfimprove.errors import ModelError
from selfimprove.prompting.chat import ChatTemplate, fix_clock, load_template
from selfimprove.prompting.tokenizer import Tokenizer

TOKENIZER_FILES = ("*.json", "*.model", "*.txt", "*.jinja", "additional_chat_templates/*")
PLAIN = {"trust_remote_code": False}
STATEFUL = {"linear_attention", "conv", "hybrid", "hybrid_sliding", "recurrent"}
"""Kinds of layers that keep a state."""


@contextmanager
def _reading(name: str | Path) -> Iterator[None]:
    """Whatever a library raises for a model's files as one line, and without its own warnings; raises ModelError."""
    import transformers

    before = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # configurations, tokenizers and weights are read by a dozen libraries
        raise ModelError(f"{name}: cannot be loaded ({describe_failure(error)})") from None
    finally:
        transformers.utils.logging.set_verbosity(before)


def load_model(model: str | Path, *, base: str | Path | None, dtype: str, device: str) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer, an adapter merged into its base; raises ModelError."""
    import torch

    from selfimprove.engines.products import use_onednn

    folder = resolve_folder(str(model))
    adapter = (folder / ADAPTER).is_file()
    loaded = _load_weights(find_whole(model, base) if adapter else folder, dtype)
    tokenizer = read_tokenizer(folder, base)
    if adapter:
        loaded = apply_adapter(loaded, folder)
        with _reading(folder):
            loaded = loaded.merge_and_unload()
    mend(loaded, tokenizer, folder)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    use_onednn(loaded)
    with _reading(folder):  # a device that is full, or is not there
        return loaded.to(device), tokenizer


def _load_weights(folder: Path, dtype: str) -> Any:
    """A whole model; raises ModelError where something of it is missing, instead of making it up at random."""
    import torch
    from transformers import AutoModelForCausalLM

    config = read_config(folder)
    read_generation(folder)
    check_weights(folder, read_json(folder / CONFIG))
    quantised = getattr(config, "quantization_config", None)
    if quantised:
        raise ModelError(f"{folder}: {describe_quantisation(quantised)}; take the model's plain weights")
    pad, rows = config.pad_token_id, getattr(config, "vocab_size", None)
    if isinstance(pad, int) and isinstance(rows, int) and not 0 <= pad < rows:
        config.pad_token_id = None  # torch refuses to build embeddings with it, and it is used nowhere
    with _reading(folder):
        loaded, found = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            **PLAIN,
        )
    broken = next((name for name, one in loaded.named_parameters() if holds(one, "isnan")), None)
    if broken:
        raise ModelError(f"{folder}: '{broken}' holds values that are no numbers (NaN); take other weights")
    missing = sorted(found.get("missing_keys") or ())
    if missing:
        more = f" and {len(missing) - 1} more tensors" if len(missing) > 1 else ""
        raise ModelError(f"{folder}: the weights lack '{missing[0]}'{more}, which the configuration asks for")
    return loaded


def load_classifier(folder: Path, *, dtype: str, device: str) -> tuple[Any, Any]:
    """Load a whole sequence classifier and its tokenizer; raises ModelError where something of it is missing."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from selfimprove.engines.products import use_onednn

    config = read_config(folder)
    check_weights(folder, read_json(folder / CONFIG))
    with _reading(folder):
        loaded, found = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            **PLAIN,
        )
    if missing := sorted(found.get("missing_keys") or ()):
        raise ModelError(f"{folder}: the weights lack '{missing[0]}', which a classifier has")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    use_onednn(loaded)
    with _reading(folder):
        return loaded.to(device), read_tokenizer(folder)


def build_skeleton(folder: Path) -> object:
    """A whole model's layers without its weights, on torch's meta device, or None where it cannot be built there."""
    import torch
    from transformers import AutoModelForCausalLM

    config = read_config(folder)
    try:
        with _reading(folder), torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, **PLAIN)
    except ModelError:
        return None  # a few architectures compute with values while they are built


def describe_quantisation(settings: object) -> str:
    """What to say of quantised weights."""
    settings = settings if isinstance(settings, dict) else getattr(settings, "__dict__", {})
    name = str(settings.get("quant_method") or "unknown").rpartition(".")[2].lower()
    return f"its weights are quantised ({name}), and training and the transformers engine need plain ones"


def apply_adapter(model: Any, folder: str | Path, *, trainable: bool = False) -> Any:
    """Put a LoRA adapter on its base, with as many embeddings as it was trained with; raises ModelError."""
    from peft import PeftModel, get_peft_model_state_dict

    folder = Path(folder)
    read_base(folder)
    shapes = check_weights(folder)
    with _reading(folder):
        own = {shape[0] for name, shape in shapes.items() if name.endswith("embed_tokens.weight")}
        if own and own != {model.get_input_embeddings().weight.shape[0]}:
            model.resize_token_embeddings(own.pop(), mean_resizing=False)
        loaded = PeftModel.from_pretrained(model, folder, is_trainable=trainable)
        there = set(get_peft_model_state_dict(loaded, save_embedding_layers=False))
    # peft only warns of these, and would go on with layers that were never trained.
    lost = sorted(there - set(shapes)) or sorted(
        one for one in set(shapes) - there if ".lora_" in one or ".modules_to_save" in one
    )
    if lost:
        raise ModelError(f"{folder}: this adapter does not fit its base: '{lost[0]}' is on one side only")
    return loaded


def mend(model: Any, tokenizer: Tokenizer, folder: Path) -> None:
    """Put right what would end in an error long after, where nothing that is written or trained depends on it."""
    from transformers import GenerationConfig

    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.eos_token_id >= rows:
        raise ModelError(
            f"{folder}: the end token '{tokenizer.eos_token}' has the id {tokenizer.eos_token_id}, and the model has "
            f"embeddings for {rows} tokens; take the tokenizer that belongs to it"
        )
    if tokenizer.pad_token_id is None or not 0 <= tokenizer.pad_token_id < rows:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked everywhere
    settings = getattr(model, "generation_config", None)
    if settings is not None and contradiction(settings):
        model.generation_config = GenerationConfig(
            bos_token_id=settings.bos_token_id, eos_token_id=settings.eos_token_id, pad_token_id=settings.pad_token_id
        )


def contradiction(settings: Any) -> str | None:
    """Why transformers would refuse to save a generation configuration, after all training, or None."""
    try:
        settings.validate(strict=True)
    except ValueError as error:
        lines = [one.strip(" -") for one in str(error).splitlines() if one.strip()]
        return next((one for one in lines if one.startswith("`")), lines[0] if lines else "invalid")[:200]
    return None


def read_config(folder: Path) -> Any:
    """A whole model's configuration as transformers reads it; raises ModelError."""
    from transformers import AutoConfig

    raw = check_config(folder)
    with _reading(folder):
        try:
            return AutoConfig.from_pretrained(folder, **PLAIN)
        except ValueError as error:
            if "auto_map" in raw:
                raise ModelError(
                    f"{folder}: needs Python code that it brings along (auto_map), and no model's code is run here"
                ) from None
            raise error


def read_generation(folder: Path) -> Any:
    """A whole model's generation configuration; raises ModelError."""
    from transformers import GenerationConfig

    if not (folder / "generation_config.json").is_file():
        return GenerationConfig.from_model_config(read_config(folder))
    read_json(folder / "generation_config.json")
    with _reading(folder):
        return GenerationConfig.from_pretrained(folder)


def read_tokenizer(model: str | Path, base: str | Path | None = None) -> Tokenizer:
    """A model's tokenizer; raises ModelError, also where it has no end token."""
    folder = find_tokenizer(model, base)
    if not has_tokenizer(folder):
        raise ModelError(f"{folder}: brings no tokenizer (tokenizer.json); copy that of the model it was made from")
    files = sorted(one for pattern in TOKENIZER_FILES for one in folder.glob(pattern))
    return _read_tokenizer(folder, tuple((str(one), one.stat().st_mtime_ns, one.stat().st_size) for one in files))


@lru_cache(maxsize=2)
def _read_tokenizer(folder: Path, files: tuple[tuple[str, int, int], ...]) -> Tokenizer:
    """Large vocabularies take seconds, and engine, prompts and checks need the same one."""
    from transformers import AutoTokenizer

    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            check_start(folder / name)
    if (folder / CONFIG).is_file():
        check_config(folder)
    with _reading(f"{folder}: its tokenizer"):
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(folder, **PLAIN)
        end: int | None = tokenizer.eos_token_id
    if end is None:
        raise ModelError(f"{folder}: its tokenizer has no end token, so the model could not learn where to stop")
    return tokenizer


def load_tokenizer(model: str, base: str | None = None) -> tuple[Tokenizer, int]:
    """A model's tokenizer, and how many tokens the model has places for; raises ModelError."""
    tokenizer = read_tokenizer(model, base)
    return tokenizer, read_longest(find_whole(model, base)) or 1 << 30


def load_chat(model: str, run: Path | None = None) -> ChatTemplate | None:
    """The chat template of a model's tokenizer as a function of messages, or None where it has none; raises ModelError.

    `run` is the folder of a run, which keeps the time that a template is told that asks for it.
    """
    template = load_template(read_tokenizer(model), name=model)
    if template and run and template.tells_time:
        template.now = fix_clock(run, model)
    return template


def read_longest(folder: Path) -> int | None:
    """How many tokens a model has places for, or None where its configuration does not say; raises ModelError."""
    config = read_config(folder)
    with _reading(folder):
        longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    return longest if isinstance(longest, int) and longest > 0 else None


def keeps_state(config: Any) -> bool:
    """Whether a model keeps a state beside or in place of keys and values, as recurrent and hybrid ones do.

    Not all of them say so of themselves: then their kinds of layers tell.
    """
    from transformers import AutoModelForCausalLM

    kind = AutoModelForCausalLM._model_mapping.get(type(config), None)
    layers = getattr(config.get_text_config(), "layer_types", None) or ()
    return bool(getattr(kind, "_is_stateful", False)) or not STATEFUL.isdisjoint(layers)
