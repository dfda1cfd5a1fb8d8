"""The record of one norm of a model."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

# What a norm computes.
#   layer       (x - mean) / std, over the features
#   rms         x / rms, over the features
#   std         x / std, over the features: the mean is divided, not removed
#   gated       any of these, combined with a second input
#   batch, instance, group    statistics over more than the features
#   functional  F.layer_norm, F.normalize or the like, called in the forward of no norm
#   other       called a norm, or unchanged by the scale of its input: computes something else
#   unknown     a norm, and what it computes could not be observed, or not as one that a layer can
#               stand in for: for every width, in training as after it, with every argument
Kind = Literal[
    "layer", "rms", "std", "gated", "batch", "instance", "group", "functional", "other", "unknown"
]
OVER_FEATURES: tuple[Kind, ...] = ("layer", "rms", "std")

# What a norm is for, where the model's names show it.
Role = Literal[
    "attention", "feed-forward", "final", "query/key", "embedding", "feature extractor", "unknown"
]


@dataclass(frozen=True)
class NormSite:
    """One norm of a model, with every name under which it is reachable.

    The norm computes ``(weight_offset + weight) * normalized + bias`` and then applies
    ``activation``; a factor or term without a parameter is left out.
    """

    names: tuple[str, ...]  # qualified names; more than one where parents share the module
    module: nn.Module
    kind: Kind
    normalized_shape: tuple[int, ...] = ()  # that weight and bias cover; empty if any will do
    channels_last: bool = True  # whether features are the last axis (or axes); else axis 1
    axes: tuple[int, ...] = (-1,)  # of the input, that the norm averages over
    reason: str | None = None  # why it cannot be replaced; None if it can
    role: Role = "unknown"
    weight_name: str | None = None  # the module's parameter that is the factor, if any
    bias_name: str | None = None  # the module's parameter that is the term, if any
    weight_offset: float = 0.0  # 1 where the weight is stored as its difference from one
    eps: float | None = None
    activation: tuple[str, ...] = ()  # children applied to the result, in order

    @property
    def name(self) -> str:
        """The first qualified name; empty for the root."""
        return self.names[0]

    @property
    def replaceable(self) -> bool:
        """Whether `convert` can replace it; otherwise `reason` says why not."""
        return self.reason is None

    @property
    def class_name(self) -> str:
        """Name of the norm's class."""
        return type(self.module).__name__

    @property
    def features(self) -> int | None:
        """Width of the innermost axis that weight and bias cover; None where any will do."""
        return self.normalized_shape[-1] if self.normalized_shape else None

    @property
    def affine(self) -> bool:
        """Whether the norm has a weight or a bias."""
        return self.weight_name is not None or self.bias_name is not None

    @property
    def weight(self) -> Tensor | None:
        """The factor as the module stores it; see `gamma`."""
        return self._tensor(self.weight_name)

    @property
    def bias(self) -> Tensor | None:
        """The term."""
        return self._tensor(self.bias_name)

    @property
    def gamma(self) -> Tensor | None:
        """The factor the norm applies: ``weight_offset + weight``, of ``normalized_shape``."""
        weight = self.weight
        if weight is None:
            return None
        weight = weight.detach().reshape(self.normalized_shape)
        return weight if self.weight_offset == 0 else weight + self.weight_offset

    def _tensor(self, name: str | None) -> Tensor | None:
        value = None if name is None else getattr(self.module, name)
        return value if isinstance(value, Tensor) else None
