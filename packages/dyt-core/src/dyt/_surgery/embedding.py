"""The factor of the embeddings with which the stream has unit variance at the first layer."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dyt._sharded import is_shared, put, whole
from dyt._surgery.fitting import mean_squares
from dyt._surgery.placing import put_in
from dyt.parts import ScaledEmbedding


@dataclass(frozen=True)
class Stream:
    """The embeddings that start the stream, each with its factor."""

    scale: float | None  # magnitude of the factors; None: there are none
    factors: dict[nn.Embedding, Tensor]  # each of shape [1] or [D]

    @contextmanager
    def scaled(self) -> Iterator[None]:
        """The model computes with the factors, and is not changed."""

        def scale(embedding: nn.Module, _: object, output: Tensor) -> Tensor:
            assert isinstance(embedding, nn.Embedding)
            return self.factors[embedding] * output

        with ExitStack() as stack:
            for embedding in self.factors:
                stack.callback(embedding.register_forward_hook(scale).remove)
            yield

    def put_into(self, model: nn.Module) -> None:
        """Make the factors parameters of the model.

        Raises:
            ValueError: processes share the model's parameters, and have no factor yet.
        """
        new = [each for each in self.factors if not isinstance(each, ScaledEmbedding)]
        if new and is_shared(model):
            raise ValueError(
                "the model's parameters are shared among processes, and its embedding has no "
                "factor: calibrate before fully_shard, or convert with a recipe that adds one"
            )
        for embedding, factor in self.factors.items():
            if isinstance(embedding, ScaledEmbedding):
                put(embedding.scale, whole(embedding.scale) * factor)
                continue
            put_in(model, {embedding: ScaledEmbedding(embedding, factor).train(embedding.training)})


class StreamWatch:
    """Finds the `Stream` of ``model`` in one pass, which is to run in `watching`."""

    def __init__(self, model: nn.Module) -> None:
        self.embeddings = [m for m in model.modules() if isinstance(m, nn.Embedding)]
        self.outputs: list[tuple[nn.Embedding, torch.Size]] = []
        self.reads = _Reads([embedding.weight for embedding in self.embeddings])
        self.shape: torch.Size | None = None  # of the first layer's input; None: none ran
        self.mean_square = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it the outputs of embeddings and the uses of their weights are noted."""

        def note(embedding: nn.Module, _: object, output: Tensor) -> None:
            assert isinstance(embedding, nn.Embedding)
            self.outputs.append((embedding, output.shape))

        with ExitStack() as stack:
            for embedding in self.embeddings:
                stack.callback(embedding.register_forward_hook(note).remove)
            stack.enter_context(self.reads)
            yield

    def see(self, shape: torch.Size, rows: Tensor) -> None:
        """Take the shape and rows of the first layer's input."""
        self.shape = shape
        self.mean_square = mean_squares(rows).mean().item()

    def found(self) -> Stream | None:
        """None if the pass has reached no layer."""
        if self.shape is None:
            return None
        # Of tokens or positions, by the shape of the stream: not the embedding of a condition.
        starts = dict.fromkeys(m for m, made in self.outputs if made[-2:] == self.shape[-2:])
        if not starts or not self.mean_square:
            return Stream(None, {})
        scale = 1 / math.sqrt(self.mean_square)
        return Stream(scale, {m: self._factor(m, scale) for m in starts})

    def _factor(self, embedding: nn.Embedding, scale: float) -> Tensor:
        weight = embedding.weight
        factor = torch.full((1,), scale, dtype=weight.dtype, device=weight.device)
        is_new = not isinstance(embedding, ScaledEmbedding)  # else it has its signs
        tied = any(embedding.weight is weight for weight in self.reads.seen)
        return factor * _signs(embedding) if is_new and tied else factor


class _Reads(TorchFunctionMode):
    """Detects from which of ``weights`` anything but a look-up computes a tensor.

    Such an embedding is tied: an output layer computes with its weight too.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.weights, self.seen = weights, list[Tensor]()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func not in _LOOK_UPS and isinstance(made, Tensor):
            given = (*args, *(kwargs or {}).values())
            self.seen += [w for w in self.weights if any(one is w for one in given)]
        return made


_LOOK_UPS = (nn.functional.embedding, torch.embedding)


def _signs(embedding: nn.Embedding) -> Tensor:
    """1, -1, 1, ...: one for each channel.

    An output layer tied to the embedding reads from the stream what the embedding wrote: before
    training it predicts the present token. If embeddings start small, the branches dominate the
    stream and hide this. At unit variance training must undo it first, with branches that outgrow
    the stream and saturate every layer. With half of the signs negative the two are orthogonal, up
    to chance.
    """
    signs = torch.ones_like(embedding.weight[0])
    signs[1::2] = -1
    return signs
