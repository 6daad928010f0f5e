"""Muon with AdamW: which weights each takes, and that Muon on a CPU is the same in single precision."""

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from selfimprove.engines.build import build_model
from selfimprove.recipe import Build
from selfimprove.trainers.optimizers import Muon, MuonWithAdamW


def test_muon_takes_hidden_matrices_and_adamw_the_rest(tmp_path: Path) -> None:
    build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, head_size=32), tmp_path, seed=5)
    network = AutoModelForCausalLM.from_pretrained(tmp_path)
    optimizer = MuonWithAdamW(network, learning_rate=0.02, adamw_share=0.15, weight_decay=0.01, momentum=0.95)
    muon, adamw = optimizer.parts["muon"].param_groups[0], optimizer.parts["adamw"].param_groups[0]
    assert all(one.ndim == 2 for one in muon["params"])
    assert len(muon["params"]) == 7  # q k v o gate up down
    assert len(adamw["params"]) == 4  # embedding and three norms
    assert (muon["lr"], adamw["lr"]) == (0.02, pytest.approx(0.003))
    assert optimizer.param_groups == [muon, adamw]


class PrecisionsOfProducts(TorchDispatchMode):
    """The types of what products of matrices give while it lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("mm", "addmm", "bmm", "baddbmm"):
            self.found.add(out.dtype)
        return out


def test_muon_on_a_cpu_is_that_of_torch_in_single_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(24, 24), (24, 24), (48, 24), (24, 48)]
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    kept = {}
    for of in (torch.optim.Muon, Muon):
        matrices = [torch.nn.Parameter(one.clone()) for one in start]
        optimizer = of(matrices, lr=0.02, weight_decay=0.1, momentum=0.9)
        draws = torch.Generator().manual_seed(1)
        with PrecisionsOfProducts() as products:
            for _ in range(3):
                for one in matrices:
                    one.grad = torch.randn(one.shape, generator=draws)
                matrices[1].grad = None  # such a one stays as it is
                optimizer.step()
        kept[of] = [one.detach() for one in matrices], optimizer.state_dict(), products.found
    (theirs, their_state, half), (ours, our_state, single) = kept[torch.optim.Muon], kept[Muon]
    assert half == {torch.bfloat16} and single == {torch.float32}
    for first, one, other in zip(start, theirs, ours, strict=True):
        moved = (one - first).norm()
        assert (one - other).norm() <= 0.02 * moved  # what bfloat16 rounds away
    assert torch.equal(ours[1], start[1]) and not torch.equal(ours[0], start[0])
    assert {name: sorted(one) for name, one in our_state["state"].items()} == {
        name: sorted(one) for name, one in their_state["state"].items()
    }
