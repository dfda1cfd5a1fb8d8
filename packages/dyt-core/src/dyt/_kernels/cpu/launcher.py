"""Launcher of the CPU kernels in kernels.cpp: tensors in, pointers and sizes out.

The library has a plain C interface and is called through ctypes, so that it fits every Python and
every PyTorch. It runs on the threads of the OpenMP runtime that PyTorch itself has loaded: one
pool, with as many threads as `torch.get_num_threads()` says.
"""

import ctypes
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from struct import Struct

import torch
from torch import Tensor

from dyt._kernels.call import Call, Gradients, Tensors
from dyt._kernels.cpu import caches
from dyt.functions import FAMILY

LIBRARY = Path(__file__).with_name("libdyt_cpu.so")
_DTYPES = {torch.float32: 0, torch.bfloat16: 1}
_OUT_OF_MEMORY = 1  # of the statuses in calls.h
_Kind = tuple[str, torch.dtype, torch.dtype, bool, bool, bool]


class _Library:
    """The functions of the shared library, or the reason why there is none."""

    def __init__(self, path: Path) -> None:
        self.missing: str | None = None
        self.functions: tuple[str, ...] = ()  # in the order of their codes
        self.levels: tuple[str, ...] = ()  # instruction sets, narrowest first
        self.level = ""
        self.configs: dict[_Kind, int] = {}  # `_kind` of a call -> its field `config`
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            self.missing = (
                f"the CPU kernels are not compiled ({error}); "
                "reinstall dyt-core where there is a C++ compiler"
            )
            return
        self.init = library.dyt_init
        self.init.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int, ctypes.c_int64]
        self.forward: Callable[[bytes], int] = library.dyt_forward
        self.backward: Callable[[bytes], int] = library.dyt_backward
        library.dyt_forward.argtypes = library.dyt_backward.argtypes = [ctypes.c_char_p]
        self.sentence: Callable[[int], bytes] = library.dyt_sentence
        library.dyt_sentence.restype = ctypes.c_char_p
        # Packed by hand: ctypes takes four times as long to pass the fields one by one.
        self.pack_forward = Struct(f"{library.dyt_forward_fields()}q").pack
        self.pack_backward = Struct(f"{library.dyt_backward_fields()}q").pack
        self.functions, self.levels = _names(library.dyt_functions), _names(library.dyt_levels)
        unknown = set(self.functions) - set(FAMILY)
        if unknown:
            self.missing = (
                f"the CPU kernels compute {', '.join(sorted(unknown))}, which dyt.FAMILY does not "
                "have: reinstall dyt-core, they were compiled from other sources"
            )
            return
        library.dyt_config.restype = ctypes.c_int64
        flags = False, True
        types = product(_DTYPES, _DTYPES, flags, flags, flags)
        for (code, function), kind in product(enumerate(self.functions), types):
            config = library.dyt_config(code, _DTYPES[kind[0]], _DTYPES[kind[1]], *kind[2:])
            self.configs[function, *kind] = config
        self.limit(self.levels[-1])

    def limit(self, level: str) -> None:
        chosen = self.init(*_openmp(), self.levels.index(level), caches.bytes_of_a_thread())
        self.level = self.levels[chosen]


def _names(function: Callable[[], bytes]) -> tuple[str, ...]:
    """The names that a function of the library returns in one string."""
    function.restype = ctypes.c_char_p  # type: ignore[attr-defined]  # it is one of ctypes
    return tuple(function().decode().split())


def _openmp() -> tuple[int | None, ...]:
    """Three functions of the OpenMP runtime that PyTorch is linked to; None if it has none.

    Looked up through PyTorch's own library, which finds the runtime under the name that its wheel
    gives it. Linking to libgomp here could load a second runtime, with a second pool.
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


_library = _Library(LIBRARY)
_threads = torch.get_num_threads
FUNCTIONS = _library.functions
CODES = {function: code for code, function in enumerate(FUNCTIONS)}
LEVELS = _library.levels


def missing() -> str | None:
    """Why there are no kernels on this machine; None if there are."""
    return _library.missing


def level() -> str:
    """The instruction set in use, one of `LEVELS`; empty without the library."""
    return _library.level


def limit(widest: str) -> str:
    """Use no wider instructions than these of `LEVELS`; returns the level now in use."""
    _library.limit(widest)
    return _library.level


def addresses() -> tuple[int, int]:
    """Addresses of the library's forward and backward, for callers in C++."""
    forward, backward = (
        ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
        for function in (_library.forward, _library.backward)
    )
    assert forward
    assert backward
    return forward, backward


def unsupported(call: Call) -> str | None:
    """Why these kernels cannot compute ``call``; None if they can."""
    if _library.missing is not None:
        return _library.missing
    x, alpha, shift, weight, bias, function, _ = call
    if not x.is_cpu:
        return f"the CPU kernels cannot compute on {x.device}, where x is"
    dtype = alpha.dtype
    if _kind(call) not in _library.configs:
        if function not in FUNCTIONS:
            return f"the CPU kernels compute {', '.join(FUNCTIONS)}; not {function}"
        return f"the CPU kernels take float32 and bfloat16, got {x.dtype} and {dtype}"
    for parameter in (shift, weight, bias):
        if parameter is not None and not (parameter.dtype is dtype and parameter.is_contiguous()):
            return "the CPU kernels take contiguous parameters of one dtype"
    if weight is not None and bias is not None and weight.shape != bias.shape:
        return "the CPU kernels take weight and bias of one shape"
    return None


def _kind(call: Call) -> _Kind:
    """The function, the dtypes, and whether there are a shift, a weight and a bias."""
    x, alpha, shift, weight, bias, function, _ = call
    has_shift, has_weight, has_bias = shift is not None, weight is not None, bias is not None
    return function, x.dtype, alpha.dtype, has_shift, has_weight, has_bias


def prepare(call: Call) -> "Prepared":
    """The kernels for calls with tensors of these dtypes, shapes and strides."""
    return Prepared(call)


class Prepared:
    """The kernels, for tensors of the dtypes, shapes and strides of those it was made with.

    Within a model each line of Python finds the caches cold and takes several times as long as
    in a loop of its own. So whatever depends on these facts alone is computed once, here.
    """

    __slots__ = ("_as_it_lies", "_config", "_lead", "_made", "_period", "_sizes")

    def __init__(self, call: Call) -> None:
        x = call.x
        source, self._lead, outer, n, inner, pitch = _arrange(x, call.affine(), call.channels_last)
        self._as_it_lies = source is x
        self._made = torch.empty_like(source).stride()  # of y and dx
        self._sizes = outer, n, inner, pitch
        self._period = n * inner
        self._config = _library.configs[_kind(call)]

    def forward(self, tensors: Tensors) -> Tensor:
        """y, with x's shape, dtype and strides; the arithmetic is fp32.

        Raises:
            MemoryError: there is no memory for the parameters, repeated.
            RuntimeError: a tensor has no memory, or is there where the prepared call had none.
        """
        x, alpha, shift, weight, bias = tensors
        source = x if self._as_it_lies else x.contiguous()
        y = torch.empty_like(source)
        call = _library.pack_forward(
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
        if status := _library.forward(call):
            raise _error(status)
        # With the strides that every other layer returns: a compiler plans with them.
        return y if source is x else torch.empty_like(x).copy_(y)

    def backward(self, dy: Tensor, tensors: Tensors) -> Gradients:
        """dx with x's dtype, the others with the parameters'; sums in fp32, then in fp64.

        Raises:
            MemoryError: there is no memory for the partial sums.
            RuntimeError: as `forward`.
        """
        x, alpha, shift, weight, bias = tensors
        source = x if self._as_it_lies else x.contiguous()
        dx = torch.empty_like(source)
        dy_pitch = self._period
        if dy.stride() != self._made:
            dy, dy_pitch = _arrange_like(dx, dy, self._lead, self._period)
        dalpha = torch.empty_like(alpha)
        dshift = None if shift is None else torch.empty_like(shift)
        dweight = None if weight is None else torch.empty_like(weight)
        dbias = None if bias is None else torch.empty_like(bias)
        call = _library.pack_backward(
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
        if status := _library.backward(call):
            raise _error(status)
        if source is not x:
            dx = torch.empty_like(x).copy_(dx)
        return dx, dalpha, dshift, dweight, dbias


def _error(status: int) -> Exception:
    sentence = _library.sentence(status).decode()
    return MemoryError(sentence) if status == _OUT_OF_MEMORY else RuntimeError(sentence)


def _arrange(
    x: Tensor, affine: Tensor | None, channels_last: bool
) -> tuple[Tensor, int, int, int, int, int]:
    """x, its leading dimensions, and (outer, n, inner, pitch) as kernels.cpp defines them.

    The order of the leading dimensions does not matter to an element-wise layer. So a permuted but
    dense x is taken in the order it has in memory (channels-last NCHW among them), and rows may be
    further apart than they are long. Any other x is copied.
    """
    size = x.numel()
    n = 1 if affine is None else affine.numel()
    if affine is None or n == 1:
        lead, outer, inner = x.dim(), 1, size
    elif channels_last:
        lead, outer, inner = x.dim() - affine.dim(), size // max(1, n), 1
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
    """dy, copied if its layout is not that of dx, and the distance between its rows."""
    if dx.is_contiguous():
        if dy.is_contiguous():
            return dy, period
        pitch = _pitch(dy, lead, period, any_order=False)
        if pitch:
            return dy, pitch
    return torch.empty_like(dx).copy_(dy), period


def _pitch(x: Tensor, lead: int, period: int, *, any_order: bool) -> int:
    """Elements from one row to the next; 0 if rows are not dense or not evenly spaced.

    A row is all that follows the ``lead`` leading dimensions. With ``any_order``, these may be
    permuted if the rows together are dense.
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
    """Whether each dimension contains the next, and the last has the stride ``innermost``."""
    expected = innermost
    for stride, size in zip(reversed(strides), reversed(sizes), strict=True):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True
