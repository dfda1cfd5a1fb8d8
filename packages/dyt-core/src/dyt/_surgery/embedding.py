"""An embedding with a learnable factor, which a model without norms needs."""

import torch
from torch import Tensor, nn


class ScaledEmbedding(nn.Embedding):
    """``y = scale * weight[ids]``: an embedding with a learnable factor, of shape [1] or [D].

    A norm scales the embedding's output to unit variance; a point-wise layer does not, so the
    embedding does it itself. It shares ``weight`` with the embedding that it replaces, so that an
    output layer tied to that stays tied, and is not scaled.

    Args:
        embedding: the embedding to replace.
        scale_init_value: the factor at the start: a number, or a tensor of shape [D] for one
            factor for each channel.

    Shapes: ids of any shape -> ``(*ids.shape, D)``, in the weight's dtype.

    Source: arXiv 2503.10622, LLaMA: one scalar after the embedding, started at sqrt(D).

    Example:
        >>> import torch, dyt
        >>> embedding = dyt.ScaledEmbedding(torch.nn.Embedding(100, 16), scale_init_value=4.0)
        >>> embedding(torch.tensor([1, 2])).shape
        torch.Size([2, 16])
    """

    def __init__(self, embedding: nn.Embedding, scale_init_value: float | Tensor) -> None:
        weight = embedding.weight
        super().__init__(
            embedding.num_embeddings,
            embedding.embedding_dim,
            embedding.padding_idx,
            embedding.max_norm,
            embedding.norm_type,
            embedding.scale_grad_by_freq,
            embedding.sparse,
            _weight=weight,
        )
        self.weight = weight  # the same parameter, with its requires_grad
        start = torch.as_tensor(scale_init_value, device=weight.device, dtype=weight.dtype)
        self.scale = nn.Parameter(start.clone().view(-1), requires_grad=weight.requires_grad)

    def forward(self, input: Tensor) -> Tensor:
        return self.scale * super().forward(input)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, scaled"
