"""What training on a CPU need not pay for: prompts in the output layer."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def learned_alone() -> Iterator[None]:
    """While it lasts, only positions that are learned go through the output layer, on a CPU too.

    TRL leaves out the others on a GPU alone: elsewhere, it says, a number of positions that changes with each batch
    would have kernels compiled anew. That is so on accelerators, and not on a CPU. With a vocabulary of 262,144 tokens
    and prompts five times as long as what is learned, they took three quarters of the time and of the memory.
    """
    from trl.trainer import utils

    found = getattr(utils, "_use_triton", None)
    if found is None:
        yield
        return
    utils._use_triton = lambda device: device.type == "cpu" or found(device)
    try:
        yield
    finally:
        utils._use_triton = found
