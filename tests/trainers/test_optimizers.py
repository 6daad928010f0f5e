"""Muon with AdamW: which weights each takes, and that Muon on a CPU is the same in single precision."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from selfimprove.engines.build import build_model
from selfimprove.recipe import Build
from selfimprove.trainers import optimizers
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


SHAPES = [(24, 24), (24, 24), (24, 24), (48, 24), (24, 48), (48, 24)]


def make_matrices() -> list[torch.nn.Parameter]:
    draws = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=draws)) for shape in SHAPES]


def step(optimizer: torch.optim.Optimizer, matrices: list[torch.nn.Parameter], *, seed: int) -> None:
    """One step on random gradients, of which the second matrix has none."""
    draws = torch.Generator().manual_seed(seed)
    for one in matrices:
        one.grad = torch.randn(one.shape, generator=draws)
    matrices[1].grad = None
    optimizer.step()


def make_muon(of: type[torch.optim.Muon], matrices: list[torch.nn.Parameter]) -> torch.optim.Muon:
    return of(matrices, lr=0.02, weight_decay=0.1, momentum=0.9)


@pytest.mark.parametrize("at_once", [1, 24 * 24 * 2, 2**22])
def test_muon_on_a_cpu_is_that_of_torch_in_single_precision(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(optimizers, "MOST_NUMBERS", at_once)
    found, precisions = {}, {}
    for of in (torch.optim.Muon, Muon):
        matrices = make_matrices()
        optimizer = make_muon(of, matrices)
        with PrecisionsOfProducts() as products:
            for seed in (1, 2, 3):
                step(optimizer, matrices, seed=seed)
        found[of], precisions[of] = [one.detach() for one in matrices], products.found
    assert precisions == {torch.optim.Muon: {torch.bfloat16}, Muon: {torch.float32}}
    for start, theirs, ours in zip(make_matrices(), found[torch.optim.Muon], found[Muon], strict=True):
        assert (theirs - ours).norm() <= 0.02 * (theirs - start).norm()  # what bfloat16 rounds away
    assert torch.equal(found[Muon][1], make_matrices()[1]) and not torch.equal(found[Muon][0], make_matrices()[0])


def test_training_goes_on_from_what_torchs_muon_kept() -> None:
    """As of a checkpoint that was saved before this class was."""
    through, ends = make_matrices(), {}
    first = make_muon(torch.optim.Muon, through)
    step(first, through, seed=1)
    for of in (torch.optim.Muon, Muon):
        matrices = [torch.nn.Parameter(one.detach().clone()) for one in through]
        optimizer = make_muon(of, matrices)
        optimizer.load_state_dict(deepcopy(first.state_dict()))
        step(optimizer, matrices, seed=2)
        ends[of] = [one.detach() for one in matrices]
    assert torch.equal(ends[Muon][1], through[1])
    for start, theirs, ours in zip(through, ends[torch.optim.Muon], ends[Muon], strict=True):
        assert (theirs - ours).norm() <= 0.02 * (theirs - start).norm()
