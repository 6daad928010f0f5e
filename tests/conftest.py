"""What all tests share."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


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
