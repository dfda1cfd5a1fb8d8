"""What calibration looks at: how a batch is run, and which rows of a layer's input count."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dyt._audit.sites import NormSite

Run = Callable[[nn.Module, Any], object]
Mask = Callable[[Any], Tensor | None]

ALONE = "run=lambda model, batch: model(batch[0])"


@dataclass(frozen=True)
class Batch:
    """One batch, its place among the batches, and where it is padded."""

    index: int
    data: Any
    mask: Tensor | None  # bool [B, T]; False is padding

    def __str__(self) -> str:
        return f"batch {self.index + 1}" if self.index else "the first batch"

    def run(self, model: nn.Module, run: Run | None) -> None:
        """Run the model on it.

        Raises:
            ValueError: the model does not take it.
        """
        try:
            _call(model, self.data) if run is None else run(model, self.data)
        except torch.OutOfMemoryError:
            raise
        except (TypeError, RuntimeError, LookupError, AttributeError, AssertionError) as error:
            is_pair = run is None and isinstance(self.data, tuple | list)
            hint = f"; if only its first element is an input, pass {ALONE}" if is_pair else ""
            raise ValueError(
                f"{self} does not fit {type(model).__name__}: {error}{hint}"
            ) from error

    def rows(self, name: str, site: NormSite, x: Tensor) -> Tensor:
        """The input of layer ``name`` as [rows, *features], without padding.

        Raises:
            ValueError: a value that is not finite.
        """
        x = x if site.channels_last else x.movedim(1, -1)
        features = max(1, len(site.normalized_shape))
        x = x[None] if x.dim() == features else x
        kept = None if self.mask is None else _aligned(self.mask, x.shape[:-features])
        rows = x.flatten(0, -features - 1)
        rows = rows if kept is None else rows[kept.flatten().to(x.device)]
        if not torch.isfinite(rows).all():
            raise ValueError(
                f"{self} brings NaN or infinite values to layer {name!r}: leave it out, or find "
                "what makes them in the layers before"
            )
        return rows


def read(batches: Iterable[Any], mask: Mask | None) -> Iterator[Batch]:
    """The batches, one at a time.

    Raises:
        ValueError: there is none, or ``mask`` returns no mask.
    """
    index = -1
    for index, data in enumerate(batches):
        found = _attention_mask(data) if mask is None else mask(data)
        if found is not None and not (isinstance(found, Tensor) and found.dim() == 2):
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"mask must return a tensor [B, T] or None for a batch, got {what}")
        yield Batch(index, data, None if found is None else found != 0)
    if index < 0:
        raise ValueError("batches is empty: one is needed")


def sample(rows: Tensor, most: int) -> Tensor:
    """At most ``most`` of the rows: one from each of so many equal parts, the same every time.

    Which one of its part is random. At equal distances they could be the same position of every
    sequence or image.
    """
    if len(rows) <= most:
        return rows
    bounds = torch.arange(most + 1, device="cpu") * len(rows) // most
    random = torch.Generator("cpu").manual_seed(0)
    drawn = torch.rand(most, generator=random, device="cpu", dtype=torch.float64)
    return rows[(bounds[:-1] + (drawn * bounds.diff()).long()).to(rows.device)]


def _attention_mask(data: Any) -> Tensor | None:
    if isinstance(data, tuple | list) and data:
        data = data[0]
    mask = data.get("attention_mask") if isinstance(data, Mapping) else None
    return mask if isinstance(mask, Tensor) and mask.dim() == 2 else None


def _aligned(mask: Tensor, rows: torch.Size) -> Tensor | None:
    """A mask [B, T] for rows [B, T, ...], heads' [B, H, T] or flat [B T]; None for others."""
    if rows[:2] == mask.shape:
        return mask.view(*mask.shape, *[1] * (len(rows) - 2)).expand(rows)
    if len(rows) == 3 and (rows[0], rows[2]) == mask.shape:
        return mask[:, None].expand(rows)
    return mask if tuple(rows) == (mask.numel(),) else None


def _call(model: nn.Module, data: Any) -> object:
    if isinstance(data, Mapping):
        return model(**data)
    if not isinstance(data, tuple | list):
        return model(data)
    if len(data) == 2 and isinstance(data[0], Mapping):
        return model(**data[0])
    return model(*_arguments(model, data))


def _arguments(model: nn.Module, data: tuple[Any, ...] | list[Any]) -> tuple[Any, ...]:
    """The elements that ``forward`` takes: of a pair the first, if it takes only one.

    Raises:
        ValueError: an element would be an optional mask, and is none.
    """
    taken = list(inspect.signature(model.forward).parameters.values())
    by_place = [p for p in taken if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    is_open = any(p.kind is p.VAR_POSITIONAL for p in taken)
    if len(data) == 2 and len(by_place) == 1 and not is_open:
        return (data[0],)
    for parameter, value in zip(by_place, data, strict=False):
        if parameter.default is not parameter.empty and "mask" in parameter.name:
            _refuse_labels(model, parameter.name, value)
    return tuple(data)


def _refuse_labels(model: nn.Module, name: str, value: Any) -> None:
    """Raise where labels would be taken for a mask: the model would run and be wrong."""
    if not isinstance(value, Tensor) or value.is_floating_point() or value.dtype == torch.bool:
        return
    if ((value != 0) & (value != 1)).any():
        raise ValueError(
            f"a batch's elements are its arguments, and {name!r} of {type(model).__name__} would "
            f"be integers other than 0 and 1. If they are labels, pass {ALONE}"
        )
