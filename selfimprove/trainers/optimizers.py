"""Muon for the hidden matrices with AdamW for everything else, as one optimizer that trainers can save and resume."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch

MOST_NUMBERS = 2**22  # of matrices that are worked on at once: nothing is gained by it with large ones


class Muon(torch.optim.Muon):
    """torch.optim.Muon, which on a CPU orthogonalises in single precision, several matrices of a shape at once.

    torch does it in bfloat16, which most CPUs have no instructions for: on small matrices that took 40% of training.
    What it keeps is the same, so that training begun with the one goes on with the other.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        elsewhere = any(one.device.type != "cpu" for group in self.param_groups for one in group["params"])
        if elsewhere or closure or any(group["adjust_lr_fn"] for group in self.param_groups):
            return cast("float | None", super().step(closure))  # type: ignore[no-untyped-call]
        for group in self.param_groups:
            rate, newton_schulz = float(group["lr"]), (group["ns_coefficients"], group["ns_steps"], group["eps"])
            for some in batch_by_shape([one for one in group["params"] if one.grad is not None]):
                rows, columns = some[0].shape
                updates = torch.stack([self._update(one, group).float() for one in some])
                for one, direction in zip(some, orthogonalise(updates, *newton_schulz), strict=True):
                    one.mul_(1 - rate * group["weight_decay"])
                    one.add_(direction, alpha=-rate * max(1.0, rows / columns) ** 0.5)
        return None

    def _update(self, one: torch.nn.Parameter, group: Mapping[str, Any]) -> torch.Tensor:
        """The averaged gradient of a matrix."""
        assert one.grad is not None
        if "momentum_buffer" not in self.state[one]:
            self.state[one]["momentum_buffer"] = torch.zeros_like(one.grad)
        mean: torch.Tensor = self.state[one]["momentum_buffer"].lerp_(one.grad, 1 - group["momentum"])
        return one.grad.lerp(mean, group["momentum"]) if group["nesterov"] else mean


def batch_by_shape(matrices: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Matrices of the same shape together, as many as are small enough for it."""
    same: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
    for one in matrices:
        same[one.shape].append(one)
    for found in same.values():
        at_once = max(1, MOST_NUMBERS // found[0].numel())
        yield from (found[at : at + at_once] for at in range(0, len(found), at_once))


def orthogonalise(
    matrices: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> torch.Tensor:
    """Matrices, (n, rows, columns), with singular values near 1, by Newton-Schulz iterations (Jordan et al., 2024)."""
    a, b, c = coefficients
    tall = matrices.size(-2) > matrices.size(-1)
    found = matrices.mT if tall else matrices
    found = found / torch.linalg.matrix_norm(found, keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


class MuonWithAdamW(torch.optim.Optimizer):
    """torch.optim.Muon (Jordan et al., 2024) on 2-D hidden weights, AdamW on embeddings, head, norms and biases.

    The two share one list of parameter groups, so that a learning-rate scheduler drives both.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        learning_rate: float,
        adamw_share: float,
        weight_decay: float,
        momentum: float,
    ) -> None:
        embeddings = {id(one) for module in model.modules() if isinstance(module, torch.nn.Embedding)
                      for one in module.parameters()}  # fmt: skip
        hidden: list[torch.nn.Parameter] = []
        rest: list[torch.nn.Parameter] = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                is_head = bool({"lm_head", "score"} & set(name.split(".")))
                is_hidden = parameter.ndim == 2 and id(parameter) not in embeddings and not is_head
                (hidden if is_hidden else rest).append(parameter)
        self.parts: dict[str, torch.optim.Optimizer] = {}
        if hidden:
            self.parts["muon"] = Muon(hidden, lr=learning_rate, weight_decay=weight_decay, momentum=momentum)
        if rest:
            self.parts["adamw"] = torch.optim.AdamW(
                rest, lr=learning_rate * adamw_share, betas=(0.9, 0.95), weight_decay=0.0
            )
        super().__init__([*hidden, *rest], {"lr": learning_rate})
        self._link()

    def _link(self) -> None:
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, object]:
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self._link()
