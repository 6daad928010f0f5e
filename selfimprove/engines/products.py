"""Linear layers in single precision on CPUs where torch's own products leave half of the processor unused.

torch multiplies by MKL, which takes its AVX-512 kernels on Intel's processors alone. oneDNN, which torch brings as
well, takes them on all: products of 32 and more rows need 0.45 of the seconds there. Both sum in single precision, in
another order.

oneDNN has an order of its own for weights, and putting one into it takes a tenth of the time of a product of 16 rows.
So a model that only writes and scores holds its weights in that order alone.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch.autograd.function import once_differentiable

from selfimprove.engines.memory import drop_pages

WIDE, THIN = 512, 16  # the longer and the shorter side of a weight; below them calling costs what is gained
ROWS = 16  # that weights are ordered for; others are multiplied from the same order


@cache
def gains() -> bool:
    """Whether this machine's CPU multiplies faster by oneDNN."""
    return packs() and "Intel" not in torch.cpu.get_capabilities().get("cpu_name", "")


@cache
def packs() -> bool:
    """Whether this machine's CPU multiplies few rows faster by weights in oneDNN's own order."""
    able = bool(torch.cpu.get_capabilities().get("avx512_f"))
    return able and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def multiply(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """rows [..., k] times weight [n, k] transposed, plus bias [n], by oneDNN; no gradient."""
    return cast(torch.Tensor, torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], ""))


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        context.save_for_backward(rows, weight)
        return multiply(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(context: Any, given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight = context.saved_tensors
        needs_rows, needs_weight, needs_bias = context.needs_input_grad
        flat = given.reshape(-1, given.shape[-1])
        return (
            multiply(given, weight.t()) if needs_rows else None,
            multiply(flat.t(), rows.reshape(-1, rows.shape[-1]).t()) if needs_weight else None,
            flat.sum(0) if needs_bias else None,
        )


class OneDnnLinear(torch.nn.Linear):
    """torch's linear layer, multiplied by oneDNN where several rows are in single precision on a CPU."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # the argument's name is torch's
        if (
            input.numel() <= input.shape[-1] or input.dtype != torch.float32 or self.weight.dtype != torch.float32
            or input.device.type != "cpu" or torch.is_autocast_enabled("cpu")
        ):  # fmt: skip
            return super().forward(input)
        if torch.is_grad_enabled():
            product: Callable[..., torch.Tensor] = _Product.apply
            return product(input, self.weight, self.bias)
        return multiply(input, self.weight, self.bias)


def use_onednn(model: torch.nn.Module) -> None:
    """Have the wide linear layers of a model multiply by oneDNN, where that is faster; weights and names stay."""
    if not gains():
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear and _is_large(module.weight):
            module.__class__ = OneDnnLinear


def _is_large(weight: torch.Tensor) -> bool:
    return max(weight.shape) >= WIDE and min(weight.shape) >= THIN


class PackedLinear(torch.nn.Linear):
    """A linear layer that holds its weight in oneDNN's own order alone, for a model that is not trained any more."""

    packed: torch.Tensor

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # the argument's name is torch's
        return multiply(input, self.packed, self.bias)


@torch.no_grad()
def pack_weights(model: torch.nn.Module) -> int:
    """Have the large linear layers of a model in single precision on a CPU hold their weights in oneDNN's own order;
    gives how many do.

    Nothing is held twice: their parameters keep their shapes and are NaN, so that nobody takes them for the weights. A
    layer that shares its weight, as an output layer does with embeddings, stays as it is.
    """
    uses = Counter(one.data_ptr() for _, one in model.named_parameters(remove_duplicate=False))
    layers = [
        one for one in model.modules()
        if isinstance(one, torch.nn.Linear) and type(one) in (torch.nn.Linear, OneDnnLinear) and _is_large(one.weight)
        and one.weight.device.type == "cpu" and one.weight.dtype == torch.float32
        and one.weight.is_contiguous() and uses[one.weight.data_ptr()] == 1
    ] if packs() else []  # fmt: skip
    for layer in layers:
        plain: torch.Tensor = layer.weight.data
        packed = torch.ops.mkldnn._reorder_linear_weight(plain, ROWS)
        layer.weight.data = torch.full((), torch.nan).expand(plain.shape)
        layer.__class__, layer.packed = PackedLinear, packed
        drop_pages(plain)
    return len(layers)


@torch.inference_mode()
def gives_numbers(model: torch.nn.Module) -> bool:
    """Whether a language model's logits of two tokens are finite: not where its code reads a packed weight itself."""
    return bool(model(input_ids=torch.zeros(1, 2, dtype=torch.long), use_cache=False).logits.isfinite().all())


def unpack_weights(model: torch.nn.Module) -> None:
    """Have packed layers hold their weights as other layers do."""
    packed = [one for one in model.modules() if isinstance(one, PackedLinear)]
    for layer in packed:
        layer.weight.data = layer.packed.to_dense()
        del layer.packed
        _become(layer, torch.nn.Linear)
    use_onednn(model)


def _become(layer: torch.nn.Linear, kind: type[torch.nn.Linear]) -> None:
    layer.__class__ = kind
