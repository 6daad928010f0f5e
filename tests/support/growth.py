"""How CPU time grows with a text, measured so that a slow machine with other work on it gives the same answer."""

import gc
import time
from collections.abc import Callable
from functools import partial

NOTHING = 0.01  # seconds; less than this is no growth that can be measured
ROUNDS = 6
PATIENCE = 5.0  # seconds of rounds before a failure: another process's burst on the same core outlasts six short rounds
PLAIN_SECONDS = 0.06  # of `_plain_work`


def repeat(piece: str, size: int) -> str:
    """A text of this many characters that repeats a piece."""
    return (piece * (size // len(piece) + 1))[:size]


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call, without garbage collection: a pass over all that a test run holds takes a second."""
    collected = gc.isenabled()
    gc.disable()
    try:
        started = time.process_time()
        work()
        return time.process_time() - started
    finally:
        if collected:
            gc.enable()


def slowness() -> float:
    """How many times longer than on the machine on which limits were set a piece of plain Python takes just now.

    Two busy processes on one core slow each other down, in CPU time too.
    """
    return max(1.0, cpu_seconds(_plain_work) / PLAIN_SECONDS)


def _plain_work() -> int:
    letters, seen = 0, {}
    for one in range(200_000):
        seen[one % 97] = letters
        letters += len(str(one))
    return letters


def grows_linearly(work: Callable[[str], object], piece: str, size: int) -> bool:
    """Whether `size` characters take under three times the CPU time of half as many; what is quadratic takes four.

    Other work only adds time, so the least of what was measured in turn counts, and one good round is enough.
    """
    least, until = [float("inf"), float("inf")], time.monotonic() + PATIENCE
    one = 0
    while True:
        for at, length in enumerate((size // 2, size)):
            text = repeat(piece, length - one)  # another text each time: what was searched is remembered
            least[at] = min(least[at], cpu_seconds(partial(work, text)))
        if least[1] < 3 * least[0] + NOTHING:
            return True
        if one + 1 >= ROUNDS and time.monotonic() > until:
            return False
        time.sleep(0.01 * (one > 0))
        one += 1
