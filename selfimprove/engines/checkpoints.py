"""What can be known of a checkpoint from its files alone, without loading the weights."""

from dataclasses import dataclass
from pathlib import Path

from selfimprove.engines.base import Weights
from selfimprove.engines.model_files import ADAPTER, check_config, check_weights, read_json
from selfimprove.engines.model_folders import resolve_folder
from selfimprove.engines.models import read_generation
from selfimprove.errors import ModelError
from selfimprove.prompting.tokenizer import Tokenizer

# Where a checkpoint came from, or which program wrote it: no part of the model's shape.
PROVENANCE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "_attn_implementation")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")


def full_folder(weights: Weights) -> Path:
    """The folder with the whole model's weights: the base's under an adapter; raises ModelError."""
    return resolve_folder(weights.base or weights.path)


def read_shape(folder: Path) -> dict[str, object]:
    """A model's configuration without what says only where it came from."""
    config = check_config(folder)
    return {name: value for name, value in config.items() if name not in PROVENANCE}


def same_tokenizer(one: Path, other: Path) -> bool:
    """Whether two folders hold the same vocabulary."""
    return all(_read(one / name) == _read(other / name) for name in TOKENIZER_FILES)


def _read(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter's rank, and the names of the layers that it changes."""

    rank: int
    targets: tuple[str, ...]

    def holds(self, other: "Adapter") -> bool:
        """Whether what was made for this adapter has room for another."""
        return other.rank <= self.rank and set(other.targets) <= set(self.targets)


def read_adapter(weights: Weights) -> Adapter | None:
    """The shape of a checkpoint's adapter, or None where it holds all weights; raises ModelError."""
    if weights.base is None:
        return None
    folder = resolve_folder(weights.path)
    names = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in check_weights(folder)}
    rank = read_json(folder / ADAPTER).get("r")
    if not isinstance(rank, int) or rank < 1:
        raise ModelError(f"{folder / ADAPTER}: does not say the adapter's rank (r)")
    return Adapter(rank, tuple(sorted(names)))


def read_ends(folder: Path, tokenizer: Tokenizer) -> list[int]:
    """The ids of the tokens that end a completion: the generation configuration's and the tokenizer's."""
    found = read_generation(folder).eos_token_id
    ends = found if isinstance(found, list) else [found]
    return sorted({end for end in [*ends, tokenizer.eos_token_id] if end is not None})
