"""What prompts share is held once, and everything stays as transformers computes it, for many shapes of models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_llama, save_sharpened
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from selfimprove.engines import Request, attention
from selfimprove.engines.attention import Sharing, _attend_part
from selfimprove.engines.grouping import Group, count_call, count_last, group_prompts
from selfimprove.engines.memory import Batches, count_row_bytes, free_bytes
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.errors import EngineError
from selfimprove.prompting.prompts import decode_completion
from selfimprove.recipe import Sampling

PLAIN = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8,
    "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
WINDOWED = {"sliding_window": 24, "layer_types": ["sliding_attention", "full_attention"]}
SHAPES: dict[str, Any] = {
    "Llama, grouped": LlamaConfig(**PLAIN, num_key_value_heads=2),
    "Llama, a pair of keys and values for each head": LlamaConfig(**PLAIN, num_key_value_heads=4),
    "Llama, multi-query": LlamaConfig(**PLAIN, num_key_value_heads=1),
    "Mistral, sliding": MistralConfig(**PLAIN, num_key_value_heads=2, sliding_window=24),
    "Qwen 2": Qwen2Config(**PLAIN, num_key_value_heads=2),
    "Qwen 3": Qwen3Config(**PLAIN, num_key_value_heads=2),
    "Gemma 2, soft-capped": Gemma2Config(
        **PLAIN, num_key_value_heads=2, **WINDOWED, attn_logit_softcapping=2.0, query_pre_attn_scalar=8
    ),
    "Gemma 3, sliding": Gemma3TextConfig(**PLAIN, num_key_value_heads=1, **WINDOWED),
    "GPT-2": GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=256, pad_token_id=0, bos_token_id=1, eos_token_id=2
    ),
}
SHOTS = ("1+1=2\n2+2=4\n" * 4, "9-1=8\n8-1=7\n" * 5)  # two sets of exemplars
PROMPTS = [shots + asked for shots in SHOTS for asked in ("1+2=", "123+45=", "40000+12345=")]
LARGE = 10**9  # parameters of a model for which it pays to share what these prompts do
GREEDY = Sampling(temperature=0.0, max_tokens=6)


def make_model(config: Any, folder: Path, tokenizer: Path) -> Path:
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    config.vocab_size = len(AutoTokenizer.from_pretrained(tokenizer))
    torch.manual_seed(0)
    return save_sharpened(AutoModelForCausalLM.from_config(config), folder)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module", params=SHAPES)
def engine(
    request: pytest.FixtureRequest, llama: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TransformersEngine]:
    folder = make_model(SHAPES[request.param], tmp_path_factory.mktemp("model"), llama)
    made = TransformersEngine(folder, device="cpu", threads=1)
    made.parameters = LARGE
    yield made


def expect(engine: TransformersEngine, prompt: str, tokens: int) -> tuple[list[int], float]:
    """Greedy tokens and their log-probability by the model's definition, without a cache."""
    own = engine.model.config._attn_implementation
    engine.model.set_attn_implementation("eager")
    ids = engine.tokenizer(prompt)["input_ids"]
    start, total = len(ids), 0.0
    with torch.no_grad():
        while len(ids) < start + tokens and (len(ids) == start or ids[-1] not in engine.ends):
            following = engine.model(torch.tensor([ids]), use_cache=False).logits[0, -1].log_softmax(-1)
            ids.append(int(following.argmax()))
            total += float(following.max())
    engine.model.set_attn_implementation(own)
    return ids[start:], total


def test_texts_and_log_probabilities_are_those_of_the_model(engine: TransformersEngine) -> None:
    expected = [expect(engine, prompt, 6) for prompt in PROMPTS]
    found = sorted(engine.generate([Request(prompt, 0) for prompt in PROMPTS], GREEDY), key=lambda one: one.index)
    assert engine.take_notes() in ({"engine": {"attention": "shared prefixes"}}, {})
    assert engine._shares
    for one, (ids, logprob) in zip(found, expected, strict=True):
        assert (one.text, one.tokens) == (decode_completion(engine.tokenizer, ids, engine.ends, ()), len(ids))
        assert one.logprob == pytest.approx(logprob, abs=2e-3)
    assert len({one.text for one in found}) > 1
    pairs = [(prompt, "33#4"[: 1 + at % 4]) for at, prompt in enumerate(PROMPTS)]
    alone = [engine.score([pair])[0].logprob for pair in pairs]
    assert [one.logprob for one in engine.score(pairs)] == pytest.approx(alone, abs=2e-3)


def test_samples_of_one_prompt_do_not_depend_on_what_they_share(engine: TransformersEngine) -> None:
    hot = Sampling(temperature=1.0, max_tokens=6)
    asked = [Request(PROMPTS[at], seed) for at in (0, 4) for seed in range(24)]  # enough to hold each prompt once
    together = sorted(engine.generate(asked, hot), key=lambda one: one.index)
    for at in (0, 23, 24, 47):
        (alone,) = engine.generate([asked[at]], hot)
        assert alone.text == together[at].text
        assert alone.logprob == pytest.approx(together[at].logprob, abs=2e-3)
    assert len({one.text for one in together}) > 10


def test_departures_do_not_depend_on_what_prompts_share(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(prompt, "33#4"[: 1 + at % 4]) for at, prompt in enumerate(PROMPTS[::2] + PROMPTS[1::2])]
    alone = [engine.depart([pair], 4)[0] for pair in pairs]
    computed = list[int]()
    compute = engine._compute_beginning
    monkeypatch.setattr(engine, "_compute_beginning", lambda ids: computed.append(len(ids)) or compute(ids))
    assert engine.depart(pairs, 4) == alone
    assert len(computed) == len(SHOTS) and min(computed) > 32  # each set of exemplars once
    assert [len(one) for one in alone] == [4] * len(pairs) and len({*map(tuple, alone)}) > 2


def test_what_stands_before_other_last_tokens_is_computed_once(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [f"{prompt}{n}\n{n}{n}+{n}={forced}" for n, prompt in enumerate(PROMPTS) for forced in "0123456"]
    alone = [next(engine.generate([Request(prompt, 0)], GREEDY)) for prompt in prompts]
    scored = [engine.score([(prompt, "3#")])[0].logprob for prompt in prompts]
    computed = list[int]()
    compute = engine._compute_tails
    monkeypatch.setattr(
        engine, "_compute_tails", lambda some, *more: computed.append(len(some)) or compute(some, *more)
    )
    found = sorted(engine.generate([Request(prompt, 0) for prompt in prompts], GREEDY), key=lambda one: one.index)
    assert computed and sum(computed) <= len(prompts) / 2
    assert [one.text for one in found] == [one.text for one in alone]
    assert [one.logprob for one in found] == pytest.approx([one.logprob for one in alone], abs=2e-3)
    assert [one.logprob for one in engine.score([(one, "3#") for one in prompts])] == pytest.approx(scored, abs=2e-3)


@pytest.mark.parametrize(
    ("prompts", "groups", "call", "expected"),
    [
        ([[*range(9), at] for at in range(6)], [0] * 6, 9.0, 1),
        ([[*range(9), at] for at in range(6)], [0] * 6, 30.0, 0),  # another call is too dear
        ([[*range(9), at] for at in range(6)], [0, 0, 0, 1, 1, 1], 0.0, 1),
        ([[*range(9), at] for at in range(6)], [*range(6)], 0.0, 0),  # what they follow differs
        ([[*range(9), at, at] for at in range(6)], [0] * 6, 0.0, 2),
        ([[at, *range(9)] for at in range(6)], [0] * 6, 0.0, 0),
        ([[1], [2]], [0, 0], 0.0, 0),
    ],
)
def test_last_tokens_are_computed_apart_where_that_saves_half(
    prompts: list[list[int]], groups: list[int], call: float, expected: int
) -> None:
    assert count_last(prompts, groups, call) == expected


def test_a_model_with_attention_of_its_own_is_asked_as_before_and_says_so(llama: Path, tmp_path: Path) -> None:
    config = FalconConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=True, new_decoder_architecture=False,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    engine = TransformersEngine(make_model(config, tmp_path, llama), device="cpu", threads=1)
    engine.parameters = LARGE
    own = engine.model.config._attn_implementation
    expected = [expect(engine, prompt, 6)[0] for prompt in PROMPTS[:2]]
    found = sorted(engine.generate([Request(one, 0) for one in PROMPTS[:2]], GREEDY), key=lambda one: one.index)
    assert [one.tokens for one in found] == [len(ids) for ids in expected]
    assert str(engine.take_notes()["engine"]["attention"]).startswith(f"{own}: ")
    assert engine.model.config._attn_implementation == own


@pytest.mark.parametrize("half", [torch.float32, torch.bfloat16])
def test_the_way_without_a_kernel_gives_the_same_parts(half: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, size, 8, generator=generator).to(half) for size in (5, 7, 7))
    bias = torch.zeros(2, 1, 5, 7, dtype=half)
    bias[1, :, :, :3] = torch.finfo(half).min
    for given in (None, bias):
        out, total = _attend_part(query, key, value, given, 0.3, None)
        plain, sums = _attend_part(query, key, value, given, 0.3, 1e6)  # no cap, and not the kernel's way
        tolerance = 1e-5 if half == torch.float32 else 3e-2
        assert torch.allclose(out.float(), plain.float(), atol=tolerance)
        assert torch.allclose(total, sums, atol=max(tolerance, 2e-3))


def test_in_half_precision_what_eager_rounds_away_is_no_reason_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0
    for seed in range(6):
        torch.manual_seed(seed)
        config = LlamaConfig(**PLAIN | {"num_hidden_layers": 4}, vocab_size=64, initializer_range=1.0)
        model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16).eval()
        ids = torch.randint(0, 64, (2, 12), generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            own = model(input_ids=ids).logits.float()
            model.set_attn_implementation("eager")
            other = model(input_ids=ids).logits.float()
            model.set_attn_implementation("sdpa")
            if (own - other).abs().max() / other.abs().max() > attention.HALF_TOLERANCE:
                assert attention.use_shared_attention(model) is None
                tried += 1
    if not tried:
        pytest.skip("in none of these models does this machine's eager attention round as much")
    attend = attention.attend

    def attend_wrongly(*given: Any, **more: Any) -> Any:
        out, weights = attend(*given, **more)
        return out * 1.5, weights

    monkeypatch.setattr(attention, "attend", attend_wrongly)
    model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        assert "its logits differ by" in str(attention.use_shared_attention(model))


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("before", [0, 3])
def test_a_long_prompt_is_computed_in_parts(
    monkeypatch: pytest.MonkeyPatch, softcap: float | None, before: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 11, 6, 8, generator=generator).transpose(1, 2)
    key, value = (torch.randn(2, 2, 11 + before, 8, generator=generator) for _ in range(2))
    found = []
    for together in (100, 4):
        monkeypatch.setattr(attention, "TOGETHER", together)
        out, _ = attention.attend(torch.nn.Module(), query, key, value, None, softcap=softcap, sharing=Sharing())
        found.append(out)
    assert torch.allclose(*found, atol=1e-5)
    scores = query @ key.repeat_interleave(3, 1).transpose(2, 3) * 8**-0.5
    scores = scores if softcap is None else (scores / softcap).tanh() * softcap
    hidden = torch.ones(scores.shape, dtype=torch.bool).triu(before + 1)
    plain = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value.repeat_interleave(3, 1)
    assert torch.allclose(found[1], plain.transpose(1, 2), atol=1e-5)


def test_a_call_costs_a_tiny_model_more_tokens_than_a_large_one() -> None:
    assert count_call(2, 137_000, 60) == pytest.approx(2 * (3e-4 + 60e-4) / (137_000 * 4e-11))
    assert count_call(30, 135_000_000, 1) == 32


A, B = list(range(100)), list(range(200, 300))


@pytest.mark.parametrize(
    ("prompts", "samples", "expected"),
    [
        ([[*A, 1], [*A, 2], [*A, 3]], [1, 1, 1], [Group(100, (0, 1, 2))]),
        ([[*A, 1], [*B, 1], [*A, 2], [*B, 2]], [1, 1, 1, 1], [Group(100, (0, 2)), Group(100, (1, 3))]),
        ([[*A[:20], 1], [*A[:20], 2]], [1, 1], []),  # too short to be worth a call
        ([A, [7]], [1, 1], []),
        ([A], [1], []),
        ([A], [64], [Group(99, (0,))]),  # many samples hold the prompt once
        ([[*A, 1, *B], [*A, 2, *B[::-1]]], [2, 2], [Group(100, (0, 1))]),
        ([A, [*A, 5]], [1, 1], [Group(99, (0, 1))]),  # the last token is each prompt's own
        ([], [], []),
    ],
)
def test_groups_are_what_is_cheapest(prompts: list[list[int]], samples: list[int], expected: list[Group]) -> None:
    assert group_prompts(prompts, samples) == expected


def test_a_batch_is_as_large_as_memory_allows(llama: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama)
    free = free_bytes(model.device)
    assert free is not None
    assert free > 1 << 20
    fit = Batches(model, "auto")
    assert fit.cut([10] * 1000, 16) == 512
    huge = 1 << 40  # tokens that no memory holds
    assert fit.cut([huge] * 4, 16) == 1
    assert fit.cut([10, 10, huge], 16) == 2
    assert Batches(model, 64).cut([huge] * 100, 16) == 64
    # Twice two layers of 32 keys and values in float32 for 26 places, at the least.
    assert count_row_bytes(model, 10, 16) > 2 * 2 * 2 * 32 * 4 * 26


def test_memory_that_runs_out_halves_the_batch(llama: Path) -> None:
    batches = Batches(None, 64)
    batches.shrink(40, RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes"))
    assert batches.cut([5] * 100, 5) == 20
    with pytest.raises(EngineError, match="no memory for a single text"):
        batches.shrink(1, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError, match="shapes"):
        batches.shrink(4, RuntimeError("shapes differ"))
