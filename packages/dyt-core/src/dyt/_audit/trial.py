"""Run a copy of a module, and compare what it returns with the formulas of norms."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from dyt._audit.formulas import NORMALIZE, UNIT_LENGTH, Behaviour, affine

# Relative error of the whole output. A norm with a large eps, or with a step in half precision,
# stays within it; LayerNorm and RMSNorm differ by a third on the inputs below.
TOLERANCE = 0.05
ANY_WIDTHS = (12, 20)  # for a norm that has no width
MORE = "does more than normalize: it has submodules"


def declared_shape(module: nn.Module) -> tuple[int, ...]:
    """The module's ``normalized_shape``; () if it has none."""
    shape = getattr(module, "normalized_shape", None)
    if isinstance(shape, int):
        return (shape,)
    if isinstance(shape, Sequence) and all(isinstance(size, int) for size in shape):
        return tuple(shape)
    return ()


def covered_shape(parameter: Tensor) -> tuple[int, ...]:
    """The features that a parameter covers.

    (C,) for the shapes (C,), (C, 1, 1) and (1, C); (H, D) for (1, H, D); () for one element. A one
    that is left, as in (H, 1, D), is an axis of the input along which the parameter is repeated.
    """
    if parameter.numel() == max(parameter.shape, default=1):
        return () if parameter.numel() == 1 else (parameter.numel(),)
    shape = tuple(parameter.shape)
    while shape[0] == 1:
        shape = shape[1:]
    return shape


class Trial:
    """A copy of a module on the CPU, in float32, with random parameters."""

    def __init__(self, module: nn.Module) -> None:
        self.random = torch.Generator().manual_seed(0)
        self.stored = {p.dtype for p in module.parameters()} or {torch.get_default_dtype()}
        self.module = self._copy(module)
        self.parameters = {k: p for k, p in self.module._parameters.items() if p is not None}
        self.children = {k: m for k, m in self.module._modules.items() if m is not None}
        # Without parameters a buffer may still show the number of features.
        buffers = [b for b in module._buffers.values() if b is not None and b.numel() > 1]
        tensors: list[Tensor] = list(self.parameters.values())
        tensors = tensors or [b for b in buffers if b.dim() == 1]
        declared = declared_shape(module)
        shapes = [declared, *map(covered_shape, tensors)]
        self.shape = max(shapes, key=lambda shape: (len(shape), prod(shape)))  # () if it has none
        self.repeated = len(self.shape) > 1 and 1 in self.shape and self.shape != declared
        self.ran: tuple[Tensor, Tensor] | None = None  # the last input it took, and its output
        self.failed: str | None = None  # the last reason why it gave no result

    def behaviour(self) -> Behaviour | None:
        """The formula that it computes, with the reason if no layer can take its place."""
        found = self._formula(self.shape or ANY_WIDTHS[:1])
        if found is None:
            return None
        behaviour, x, y = found
        refuted = None if behaviour.reason else self._refuted(behaviour, x, y)
        return replace(behaviour, kind="unknown", reason=refuted) if refuted else behaviour

    def effect(self, argument: str, default: object) -> Behaviour | None:
        """What is known of a norm that also takes ``argument``; None if it changes nothing."""
        inputs = [x for x, _ in self._inputs(self.shape or ANY_WIDTHS[:1])]
        for x in self.ran[:1] if self.ran else inputs:
            y = self._call(x, self.children)
            for value in self._values(x, default):
                changed = self._call(x, self.children, **{argument: value})
                if changed is None or _same(changed, y):
                    continue
                if isinstance(changed, Tensor):
                    return Behaviour("gated", reason=f"gated: its forward also takes {argument}")
                what = f"returns a {type(changed).__name__} if it is given {argument}"
                return Behaviour("unknown", reason=what)
        return None

    def normalizes(self) -> bool:
        """Whether it returns the same for its input and for a multiple of it, as every norm does.

        Signs, choices and constants do, too: the result must have as many values as the input.
        """
        if self.ran is None:
            return False
        ran, (x, _) = self.ran, self.ran
        y, scaled = self._run(x, self.children), self._run(4 * x, self.children)
        self.ran = ran
        if y is None or scaled is None or y.shape != x.shape or scaled.shape != x.shape:
            return False
        values = len(set(y.flatten().tolist()))
        return values > 0.9 * x.numel() and _close(scaled, y)

    def what_else(self) -> str:
        """What to report of a result that no formula gives."""
        assert self.ran is not None
        x, y = self.ran
        if y.shape != x.shape:
            return f"returns shape {tuple(y.shape)} for {tuple(x.shape)}: not the normalized input"
        if self.children:
            return MORE
        return "computes neither a LayerNorm nor an RMSNorm of one axis"

    def _refuted(self, found: Behaviour, x: Tensor, y: Tensor) -> str | None:
        """Why a layer would compute something else after all, for other widths or modes."""
        if self.parameters and not self.shape:
            return "its parameters have one element: a layer's have one for each feature"
        if self.repeated:
            return f"its parameters, of shape {self.shape}, are repeated along an axis of its input"
        return (
            self._other_width(found)
            or self._other_mode(x, y)
            or self._other_state(x, y)
            or self._other_dtype(x)
        )

    def _other_width(self, found: Behaviour) -> str | None:
        """A norm without a width normalizes any width; one with a width takes no other."""
        if not self.shape:
            second = self._formula(ANY_WIDTHS[1:])
            same = second is not None and second[0] == found
            return None if same else "normalizes inputs of one width only, and does not say which"
        if len(self.shape) > 1 or not (found.weight_name or found.bias_name):
            return None
        wider = (self.shape[0] + 13,)
        last = found.channels_last
        for x, at in self._inputs(wider):
            y = self._call(x, self.children) if at == last else None
            # One of (C, 1, 1, 1) makes (C, N, W, T) of (N, W, T), whatever W is.
            if isinstance(y, Tensor) and y.shape == x.shape:
                return f"takes inputs of other widths than its parameters' {self.shape[0]}"
        return None

    def _other_mode(self, x: Tensor, y: Tensor) -> str | None:
        self.module.training = True
        trained = self._run(x, self._without_children())
        self.module.training = False
        if trained is None:
            return f"its forward in training could not be observed: {self.failed}"
        return None if _close(trained, y) else "computes something else in training than after it"

    def _other_state(self, x: Tensor, y: Tensor) -> str | None:
        """A buffer that checkpoints hold is not handed on to a layer, so it must not matter."""
        for name, buffer in self.module._buffers.items():
            fixed = name in self.module._non_persistent_buffers_set
            if buffer is None or fixed or not buffer.is_floating_point():
                continue
            other = buffer * self._draw(buffer.shape, 0.5, 1.5)
            if buffer.numel() > 1:
                other = other + self._draw(buffer.shape, 0.5, 1.5)
            self.module._buffers[name] = other
            changed = self._run(x, self._without_children())
            self.module._buffers[name] = buffer
            if changed is None or not _close(changed, y):
                return f"its result depends on the buffer {name}"
        return None

    def _other_dtype(self, x: Tensor) -> str | None:
        y = self._call(x, self._without_children())
        if isinstance(y, Tensor) and y.dtype not in {x.dtype, *self.stored}:
            return f"returns {y.dtype} for {x.dtype}".replace("torch.", "")
        return None

    def _formula(self, shape: tuple[int, ...]) -> tuple[Behaviour, Tensor, Tensor] | None:
        """The first formula, over all inputs it takes, whose result is that of the copy."""
        for x, last in self._inputs(shape):
            # First without its children: an activation comes after the norm.
            y = self._run(x, self._without_children())
            if y is None or y.shape != x.shape:
                continue
            for expected, behaviour in self._formulas(x, last):
                if _close(y, expected):
                    return self._with_activation(behaviour, x, y), x, y
        return None

    def _copy(self, module: nn.Module) -> nn.Module:
        copy: nn.Module = object.__new__(type(module))
        copy.__dict__.update(module.__dict__)
        copy.__dict__.pop("forward", None)  # an instance's own forward would run the original
        copy.__dict__["training"] = False
        for hooks in ("_forward_hooks", "_forward_pre_hooks"):
            copy.__dict__[hooks] = {}
        copy._parameters = {
            name: None if p is None else nn.Parameter(self._draw(p.shape, 0.5, 1.5))
            for name, p in module._parameters.items()
        }
        copy._buffers = {
            name: b if b is None else torch.ones(b.shape) if b.is_meta else b.detach().cpu().clone()
            for name, b in module._buffers.items()
        }
        copy._modules = {
            k: None if m is None else self._copy(m) for k, m in module._modules.items()
        }
        return copy

    def _draw(self, shape: Sequence[int], low: float, high: float) -> Tensor:
        return torch.rand(tuple(shape), generator=self.random) * (high - low) + low

    def _without_children(self) -> dict[str, nn.Module]:
        return dict.fromkeys(self.children, nn.Identity())

    def _call(self, x: Tensor, children: Mapping[str, nn.Module], **more: object) -> Any:
        """What it returns for ``x``, or None if it does not take such an input."""
        self.module._modules = dict(children)
        try:
            return self.module.forward(x.clone(), **more)
        except Exception as error:  # third-party code with an input that it may not be made for
            self.failed = f"{type(error).__name__}: {error}".partition("\n")[0]
            return None

    def _run(self, x: Tensor, children: Mapping[str, nn.Module]) -> Tensor | None:
        """The result for ``x`` in float32, or None if there is no such tensor."""
        y = self._call(x, children)
        if y is None:
            return None
        if not isinstance(y, Tensor) or not y.is_floating_point():
            self.failed = f"returns a {type(y).__name__}"
            return None
        self.ran = x, y.float()
        return y.float()

    def _values(self, x: Tensor, default: object) -> Iterator[object]:
        """Values for an argument besides ``x``: one for each element, position, or sequence."""
        if isinstance(default, bool):
            yield not default
            return
        shapes = [x.shape, x.shape[:-1], (*x.shape[:-1], 1), x.shape[-1:], (x.shape[0], 1)]
        shapes += [(x.shape[0], x.shape[-1]), (x.shape[0], *[1] * (x.dim() - 2), x.shape[-1])]
        for shape in dict.fromkeys(map(tuple, shapes)):
            yield self._draw(shape, -1.0, 1.0)

    def _inputs(self, shape: tuple[int, ...]) -> Iterator[tuple[Tensor, bool]]:
        """Inputs with features of ``shape``, each with whether these are the last axes.

        All axes have different sizes, so that they cannot be confused.
        """
        a, b, c, d = [n for n in (2, 3, 5, 7, 11) if n not in shape][:4]
        features = tuple(d if size == 1 else size for size in shape) if self.repeated else shape
        sizes = [((a, b, *features), True), ((a, b, c, *features), True), ((a, *features), True)]
        if len(shape) == 1:
            sizes[2:2] = [((a, *shape, *rest), False) for rest in ((b, c), (b,), (b, c, d))]
        if features != shape:  # (H, 1, D): a batch of heads
            sizes.append((features, True))
        for size, last in sizes:
            # Off centre, so that removing the mean matters; and each position with its own scale,
            # so that a mean that includes positions (a group norm's) gives another result.
            x = 3 * torch.randn(size, generator=self.random) + 2
            innermost = len(size) - 1 if last else 1
            scales = [1 if axis == innermost else n for axis, n in enumerate(size)]
            yield x * self._draw(scales, 0.0, 3.0).exp(), last

    def _formulas(self, x: Tensor, last: bool) -> Iterator[tuple[Tensor, Behaviour]]:
        """The result of each formula for ``x``, with the behaviour that it stands for."""
        shape = self.shape or x.shape[-1:]
        if not last:
            over: list[tuple[int, ...]] = [(1,)]
        else:
            # All axes that the parameters cover; or the innermost, each head with its own weight.
            over = [tuple(range(-len(shape), 0))] + ([(-1,)] if len(shape) > 1 else [])
        for axes in over:
            for kind, normalize in NORMALIZE:
                normalized = normalize(x, axes)
                for weight, bias in affine(list(self.parameters)):
                    for offset in (0.0,) if weight is None else (0.0, 1.0):
                        y = normalized
                        if weight is not None:
                            y = y * (self._spread(weight, x, last) + offset)
                        if bias is not None:
                            y = y + self._spread(bias, x, last)
                        reason = UNIT_LENGTH if kind == "other" else None
                        yield (
                            y,
                            Behaviour(kind, self.shape, last, axes, reason, weight, bias, offset),
                        )

    def _spread(self, name: str, x: Tensor, last: bool) -> Tensor:
        """The parameter in a shape that multiplies ``x``."""
        parameter = self.parameters[name].detach()
        if parameter.numel() != prod(self.shape):
            return torch.full((), torch.nan)  # fits no formula
        return parameter.reshape(self.shape if last else (-1, *[1] * (x.dim() - 2)))

    def _with_activation(self, found: Behaviour, x: Tensor, y: Tensor) -> Behaviour:
        """The behaviour including its children, if they are applied to the result in order."""
        if not self.children:
            return found
        expected = y.clone()  # an activation may work in place
        for child in self.children.values():
            expected = child(expected)
        whole = self._run(x, self.children)
        if whole is None or not torch.allclose(whole, expected, rtol=1e-3, atol=1e-4):
            return Behaviour("other", reason=MORE)
        return replace(found, activation=tuple(self.children))


def _same(y: object, expected: object) -> bool:
    if not (isinstance(y, Tensor) and isinstance(expected, Tensor)) or y.shape != expected.shape:
        return False
    return torch.allclose(y.float(), expected.float())


def _close(y: Tensor, expected: Tensor) -> bool:
    return bool((y - expected).norm() < TOLERANCE * expected.norm())
