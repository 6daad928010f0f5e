"""How many rows fit the memory that is free, and an allocator that keeps what it will need again."""

import ctypes
import mmap
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from selfimprove.errors import EngineError

SHARE = 0.5  # of what is free: others may take some while a batch is under way
UNKNOWN_ROWS = 64  # where the system does not say what is free
MOST_ROWS = 512  # more rows are hardly faster, and wait for the longest among them
COPIES = 2  # of the cache, while finished rows leave it
LOGITS = 24  # bytes a logit: as they come, in float32, as probabilities, and their running sum in float64
STATES = 8  # hidden states and half as many of the widest layer, as they are held at a time
KEPT = (1 << 31) - 1  # bytes at the end of the heap that the allocator may keep
# From glibc's malloc.h, and its defaults.
M_TRIM_THRESHOLD, M_MMAP_MAX, DEFAULT_MMAPS, DEFAULT_TRIM = -1, -4, 65536, 128 * 1024


def free_bytes(device: torch.device) -> int | None:
    """Bytes that are free on a GPU, or that this process may still take; None where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    found = [_read_available(Path("/proc/meminfo")), _read_left(Path("/sys/fs/cgroup"))]
    known = [one for one in found if one is not None]
    return min(known) if known else None


def _read_available(file: Path) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _read_left(group: Path) -> int | None:
    """What a container may still take; its cache of files counts as free, as the kernel takes that back first."""
    try:
        most, now = (group / "memory.max").read_text().strip(), int((group / "memory.current").read_text())
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if most == "max" else max(0, int(most) - now + int(counts.get("inactive_file", 0)))


def count_row_bytes(model: Any, tail: int, room: int) -> int:
    """About how many bytes a row takes whose prompt has `tail` tokens of its own and which may write `room` more."""
    text, size = model.config.get_text_config(), model.dtype.itemsize
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    cache = COPIES * 2 * text.num_hidden_layers * heads * width * size * (tail + room)
    widest = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    states = STATES * (text.hidden_size + widest // 2) * size * tail
    return int(cache + states + LOGITS * text.vocab_size)


class Batches:
    """How many rows stand in a batch: as many as was said, or as fit the memory; fewer once memory ran out."""

    def __init__(self, model: Any, size: int | Literal["auto"]) -> None:
        self.model, self.size = model, size
        self.most = MOST_ROWS if size == "auto" else size

    def cut(self, tails: Sequence[int], room: int) -> int:
        """How many of the next rows make a batch, by their prompts' own tokens; each may write `room` more."""
        free = free_bytes(self.model.device) if self.size == "auto" else None
        most = min(self.most, len(tails))
        if self.size == "auto" and free is None:
            return min(most, UNKNOWN_ROWS)
        if free is None:
            return most
        widest = 0
        for count, tail in enumerate(tails[:most]):
            widest = max(widest, tail)
            if count and (count + 1) * count_row_bytes(self.model, widest, room) > SHARE * free:
                return count
        return most

    def shrink(self, rows: int, error: RuntimeError) -> None:
        """Take half as many rows from now on; raises the error where it is not about memory, or with a single row."""
        if not is_out_of_memory(error):
            raise error
        if rows == 1:
            raise EngineError(
                "there is no memory for a single text; lower max_tokens or take a smaller model"
            ) from None
        self.most = rows // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not have memory, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def keep_memory() -> Iterator[None]:
    """Let glibc keep what is freed until the end: each step takes it again, and the kernel would clear every page.

    It holds for the whole process while it lasts; elsewhere than on Linux with glibc nothing changes.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_MAX, DEFAULT_MMAPS)
        library.mallopt(M_TRIM_THRESHOLD, DEFAULT_TRIM)
        library.malloc_trim(0)


def drop_pages(tensor: torch.Tensor) -> None:
    """Let the kernel take back the memory of a contiguous tensor on the CPU that nobody reads any more.

    Weights are parts of a mapped file, and stay in memory as long as one of its tensors is used.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    stop = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if library is not None and hasattr(library, "madvise") and stop > start:
        library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_DONTNEED)
