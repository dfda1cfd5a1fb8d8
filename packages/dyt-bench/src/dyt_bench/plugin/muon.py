"""Muon for the matrices of hidden layers, and AdamW for all other parameters."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

__all__ = ["MuonAndAdamW", "hidden_matrices"]


def hidden_matrices(module: nn.Module) -> set[nn.Parameter]:
    """Weights of linear layers, but for the last one, which is the head, and for what is tied to an
    embedding: those that Muon is meant for (Jordan 2024, "Muon: an optimizer for hidden layers").
    """
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)]
    embedded = {part.weight for part in module.modules() if isinstance(part, nn.Embedding)}
    weights = [part.weight for part in linear[:-1]]
    return {w for w in weights if isinstance(w, nn.Parameter) and w not in embedded}


class MuonAndAdamW(Optimizer):
    """Both optimisers as one, with one rate: Muon's updates have the size of AdamW's
    (arXiv 2502.16982), so rates and weight decay mean the same for both.

    Args:
        params: groups of parameters; those with ``muon: True`` are Muon's.
        lr: the rate of groups without one.
        weight_decay: of groups without one.
        momentum: Muon's.
        adamw: options of AdamW.
    """

    hidden: ClassVar[Mapping[str, Any]] = {"muon": True}  # of the groups of `hidden_matrices`

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        **adamw: Any,
    ) -> None:
        groups = [{"weight_decay": weight_decay, **group} for group in params]
        muons = [group for group in groups if group.get("muon")]
        others = [group for group in groups if not group.get("muon")]
        self.parts: list[Optimizer] = []
        if muons:
            made = Muon(muons, lr=lr, momentum=momentum, adjust_lr_fn="match_rms_adamw")
            self.parts.append(made)
        if others:
            self.parts.append(AdamW(others, lr=lr, **adamw))
        super().__init__(groups, {"lr": lr})
        # The very groups of both, so that a schedule, which changes a group's rate, reaches them.
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the states of both, into the same groups."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
