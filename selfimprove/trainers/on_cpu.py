"""What training on a CPU need not pay for: prompts in the output layer, and memory that is given back in every step."""

from collections.abc import Iterator
from contextlib import contextmanager

from selfimprove.engines.memory import keep_memory


@contextmanager
def spare_cpu() -> Iterator[None]:
    """While it lasts, only positions that are learned go through the output layer, and what torch frees is kept.

    TRL leaves out the other positions on a GPU alone: elsewhere, it says, a number of positions that changes with each
    batch would have kernels compiled anew. That is so on accelerators, and not on a CPU. With a vocabulary of 262,144
    tokens and prompts five times as long as what is learned, these positions took more time than all the rest.
    """
    from trl.trainer import utils

    with keep_memory():
        found = getattr(utils, "_use_triton", None)
        if found is None:
            yield
            return
        utils._use_triton = lambda device: device.type == "cpu" or found(device)
        try:
            yield
        finally:
            utils._use_triton = found
