"""Linear layers in single precision on CPUs where torch's own products leave half of the processor unused.

torch multiplies by MKL, which takes its AVX-512 kernels on Intel's processors alone. oneDNN, which torch brings as
well, takes them on all: products of 32 and more rows need 0.45 of the seconds there. Both sum in single precision, in
another order.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch.autograd.function import once_differentiable

WIDE, THIN = 512, 16  # the longer and the shorter side of a weight; below them calling costs what is gained


@cache
def gains() -> bool:
    """Whether this machine's CPU multiplies faster by oneDNN."""
    able = torch.cpu.get_capabilities()
    wide = bool(able.get("avx512_f")) and "Intel" not in able.get("cpu_name", "")
    return wide and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


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
        if type(module) is torch.nn.Linear and max(module.weight.shape) >= WIDE and min(module.weight.shape) >= THIN:
            module.__class__ = OneDnnLinear
