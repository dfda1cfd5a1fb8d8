"""How much of a change of the residual stream arrives at its end: the partial Jacobians' norms."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dyt._audit.audit import audit
from dyt._surgery.inputs import Batch
from dyt._surgery.placing import original

PROBES = 8  # random vectors; the error falls with the square root of their number


def jacobian_norms(
    model: nn.Module,
    batch: Any,
    *,
    probes: int = PROBES,
    seed: int = 0,
    run: Callable[[nn.Module, Any], object] | None = None,
) -> dict[str, float]:
    """The averaged partial Jacobian norm (APJN) from each norm's input to the last one's.

    With h_l the input of norm l and h_L that of the last, it is ``|dh_L / dh_l|_F^2 / n``, where n
    counts the elements of h_L. In a pre-norm model, whose norms read the residual stream, it grows
    with the depth in between: as a power of it with LayerNorm, but as a stretched exponential with
    tanh-like layers, which is why those are sensitive to the start. Estimated with random vectors,
    ``E |v^T dh_L / dh_l|^2`` for v of N(0, 1); the paper averages over starts of the weights, which
    is left to the caller.

    Args:
        model: any model with at least two norms, or layers that `dyt.convert` put in their place.
        batch: a tensor, a mapping or a tuple of arguments, one forward pass.
        probes: how many random vectors.
        seed: of the vectors.
        run: computes the forward pass of ``(model, batch)``; None: the model is called.

    Returns:
        Qualified name -> the norm, in the order in which the norms first ran, without the last (1)
        and those whose input the last does not depend on.

    Raises:
        ValueError: ``probes`` below 1, a batch that does not fit, or fewer than two norms ran.

    Source: arXiv 2604.11890, and arXiv 2111.12143 before it.

    Example:
        >>> import torch, dyt
        >>> model = torch.nn.Sequential(torch.nn.LayerNorm(8), torch.nn.LayerNorm(8))
        >>> list(dyt.jacobian_norms(model, torch.randn(2, 8)))
        ['0']
    """
    if probes < 1:
        raise ValueError(f"probes must be at least 1, got {probes}")
    with _inputs(model, batch, run) as streams:
        return _estimated(model, streams, probes, torch.Generator().manual_seed(seed))


def _estimated(
    model: nn.Module, streams: dict[str, Tensor], probes: int, random: torch.Generator
) -> dict[str, float]:
    if len(streams) < 2:
        raise ValueError(f"{type(model).__name__} ran {len(streams)} norms: two are needed")
    names, inputs = list(streams)[:-1], list(streams.values())
    last = inputs.pop()
    squares = [0.0] * len(names)
    reached = [False] * len(names)
    for _ in range(probes):
        v = torch.randn(last.shape, generator=random).to(last)
        found = torch.autograd.grad(last, inputs, v, retain_graph=True, allow_unused=True)
        for index, gradient in enumerate(found):
            if gradient is not None:
                reached[index] = True
                squares[index] += gradient.double().square().sum().item()
    means = [square / (probes * last.numel()) for square in squares]
    return {name: mean for name, mean, seen in zip(names, means, reached, strict=True) if seen}


@contextmanager
def _inputs(
    model: nn.Module, batch: Any, run: Callable[[nn.Module, Any], object] | None
) -> Iterator[dict[str, Tensor]]:
    """Name of a norm -> its input in the first call of one forward pass, within the graph."""
    found: dict[str, Tensor] = {}
    changed: list[Tensor] = []

    def remember(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            if name in found or not args or not isinstance(args[0], Tensor):
                return
            found[name] = args[0]
            if not args[
                0
            ].requires_grad:  # the model's own input: what bypasses the norm counts too
                changed.append(args[0].requires_grad_())

        return hook

    places = {site.name: site.module for site in audit(model) if site.kind != "functional"}
    places.update({name: m for name, m in model.named_modules() if _stands_for_a_norm(m)})
    handles = [m.register_forward_pre_hook(remember(name)) for name, m in places.items()]
    try:
        with torch.enable_grad():
            Batch(0, batch, None).run(model, run)
        yield found
    finally:
        for handle in handles:
            handle.remove()
        for x in changed:
            x.requires_grad_(False)


def _stands_for_a_norm(module: nn.Module) -> bool:
    before = original(module)
    return before is not None and any(site.module is before for site in audit(before))
