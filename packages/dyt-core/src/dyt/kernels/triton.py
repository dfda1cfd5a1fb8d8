"""Launching the Triton kernels: which tensors they take, in what tiles, on how many programs.

Triton itself is imported at the first launch, so that this module imports without it.
"""

import contextlib
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

FUNCTIONS = ("tanh", "erf", "isru", "hardtanh", "arctan", "satursin", "softsign")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Tile:
    """What one step of a program covers: ``unroll`` times ``block_m`` rows, ``block_n`` columns.

    One vector of 16 bytes for each thread and tile, loads of all ``unroll`` tiles in flight:
    32 bytes a thread forward and 64 backward, with the programs below 49 and 57 KB on a
    multiprocessor, where an H100 needs about 15 KB to cover 600 ns and a B200 about 32 KB.
    """

    block_m: int
    block_n: int
    unroll: int
    warps: int = 4

    @property
    def rows(self) -> int:
        return self.block_m * self.unroll


@dataclass(frozen=True)
class Pass:
    """The launch table: one entry for each pass."""

    unroll: int  # 4 forward would take 48 registers, 2 take 40
    registers: int  # of a thread, at most
    resident: int  # programs of 128 threads that 65,536 registers hold


FORWARD = Pass(unroll=2, registers=40, resident=12)
BACKWARD = Pass(unroll=2, registers=72, resident=7)
# Unasked, ptxas gives the backward kernel 80 registers for sm_80 and 68 to 71 for later ones; told
# to stay within 72 it does so for sm_80, but then spills 8 bytes for sm_90.
LIMITED = 90  # architectures below this one are told
STEPS = 4  # of a forward program: its 8 bytes of parameters a column are then 3 % of its loads


def unsupported(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: str,
    channels_last: bool,
) -> str | None:
    """Why these arguments cannot be computed here; None when they can."""
    if not _installed():
        return "triton is not installed"
    if function not in FUNCTIONS:
        return f"triton has no kernel for function {function!r}"
    if x.device.type != "cuda" and not (x.device.type == "cpu" and interpreting()):
        return f"triton needs a CUDA or ROCm device, got {x.device}"
    named = {"x": x, "alpha": alpha, "shift": shift, "weight": weight, "bias": bias}
    for name, tensor in named.items():
        if tensor is not None and tensor.dtype not in DTYPES:
            return f"triton computes in fp32, got {name} of {tensor.dtype}"
        if tensor is not None and tensor.device != x.device:
            return f"{name} is on {tensor.device}, x on {x.device}"
    return None


def forward(
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: str,
    channels_last: bool,
) -> Tensor:
    """``weight * f(alpha * x + shift) + bias`` in one launch; y has x's shape, dtype and order.

    Shapes and dtypes as `dyt.pointwise_norm`. A layout that is not rows of adjacent columns
    in memory (see `Layout`) is copied first.
    """
    y = torch.empty_like(x)
    if x.numel() == 0:
        return y
    covered = _covered(x, weight, bias, channels_last)
    layout = find_layout(covered, x, y)
    if layout is None:
        x, y = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
        layout = _required(find_layout(covered, x, y))
    device = _kernels()
    tile = choose_tile(layout.columns, x.element_size(), FORWARD)
    blocks = -(-layout.columns // tile.block_n)
    programs = forward_programs(layout.rows, blocks, tile, _multiprocessors(x.device))
    (x_outer, x_row), (y_outer, y_row) = layout.strides
    with _on(x.device):
        device.forward_kernel[(blocks, programs)](
            x, y, alpha, shift, weight, bias, layout.rows, layout.span,
            layout.columns, layout.per_parameter, x_outer, x_row, y_outer, y_row,
            function, x.dtype == torch.float32, _ptx(), tile.block_m, tile.block_n, tile.unroll,
            num_warps=tile.warps,
        )  # fmt: skip
    return y


def backward(
    dy: Tensor,
    x: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    function: str,
    channels_last: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, alpha, shift, weight and bias, each in its tensor's dtype, in two launches.

    Sums are fp32, without atomics: the same arguments give the same bits on the same device.
    """
    parameters = (alpha, shift, weight, bias)
    if x.numel() == 0:
        _, *zeros = (None if p is None else torch.zeros_like(p) for p in parameters)
        return torch.empty_like(x), torch.zeros_like(alpha), zeros[0], zeros[1], zeros[2]
    dx = torch.empty_like(x)
    covered = _covered(x, weight, bias, channels_last)
    layout = find_layout(covered, x, dy, dx)
    if layout is None:
        x, dy = x.contiguous(), dy.contiguous()
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
        layout = _required(find_layout(covered, x, dy, dx))
    gradients = [
        None if p is None else torch.empty_like(p, memory_format=torch.contiguous_format)
        for p in parameters
    ]
    with _on(x.device):
        _launch_backward(dy, x, dx, parameters, gradients, layout, function)
    dalpha, dshift, dweight, dbias = gradients
    assert dalpha is not None  # as alpha is not
    return dx, dalpha, dshift, dweight, dbias


def _launch_backward(
    dy: Tensor,
    x: Tensor,
    dx: Tensor,
    parameters: Sequence[Tensor | None],
    gradients: Sequence[Tensor | None],
    layout: "Layout",
    function: str,
) -> None:
    alpha, shift, weight, bias = parameters
    device = _kernels()
    tile = choose_tile(layout.columns, x.element_size(), BACKWARD)
    blocks = -(-layout.columns // tile.block_n)
    programs = backward_programs(
        layout.rows, blocks, tile, x.element_size(), _multiprocessors(x.device)
    )
    slots = tile.block_n
    if layout.per_parameter > 1:
        slots = (tile.block_n - 1) // layout.per_parameter + 2
    sizes = [blocks * programs * size for size in (1, 1, slots, slots)]
    partials = [
        None if p is None else x.new_empty(size, dtype=torch.float32)
        for p, size in zip(parameters, sizes, strict=True)
    ]
    (x_outer, x_row), (dy_outer, dy_row), (dx_outer, dx_row) = layout.strides
    device.backward_kernel[(blocks, programs)](
        dy, x, dx, alpha, shift, weight, *partials, layout.rows, layout.span,
        layout.columns, layout.per_parameter, slots,
        x_outer, x_row, dy_outer, dy_row, dx_outer, dx_row,
        function, x.dtype == torch.float32, _ptx(), tile.block_m, tile.block_n, tile.unroll,
        num_warps=tile.warps, **compiler_options(_architecture(x.device)),
    )  # fmt: skip
    count = layout.columns // layout.per_parameter
    affine = weight is not None or bias is not None
    block_c = _lanes()  # of every program's partial sums, one line of memory
    device.reduce_kernel[(1 + (-(-count // block_c) if affine else 0),)](
        *partials, *gradients, programs, blocks,
        count, layout.per_parameter, slots, tile.block_n, 32, block_c,
    )  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """How tensors of one shape lie in memory, seen as [rows, columns].

    Columns are adjacent in memory and ``per_parameter`` of them share a weight: 1 for
    channels-last, H * W for channels-first. Rows are one stride apart (outer 0), or blocks of
    ``span`` rows are.
    """

    rows: int
    columns: int
    per_parameter: int
    span: int
    strides: tuple[tuple[int, int], ...]  # (outer, row) of each tensor


def find_layout(covered: range, *tensors: Tensor) -> Layout | None:
    """The layout of tensors of one shape, whose ``covered`` dimensions the parameters have.

    None where there is none: columns apart, more than two strides between rows, or tensors in
    different orders. Sorting the dimensions by stride makes a channels-first view of
    channels-last memory, and the reverse, as good as the thing itself.
    """
    shape = tensors[0].shape
    if not covered:
        if all(tensor.is_contiguous() for tensor in tensors):
            # At most eleven widths, so kernels are compiled at most eleven times.
            columns = math.gcd(tensors[0].numel(), 1024)
            rows = tensors[0].numel() // columns
            return Layout(rows, columns, 1, 1, ((0, columns),) * len(tensors))
        covered = range(len(shape) - 1, len(shape))
    strides = tensors[0].stride()
    order = [d for d in range(len(shape)) if shape[d] > 1 or d in covered]
    order.sort(key=lambda d: -strides[d])
    first = order.index(covered[0])
    if order[first : first + len(covered)] != list(covered):
        return None
    outer, inner = order[:first], order[first:]
    if not all(_adjacent(tensor, inner) for tensor in tensors):
        return None
    blocks = _merge(tensors, outer)
    if len(blocks) > 2:
        return None
    width = math.prod(shape[d] for d in inner)
    return Layout(
        rows=math.prod(shape[d] for d in outer),
        columns=width,
        per_parameter=math.prod(shape[d] for d in inner[len(covered) :]),
        span=math.prod(shape[d] for d in blocks[-1]) if blocks else 1,
        strides=tuple(_row_strides(tensor, blocks, width) for tensor in tensors),
    )


def _adjacent(tensor: Tensor, dims: Sequence[int]) -> bool:
    """Whether these dimensions, in this order, are one run of memory without gaps."""
    expected = 1
    for d in reversed(dims):
        if tensor.shape[d] > 1 and tensor.stride(d) != expected:
            return False
        expected *= tensor.shape[d]
    return True


def _merge(tensors: Sequence[Tensor], dims: Sequence[int]) -> list[list[int]]:
    """Dimensions in groups that have a single stride in every tensor."""
    if not dims:
        return []
    groups = [[dims[0]]]
    for before, d in pairwise(dims):
        if all(t.stride(before) == t.stride(d) * t.shape[d] for t in tensors):
            groups[-1].append(d)
        else:
            groups.append([d])
    return groups


def _row_strides(tensor: Tensor, blocks: list[list[int]], width: int) -> tuple[int, int]:
    outer = tensor.stride(blocks[0][-1]) if len(blocks) == 2 else 0
    return outer, tensor.stride(blocks[-1][-1]) if blocks else width


def choose_tile(columns: int, itemsize: int, launch: Pass, lanes: int | None = None) -> Tile:
    """The tile for a width: a warp reads a whole row of it, 512 bytes on NVIDIA, 1 KB on AMD.

    Narrow blocks because the backward pass wants many programs, and only splitting columns
    adds some without adding partial sums. Of the widths from 64 the one that wastes fewest
    columns, the wider where equal: 768 takes 256, 192 takes 64, 1000 takes 256.
    """
    lanes = lanes or _lanes()
    widest = lanes * 16 // itemsize
    candidates = [2**k for k in range(6, widest.bit_length()) if 2**k <= widest]
    block_n = min(candidates, key=lambda width: (-(-columns // width) * width, -width))
    if columns < candidates[0]:
        block_n = 1 << (columns - 1).bit_length()
    return Tile(4 * widest // block_n, block_n, launch.unroll)


def forward_programs(rows: int, blocks: int, tile: Tile, multiprocessors: int) -> int:
    """Programs for each column block: up to `STEPS` steps each, if the device is full then."""
    steps = -(-rows // tile.rows)
    share = steps * blocks // (FORWARD.resident * multiprocessors)
    return min(-(-steps // max(1, min(STEPS, share))), 65_535)


def backward_programs(
    rows: int, blocks: int, tile: Tile, itemsize: int, multiprocessors: int
) -> int:
    """Programs for each column block, all resident at once, each with its own partial sums.

    A column costs 16 bytes of partial sums a program (two gradients, written and read), a row
    three values (x, dy, dx): at most one program for every 133 rows of bf16 keeps them under
    2 % of the traffic. A small problem may have two programs a multiprocessor in any case: its
    partial sums stay in the L2 cache.
    """
    steps = -(-rows // tile.rows)
    resident = BACKWARD.resident * multiprocessors // blocks
    cheap = int(0.02 * 3 * itemsize * rows / 16)
    filling = -(-2 * multiprocessors // blocks)
    return max(1, min(steps, resident, max(cheap, filling)))


def compiler_options(architecture: int | None) -> dict[str, int]:
    """What the compiler is told of the backward kernel: 80 stands for sm_80, None for AMD's."""
    if architecture is None or architecture >= LIMITED:
        return {}
    return {"maxnreg": BACKWARD.registers}


def interpreting() -> bool:
    """Whether TRITON_INTERPRET was set when the kernels were (or would now be) defined."""
    import triton

    return bool(triton.knobs.runtime.interpret)


def _covered(x: Tensor, weight: Tensor | None, bias: Tensor | None, channels_last: bool) -> range:
    """The dimensions of x that the parameters have; none without weight and bias."""
    parameter = weight if weight is not None else bias
    if parameter is None:
        return range(0)
    return range(x.dim() - parameter.dim(), x.dim()) if channels_last else range(1, 2)


def _required(layout: Layout | None) -> Layout:
    assert layout is not None  # contiguous tensors always have one
    return layout


def _lanes() -> int:
    if interpreting():
        return 512  # its cost is per operation, whatever the size
    return 64 if torch.version.hip else 32


def _ptx() -> bool:
    return torch.version.hip is None and not interpreting()


def _on(device: torch.device) -> contextlib.AbstractContextManager[object]:
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def _kernels() -> Any:
    from dyt.kernels import triton_device

    return triton_device


@cache
def _architecture(device: torch.device) -> int | None:
    if not _ptx():
        return None
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


@cache
def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 2  # the interpreter's: enough to have more than one program
    return torch.cuda.get_device_properties(device).multi_processor_count
