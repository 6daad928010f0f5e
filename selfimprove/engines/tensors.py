"""The numbers in a model's safetensors files: their hash, and those that nothing can be computed with."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selfimprove.engines.model_files import describe_failure
from selfimprove.errors import ModelError
from selfimprove.records.files import Stamp, stamp_of


def hash_weights(folder: Path) -> str:
    """Hash the names, shapes and bytes of all tensors in a folder's safetensors files; raises ModelError, also where
    one holds NaN.

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
    result = hashlib.sha256()
    for file, name, tensor in _read_tensors(files):
        if holds(tensor, "isnan"):
            raise ModelError(
                f"{file}: '{name}' holds values that are no numbers (NaN), and nothing can be computed with them; "
                "take other weights"
            )
        tensor = tensor.contiguous()
        result.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}\n".encode())
        result.update(tensor.view(-1).view(_uint8()).numpy().tobytes())
    return result.hexdigest()[:32]


def find_unusable(folder: Path) -> str | None:
    """The first tensor in a folder's safetensors files that holds NaN or an infinite value; raises ModelError."""
    return next(
        (
            name
            for _, name, tensor in _read_tensors(sorted(folder.glob("*.safetensors")))
            if holds(tensor, "isnan") or holds(tensor, "isinf")
        ),
        None,
    )


def holds(tensor: Any, what: str) -> bool:
    """Whether a value of a tensor is what torch calls `isnan` or `isinf`."""
    import torch

    plain = tensor.dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    return plain and bool(getattr(torch, what)(tensor).any())


def _read_tensors(files: Sequence[Path]) -> Iterator[tuple[Path, str, Any]]:
    from safetensors import SafetensorError, safe_open

    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in sorted(tensors.keys()):
                    yield file, name, tensors.get_tensor(name)
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            raise ModelError(f"{file}: its weights cannot be read ({describe_failure(error)})") from None


def _uint8() -> object:
    import torch

    return torch.uint8
