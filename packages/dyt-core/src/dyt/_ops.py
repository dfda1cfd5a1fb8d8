"""The fused layer as one operator: schema, fake, autograd, and the choice between the ways in.

Eager calls go through a `torch.autograd.Function`, or, once `bind` was called, on a CPU through
a compiled node of autograd's graph; whatever looks at operators (torch.compile, torch.export,
FakeTensor, dispatch modes) sees the custom operator ``dyt::pointwise_norm``. All call the same
kernels and save the same tensors: x and the parameters, nothing else.
"""

from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from dyt._kernels.cpu import launcher as native
from dyt._kernels.cpu.launcher import Gradients
from dyt._kernels.cpu_autograd import binding
from dyt.functions import PointwiseFunction, lookup

BACKENDS = ("native", "triton")  # the fused ones: each a module of dyt.kernels


class Prepared(Protocol):
    """A fused backend's kernels for calls of one kind: the same types, shapes and strides."""

    def forward(
        self,
        x: Tensor,
        alpha: Tensor,
        shift: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor: ...

    def backward(
        self,
        dy: Tensor,
        x: Tensor,
        alpha: Tensor,
        shift: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> Gradients: ...


class Route(NamedTuple):
    """How fused kernels compute calls of one kind."""

    function: str
    channels_last: bool
    prepared: Prepared


class Kernels(Protocol):
    """What a module of `dyt._kernels` offers."""

    def unsupported(
        self,
        x: Tensor,
        alpha: Tensor,
        shift: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        function: str,
        channels_last: bool,
    ) -> str | None: ...

    def prepare(
        self,
        x: Tensor,
        alpha: Tensor,
        shift: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        function: str,
        channels_last: bool,
    ) -> Prepared: ...


def kernels(backend: str) -> Kernels:
    """The launchers of a fused backend.

    Raises:
        ImportError: the backend needs something that is not installed.
    """
    if backend == "native":
        return _native
    from dyt._kernels import triton  # takes a second to import, and only a GPU has use for it

    return cast(Kernels, triton)


_native = cast(Kernels, native)


def bind() -> str | None:
    """Have layers on a CPU called without Python in between, where a small one's time goes.

    From then on in this process, for common cases; results are the same to the last bit. What it
    needs is compiled the first time, for half a minute, against the PyTorch that is installed,
    and kept in the user's cache (XDG_CACHE_HOME, or ~/.cache).

    Returns:
        None, or in one sentence why it cannot be had here; layers then work as they did.
    """
    global bound
    if bound is None:
        try:
            bound = binding.load(_gradients)
        except binding.Unavailable as reason:
            return str(reason)
    return None


bound: binding.Call | None = None


def _gradients(*call: Any) -> Gradients:
    """`eager_backward`, with the function by its place in the kernels' table."""
    *tensors, function, channels_last = call
    return eager_backward(*(*tensors, lookup(native.FUNCTIONS[function]), channels_last))


def fused(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    route: Route,
) -> Tensor:
    """The layer by the kernels that ``route`` has; only autograd looks on."""
    if not torch.is_grad_enabled():  # spares half of the call's overhead
        return route.prepared.forward(x, alpha, shift, weight, bias)
    y: Tensor = _Fused.apply(x, alpha, shift, weight, bias, route)
    return y


def transformed() -> bool:
    """Whether the formula itself is asked for: by torch.func, whose tensors have no memory to
    point at, or by torch.jit.trace, which would write down the call without what it computes.
    """
    return torch._C._are_functorch_transforms_active() or torch._C._get_tracing_state() is not None


def observed(x: Tensor) -> bool:
    """Whether something other than the kernels must see the operator: a subclass or a mode."""
    return type(x) not in _PLAIN or torch._C._len_torch_dispatch_stack() > 0


_PLAIN = (Tensor, torch.nn.Parameter)


def eager(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: PointwiseFunction,
    channels_last: bool,
) -> Tensor:
    """The formula in plain PyTorch: every function, type and device, differentiable at will."""
    z = alpha * x
    if shift is not None:
        z = z + shift
    y = function.f(z)
    if weight is not None:
        y = _facing(weight, x, channels_last) * y
    if bias is not None:
        y = y + _facing(bias, x, channels_last)
    return y.to(x.dtype)


def eager_backward(
    dy: Tensor,
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: PointwiseFunction,
    channels_last: bool,
) -> Gradients:
    """The gradients in plain PyTorch, from f' as the table has it: differentiable in turn."""
    z = alpha * x
    if shift is not None:
        z = z + shift
    dy = dy.to(z.dtype)
    inner = dy if weight is None else dy * _facing(weight, x, channels_last)
    dz = inner * function.df(z)
    dshift = None if shift is None else _gathered(dz, shift, x, channels_last)
    dweight = None if weight is None else _gathered(dy * function.f(z), weight, x, channels_last)
    dbias = None if bias is None else _gathered(dy, bias, x, channels_last)
    dalpha = _gathered(dz * x, alpha, x, channels_last)
    return (dz * alpha).to(x.dtype), dalpha, dshift, dweight, dbias


def _facing(parameter: Tensor, x: Tensor, channels_last: bool) -> Tensor:
    """The parameter in a shape that broadcasts over x."""
    return parameter if channels_last else parameter.view(-1, *[1] * (x.dim() - 2))


def _gathered(gradient: Tensor, parameter: Tensor, x: Tensor, channels_last: bool) -> Tensor:
    """The sum over all that a parameter was broadcast to, in its shape and type."""
    if parameter.numel() == 1:
        total = gradient.sum()
    else:
        total = gradient.sum_to_size(_facing(parameter, x, channels_last).shape)
    return total.reshape(parameter.shape).to(parameter.dtype)


# ---- eager: an autograd.Function


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        alpha: Tensor,
        shift: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        route: Route,
    ) -> Tensor:
        ctx.save_for_backward(x, alpha, shift, weight, bias)
        ctx.route = route
        return route.prepared.forward(x, alpha, shift, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        x, alpha, shift, weight, bias = ctx.saved_tensors
        function, channels_last, prepared = ctx.route
        # Grad mode is on where a gradient of this gradient may be asked for.
        if torch.is_grad_enabled() or observed(dy):
            entry = lookup(function)
            made = eager_backward(dy, x, alpha, shift, weight, bias, entry, channels_last)
        else:
            made = prepared.backward(dy, x, alpha, shift, weight, bias)
        return *made, None


# ---- compiling and tracing: a custom operator


@torch.library.custom_op("dyt::pointwise_norm", mutates_args=())
def _forward_op(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: str,
    channels_last: bool,
    backend: str,
) -> Tensor:
    prepared = kernels(backend).prepare(x, alpha, shift, weight, bias, function, channels_last)
    return prepared.forward(x, alpha, shift, weight, bias)


@torch.library.custom_op("dyt::pointwise_norm_backward", mutates_args=())
def _backward_op(
    dy: Tensor,
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: str,
    channels_last: bool,
    backend: str,
) -> list[Tensor]:
    """The gradients that exist, in order: an operator cannot return None."""
    prepared = kernels(backend).prepare(x, alpha, shift, weight, bias, function, channels_last)
    made = prepared.backward(dy, x, alpha, shift, weight, bias)
    return [gradient for gradient in made if gradient is not None]


@_forward_op.register_fake
def _(x: Tensor, *rest: object) -> Tensor:
    return torch.empty_like(x)


@_backward_op.register_fake
def _(dy: Tensor, x: Tensor, *parameters: Any) -> list[Tensor]:
    return [torch.empty_like(t) for t in (x, *parameters[:4]) if t is not None]


def _save(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.options = inputs[5:]


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, alpha, shift, weight, bias = ctx.saved_tensors
    function, channels_last, _ = ctx.options
    made: tuple[Tensor | None, ...]
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        # Somebody may ask for the gradient of these gradients.
        entry = lookup(function)
        made = eager_backward(dy, x, alpha, shift, weight, bias, entry, channels_last)
    else:
        found = iter(torch.ops.dyt.pointwise_norm_backward(dy, *ctx.saved_tensors, *ctx.options))
        made = tuple(None if t is None else next(found) for t in ctx.saved_tensors)
    return *made, None, None, None


_forward_op.register_autograd(_backward, setup_context=_save)
