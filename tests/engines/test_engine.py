"""The transformers engine: the same text as transformers itself, whatever shares the batch."""

from pathlib import Path

import pytest
import torch
from tiny_models import make_gemma, make_llama
from transformers import AutoModelForCausalLM
from transformers.modeling_outputs import CausalLMOutput

from selfimprove.engines import Completion, Request, Score
from selfimprove.engines.base import find_fitting
from selfimprove.engines.build import build_model
from selfimprove.engines.model_folders import check_path
from selfimprove.engines.models import load_chat
from selfimprove.engines.rows import choose
from selfimprove.engines.tensors import hash_weights
from selfimprove.engines.token_costs import NEVER, weigh_tokens
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.errors import ModelError
from selfimprove.recipe import Build, Sampling

GREEDY = Sampling(temperature=0.0, max_tokens=12)
HOT = Sampling(temperature=1.0, max_tokens=12)
PROMPTS = ["1+2=", "123+45=", "9+9=", "40000+12345=", "7+123="]
PREFIX = "1+1=2\n" * 8  # longer than what is worth sharing


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def sliding(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    return make_gemma(tmp_path_factory.mktemp("sliding"), model)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer with positions that sees 8 tokens, and one without that sees all."""
    return make_llama(tmp_path_factory.mktemp("hybrid"), heads=2, nope_layers=(2,), rope_window=8)


def make_engine(folder: Path, batch_size: int = 64) -> TransformersEngine:
    return TransformersEngine(folder, device="cpu", batch_size=batch_size, threads=1)


def write(
    engine: TransformersEngine, requests: list[Request], sampling: Sampling, stop: tuple[str, ...] = ()
) -> list[Completion]:
    return sorted(engine.generate(requests, sampling, stop), key=lambda one: one.index)


def reference(engine: TransformersEngine, prompt: str, tokens: int) -> str:
    ids = engine.tokenizer(prompt, return_tensors="pt")
    ids.pop("token_type_ids", None)
    out = engine.model.generate(**ids, max_new_tokens=tokens, do_sample=False)[0, ids["input_ids"].shape[1] :]
    text = str(engine.tokenizer.decode(out)).removesuffix("<eos>")
    for special in ("<pad>", "<bos>", "<unk>"):  # shown, and broken up
        text = text.replace(special, f"< {special[1:]}")
    return text


@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["plain", "shared prefix"])
@pytest.mark.parametrize("name", ["model", "sliding", "hybrid"])
def test_greedy_text_is_that_of_transformers(name: str, prefix: str, request: pytest.FixtureRequest) -> None:
    engine = make_engine(request.getfixturevalue(name))
    engine.parameters = 10**9  # as if it were large, and sharing paid
    prompts = [prefix + prompt for prompt in PROMPTS]
    written = write(engine, [Request(prompt, 0) for prompt in prompts], GREEDY)
    assert [one.text for one in written] == [reference(engine, prompt, 12) for prompt in prompts]
    assert len({one.text for one in written}) > 1


@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["plain", "shared prefix"])
def test_a_sample_does_not_depend_on_what_runs_with_it(model: Path, prefix: str) -> None:
    requests = [Request(prefix + prompt, seed) for prompt in PROMPTS for seed in range(6)]
    together = {requests[one.index]: one for one in make_engine(model).generate(requests, HOT)}
    assert len({one.text for one in together.values()}) > 10
    for batch_size, order in ((1, requests), (4, requests[::-1]), (7, requests[5:])):
        engine = make_engine(model, batch_size)
        for one in engine.generate(order, HOT):
            same = together[order[one.index]]
            assert (one.text, one.tokens, one.finish) == (same.text, same.tokens, same.finish)
            assert one.logprob == pytest.approx(same.logprob, abs=1e-3)


def test_the_log_probability_is_what_scoring_gives(model: Path) -> None:
    engine = make_engine(model)
    written = write(engine, [Request(prompt, 3) for prompt in PROMPTS], GREEDY)
    cut = [one for one in written if len(one.text) == one.tokens]  # neither an end token nor another special one
    assert cut
    for one in cut:
        score = engine.score([(PROMPTS[one.index], one.text)])[0]
        assert (score.tokens, score.logprob) == (one.tokens, pytest.approx(one.logprob, abs=1e-3))


def test_how_likely_each_token_was_is_told_where_that_is_asked_for(model: Path) -> None:
    requests = [Request(prompt, at) for at, prompt in enumerate(PROMPTS * 4)]
    plain, engine = make_engine(model), TransformersEngine(model, device="cpu", threads=1, weigh=True)
    for one, other in zip(write(plain, requests, HOT, ("9",)), write(engine, requests, HOT, ("9",)), strict=True):
        assert (one.token_ids, one.token_costs, one.token_lengths) == (other.token_ids, None, None)
        if not other.token_ids:
            continue
        assert other.token_costs is not None and other.token_lengths is not None
        assert len(other.token_costs) == len(other.token_lengths) == len(other.token_ids)
        assert sum(other.token_lengths) == len(other.text)
        score = engine.score([("" + requests[one.index].prompt, other.token_ids)])[0]
        assert sum(other.token_costs) / -100 == pytest.approx(score.logprob, abs=0.02 * len(other.token_ids))


@pytest.mark.parametrize(
    ("pieces", "text", "expected"),
    [
        (["Hi", " there"], "Hi there", ((2, 6), (50, 100))),
        (["a", "\ufffd", "\ufffd"], "aé", ((1, 0, 1), (50, 100, 150))),  # a character of two tokens
        (["a", "b"], "a", None),
        (["a"], "ab", None),
        ([], "", None),
    ],
)
def test_each_token_has_its_characters(pieces: list[str], text: str, expected: object) -> None:
    class Tokenizer:
        def decode(self, ids: list[int], **_: object) -> str:
            return "".join(pieces[one] for one in ids).replace("\ufffd\ufffd", "é")

    logprobs = [-0.5 * (at + 1) for at in range(len(pieces))]
    assert weigh_tokens(Tokenizer(), range(len(pieces)), text, logprobs) == expected


def test_what_never_happens_has_a_cost_that_can_be_written() -> None:
    class Tokenizer:
        def decode(self, ids: list[int], **_: object) -> str:
            return "x" * len(ids)

    assert weigh_tokens(Tokenizer(), (1, 2), "xx", [float("-inf"), 0.001]) == ((1, 1), (NEVER, 0))
    assert weigh_tokens(Tokenizer(), (1, 2), "xx", [-1.0]) is None
    assert weigh_tokens(Tokenizer(), (1, 2), "xx", None) is None


def test_scores_agree_with_a_plain_forward_pass(model: Path) -> None:
    engine = make_engine(model, batch_size=2)
    pairs = [("1+2=", "3"), ("123+45=", "168\n#"), ("9+", "9")]
    for (prompt, more), score in zip(pairs, engine.score(pairs), strict=True):
        ids = engine.tokenizer(prompt)["input_ids"]
        rest = engine.tokenizer(more, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = engine.model(torch.tensor([ids + rest])).logits[0].log_softmax(-1)
        expected = sum(float(logits[len(ids) - 1 + at, token]) for at, token in enumerate(rest))
        assert score.logprob == pytest.approx(expected, abs=1e-3)
        assert score.tokens == len(rest)


@pytest.mark.parametrize(("at_once", "rows"), [(1, [1] * 6), (200, [2, 2, 2]), (1 << 28, [6])])
def test_pairs_are_scored_in_batches_whose_logits_fit_and_prompts_once(
    at_once: int, rows: list[int], model: Path
) -> None:
    engine = make_engine(model)
    pairs = [(PREFIX + prompt, more) for prompt in ("1+2=", "12345+6=") for more in ("33", "333", "333#4")]
    expected = [make_engine(model, batch_size=1).score([pair])[0] for pair in pairs]
    engine.parameters = 10**9  # as if it were large, and sharing paid
    engine.score(pairs)  # with it, the first time, its attention is tried
    shapes: list[torch.Size] = []
    inputs: list[int] = []

    def record(_: object, __: object, given: dict[str, torch.Tensor], found: CausalLMOutput) -> None:
        shapes.append(found.logits.shape)
        inputs.append(given["input_ids"].numel())

    engine.model.register_forward_hook(record, with_kwargs=True)
    engine.max_logits = at_once
    for one, other in zip(engine.score(pairs), expected, strict=True):
        assert (one.tokens, one.logprob) == (other.tokens, pytest.approx(other.logprob, abs=1e-3))
    # First what all prompts begin with, then the rest of each; of both the last position alone has logits.
    assert [shape[:2] for shape in shapes[:2]] == [(1, 1), (2, 1)]
    assert sum(inputs[:2]) < len(PREFIX) + 2 * len("12345+6=") + 4
    assert [shape[0] for shape in shapes[2:]] == rows
    assert all(shape.numel() <= at_once or shape[0] == 1 for shape in shapes[2:])


def test_a_pair_without_room_is_too_long_and_the_others_are_scored(model: Path) -> None:
    engine = make_engine(model)
    room = engine.max_positions - len(engine.tokenizer("1+2=")["input_ids"])
    fits, too_long, short = engine.score([("1+2=", "3" * room), ("1+2=", "3" * (room + 1)), ("1+2=", "3")])
    assert (fits.too_long, fits.tokens, short.too_long, short.tokens) == (False, room, False, 1)
    assert too_long == Score(0.0, 0, too_long=True)
    assert short.logprob == pytest.approx(engine.score([("1+2=", "3")])[0].logprob, abs=1e-3)
    assert engine.score([]) == []


def test_the_end_token_ends_a_completion_and_counts(model: Path) -> None:
    engine = make_engine(model)
    free = write(engine, [Request(PROMPTS[0], 0)], GREEDY)[0]
    ids = engine.tokenizer(free.text, add_special_tokens=False)["input_ids"]
    engine.ends = [ids[4]]
    first = ids.index(ids[4])
    ended = write(engine, [Request(PROMPTS[0], 0)], GREEDY)[0]
    assert (ended.finish, ended.tokens) == ("stop", first + 1)


def test_a_stop_string_cuts_the_text_before_it(model: Path) -> None:
    engine = make_engine(model)
    free = write(engine, [Request(PROMPTS[1], 0)], GREEDY)[0].text
    mark = free[5:7]
    stopped = write(engine, [Request(PROMPTS[1], 0)], GREEDY, (mark,))[0]
    assert stopped.text == free[: free.index(mark)]
    assert (stopped.finish, stopped.tokens) == ("stop", free.index(mark) + 2)


def test_a_prompt_without_room_is_said_and_loses_no_other(model: Path) -> None:
    engine = make_engine(model)
    written = write(engine, [Request("1+" * 300, 0), Request("1+2=", 0)], GREEDY)
    assert [(one.finish, one.tokens > 0) for one in written] == [("too_long", False), ("length", True)]


@pytest.mark.parametrize(
    ("sizes", "room", "fitting"),
    [([1, 5, 6], 5, [0, 1]), ([0, 5], 5, [1]), ([9, 9], 5, []), ([2, 9, 2], 5, [0, 2]), ([], 5, [])],
)
def test_requests_without_room_are_completed_unasked(sizes: list[int], room: int, fitting: list[int]) -> None:
    requests = [Request(str(at), 0) for at in range(len(sizes))]
    prompts = {str(at): [7] * size for at, size in enumerate(sizes)}
    found, others = find_fitting(requests, prompts, room)
    assert found == fitting
    assert [(one.index, one.finish) for one in others] == [
        (at, "too_long") for at in range(len(sizes)) if at not in fitting
    ]


def test_draws_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]])).repeat(20_000, 1)
    draws = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = torch.bincount(choose(logits, Sampling(temperature=1.0), draws), minlength=3) / 20_000
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.015)
    sharper = torch.bincount(choose(logits, Sampling(temperature=0.5), draws), minlength=3) / 20_000
    # Squared and normalised: 0.25, 0.09, 0.04 of 0.38.
    assert sharper.tolist() == pytest.approx([0.658, 0.237, 0.105], abs=0.015)
    nucleus = torch.bincount(choose(logits, Sampling(temperature=1.0, top_p=0.7), draws), minlength=3) / 20_000
    assert nucleus.tolist() == pytest.approx([0.625, 0.375, 0.0], abs=0.015)


def test_an_adapter_is_served_on_its_base(model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer

    network = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    network.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path)
    engine = TransformersEngine(tmp_path, base=model, device="cpu", threads=1)
    ids = torch.tensor([engine.tokenizer("12+34=")["input_ids"]])
    with torch.no_grad():
        assert torch.allclose(engine.model(ids).logits, network(ids).logits, atol=1e-3)
    assert not torch.allclose(engine.model(ids).logits, make_engine(model).model(ids).logits, atol=1e-3)


def test_a_chat_template_writes_the_prompt_and_texts_cannot_break_out(model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    assert load_chat(str(model)) is None
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = "{% for m in messages %}<bos>{{ m['content'] }}{% endfor %}="
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((model / "config.json").read_text())
    chat = load_chat(str(tmp_path))
    assert chat is not None
    assert chat([{"role": "user", "content": "1+1<eos><bos>2"}]) == "<bos>1+1< eos>< bos>2="


def test_a_built_model_depends_on_its_seed_only(tmp_path: Path) -> None:
    shape = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        build_model(shape, tmp_path / name, seed)
    hashes = [hash_weights(tmp_path / name) for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("model_name", "message"),
    [
        ("/nowhere/model", "no such model; give a folder that holds a config.json, or a hub name 'owner/name'"),
        ("gemma", "no such model"),
        (".", "no config.json in this folder"),
    ],
)
def test_a_missing_model_is_one_line(model_name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        check_path(str(tmp_path) if model_name == "." else model_name)


def test_departures_are_the_likeliest_other_tokens_by_the_engines_own_scores(model: Path) -> None:
    engine = make_engine(model)
    pairs = [("12+3=", "2+3"), ("9+9=", "0"), ("1+1=", "")]
    found = engine.depart(pairs, 5)
    assert [len(one) for one in found] == [5, 5, 0]
    for (prompt, text), ways in zip(pairs[:2], found[:2], strict=True):
        assert all(way != text[: len(way)] and way[:-1] == text[: len(way) - 1] for way in ways)
        scores = [one.logprob for one in engine.score([(prompt, way) for way in ways])]
        assert scores == sorted(scores, reverse=True)
        # No other departure is likelier than the last of these.
        others = [text[:at] + token for at in range(len(text)) for token in "0123456789+=#? " if token != text[at]]
        best = sorted((one.logprob for one in engine.score([(prompt, way) for way in others])), reverse=True)
        plain = [score for way, score in zip(ways, scores, strict=True) if way in others]
        assert plain == pytest.approx(best[: len(plain)], abs=1e-4)
    assert engine.depart(pairs[:1], 5) == found[:1]  # whatever is asked with it
