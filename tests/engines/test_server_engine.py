"""The server engine against a stub of our own: what it asks, what it makes of the answers, and every fault."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import stub_server
from servers import QUICK, Stub, free_port, make_engine, stub

from selfimprove.engines import Completion, Request, Weights
from selfimprove.engines.build import build_model
from selfimprove.engines.http import Http, Refused, read_message, read_seconds, split_url
from selfimprove.engines.local import choose_ports
from selfimprove.engines.probe import read_choice, read_scores
from selfimprove.errors import EngineError, UnreachableError
from selfimprove.recipe import Build, Sampling

GREEDY = Sampling(temperature=0.0, max_tokens=12)
HOT = Sampling(temperature=1.0, max_tokens=12)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, of which the engine needs the tokenizer and the configuration."""
    folder = tmp_path_factory.mktemp("model")
    build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1), folder, seed=1)
    return folder


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    threads = threading.active_count()
    yield
    assert [one for one in psutil.Process().children(recursive=True) if one not in before] == []
    assert threading.active_count() <= threads


def ask(engine: Any, count: int, sampling: Sampling = HOT, stop: tuple[str, ...] = ()) -> list[Completion]:
    """Ask for `count` completions; exactly one came for each, whatever happened."""
    requests = [Request(f"{number}+{number}=", number) for number in range(count)]
    written = sorted(engine.generate(requests, sampling, stop), key=lambda one: one.index)
    assert [one.index for one in written] == list(range(count))
    return written


@pytest.fixture(scope="module")
def expected(model: Path) -> list[Completion]:
    """What the stub answers when nothing goes wrong."""
    with stub() as server:
        engine = make_engine(model, server.url)
        written = ask(engine, 200)
        engine.close()
    assert len({one.text for one in written}) > 150
    return written


# --- what is asked and answered --------------------------------------------------------------------------------------


ABLE = {
    "vLLM": ({}, []),
    "plain": (
        {"extras": "refused"},
        ["cannot score texts", "may sample by defaults of its own, such as a top_k"],
    ),
    "passes over what it does not know": ({"extras": False}, ["cannot score texts"]),
    "echo": ({"extras": "refused", "scoring": "echo"}, ["may sample by defaults of its own, such as a top_k"]),
    "text": (
        {"ids": False, "logprobs": False, "extras": False},
        [
            "prompts are sent as texts, not as token ids",
            "no log-probabilities of what is written",
            "cannot score texts",
        ],
    ),
    "no seeds": ({"seeds": False}, ["seeds do nothing: samples cannot be repeated"]),
    "no stops": ({"stops": False}, ["stop strings do nothing: texts are cut here, their tokens count what was cut"]),
    "chat": (
        {"completions": False},
        [
            "prompts are the user's turn of the server's own chat template",
            "no log-probabilities of what is written",
            "cannot score texts",
            "may sample by defaults of its own, such as a top_k",
        ],
    ),
}


@pytest.mark.parametrize("name", ABLE)
def test_what_a_server_cannot_do_is_found_before_the_work(name: str, model: Path, expected: list[Completion]) -> None:
    settings, cannot = ABLE[name]
    with stub(**settings) as server:
        engine = make_engine(model, server.url)
        assert engine.take_notes()["server"]["cannot"] == cannot
        written = ask(engine, 20)
        if "seeds" not in settings:
            assert [one.text for one in written] == [one.text for one in expected[:20]]
        assert {one.logprob is None for one in written} == {"no log-probabilities of what is written" in cannot}
        assert [one.tokens for one in written] == [8] * 20 and {one.finish for one in written} == {"stop"}
        if engine.scores:
            assert [one.tokens for one in engine.score([("1+2=", "3"), ("1+2=", "345")])] == [1, 3]
        else:
            with pytest.raises(EngineError, match=r"cannot score texts, which this recipe needs.*engine.canary=false"):
                engine.score([("1+2=", "3")])
        engine.close()


@pytest.mark.parametrize("stop", [(), ("7", "3")], ids=["whole", "cut"])
def test_how_likely_each_token_was_is_kept_where_that_is_asked_for(stop: tuple[str, ...], model: Path) -> None:
    """As the server says it, in hundredths of a nat, of the tokens that wrote the text."""
    with stub() as server:
        plain, engine = make_engine(model, server.url), make_engine(model, server.url, token_logprobs=True)
        for one, other in zip(ask(plain, 20, stop=stop), ask(engine, 20, stop=stop), strict=True):
            assert (one.token_ids, one.token_lengths, one.token_costs) == (other.token_ids, None, None)
            if not other.token_ids:  # cut at its beginning
                assert stop and (other.token_lengths, other.token_costs) == (None, None)
                continue
            said = [stub_server.logprob(stub_server.encode(f"{one.index}+{one.index}="), token, at)
                    for at, token in enumerate(other.token_ids)]  # fmt: skip
            assert other.token_lengths == (1,) * len(other.text)
            assert other.token_costs == tuple(round(-100 * one) for one in said)
            assert all(type(one) is int for one in other.token_costs)
        plain.close()
        engine.close()


@pytest.mark.parametrize("name", ["plain", "text", "chat"])
def test_how_likely_each_token_was_is_not_kept_where_a_server_does_not_say_which_they_were(
    name: str, model: Path
) -> None:
    with stub(**ABLE[name][0]) as server:
        engine = make_engine(model, server.url, token_logprobs=True)
        assert {(one.token_ids, one.token_lengths, one.token_costs) for one in ask(engine, 5)} == {(None, None, None)}
        engine.close()


def test_both_ways_to_score_agree_and_a_pair_without_room_is_too_long(model: Path) -> None:
    pairs = [("1+2=", "3"), ("12+3=", "15\n#"), ("1+2=", ""), ("1" * 300, "2" * 211), ("1" * 300, "2" * 212)]
    found = []
    for settings in ({}, {"extras": "refused", "scoring": "echo"}):
        with stub(**settings) as server:
            engine = make_engine(model, server.url)
            found.append((engine.score(pairs), engine.score(pairs[:2], end=True)))
            engine.close()
    assert found[0] == found[1]
    assert [(one.tokens, one.too_long) for one in found[0][0]] == [
        (1, False), (4, False), (0, False), (211, False), (0, True),
    ]  # fmt: skip
    assert [one.tokens for one in found[0][1]] == [2, 5]


def test_stops_lengths_and_prompts_without_room(model: Path, expected: list[Completion]) -> None:
    with stub(limit=None) as server:
        engine = make_engine(model, server.url)
        mark = expected[0].text[3]
        stopped = ask(engine, 1, stop=(mark,))[0]
        at = expected[0].text.index(mark)
        assert (stopped.text, stopped.tokens, stopped.finish) == (expected[0].text[:at], at + 1, "stop")
        cut = ask(engine, 1, Sampling(temperature=1.0, max_tokens=3))[0]
        assert (cut.text, cut.tokens, cut.finish) == (expected[0].text[:3], 3, "length")
        server.set(limit=100)  # it told no limit at the start, and refuses now
        requests = [Request("1+" * 60, 0), Request("1+2=", 0), Request("1+" * 300, 0)]
        written = {one.index: (one.finish, one.tokens > 0) for one in engine.generate(requests, HOT)}
        assert written == {0: ("too_long", False), 1: ("stop", True), 2: ("too_long", False)}
        engine.close()


@pytest.mark.parametrize("finish", ["eos_token", "stop_sequence", "none"])
def test_other_words_for_an_end_are_answers(finish: str, model: Path, expected: list[Completion]) -> None:
    """Those of text-generation-inference and of older servers; some say none at all."""
    with stub(finish=finish) as server:
        engine = make_engine(model, server.url, patience=0.5)
        assert ask(engine, 4) == expected[:4]
        short = ask(engine, 1, Sampling(temperature=1.0, max_tokens=3))[0]
        assert short.finish == ("length" if finish == "none" else "stop")
        engine.close()


def test_the_key_comes_from_the_environment_and_stands_in_no_message(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "sk-very-secret"
    with stub(key=secret) as server:
        with pytest.raises(EngineError, match=r"401 .*name the variable of its key, engine\.server\.key"):
            make_engine(model, server.url)
        with pytest.raises(EngineError, match="the environment variable STUB_KEY is not set"):
            make_engine(model, server.url, key="STUB_KEY")
        monkeypatch.setenv("STUB_KEY", "sk-wrong-one")
        with pytest.raises(EngineError, match="the key in STUB_KEY is not accepted") as wrong:
            make_engine(model, server.url, key="STUB_KEY")
        assert "sk-wrong-one" not in str(wrong.value)
        monkeypatch.setenv("STUB_KEY", secret)
        engine = make_engine(model, server.url, key="STUB_KEY")
        assert len(ask(engine, 5)) == 5
        assert secret not in str(engine.take_notes()) + engine.settings.model_dump_json()
        server.set(key="changed")
        with pytest.raises(EngineError, match="STUB_KEY is not accepted") as changed:
            ask(engine, 5)
        assert secret not in str(changed.value)
        engine.close()
    assert secret not in "".join(capfd.readouterr())


MISTAKES = [
    ({}, {"model": "other"}, r"serves no model 'other' \(engine.server.model\), but stub"),
    ({"wraps": 7}, {}, r"reads a prompt of 9 tokens as 16, so it serves another model or puts its own template"),
    ({"completions": False, "name": "x"}, {"chat": True}, "takes none of this model's prompts as they are: 404"),
]


@pytest.mark.parametrize(("settings", "given", "message"), MISTAKES)
def test_a_server_that_will_not_do_is_one_line(
    settings: dict[str, Any], given: dict[str, Any], message: str, model: Path
) -> None:
    from selfimprove.engines.server import ServerEngine
    from selfimprove.recipe import Model
    from selfimprove.recipe.engine_settings import EngineSettings

    chat = given.pop("chat", False) if given else False
    with stub(**settings) as server, pytest.raises(EngineError, match=message):
        chosen = EngineSettings.model_validate({"name": "server", "server": {"urls": [server.url], **given}})
        ServerEngine(Weights(str(model), chat=chat), settings=chosen, model=Model(path=str(model)), pace=QUICK)


ADDRESSES = [
    "ftp://x/v1", "127.0.0.1:8000", "http://me:secret@host/v1", "http://host/v1?key=secret", "ftp://me:secret@x/v1",
    "http://[me:secret@host/v1", "http://host:99999/v1?key=secret", "http://host:x/v1",
]  # fmt: skip


@pytest.mark.parametrize("url", ADDRESSES)
def test_a_wrong_address_is_one_line_without_its_secret(url: str, model: Path) -> None:
    with pytest.raises(EngineError, match=r"engine\.server\.urls: ") as found:
        make_engine(model, url)
    assert "secret" not in str(found.value)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), None])
def test_a_log_probability_that_is_no_number_is_no_score(value: float | None) -> None:
    """It would pass every comparison with what other servers give."""
    prompt = {"prompt_logprobs": [None, {"2": {"logprob": value}}], "logprobs": {"token_logprobs": [-1.0]}}
    for way, choice in (("echo", {"logprobs": {"token_logprobs": [None, value, -1.0]}}), ("prompt_logprobs", prompt)):
        with pytest.raises(ValueError, match="not a log-probability"):
            read_scores({"choices": [choice]}, way, [1, 2, 3], 1)


def test_addresses_and_headers_are_read() -> None:
    assert split_url("http://h:1") == ("http://h:1/v1", "http://h:1")
    assert split_url("https://h/openai/v1/") == ("https://h/openai/v1", "https://h/openai")
    assert read_seconds("1.5") == 1.5 and read_seconds("soon") is None and read_seconds(None) is None
    assert read_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert read_message(b'{"error": {"message": "no  room"}}') == read_message(b'{"detail": "no room"}') == "no room"
    assert read_message(b"<html>\xff") == "<html>\ufffd"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_what_a_server_sets_apart_as_reasoning_is_thinking(field: str, model: Path, expected: list[Completion]) -> None:
    """vLLM, SGLang, llama.cpp and hosted servers; of a text that was cut off while thinking there is no content."""
    with stub(completions=False, reasoning=field) as server:
        engine = make_engine(model, server.url)
        plain = [one.text for one in expected[:6]]
        assert [one.text for one in ask(engine, 6)] == [f"<think>\nSo {one}.\n</think>\n\n{one}" for one in plain]
        server.set(answers=False)
        assert [one.text for one in ask(engine, 6)] == [f"<think>\nSo {one}." for one in plain]
        engine.close()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None}, ""),
        ({"content": "5", "reasoning": None, "reasoning_content": ""}, "5"),
        ({"content": "", "reasoning": "So"}, "<think>\nSo"),
        ({"content": [{"type": "text", "text": "4"}, {"type": "image_url"}, {"text": "5"}]}, "45"),
    ],
)
def test_the_text_of_a_message_is_read_in_the_forms_that_servers_give_it(message: dict[str, Any], text: str) -> None:
    assert read_choice({"choices": [{"message": message}]})["text"] == text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"completions": False, "reasoning": "", "answers": False},
            "every answer to a first question is an empty text: .*'finish_reason': 'stop'.*without a reasoning parser",
        ),
        ({"models": [["other", None]]}, r"serves 2 models \(stub, other\); name one with engine.server.model"),
        (
            {"faults": [{"kind": "error", "count": 99, "message": "no such user"}]},
            "takes none of this model's prompts as they are: 400 no such user",
        ),
    ],
    ids=["all empty", "two models", "an error that calls itself a success"],
)
def test_what_makes_a_server_useless_is_said_before_the_work(
    settings: dict[str, Any], message: str, model: Path
) -> None:
    with stub(**settings) as server, pytest.raises(EngineError, match=message):
        make_engine(model, server.url)


def test_adapters_of_a_model_are_no_second_model(model: Path) -> None:
    with stub(models=[["adapter", "stub"]]) as server:
        engine = make_engine(model, server.url)
        assert len(ask(engine, 2)) == 2
        engine.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"finish": "abort"}, r"an answer that makes no sense: .*\"finish_reason\": \"abort\""),
        ({"faults": [{"kind": "error", "count": 10**9, "message": "out of memory", "code": 503}]}, "503 out of memory"),
    ],
    ids=["abort", "an error within a success"],
)
def test_a_server_s_own_reason_is_shown_where_it_is_given_up(
    settings: dict[str, Any], message: str, model: Path
) -> None:
    with stub() as server:
        engine = make_engine(model, server.url, patience=0.5)
        server.set(**settings)
        with pytest.raises(UnreachableError, match=message):
            ask(engine, 4)
        engine.close()


# --- faults ----------------------------------------------------------------------------------------------------------


FAULTS = {
    "429 burst": [{"kind": 429, "after": 10, "count": 40}],
    "429 with a time": [{"kind": 429, "after": 10, "count": 9, "wait": 0.2}],
    "500 burst": [{"kind": 500, "after": 10, "count": 40}],
    "503": [{"kind": 503, "after": 0, "count": 15}],
    "garbage": [{"kind": "garbage", "after": 5, "count": 30}],
    "another shape": [{"kind": "shape", "after": 5, "count": 30}],
    "connections that break": [{"kind": "drop", "after": 5, "count": 30}],
    "one that hangs": [{"kind": "hang", "after": 5, "count": 3}],
    "slow": [{"kind": "slow", "after": 5, "count": 30, "seconds": 0.4}],
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_loses_no_row_and_doubles_none(name: str, model: Path, expected: list[Completion]) -> None:
    with stub() as server:
        engine = make_engine(model, server.url, timeout=1.0)
        server.set(faults=FAULTS[name])
        assert ask(engine, 200) == expected
        counts = engine.take_notes()["server"]["since its start"]
        assert counts.get("asked again", 0) > 0 or name == "slow"
        engine.close()


def test_a_slow_server_gets_less_to_do(model: Path, expected: list[Completion]) -> None:
    with stub() as quick, stub() as slow:
        engine = make_engine(model, quick.url, slow.url)
        before = quick.seen()["counts"]["asked"]
        slow.set(delay=0.5)
        assert ask(engine, 200) == expected
        engine.close()
        assert slow.seen()["counts"]["asked"] < quick.seen()["counts"]["asked"] - before
        assert slow.seen()["counts"]["asked"] > 8


def test_a_server_killed_in_the_middle_leaves_its_requests_to_the_other(
    model: Path, expected: list[Completion], capfd: pytest.CaptureFixture[str]
) -> None:
    with stub() as dies, stub(delay=0.01) as lives:
        engine = make_engine(model, dies.url, lives.url)
        dies.set(faults=[{"kind": "die", "after": 20}])
        assert ask(engine, 200) == expected
        engine.close()
        assert dies.process.wait(timeout=5) == 9
    assert f"{dies.url}/v1 (" in capfd.readouterr().err


def test_a_server_that_comes_back_is_asked_again(
    model: Path, expected: list[Completion], capfd: pytest.CaptureFixture[str]
) -> None:
    with stub(delay=0.05) as lives, stub(delay=0.05) as dies:
        engine = make_engine(model, dies.url, lives.url)
        completions = engine.generate([Request(f"{at}+{at}=", at) for at in range(200)], HOT)
        written = [next(completions) for _ in range(30)]
        dies.stop()
        written += [next(completions) for _ in range(50)]
        lives.set(delay=0.4)  # alone it would have seconds to go
        back = Stub({}, dies.port)
        try:
            written += completions
            assert sorted(written, key=lambda one: one.index) == expected
            assert back.seen()["counts"]["answered"] > 25  # more than its probes
        finally:
            back.stop()
        engine.close()
    said = capfd.readouterr().err
    assert f"{dies.url}/v1 (" in said and f"{dies.url}/v1 answers" in said


def test_with_all_servers_down_it_waits_and_goes_on(
    model: Path, expected: list[Completion], capfd: pytest.CaptureFixture[str]
) -> None:
    with stub(delay=0.02) as server:
        engine = make_engine(model, server.url)
        completions = engine.generate([Request(f"{at}+{at}=", at) for at in range(200)], HOT)
        written = [next(completions) for _ in range(30)]
        server.stop()
        again: list[Stub] = []
        timer = threading.Timer(1.5, lambda: again.append(Stub({}, server.port)))
        timer.start()
        try:
            written += completions
            assert sorted(written, key=lambda one: one.index) == expected
        finally:
            timer.join()
            again[0].stop()
        engine.close()
    said = capfd.readouterr().err
    assert f"no server answers: {server.url}/v1 (" in said and "waiting for up to 20 s" in said
    assert said.count("no server answers") >= 2  # and again while it lasts
    assert f"{server.url}/v1 answers" in said


def test_with_all_servers_down_it_gives_up_after_its_patience(model: Path) -> None:
    with stub(delay=0.02) as server:
        engine = make_engine(model, server.url, patience=1.0)
        completions = engine.generate([Request("1+1=", at) for at in range(200)], HOT)
        next(completions)
        server.stop()
        begun = time.monotonic()
        with pytest.raises(UnreachableError, match=r"no server answered for 1 s: .*nothing finished is lost"):
            list(completions)
        assert 0.9 < time.monotonic() - begun < 5
        engine.close()
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match=r"no server answered for 1 s: http://127.0.0.1:\d+/v1 \(Connect call"):
        make_engine(model, f"http://127.0.0.1:{free_port()}", patience=1.0)
    assert 0.9 < time.monotonic() - begun < 5


def test_a_request_that_only_ever_fails_ends_the_run_and_not_the_others_first(model: Path) -> None:
    with stub() as server:
        engine = make_engine(model, server.url, patience=1.0, pace=QUICK)
        server.set(faults=[{"kind": 500, "after": 20, "count": 10**9}])
        with pytest.raises(UnreachableError, match="500 not now"):
            ask(engine, 200)
        server.set(faults=[])
        assert len(ask(engine, 20)) == 20  # the engine is whole
        engine.close()


def test_a_server_that_comes_back_as_another_one_stays_out(
    model: Path, expected: list[Completion], capfd: pytest.CaptureFixture[str]
) -> None:
    with stub(delay=0.02) as lives, stub(delay=0.02) as dies:
        engine = make_engine(model, dies.url, lives.url)
        completions = engine.generate([Request(f"{at}+{at}=", at) for at in range(200)], HOT)
        written = [next(completions) for _ in range(20)]
        dies.stop()
        lives.set(delay=0.15)
        with_less = Stub({"logprobs": False}, dies.port)
        try:
            written += completions
            assert sorted(written, key=lambda one: one.index) == expected
        finally:
            with_less.stop()
        engine.close()
    assert "stays out: " in (said := capfd.readouterr().err) and "no log-probabilities of what is written" in said


def test_taking_no_more_answers_stops_asking(model: Path) -> None:
    with stub(delay=0.01) as server:
        engine = make_engine(model, server.url)
        before = server.seen()["counts"]["asked"]
        completions = engine.generate([Request("1+1=", at) for at in range(1000)], HOT)
        next(completions)
        time.sleep(0.5)  # what was not taken holds up the rest
        waiting = server.seen()["counts"]["asked"] - before
        completions.close()  # type: ignore[attr-defined]
        assert waiting <= 2 * 8 + 8
        time.sleep(0.2)
        assert server.seen()["counts"]["asked"] - before <= waiting + 8
        engine.close()


def test_an_engine_can_be_closed_while_texts_are_under_way(model: Path) -> None:
    with stub(delay=0.05) as server:
        engine = make_engine(model, server.url)
        completions = engine.generate([Request("1+1=", at) for at in range(1000)], HOT)
        next(completions)
        engine.close()
        with pytest.raises(CancelledError):
            list(completions)
        with pytest.raises(EngineError, match="the engine was closed"):
            next(engine.generate([Request("1+1=", 0)], HOT))


# --- weights ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1), folder, seed=2)
    return folder


def test_every_server_takes_new_weights_and_forgets_what_it_computed(model: Path, trained: Path) -> None:
    with stub(weights="of nobody") as one, stub(weights="of nobody") as other:
        engine = make_engine(model, one.url, other.url)
        assert [server.seen()["counts"]["swapped"] for server in (one, other)] == [1, 1]  # they served something else
        before = ask(engine, 20)
        assert engine.swap(Weights(str(trained), hash="trained"))
        for server in (one, other):
            assert [server.seen()["counts"][name] for name in ("swapped", "cache reset")] == [2, 2]
        after = ask(engine, 20)
        assert all(old.text != new.text for old, new in zip(before, after, strict=True))
        assert engine.swap(Weights(str(trained), hash="trained"))  # nothing to do
        assert one.seen()["counts"]["swapped"] == 2
        engine.close()


def test_a_server_that_was_away_during_a_swap_takes_the_weights_before_it_is_asked(model: Path, trained: Path) -> None:
    with stub(weights="", delay=0.02) as lives, stub(weights="", delay=0.02) as dies:
        engine = make_engine(model, lives.url, dies.url)
        dies.stop()
        assert engine.swap(Weights(str(trained), hash="trained"))
        completions = engine.generate([Request(f"{at}+{at}=", at) for at in range(300)], HOT)
        written = [next(completions) for _ in range(20)]
        lives.set(delay=0.4)
        back = Stub({"weights": "old"}, dies.port)
        try:
            written += completions
            seen = back.seen()["counts"]
            assert seen["swapped"] == 1 and seen["answered"] > 30
            lives.set(delay=0)
            assert sorted(written, key=lambda one: one.index) == ask(engine, 300)
        finally:
            back.stop()
        engine.close()


def test_a_server_that_cannot_tell_its_weights_takes_none_and_is_watched(
    model: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with stub(delay=0.02) as lives, stub(delay=0.02) as dies:
        engine = make_engine(model, lives.url, dies.url)
        with pytest.raises(
            EngineError, match=r"cannot take the weights of a round while it runs; start it with `selfi"
        ):
            engine.swap(Weights(str(trained), hash="trained"))
        engine.close()
        engine = make_engine(model, lives.url, dies.url)
        completions = engine.generate([Request(f"{at}+{at}=", at) for at in range(200)], HOT)
        written = [next(completions) for _ in range(20)]
        dies.stop()
        lives.set(delay=0.15)
        other = Stub({"scores": "others"}, dies.port)
        try:
            written += completions
            assert len(written) == 200
        finally:
            other.stop()
        engine.close()
        shape = tmp_path / "shape"
        build_model(Build(hidden_size=64, intermediate_size=64, layers=1, heads=1), shape, seed=1)
        engine = make_engine(model, lives.url)
        with pytest.raises(EngineError, match="serve a model of another shape or vocabulary than"):
            engine.swap(Weights(str(shape), hash="shape"))
        engine.close()
    assert "stays out: " in (said := capfd.readouterr().err) and "serves other weights than the other servers" in said


def test_texts_that_were_asked_for_before_a_swap_are_not_written_after_it(model: Path, trained: Path) -> None:
    with stub(weights="") as server:
        engine = make_engine(model, server.url)
        completions = engine.generate([Request(f"{at}+{at}=", at) for at in range(200)], HOT)
        next(completions)
        assert engine.swap(Weights(str(trained), hash="trained"))
        with pytest.raises(EngineError, match="the weights swapped before they were taken"):
            list(completions)
        assert len(ask(engine, 20)) == 20
        engine.close()


class _Repeats(BaseHTTPRequestHandler):
    """Refuses every request and repeats its key behind so many characters that a cut at 300 goes through it."""

    def do_GET(self) -> None:
        said = ("x" * 285 + " " + str(self.headers["Authorization"]).removeprefix("Bearer ")).encode()
        self.send_response(400)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


def test_no_part_of_a_key_is_left_where_a_message_is_cut() -> None:
    secret = "sk-0123456789-abcdefghij"

    async def ask(url: str) -> str:
        http = Http(url, secret, 10.0)
        await http.open()
        try:
            with pytest.raises(Refused) as refused:
                await http.get("/models")
            return str(refused.value)
        finally:
            await http.close()

    with ThreadingHTTPServer(("127.0.0.1", 0), _Repeats) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            message = asyncio.run(ask(f"http://127.0.0.1:{server.server_port}/v1"))
        finally:
            server.shutdown()
            thread.join()
    assert message.startswith("400 x") and not any(secret[:length] in message for length in range(3, len(secret)))


@pytest.mark.parametrize(("count", "first"), [(1, 65536), (2, 65535), (1, 10**12)])
def test_a_port_beyond_the_last_one_is_said_in_one_line(count: int, first: int) -> None:
    with pytest.raises(EngineError, match=r"port \d+ cannot be used \(.+\); choose others with --port"):
        choose_ports(count, first)
    assert len(set(choose_ports(3, None))) == 3
