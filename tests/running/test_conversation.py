"""Talking with checkpoints: what is shown to them, and what comes back piece by piece."""

from pathlib import Path

import pytest
from tiny_models import make_adapter, make_llama
from transformers import AutoTokenizer
from typer.testing import CliRunner

from selfimprove.cli.app import app
from selfimprove.engines import Request, Weights, load_engine
from selfimprove.engines.stream import Streamer
from selfimprove.errors import ModelError
from selfimprove.recipe import Model, Sampling
from selfimprove.recipe.engine_settings import EngineSettings
from selfimprove.running.conversation import Speaker, open_speaker

LETTERS = "0123456789+=#? \nabcdefghijklmnopqrstuvwxyz<>|/:."
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}|{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
GREEDY = Sampling(temperature=0.0, max_tokens=24)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    plain = make_llama(folder / "plain", layers=1)
    talks = make_llama(folder / "talks", layers=1, seed=3, alphabet=LETTERS, max_positions=160)
    tokenizer = AutoTokenizer.from_pretrained(talks)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(talks)
    return {"plain": plain, "talks": talks, "adapter": make_adapter(folder / "adapter", plain)}


@pytest.mark.parametrize("name", ["plain", "adapter"])
@pytest.mark.parametrize("stop", [(), ("1",), ("+=", "9 ")])
def test_the_pieces_are_the_text_that_the_engine_writes(
    models: dict[str, Path], name: str, stop: tuple[str, ...]
) -> None:
    base = str(models["plain"]) if name == "adapter" else None
    weights, model = Weights(str(models[name]), base), Model(path=str(models[name]), device="cpu")
    engine = load_engine(EngineSettings(threads=1), model, weights)
    streamer = Streamer(weights, model)
    for prompt in ("1+2=", "77+8=", "?"):
        (expected,) = engine.generate([Request(prompt, 0)], GREEDY, stop)
        pieces = list(streamer.write(prompt, GREEDY, stop=stop))
        assert "".join(pieces) == expected.text
        assert len(pieces) > 1 or len(expected.text) < 2
    engine.close()


def test_a_seed_gives_the_same_text_again(models: dict[str, Path]) -> None:
    streamer = Streamer(Weights(str(models["plain"])), Model(path=str(models["plain"]), device="cpu"))
    warm = Sampling(temperature=3.0, top_p=0.9, max_tokens=24)
    texts = ["".join(streamer.write("1+2=", warm, seed=seed)) for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1] and len(set(texts)) > 1
    with pytest.raises(ModelError, match="places for"):
        next(streamer.write("1" * 600, GREEDY))


def test_a_chat_model_is_shown_the_turns_before_and_forgets_what_does_not_fit(models: dict[str, Path]) -> None:
    speaker = open_speaker(str(models["talks"]), Path("runs"))
    short = Sampling(temperature=0.0, max_tokens=8)
    asked: list[str] = []
    write = speaker.streamer.write

    class Listening(Streamer):
        def __init__(self) -> None:
            self.__dict__.update(speaker.streamer.__dict__)

        def write(self, prompt: str, *rest: object, **more: object):  # type: ignore[no-untyped-def, override]
            asked.append(prompt)
            return write(prompt, *rest, **more)  # type: ignore[arg-type]

    talking = Speaker("talks", Listening(), speaker.template, speaker.form)
    first = "".join(talking.ask("hello", short, 0))
    "".join(talking.ask("and now?", short, 0))
    assert asked[1].startswith(f"<user>hello|<assistant>{first.strip()}|<user>and now?|") and talking.forgotten == 0
    for _ in range(6):
        "".join(talking.ask("once more, please", short, 0))
    assert talking.forgotten > 0 and "hello" not in asked[-1]
    assert speaker.streamer.count(asked[-1]) + 8 <= 160
    talking.forget()
    "".join(talking.ask("new", short, 0))
    assert asked[-1] == "<user>new|<assistant>"


def test_questions_come_from_a_pipe_and_two_answer(models: dict[str, Path]) -> None:
    arguments = ["chat", str(models["talks"]), str(models["plain"]), "--temperature", "0", "--max-tokens", "6"]
    found = CliRunner().invoke(app, arguments, input="1+2=\n\n/new\n3+4=\n/quit\nnot asked\n")
    assert found.exit_code == 0, found.output
    assert "plain: no chat template, so each question is asked alone" in found.output
    for name in ("talks", "plain"):
        assert found.output.count(f"{models[name]}:\n") == 2
    assert "/new" not in found.output


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["chat", str(tmp_path / "nothing")])
    assert found.exit_code and "neither a model's folder" in str(found.exception)
