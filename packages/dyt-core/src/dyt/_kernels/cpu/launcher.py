"""Launcher of the CPU kernels in native.cpp: types and shapes in, pointers out.

The library is a plain C one, called through ctypes, so that it fits every Python and every
PyTorch. It runs on the threads of the OpenMP runtime that PyTorch itself has loaded: one pool,
as many threads as `torch.get_num_threads()` says.
"""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from struct import Struct

import torch
from torch import Tensor

LIBRARY = Path(__file__).with_name("libdyt_native.so")

# In the order of the tables in native.cpp.
FUNCTIONS = ("tanh", "erf", "isru", "hardtanh", "arctan", "satursin", "softsign")
CODES = {function: code for code, function in enumerate(FUNCTIONS)}
_DTYPES = {torch.float32: 0, torch.bfloat16: 1}
# (function, dtype of x, dtype of the parameters) -> the code the library knows them by
_CONFIGS = {
    (function, x, parameter): code | x_code << 4 | parameter_code << 5
    for function, code in CODES.items()
    for x, x_code in _DTYPES.items()
    for parameter, parameter_code in _DTYPES.items()
}
# A call's arguments, 64 bits each, as ForwardCall and BackwardCall in native_calls.h: handing them
# over in one piece takes a quarter of the time that ctypes takes for twelve.
_pack_forward = Struct("12q").pack
_pack_backward = Struct("17q").pack
# Levels of instructions, narrowest first; the library takes the widest there is.
LEVELS = ("portable", "avx2", "avx512", "avx512_bf16")

Gradients = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


class _Library:
    """The functions of the shared library, or the reason why there is none."""

    def __init__(self) -> None:
        self.missing: str | None = None
        self.level = ""
        try:
            library = ctypes.CDLL(str(LIBRARY))
        except OSError as error:
            self.missing = (
                f"the native kernels are not compiled ({error}); "
                "reinstall dyt-core where there is a C++ compiler"
            )
            return
        self.init = library.dyt_init
        self.init.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int]
        self.forward: Callable[[bytes], int] = library.dyt_forward
        self.backward: Callable[[bytes], int] = library.dyt_backward
        library.dyt_forward.argtypes = library.dyt_backward.argtypes = [ctypes.c_char_p]
        self.limit(LEVELS[-1])

    def limit(self, level: str) -> None:
        self.level = LEVELS[self.init(*_openmp(), LEVELS.index(level))]


def _openmp() -> tuple[int | None, ...]:
    """Three functions of the OpenMP runtime that PyTorch is linked to; None where it has none.

    Looked up through PyTorch's own library, which finds that runtime under whatever name the
    wheel carries it: linking to libgomp here could load a second one, with a second pool.
    """
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        try:
            torch_cpu = ctypes.CDLL(str(folder / name))
            names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
            found = [ctypes.cast(getattr(torch_cpu, name), ctypes.c_void_p) for name in names]
        except (OSError, AttributeError):
            continue
        return tuple(function.value for function in found)
    return None, None, None


_library = _Library()
_threads = torch.get_num_threads


def missing() -> str | None:
    """Why there is no library to call; None if there is one."""
    return _library.missing


def level() -> str:
    """The instructions in use, of `LEVELS`; empty without the library."""
    return _library.level


def addresses() -> tuple[int, int]:
    """Where the library's forward and backward are, for callers that are not Python."""
    forward, backward = (
        ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
        for function in (_library.forward, _library.backward)
    )
    assert forward
    assert backward
    return forward, backward


def limit(widest: str) -> str:
    """Use no wider instructions than these of `LEVELS`; returns the level now in use."""
    _library.limit(widest)
    return _library.level


def unsupported(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: str,
    channels_last: bool,
) -> str | None:
    """Why these kernels cannot compute this; None if they can."""
    if _library.missing is not None:
        return _library.missing
    if not x.is_cpu:
        return f"the native kernels run on the CPU, x is on {x.device}"
    dtype = alpha.dtype
    if (function, x.dtype, dtype) not in _CONFIGS:
        if function not in FUNCTIONS:
            return f"the native kernels know {', '.join(FUNCTIONS)}; not {function}"
        return f"the native kernels know float32 and bfloat16, got {x.dtype} and {dtype}"
    for parameter in (shift, weight, bias):
        if parameter is not None and not (parameter.dtype is dtype and parameter.is_contiguous()):
            return "the native kernels want contiguous parameters of one type"
    if weight is not None and bias is not None and weight.shape != bias.shape:
        return "the native kernels want weight and bias of one shape"
    return None


def prepare(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: str,
    channels_last: bool,
) -> "Prepared":
    """What calls with tensors of these types, shapes and strides have in common."""
    return Prepared(x, alpha, weight if weight is not None else bias, function, channels_last)


class Prepared:
    """The kernels, for tensors of the types, shapes and strides of those it was made with.

    Within a model each line of Python finds the caches cold and takes several times as long as
    in a loop of its own. So whatever depends on these facts alone is worked out once.
    """

    __slots__ = (
        "_as_it_lies", "_config", "_lead", "_made", "_options", "_period", "_sizes", "_stride"
    )  # fmt: skip

    def __init__(
        self, x: Tensor, alpha: Tensor, affine: Tensor | None, function: str, channels_last: bool
    ) -> None:
        source, self._lead, outer, n, inner, pitch = _arrange(x, affine, channels_last)
        self._options = function, channels_last
        self._as_it_lies, self._stride = source is x, x.stride()
        self._made = torch.empty_like(source).stride()  # of y and dx
        self._sizes = outer, n, inner, pitch
        self._period = n * inner
        self._config = _CONFIGS[function, x.dtype, alpha.dtype]

    def forward(
        self,
        x: Tensor,
        alpha: Tensor,
        shift: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor:
        """y of x's shape and dtype; the arithmetic is fp32."""
        source = x if self._as_it_lies else x.contiguous()
        y = torch.empty_like(source)
        call = _pack_forward(
            source.data_ptr(),
            alpha.data_ptr(),
            0 if shift is None else shift.data_ptr(),
            0 if weight is None else weight.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            y.data_ptr(),
            *self._sizes,
            self._config,
            _threads(),
        )
        if _library.forward(call):
            raise MemoryError("no memory for the native kernels' parameters")
        # Strides as every other layer's: a compiler plans with them.
        return y if source is x else torch.empty_like(x).copy_(y)

    def backward(
        self,
        dy: Tensor,
        x: Tensor,
        alpha: Tensor,
        shift: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> Gradients:
        """dx with x's dtype, the others with the parameter's; sums in fp32, then fp64."""
        if x.stride() != self._stride:  # a hook on saved tensors gave it back in another order
            again = prepare(x, alpha, shift, weight, bias, *self._options)
            return again.backward(dy, x, alpha, shift, weight, bias)
        source = x if self._as_it_lies else x.contiguous()
        dx = torch.empty_like(source)
        dy_pitch = self._period
        if dy.stride() != self._made:
            dy, dy_pitch = _arrange_like(dx, dy, self._lead, self._period)
        dalpha = torch.empty_like(alpha)
        dshift = None if shift is None else torch.empty_like(shift)
        dweight = None if weight is None else torch.empty_like(weight)
        dbias = None if bias is None else torch.empty_like(bias)
        call = _pack_backward(
            dy.data_ptr(),
            source.data_ptr(),
            alpha.data_ptr(),
            0 if shift is None else shift.data_ptr(),
            0 if weight is None else weight.data_ptr(),
            dx.data_ptr(),
            dalpha.data_ptr(),
            0 if dshift is None else dshift.data_ptr(),
            0 if dweight is None else dweight.data_ptr(),
            0 if dbias is None else dbias.data_ptr(),
            *self._sizes,
            dy_pitch,
            self._config,
            _threads(),
        )
        if _library.backward(call):
            raise MemoryError("no memory for the native kernels' partial sums")
        if source is not x:
            dx = torch.empty_like(x).copy_(dx)
        return dx, dalpha, dshift, dweight, dbias


def _arrange(
    x: Tensor, affine: Tensor | None, channels_last: bool
) -> tuple[Tensor, int, int, int, int, int]:
    """x, its leading dimensions, and (outer, n, inner, pitch) as native.cpp has them.

    The order of the leading dimensions does not matter to an element-wise layer, so a permuted
    but dense x is taken in the order it lies in memory (channels-last NCHW among them), and rows
    may be further apart than they are long. Only what is left is copied.
    """
    size = x.numel()
    n = 1 if affine is None else affine.numel()
    if affine is None or n == 1:
        lead, outer, inner = x.dim(), 1, size
    elif channels_last:
        lead, outer, inner = x.dim() - affine.dim(), size // n, 1
    else:
        lead, outer = 1, x.shape[0]
        inner = size // max(1, outer * n)
    if x.is_contiguous():
        return x, lead, outer, n, inner, n * inner
    if n > 1 and not channels_last and x.dim() > 2:
        innermost = x.movedim(1, -1)
        if innermost.is_contiguous():
            return x, lead, size // n, n, 1, n
    pitch = _pitch(x, lead, n * inner, any_order=True)
    if not pitch:
        x, pitch = x.contiguous(), n * inner
    return x, lead, outer, n, inner, pitch


def _arrange_like(dx: Tensor, dy: Tensor, lead: int, period: int) -> tuple[Tensor, int]:
    """dy, copied if it does not lie as dx does, and how far apart its rows are."""
    if dx.is_contiguous():
        if dy.is_contiguous():
            return dy, period
        pitch = _pitch(dy, lead, period, any_order=False)
        if pitch:
            return dy, pitch
    return torch.empty_like(dx).copy_(dy), period


def _pitch(x: Tensor, lead: int, period: int, *, any_order: bool) -> int:
    """Elements from one row to the next; 0 where rows are broken or unevenly spaced.

    Rows are what follows the ``lead`` leading dimensions. In any order: dense rows count, however
    the leading dimensions are permuted.
    """
    sizes, strides = x.shape, x.stride()
    if not _nested(strides[lead:], sizes[lead:], 1):
        return 0
    rows = [(strides[d], sizes[d]) for d in range(lead) if sizes[d] != 1]
    if any_order:
        ordered = sorted(rows, reverse=True)
        if _nested(
            [r[0] for r in ordered], [r[1] for r in ordered], period if lead < x.dim() else 1
        ):
            return period
    pitch = rows[-1][0] if rows else 0
    if pitch >= period and _nested([r[0] for r in rows], [r[1] for r in rows], pitch):
        return pitch
    return 0


def _nested(strides: Sequence[int], sizes: Sequence[int], innermost: int) -> bool:
    """Whether dimensions lie one inside the other, the last with the given stride."""
    expected = innermost
    for stride, size in zip(reversed(strides), reversed(sizes), strict=True):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True
