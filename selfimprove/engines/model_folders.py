"""Where a model lies: a local folder or the hub's snapshot, its base under an adapter, and its tokenizer."""

from pathlib import Path

from selfimprove.engines.model_files import ADAPTER, CONFIG, describe_failure, has_tokenizer, read_base
from selfimprove.errors import ModelError

NEEDED = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "README.md"]
"""Of a hub's model; its README.md says under which licence it may be passed on."""


def check_path(model: str) -> None:
    """Find out early that a model's folder is missing or is no model; hub names pass."""
    path = Path(model).expanduser()
    if path.exists() and not ((path / CONFIG).is_file() or (path / ADAPTER).is_file()):
        raise ModelError(f"{model}: no config.json in this folder, so it is not a transformers model")
    if not path.exists() and (model.startswith((".", "/", "~")) or model.count("/") != 1):
        raise ModelError(f"{model}: no such model; give a folder that holds a config.json, or a hub name 'owner/name'")


def resolve_folder(model: str) -> Path:
    """The folder of a model: a local one, or the hub's snapshot of it; raises ModelError."""
    check_path(model)
    path = Path(model).expanduser()
    if path.exists():
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=NEEDED))
    except Exception as error:  # the hub's client raises dozens of types for "not reachable"
        raise ModelError(f"{model}: cannot be loaded from the hub ({describe_failure(error)})") from None


def find_whole(model: str | Path, base: str | Path | None = None) -> Path:
    """The folder with a whole model: the base's under an adapter; raises ModelError."""
    folder = resolve_folder(str(model))
    under = base or read_base(folder)
    whole = folder if under is None else resolve_folder(str(under))
    if under is not None and (whole / ADAPTER).is_file():
        raise ModelError(f"{whole}: is an adapter and no whole model; merge it into its base to put another on it")
    return whole


def find_tokenizer(model: str | Path, base: str | Path | None = None) -> Path:
    """The folder with a model's tokenizer: the base's where an adapter brings none; raises ModelError."""
    folder = resolve_folder(str(model))
    under = base or read_base(folder)
    return folder if has_tokenizer(folder) or under is None else resolve_folder(str(under))
