"""The event loop in a thread."""

import time
from concurrent.futures import CancelledError

import pytest

from selfimprove.engines.background import Background


def test_what_was_finished_can_be_taken_after_the_loop_was_closed() -> None:
    async def work(number: int) -> int:
        return number

    background = Background()
    results = background.stream(work, 1000, 4)
    assert next(results) == 0
    time.sleep(0.1)  # the next ones are finished, and wait
    background.close()
    taken = []
    with pytest.raises(CancelledError):
        for number in results:
            taken.append(number)
    assert taken == list(range(1, len(taken) + 1)) and 8 <= len(taken) < 999


def test_what_is_under_way_ends_before_what_it_uses_is_closed() -> None:
    said = []

    async def work(number: int) -> int:
        import asyncio

        try:
            await asyncio.sleep(0 if number == 0 else 60)
        finally:
            said.append(number)
        return number

    async def last() -> None:
        said.append("closed")

    background = Background()
    results = background.stream(work, 3, 3)
    assert next(results) == 0
    background.close(last)
    assert said[-1] == "closed" and set(said[:-1]) == {0, 1, 2}
    with pytest.raises(CancelledError):
        list(results)
