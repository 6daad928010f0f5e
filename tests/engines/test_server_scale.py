"""Many prompts through the server engine, and a whole run that is killed while it asks."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import stub_server
from servers import Stub, make_engine, stub
from small import SMALL, record_ids

from selfimprove.engines import Request
from selfimprove.engines.build import build_model
from selfimprove.recipe import Build, Sampling
from selfimprove.store import RunFolder

HOT = Sampling(temperature=1.0, max_tokens=12)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1), folder, seed=1)
    return folder


def expect(prompt: str, seed: int) -> str:
    """What the stub writes."""
    body = {"model": "stub", "prompt": prompt, "max_tokens": 12, "temperature": 1.0, "seed": seed}
    return str(stub_server.complete(body)["choices"][0]["text"])


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_memory_does_not_grow_with_the_prompts(count: int, model: Path) -> None:
    requests = [Request(f"{number}+{number % 7}=", number) for number in range(count)]
    with stub() as one, stub() as other:
        engine = make_engine(model, one.url, other.url, concurrency=32)
        list(engine.generate(requests[:2000], HOT))
        process, sizes, seen = psutil.Process(), [], bytearray(count)
        for number, completion in enumerate(engine.generate(requests, HOT)):
            request = requests[completion.index]
            assert completion.text == expect(request.prompt, request.seed)
            seen[completion.index] += 1
            if number % 1000 == 0:
                sizes.append(process.memory_info().rss)
        engine.close()
    assert set(seen) == {1}
    assert max(sizes) - sizes[0] < 8 << 20


RECIPE = SMALL.replace("rounds: 2", "rounds: 1")


def start_run(folder: Path, url: str) -> "subprocess.Popen[str]":
    recipe = folder / "small.yaml"
    recipe.write_text(RECIPE)
    engine = f"engine={{name: server, canary: false, threads: 1, server: {{urls: [{url}], concurrency: 4}}}}"
    command = [sys.executable, "-m", "selfimprove.cli", "run", str(recipe), "--runs", str(folder), "--set", engine]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def servers() -> Iterator[list[Stub]]:
    made = [Stub({"remember": True, "delay": 0.03, "weights": "others"}) for _ in range(2)]  # takes those of each round
    yield made
    for one in made:
        one.stop()


@pytest.mark.long
def test_a_run_that_is_killed_asks_again_for_one_part_at_most(tmp_path: Path, servers: list[Stub], model: Path) -> None:
    asked: list[Counter[str]] = []
    for name, server in zip(("whole", "killed"), servers, strict=True):
        folder = tmp_path / name
        folder.mkdir()
        run = start_run(folder, server.url)
        if name == "killed":
            moment = folder / "small/round-01/generate/rationale-00001.parquet"
            while not moment.exists() and run.poll() is None:
                time.sleep(0.001)
            os.kill(run.pid, signal.SIGKILL)
            run.communicate()
            assert run.returncode == -signal.SIGKILL
            assert not (moment.parent / "stage.json").exists()
            run = start_run(folder, server.url)
        said, _ = run.communicate(timeout=300)
        assert run.returncode == 0, said
        asked.append(Counter(server.seen()["asked"]))
    with stub(remember=True) as fresh:
        make_engine(model, fresh.url).close()
        probes = fresh.seen()["asked"]
    whole, killed = ({key: count for key, count in one.items() if key not in probes} for one in asked)
    assert set(whole) == set(killed)
    again = sum(killed.values()) - sum(whole.values())
    assert 0 <= again <= 5 * 2  # problems a part, two samples each
    runs = [RunFolder(tmp_path / name / "small") for name in ("whole", "killed")]
    ids: list[dict[str, Any]] = [record_ids(one) for one in runs]
    assert ids[0] == ids[1] and len(ids[0]) > 10
