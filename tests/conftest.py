"""What all tests share."""

import gc
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from extending import forgotten_afterwards

REPOSITORY = Path(__file__).resolve().parent.parent

# A shell's background job passes over Ctrl-C, and so would every process that a test starts and sends it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A stage flushes each of its parts to the disk, which is tens of thousands of waits in all tests: files in memory have
# none. Where pytest keeps them is its own setting, which holds where it is given.
IN_MEMORY = Path("/dev/shm")
if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


# Files whose tests wait for a browser or a server: begun first, so that no process is left alone with them at the end.
WAITING = re.compile(r"browser|test_viewer|test_rating|test_server|test_serve\b|test_pool")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not WAITING.search(item.path.name))


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over all tests and modules, which stay: libraries that train call it at every
    turn, and among eight thousand tests that took three quarters of their time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_stays_declared() -> Iterator[None]:
    """What a test declares, a kind of record or a stage, is not known to those that follow in its process."""
    with forgotten_afterwards():
        yield


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No garbage collection while CPU time is taken: a pass over all that a whole test run holds takes a second."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of public data: SELFIMPROVE_DATA, or shared/data beside the repository; skips without it."""
    folder = Path(os.environ.get("SELFIMPROVE_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no public data in {folder}; name its folder with SELFIMPROVE_DATA")
    return folder
