"""What can be wrong with a model's folder, found from its files before a library reads them; no code of it is run."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selfimprove.errors import ModelError

ADAPTER = "adapter_config.json"
CONFIG = "config.json"
LARGEST = 1 << 28  # bytes of a JSON file: the largest tokenizers have a tenth of that
LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors format
POINTER = b"version https://git-lfs"
KERNEL = re.compile(r"attn_implementation|experts_implementation|kernel_config")
EMBEDDINGS = re.compile(r"(embed_tokens|word_embeddings|wte|embed_in|tok_embeddings)\.weight$")
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
)
Shapes = dict[str, tuple[int, ...]]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model; raises ModelError in one line."""
    check_start(path)
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is no valid JSON ({error})") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: should hold an object of settings, not a {type(found).__name__}")
    return found


def check_start(path: Path) -> None:
    """Raise ModelError where a file is missing, is a pointer to another, or begins as no JSON of a model does."""
    try:
        if not path.is_file():
            raise ModelError(f"{path}: is missing")
        if path.stat().st_size > LARGEST:
            raise ModelError(f"{path}: has {path.stat().st_size >> 20} MB, which is no {path.name}")
        with path.open("rb") as file:
            start = file.read(len(POINTER))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    if start == POINTER:
        raise ModelError(f"{path}: is a pointer of Git LFS and not the file itself; get it with: git lfs pull")
    if start.startswith(b"\xef\xbb\xbf"):
        raise ModelError(f"{path}: begins with a byte-order mark, which transformers does not read; save it without")


def read_base(model: str | Path) -> str | None:
    """The model under a LoRA adapter, or None where a folder holds all weights; raises ModelError."""
    folder = Path(model).expanduser()
    if not (folder / ADAPTER).is_file():
        return None
    settings = read_json(folder / ADAPTER)
    base = settings.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(f"{folder / ADAPTER}: does not say which model the adapter is for (base_model_name_or_path)")
    if settings.get("megatron_config"):  # peft would import a module that the file names
        raise ModelError(f"{folder / ADAPTER}: 'megatron_config' has code imported that it names, which is not done")
    return base


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder brings a tokenizer of its own."""
    return any((folder / name).is_file() for name in TOKENIZERS)


def check_config(folder: Path) -> dict[str, object]:
    """A whole model's configuration, without what would have code fetched or run; raises ModelError."""
    path = folder / CONFIG
    config = read_json(path)
    for key, value in _walk(config):
        if KERNEL.search(key) and isinstance(value, str) and re.search(r"[/:]", value):
            raise ModelError(
                f"{path}: names a kernel to fetch and run, '{value}'; kernels are never fetched: remove it"
            )
    return config


def check_weights(folder: Path, config: Mapping[str, object] | None = None) -> Shapes:
    """The tensors in a folder's safetensors files by name; raises ModelError where files are broken or missing.

    `config` is that of a whole model, whose number of layers and vocabulary must be those of the files.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        others = next((one.name for pattern in ("*.bin", "*.pt", "*.pth") for one in folder.glob(pattern)), None)
        why = f": {others} is a pickle, which can run code; convert it to safetensors" if others else ""
        raise ModelError(f"{folder}: holds no safetensors weights{why}")
    shapes: Shapes = {}
    for file in files:
        shapes |= read_header(file)
    _check_index(folder)
    if config is not None:
        _check_size(folder, config, shapes)
    return shapes


def read_header(file: Path) -> Shapes:
    """The names and shapes of the tensors in a safetensors file; raises ModelError where it is not whole."""
    length, tensors = _read_tensors(file)
    try:
        end = max((int(one["data_offsets"][1]) for one in tensors.values()), default=0)
        shapes = {name: tuple(map(int, one["shape"])) for name, one in tensors.items()}
    except (ValueError, KeyError, TypeError, IndexError):
        raise ModelError(f"{file}: its header is damaged; copy it again") from None
    size = file.stat().st_size
    if size != 8 + length + end:
        raise ModelError(f"{file}: has {size} bytes, and its header promises {8 + length + end}; copy it again")
    return shapes


def _read_tensors(file: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """The length of a safetensors file's header, and what it says of each tensor."""
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            start = handle.read(len(POINTER))
            if start == POINTER:
                raise ModelError(f"{file}: is a pointer of Git LFS and not the weights; get them with: git lfs pull")
            length = int.from_bytes(start[:8], "little")
            if len(start) < 8 or not 0 < length <= min(LARGEST_HEADER, size - 8):
                raise ModelError(f"{file}: is no safetensors file, or was cut off; copy it again")
            handle.seek(8)
            header = json.loads(handle.read(length))
        tensors = {name: dict(one) for name, one in header.items() if name != "__metadata__"}
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ModelError(f"{file}: its header is damaged; copy it again") from None
    return length, tensors


def _check_index(folder: Path) -> None:
    """The files that an index of shards names are there, and in the folder."""
    path = folder / "model.safetensors.index.json"
    if not path.is_file():
        return
    named = read_json(path).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(one, str) for one in named.values()):
        raise ModelError(f"{path}: has no 'weight_map' from tensors to files; copy it again")
    for name in sorted(set(named.values())):
        if Path(name).name != name:
            raise ModelError(f"{path}: names a file outside of this folder, '{name}'")
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name}: is missing, and the index names it; copy it too")


def _check_size(folder: Path, config: Mapping[str, object], shapes: Shapes) -> None:
    """Numbers that a model would be built by, and that its files cannot fill, are mistakes: it may take for ever."""
    where = folder / CONFIG
    for key, value in _walk(config):
        if key in ("num_hidden_layers", "n_layer", "num_layers") and isinstance(value, int) and value > len(shapes):
            raise ModelError(f"{where}: says '{key}: {value}', and the weights have {len(shapes)} tensors in all")
    vocabulary = [value for key, value in _walk(config) if key == "vocab_size" and isinstance(value, int)]
    rows = {shape[0] for name, shape in shapes.items() if EMBEDDINGS.search(name) and len(shape) == 2}
    if len(vocabulary) == 1 and len(rows) == 1 and vocabulary != [*rows]:
        raise ModelError(
            f"{where}: says 'vocab_size: {vocabulary[0]}', and the weights have embeddings of {rows.pop()} tokens"
        )


def _walk(settings: Mapping[str, object], depth: int = 0) -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        yield key, value
        if isinstance(value, dict) and depth < 8:
            yield from _walk(value, depth + 1)


def read_dtypes(folder: Path) -> tuple[str, ...]:
    """The precisions in which a folder's weights are stored, the one of most tensors first; raises ModelError."""
    found: list[str] = []
    for file in sorted(folder.glob("*.safetensors")):
        found += [str(one.get("dtype")) for one in _read_tensors(file)[1].values()]
    return tuple(sorted(set(found), key=lambda one: (-found.count(one), one)))


def describe_failure(error: BaseException) -> str:
    """What a library raised for a model's files, as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    said = " ".join(lines[:2] if lines[0].endswith(":") else lines[:1])[:200]
    named = isinstance(error, (OSError, ValueError, RuntimeError, ImportError))
    return said if named else f"{type(error).__name__}: {said}"
