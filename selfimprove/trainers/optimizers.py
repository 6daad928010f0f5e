"""Muon for the hidden matrices with AdamW for everything else, as one optimizer that trainers can save and resume."""

from typing import Any

import torch


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
            self.parts["muon"] = torch.optim.Muon(
                hidden, lr=learning_rate, weight_decay=weight_decay, momentum=momentum
            )
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
