"""Linear layers that oneDNN multiplies give what torch's own give, forward and backward."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.llama.modeling_llama import LlamaMLP

from selfimprove.engines import Request, products
from selfimprove.engines.build import build_model
from selfimprove.engines.models import load_model
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.recipe import Build, Sampling

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")


@pytest.fixture
def faster(monkeypatch):
    """As on a CPU where oneDNN is faster, and for layers of any size."""
    monkeypatch.setattr(products, "gains", lambda: True)
    monkeypatch.setattr(products, "WIDE", 1)


def make_layers(*, bias: bool) -> tuple[torch.nn.Linear, torch.nn.Linear]:
    torch.manual_seed(0)
    own = torch.nn.Linear(48, 80, bias=bias)
    other = copy.deepcopy(own)
    products.use_onednn(other)
    assert type(other) is products.OneDnnLinear
    return own, other


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 48), (3, 5, 48), (2, 1, 4, 48), (48,), (1, 48)])
def test_values_and_gradients_are_those_of_torch(faster, bias, shape):
    rows = torch.randn(shape)
    weights = torch.randn((*shape[:-1], 80))
    found = []
    for layer in make_layers(bias=bias):
        asked = rows.clone().requires_grad_()
        out = layer(asked)
        (out * weights).sum().backward()
        with torch.inference_mode():
            assert torch.allclose(layer(rows), out, atol=1e-5)
        found.append([out, asked.grad, *(one.grad for one in layer.parameters())])
    for own, other in zip(*found, strict=True):
        assert own.shape == other.shape
        assert torch.allclose(own, other, rtol=1e-4, atol=1e-5)


def test_a_frozen_layer_gives_a_gradient_to_what_is_below_it_alone(faster):
    own, other = make_layers(bias=True)
    given = []
    for layer in (own, other):
        layer.requires_grad_(False)
        asked = torch.ones(3, 48, requires_grad=True)
        layer(asked).square().sum().backward()
        given.append(asked.grad)
        assert all(one.grad is None for one in layer.parameters())
    assert torch.allclose(*given, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [torch.zeros(0, 48), torch.zeros(2, 0, 48)])
def test_no_rows_are_none(faster, rows):
    _, other = make_layers(bias=True)
    assert other(rows).shape == (*rows.shape[:-1], 80)


def test_other_precisions_are_torchs_own(faster):
    own, other = make_layers(bias=False)
    rows = torch.randn(4, 48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert other(rows).dtype == torch.bfloat16
        assert torch.equal(own(rows), other(rows))
    assert torch.equal(own.bfloat16()(rows.bfloat16()), other.bfloat16()(rows.bfloat16()))


def test_a_loaded_model_keeps_its_names_and_logits(faster, monkeypatch, tmp_path):
    build_model(Build(), tmp_path, 0)
    found = []
    for able in (False, True):
        monkeypatch.setattr(products, "gains", lambda able=able: able)
        model, _ = load_model(tmp_path, base=None, dtype="float32", device="cpu")
        assert any(type(one) is products.OneDnnLinear for one in model.modules()) is able
        with torch.inference_mode():
            logits = model(torch.arange(6)[None]).logits
        found.append((list(model.state_dict()), logits))
    assert found[0][0] == found[1][0]
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-4)


def test_an_adapter_goes_on_such_layers_and_into_them(faster, tmp_path):
    from peft import LoraConfig, get_peft_model

    build_model(Build(), tmp_path, 0)
    model, _ = load_model(tmp_path, base=None, dtype="float32", device="cpu")
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    ids = torch.arange(6)[None]
    before = model(ids).logits
    before.square().sum().backward()
    trained = [one.grad for one in model.parameters() if one.requires_grad]
    assert trained and all(one is not None and one.abs().sum() > 0 for one in trained)
    merged = model.merge_and_unload()
    assert any(type(one) is products.OneDnnLinear for one in merged.modules())
    assert torch.allclose(merged(ids).logits, before, rtol=1e-3, atol=1e-3)


def test_small_layers_and_slow_machines_keep_torchs_own(monkeypatch):
    layer = torch.nn.Linear(8, 8)
    monkeypatch.setattr(products, "gains", lambda: True)
    products.use_onednn(layer)
    assert type(layer) is torch.nn.Linear
    large = torch.nn.Linear(512, 512)
    monkeypatch.setattr(products, "gains", lambda: False)
    products.use_onednn(large)
    assert type(large) is torch.nn.Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 48), (2, 1, 4, 48), (48,), (1, 48), (0, 48)])
def test_packed_layers_give_what_the_others_give(faster, monkeypatch, bias, shape):
    monkeypatch.setattr(products, "packs", lambda: True)
    own, other = make_layers(bias=bias)
    parameters = sum(one.numel() for one in other.parameters())
    products.pack_weights(other)
    assert type(other) is products.PackedLinear
    assert other.weight.isnan().all() and sum(one.numel() for one in other.parameters()) == parameters
    rows = torch.randn(shape)
    with torch.inference_mode():
        assert torch.allclose(other(rows), own(rows), atol=1e-5)


def test_what_is_packed_is_held_once(faster, monkeypatch):
    monkeypatch.setattr(products, "packs", lambda: True)
    before = read_memory("RssAnon")
    layers = torch.nn.Sequential(*(torch.nn.Linear(2048, 2048, bias=False) for _ in range(8)))
    plain = read_memory("RssAnon") - before
    with torch.inference_mode():
        rows = torch.randn(2, 2048)
        expected = layers(rows)
        products.pack_weights(layers)
        assert torch.allclose(layers(rows), expected, atol=1e-5)
    assert read_memory("RssAnon") - before < 1.2 * plain


def test_the_file_that_weights_come_from_does_not_stay_in_memory(faster, monkeypatch, tmp_path):
    """As long as one of its tensors is used, a file's other pages would stay."""
    monkeypatch.setattr(products, "packs", lambda: True)
    torch.manual_seed(0)
    save_file({name: torch.randn(2048, 2048) for name in "abcdefgh"}, tmp_path / "weights.safetensors")
    held = load_file(tmp_path / "weights.safetensors")
    layers = torch.nn.Sequential(*(torch.nn.Linear(2048, 2048, bias=False) for _ in range(7)))
    for layer, name in zip(layers, "abcdefg", strict=True):
        layer.weight = torch.nn.Parameter(held.pop(name), requires_grad=False)
    expected = held["h"].clone()
    with torch.inference_mode():
        layers(torch.randn(2, 2048))
    before = read_memory("RssFile", "RssShmem")
    products.pack_weights(layers)
    assert before - read_memory("RssFile", "RssShmem") > 5 * 2048 * 2048 * 4 / 1024
    assert torch.equal(held["h"], expected)  # its neighbour in the file


def read_memory(*kinds: str) -> int:
    """KB of this process by the kernel's count."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the kernel does not count memory here")
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.partition(":")[0] in kinds)


def test_shared_weights_and_other_precisions_are_not_packed(faster, monkeypatch):
    monkeypatch.setattr(products, "packs", lambda: True)
    model = torch.nn.ModuleDict({"in": torch.nn.Embedding(80, 48), "out": torch.nn.Linear(48, 80, bias=False)})
    model["out"].weight = model["in"].weight
    half = torch.nn.Linear(48, 80).bfloat16()
    for one in (model, half):
        products.pack_weights(one)
    assert type(model["out"]) is type(half) is torch.nn.Linear
    assert not model["out"].weight.isnan().any()


def test_an_engine_writes_and_scores_the_same_with_packed_weights(faster, monkeypatch, tmp_path):
    build_model(Build(), tmp_path, 0)
    found = []
    for able in (False, True):
        monkeypatch.setattr(products, "packs", lambda able=able: able)
        engine = TransformersEngine(tmp_path, device="cpu", threads=1)
        assert any(type(one) is products.PackedLinear for one in engine.model.modules()) is able
        asked = [Request(f"{one}+{one}=", 0) for one in range(10, 19)]
        texts = [one.text for one in engine.generate(asked, Sampling(temperature=0.0, max_tokens=8))]
        found.append((texts, [one.logprob for one in engine.score([("1+2=", "3"), ("10+2=", "1234")])]))
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-3)


def test_a_model_whose_code_reads_a_weight_itself_is_not_packed(faster, monkeypatch, tmp_path):
    build_model(Build(), tmp_path, 0)
    asked, sampling = [Request(f"{one}+{one}=", 0) for one in range(10, 14)], Sampling(temperature=0.0, max_tokens=8)
    monkeypatch.setattr(products, "packs", lambda: False)
    expected = [one.text for one in TransformersEngine(tmp_path, device="cpu", threads=1).generate(asked, sampling)]
    monkeypatch.setattr(products, "packs", lambda: True)

    def read_itself(module, hidden):
        wide = module.act_fn(torch.nn.functional.linear(hidden, module.gate_proj.weight)) * module.up_proj(hidden)
        return module.down_proj(wide)

    monkeypatch.setattr(LlamaMLP, "forward", read_itself)
    engine = TransformersEngine(tmp_path, device="cpu", threads=1)
    assert not any(type(one) is products.PackedLinear for one in engine.model.modules())
    assert [one.text for one in engine.generate(asked, sampling)] == expected


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"avx512_f": True, "cpu_name": "AMD EPYC 9755"}, True),
        ({"avx512_f": False, "cpu_name": "AMD EPYC 7763"}, False),
        ({"avx512_f": True, "cpu_name": "Intel(R) Xeon(R) Platinum 8480+"}, False),
        ({"cpu_name": "Apple M4"}, False),
        ({}, False),
    ],
)
def test_who_gains(monkeypatch, able, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(products, "packs", products.packs.__wrapped__)
    assert products.gains.__wrapped__() is expected
    assert products.packs() is bool(able.get("avx512_f"))
