"""The layer as one operator: schema, autograd, decomposition, and the ways into the kernels.

Eager calls go through a `torch.autograd.Function`, or on a CPU, where it is compiled, through an
autograd node in C++. Whatever needs to see operators (torch.compile, torch.export, FakeTensor,
dispatch modes) sees the custom operator ``dyt::pointwise_norm``. All ways call the same kernels and
save the same tensors: x and the parameters, nothing else. Tensors that are more than their memory
take the formula, by PyTorch's operators, whose rules they know.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from dyt._kernels import guard
from dyt._kernels.call import Call, Gradients, Launcher, Prepared, Tensors
from dyt._kernels.cpu import launcher as cpu
from dyt._kernels.cpu_autograd import binding
from dyt._kernels.inductor import FORMULAS
from dyt.functions import lookup

BACKENDS = ("cpu", "triton")  # the fused ones: each a folder of `dyt._kernels`


class Route(NamedTuple):
    """How fused kernels compute calls of one kind."""

    function: str
    channels_last: bool
    backend: str
    facts: tuple[guard.Facts, ...]  # of the tensors
    prepared: Prepared


def kernels(backend: str) -> Launcher:
    """The launcher of a fused backend."""
    if backend == "cpu":
        return _cpu
    from dyt._kernels.triton import launcher  # only tensors on a GPU need it

    return cast(Launcher, launcher)


_cpu = cast(Launcher, cpu)


def fused_for(x: Tensor) -> str:
    """The fused backend of x's device, or "eager"."""
    if x.is_cpu:
        return "cpu"
    return "triton" if x.is_cuda else "eager"


def bind() -> str | None:
    """Call layers on a CPU without Python in between, which takes most of a small layer's time.

    Holds for common cases; results are the same to the last bit. Once it is compiled, every
    process on this machine does so by itself. The first use compiles an extension for the installed
    PyTorch, which takes half a minute, and keeps it in the user's cache (XDG_CACHE_HOME, or
    ~/.cache); a package built beside PyTorch has it already. Written for PyTorch 2.9 to 2.14; for
    any other it is refused.

    Returns:
        None, or in one sentence why it cannot be had here; layers then work as before.

    Example:
        >>> import dyt
        >>> problem = dyt.bind()
    """
    return _bind(compiling=True)


def bind_where_compiled() -> None:
    """Once a process, at the first call on a CPU: take the binding if it is there, else do without.

    Nothing is compiled that nobody asked for.
    """
    global sought
    if not sought:
        sought = True
        _bind(compiling=False)


def _bind(*, compiling: bool) -> str | None:
    global bound
    if bound is None:
        try:
            bound = binding.load(_gradients, compiling=compiling)
        except binding.Unavailable as reason:
            return str(reason)
    return None


bound: binding.Bound | None = None
sought = False


def _gradients(dy: Tensor, *arguments: Any) -> Gradients:
    """`eager_backward` for the binding, which knows the function by its code."""
    *tensors, code, channels_last = arguments
    return eager_backward(dy, Call._make((*tensors, cpu.FUNCTIONS[code], channels_last)))


def fused(tensors: Tensors, route: Route) -> Tensor:
    """The layer by the kernels of ``route``; nothing but autograd sees the call."""
    if not torch.is_grad_enabled():  # saves half of the call's overhead
        return route.prepared.forward(tensors)
    y: Tensor = _Fused.apply(*tensors, route)
    return y


def eager(call: Call, f: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """The formula in plain PyTorch: every function, dtype and device, differentiable any times.

    Args:
        call: the layer's arguments.
        f: what computes its function; None: the table's.
    """
    x, alpha, shift, weight, bias, function, channels_last = call
    if x.is_nested and x.layout is torch.strided:  # which has few operators of its own
        return torch.nested.as_nested_tensor([eager(call._replace(x=t), f) for t in x.unbind()])
    z = alpha * x
    if shift is not None:
        z = z + shift
    y = (lookup(function).f if f is None else f)(z)
    if weight is not None:
        y = _facing(weight, x, channels_last) * y
    if bias is not None:
        y = y + _facing(bias, x, channels_last)
    return _as(x, y)


def compiled(call: Call) -> Tensor:
    """The formula for Inductor on a CPU, which fuses it with its neighbours.

    Backward needs x and the parameters, and nothing else.
    """
    formulas = FORMULAS.get(call.function)
    if formulas is None or torch.promote_types(call.x.dtype, call.alpha.dtype) is torch.float64:
        return eager(call)
    y: Tensor = _Compiled.apply(*call)
    return y


class _Compiled(torch.autograd.Function):
    """The layer by the formulas that Inductor compiles well."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        call = Call._make(arguments)
        ctx.save_for_backward(*call.tensors())
        ctx.function, ctx.channels_last = call.function, call.channels_last
        return eager(call, _in_fp32(FORMULAS[call.function].f))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        call = Call._make((*ctx.saved_tensors, ctx.function, ctx.channels_last))
        own = FORMULAS[call.function]
        gradients = eager_backward(dy, call, _in_fp32(own.again), _in_fp32(own.df))
        return (*gradients, None, None)


def _in_fp32(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda z: f(z.float()).to(z.dtype)


def eager_backward(
    dy: Tensor,
    call: Call,
    f: Callable[[Tensor], Tensor] | None = None,
    df: Callable[[Tensor], Tensor] | None = None,
) -> Gradients:
    """The gradients in plain PyTorch, with the table's f': differentiable in turn.

    Args:
        dy: the gradient of the result.
        call: the layer's arguments.
        f: what computes its function; None: the table's.
        df: what computes that function's derivative; None: the table's.
    """
    x, alpha, shift, weight, bias, function, channels_last = call
    # Asked for None: PyTorch 2.9 does not compile the truth of a function.
    f = lookup(function).f if f is None else f
    df = lookup(function).df if df is None else df
    z = alpha * x
    if shift is not None:
        z = z + shift
    dy = dy.to(z.dtype)
    inner = dy if weight is None else dy * _facing(weight, x, channels_last)
    dz = inner * df(z)
    dshift = None if shift is None else _gathered(dz, shift, x, channels_last)
    dweight = None if weight is None else _gathered(dy * f(z), weight, x, channels_last)
    dbias = None if bias is None else _gathered(dy, bias, x, channels_last)
    dalpha = _gathered(dz * x, alpha, x, channels_last)
    return _as(x, dz * alpha), dalpha, dshift, dweight, dbias


def _as(x: Tensor, y: Tensor) -> Tensor:
    """y in x's dtype and number of dimensions: alpha's shape [1] gives a scalar x one.

    In a graph, a conversion to what it is already would be an operator.
    """
    y = y if y.dim() == x.dim() else y.reshape(x.shape)
    return y if y.dtype is x.dtype else y.to(x.dtype)


def _facing(parameter: Tensor, x: Tensor, channels_last: bool) -> Tensor:
    """The parameter in a shape that broadcasts over x."""
    return parameter if channels_last else parameter.view(-1, *[1] * (x.dim() - 2))


def _gathered(gradient: Tensor, parameter: Tensor, x: Tensor, channels_last: bool) -> Tensor:
    """The sum over all that a parameter was broadcast to, in its shape and dtype."""
    if parameter.numel() == 1:
        total = gradient.sum()
    else:
        total = gradient.sum_to_size(_facing(parameter, x, channels_last).shape)
    return total.reshape(parameter.shape).to(parameter.dtype)


# ---- eager calls: an autograd.Function


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """The inputs are x, alpha, shift, weight, bias and the route."""
        tensors, route = inputs[:5], inputs[5]
        ctx.save_for_backward(*tensors)
        ctx.route = route
        y: Tensor = route.prepared.forward(tensors)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = gradients
        return *_gradients_of(dy, ctx.saved_tensors, ctx.route), None


def _gradients_of(dy: Tensor, tensors: Tensors, route: Route) -> Gradients:
    call = Call(*tensors, route.function, route.channels_last)
    if torch.compiler.is_compiling():  # compiled autograd
        return _by_operator(dy, call, route.backend)
    # Grad mode is on where a gradient of this gradient may be asked for.
    if torch.is_grad_enabled() or not _is_bare(dy, *tensors):
        return eager_backward(dy, call)
    prepared = route.prepared
    x = tensors[0]
    as_made = dy.shape == x.shape and dy.dtype is x.dtype and dy.device == x.device
    if not as_made or tuple(map(guard.facts, tensors)) != route.facts:
        guard.check_saved(route.facts, tensors, dy)
        launcher = kernels(route.backend)
        if launcher.unsupported(call) is not None:
            return eager_backward(dy, call)
        prepared = launcher.prepare(call)
    return prepared.backward(dy, tensors)


def _is_bare(*tensors: Tensor | None) -> bool:
    """Whether a kernel computes what PyTorch's operators would."""
    return not (guard.is_observed() or guard.is_transformed()) and guard.is_plain(tensors)


# ---- compiling and tracing: a custom operator

_ARGUMENTS = (
    "Tensor x, Tensor alpha, Tensor? shift, Tensor? weight, Tensor? bias, "
    "str function, bool channels_last, str backend"
)


@torch.library.custom_op("dyt::pointwise_norm", mutates_args=(), schema=f"({_ARGUMENTS}) -> Tensor")
def _forward_op(*arguments: Any) -> Tensor:
    *fields, backend = arguments
    call = Call(*fields)
    prepared = _prepared(call, backend)
    return eager(call) if prepared is None else prepared.forward(call.tensors())


@torch.library.custom_op(
    "dyt::pointwise_norm_backward",
    mutates_args=(),
    schema=f"(Tensor dy, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _backward_op(dy: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    *fields, backend = arguments
    call = Call(*fields)
    prepared = _prepared(call, backend)
    guard.check_saved(tuple(map(guard.facts, call.tensors())), call.tensors(), dy)
    made = eager_backward(dy, call) if prepared is None else prepared.backward(dy, call.tensors())
    return _without_none(made, dy)


def _without_none(made: Gradients, dy: Tensor) -> tuple[Tensor, ...]:
    """An operator cannot return None: an empty tensor stands for a gradient that there is not."""
    return tuple(dy.new_empty(0) if t is None else t for t in made)


def _prepared(call: Call, backend: str) -> Prepared | None:
    """The kernels for a call out of a graph; None: the formula.

    Nothing has looked at these tensors, and they need not lie as those that were traced.
    """
    guard.check_call(call)
    chosen = fused_for(call.x) if backend == "auto" else backend
    if chosen == "eager":
        return None
    launcher = kernels(chosen)
    return None if launcher.unsupported(call) else launcher.prepare(call)


@_forward_op.register_fake
def _(x: Tensor, *rest: object) -> Tensor:
    return torch.empty_like(x)


@_backward_op.register_fake
def _(dy: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    tensors: Tensors = arguments[:5]
    made = tuple(None if t is None else torch.empty_like(t) for t in tensors)
    return _without_none(cast(Gradients, made), dy)


@_forward_op.register_vmap
def _(info: object, dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
    return torch.vmap(lambda *given: eager(Call(*given[:7])), dims)(*arguments), 0


@_backward_op.register_vmap
def _(
    info: object, dims: tuple[int | None, ...], *arguments: Any
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    def gradients(dy: Tensor, *given: Any) -> tuple[Tensor, ...]:
        return _without_none(eager_backward(dy, Call(*given[:7])), dy)

    return torch.vmap(gradients, dims)(*arguments), (0, 0, 0, 0, 0)


def _save(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.options = inputs[5:]


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    tensors: Tensors = ctx.saved_tensors
    function, channels_last, backend = ctx.options
    call = Call(*tensors, function, channels_last)
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        # The gradient of these gradients may be asked for.
        made = eager_backward(dy, call)
    else:
        made = _by_operator(dy, call, backend)
    return *made, None, None, None


def _by_operator(dy: Tensor, call: Call, backend: str) -> Gradients:
    made = torch.ops.dyt.pointwise_norm_backward(dy, *call, backend)
    wanted = zip(call.tensors(), made, strict=True)
    return cast(Gradients, tuple(None if t is None else gradient for t, gradient in wanted))


_forward_op.register_autograd(_backward, setup_context=_save)
