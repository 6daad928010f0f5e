"""Weights as others can load them: whole ones, or an adapter on a base that they can find; no paths of this machine."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfimprove.engines.model_files import ADAPTER
from selfimprove.engines.model_folders import find_tokenizer, resolve_folder
from selfimprove.engines.models import load_model, read_generation, read_tokenizer
from selfimprove.errors import ModelError

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "*.model", "chat_template.jinja", "additional_chat_templates/*.jinja",
)  # fmt: skip
PATHS = ("_name_or_path", "name_or_path")
"""Keys under which libraries keep where a folder lay."""


def write_whole(weights: str | Path, base: str | Path | None, dtype: str, out: Path) -> None:
    """Write a whole model with its tokenizer and generation configuration, an adapter merged into its base; raises
    ModelError."""
    folder = resolve_folder(str(weights))
    if (folder / ADAPTER).is_file():
        network, tokenizer = load_model(folder, base=base, dtype=dtype, device="cpu")
        network.save_pretrained(out)
        tokenizer.save_pretrained(out)
    else:
        _copy(folder, out, *WEIGHTS, "config.json", "generation_config.json")
        _copy(find_tokenizer(folder, base), out, *TOKENIZER)
        read_tokenizer(out)
    if not (out / "generation_config.json").is_file():
        read_generation(folder if (folder / "config.json").is_file() else out).save_pretrained(out)
    _clean(out)


def write_adapter(weights: str | Path, base: str, out: Path) -> None:
    """Write an adapter with its tokenizer, on a base by the name under which others find it; raises ModelError."""
    folder = resolve_folder(str(weights))
    if not (folder / ADAPTER).is_file():
        raise ModelError(f"{folder}: these are whole weights and no adapter; leave --adapter out")
    _copy(folder, out, "adapter_model.safetensors", ADAPTER)
    _copy(find_tokenizer(folder), out, *TOKENIZER)
    _clean(out)
    settings = json.loads((out / ADAPTER).read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = base
    (out / ADAPTER).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def find_licence(folder: Path) -> str | None:
    """The licence that a model's own card names, where it has one."""
    import yaml

    path = folder / "README.md"
    if not path.is_file() or path.stat().st_size > 1 << 20:  # a link, as all files are in the hub's cache, will do
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    head = text.removeprefix("---\n").partition("\n---")[0] if text.startswith("---\n") else ""
    try:
        found: Any = yaml.safe_load(head)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    licence = found.get("license") if isinstance(found, dict) else None
    return licence if isinstance(licence, str) and 0 < len(licence) <= 60 else None


def _copy(folder: Path, out: Path, *patterns: str) -> None:
    for path in (path for pattern in patterns for path in sorted(folder.glob(pattern))):
        place = out / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def _clean(out: Path) -> None:
    """Take out where the folders lay."""
    for path in _settings_of(out):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and any(name in found for name in PATHS):
            kept = {name: value for name, value in found.items() if name not in PATHS}
            path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _settings_of(out: Path) -> Iterator[Path]:
    return (path for path in sorted(out.glob("*.json")) if path.name not in ("tokenizer.json", "vocab.json"))
