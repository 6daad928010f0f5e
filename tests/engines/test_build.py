"""Models that are built from a recipe's settings are plain models of transformers, of the shape that is asked for."""

from pathlib import Path

import pytest
import torch
from tiny_models import make_llama
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from selfimprove.engines.build import build_model, sketch_model
from selfimprove.recipe import Build

ORDERS = ("123+45=", "321+45=", "5+4231=")  # the same characters, and the same last one


def sees_order(folder: Path) -> bool:
    """Whether what comes next depends on the order of what stands before."""
    network, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        first, *others = (network(**tokenizer(one, return_tensors="pt")).logits[0, -1] for one in ORDERS)
    return not all(torch.allclose(first, other, atol=1e-4) for other in others)


@pytest.mark.parametrize(
    ("layers", "nope_layers", "kind", "ordered"),
    [(1, (), "llama", True), (1, (1,), "smollm3", False), (2, (2,), "smollm3", True), (2, (1,), "smollm3", True)],
)
def test_layers_without_positions_do_not_see_the_order(
    tmp_path: Path, layers: int, nope_layers: tuple[int, ...], kind: str, ordered: bool
) -> None:
    folder = make_llama(tmp_path, layers=layers, nope_layers=nope_layers)
    assert AutoConfig.from_pretrained(folder).model_type == kind
    assert sees_order(folder) == ordered


def test_a_sketch_has_the_parameters_of_the_model(tmp_path: Path) -> None:
    shape = Build(hidden_size=32, intermediate_size=64, layers=2, heads=2, nope_layers=(2,))
    build_model(shape, tmp_path, seed=1)
    built, sketch = AutoModelForCausalLM.from_pretrained(tmp_path), sketch_model(shape)
    assert isinstance(sketch, torch.nn.Module)
    shapes = [{name: tuple(one.shape) for name, one in model.named_parameters()} for model in (built, sketch)]
    assert shapes[0] == shapes[1]
    assert shapes[0]["model.layers.1.self_attn.q_proj.weight"] == (64, 32)  # two heads of 32, as the Llama has them


def test_what_stands_before_the_window_is_not_seen(tmp_path: Path) -> None:
    folder = make_llama(tmp_path, layers=1, rope_window=4)
    network, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        same, near, far = (
            network(**tokenizer(one, return_tensors="pt")).logits[0, -1] for one in ("12345+6=", "12345+7=", "98735+6=")
        )
    assert torch.allclose(same, far, atol=1e-4) and not torch.allclose(same, near, atol=1e-4)
