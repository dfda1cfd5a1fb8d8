"""Launcher of the Triton kernels: which tensors they take, in which tiles, on how many programs.

Triton itself is imported when it is needed, so that this module imports without it.
"""

import contextlib
import importlib.util
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dyt._kernels.call import Call, Gradients, Tensors
from dyt.functions import FAMILY

if TYPE_CHECKING:
    from dyt._kernels.triton.functions import Function

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDEST = 2**31 - 2**16  # columns that the kernels count in 32 bits; rows may be more


@dataclass(frozen=True)
class Tile:
    """What one step of a program covers: ``unroll`` times ``block_m`` rows, ``block_n`` columns.

    One vector of 16 bytes for each thread and tile, loads of all ``unroll`` tiles in flight:
    32 bytes a thread forward and 64 backward, with the programs below 49 KB on a multiprocessor,
    where an H100 needs about 15 KB to cover 600 ns and a B200 about 32 KB.
    """

    block_m: int
    block_n: int
    unroll: int
    warps: int = 4

    @property
    def rows(self) -> int:
        return self.block_m * self.unroll


@dataclass(frozen=True, eq=False)
class Pass:
    """The launch table: one entry for each pass."""

    unroll: int  # 4 forward would take 48 registers, 2 take 40
    registers: int  # of a thread, for tanh and rows that fill the tiles
    resident: int  # programs of 128 threads that the 65,536 registers hold, whatever the shape


FORWARD = Pass(unroll=2, registers=40, resident=12)
BACKWARD = Pass(unroll=2, registers=72, resident=6)  # with ragged or channels-first rows, 80
# Without a limit, ptxas gives the backward kernel 80 registers for sm_80 and 68 to 71 for later
# architectures. With a limit of 72 it keeps to it for sm_80, but spills 8 bytes for sm_90.
LIMITED = 90  # architectures below this one get the limit
# Whether tanh of bf16 may be NVIDIA's approximation going forward: 2^-11 of it, a quarter of what
# rounding to bf16 costs at most. One step of the special unit in place of two, which B200's memory
# nearly outruns; H100's does not.
ROUGH = os.environ.get("DYT_TANH_APPROX") == "1"
STEPS = 4  # of a forward program: its 8 bytes of parameters a column are then 3 % of its loads


@dataclass(frozen=True, eq=False)
class Machine:
    """What launches depend on of a device."""

    multiprocessors: int
    lanes: int  # of a warp
    ptx: bool  # whether the compiler takes NVIDIA's assembly
    backward_options: dict[str, int]


def missing() -> str | None:
    """Why the kernels cannot run on this machine; None if they can."""
    if not _installed():
        return "triton is not installed"
    if not torch.cuda.is_available() and not interpreting():
        return "triton needs a CUDA or ROCm device, and PyTorch finds none"
    return None


def unsupported(call: Call) -> str | None:
    """Why these kernels cannot compute ``call``; None if they can."""
    if not _installed():
        return "triton is not installed"
    device = call.x.device
    if device.type != "cuda" and not (device.type == "cpu" and interpreting()):
        return f"triton needs a CUDA or ROCm device, got {device}"
    if call.function not in functions():
        return f"triton has no kernel for function {call.function!r}"
    if call.x.dtype not in DTYPES:
        return f"triton computes in fp32, got x of {call.x.dtype}"
    for name, tensor in zip(Call._fields[1:5], call.tensors()[1:], strict=True):
        if tensor is None:
            continue
        if tensor.dtype not in DTYPES:
            return f"triton computes in fp32, got {name} of {tensor.dtype}"
        if tensor.device != device:
            return f"{name} is on {tensor.device}, x on {device}"
    if call.x.numel() > WIDEST:
        covered = _covered(call)
        shape = tuple(call.x.shape)
        if covered and math.prod(shape[covered.start :]) > WIDEST:
            return f"triton takes samples of at most {WIDEST} elements, got shape {shape}"
    return None


def forward(call: Call) -> Tensor:
    """``weight * f(alpha * x + shift) + bias`` in one launch; y has x's shape, dtype and order.

    A layout that is not rows of adjacent columns in memory (see `Layout`) is copied first.
    """
    x, alpha, shift, weight, bias, function, _ = call
    y = torch.empty_like(x)
    if x.numel() == 0:
        return y
    device = machine(x.device)
    strides = (x.stride(), y.stride())
    plan = plan_launch(
        FORWARD, function, _covered(call), x.shape, strides, x.element_size(), device
    )
    if plan is None:
        # In x's order, not in that of the copy.
        return y.copy_(forward(call._replace(x=x.contiguous())))
    rough = ROUGH and x.dtype == torch.bfloat16
    tile, f = plan.tile, functions()[function].formula(x.dtype == torch.float32, rough)
    with _on(x.device):
        _kernels().forward_kernel[plan.grid](
            x, y, alpha, shift, _dense(weight), _dense(bias), *plan.layout,
            f.u, f.scale, f.a, f.b, device.ptx, tile.block_m, tile.block_n, tile.unroll,
            num_warps=tile.warps,
        )  # fmt: skip
    return y


def backward(dy: Tensor, call: Call) -> Gradients:
    """Gradients of x, alpha, shift, weight and bias, each in its tensor's dtype, in two launches.

    Sums are fp32, without atomics: the same arguments give the same bits on the same device.
    """
    x, alpha, shift, weight, _, function, _ = call
    dx = torch.empty_like(x)
    parameters = call.tensors()[1:]
    if x.numel() == 0:
        dalpha, *zeros = (None if p is None else torch.zeros_like(p) for p in parameters)
        assert dalpha is not None  # as alpha is not
        return dx, dalpha, zeros[0], zeros[1], zeros[2]
    device = machine(x.device)
    covered = _covered(call)
    strides = (dy.stride(), x.stride(), dx.stride())
    plan = plan_launch(BACKWARD, function, covered, x.shape, strides, x.element_size(), device)
    if plan is None:
        if find_layout(covered, x.shape, (x.stride(), dx.stride())):
            return backward(torch.empty_like(x).copy_(dy), call)
        made = backward(dy.contiguous(), call._replace(x=x.contiguous()))
        return dx.copy_(made[0]), *made[1:]
    dalpha, dshift, dweight, dbias = gradients = [
        None if p is None else torch.empty_like(p, memory_format=torch.contiguous_format)
        for p in parameters
    ]
    assert dalpha is not None
    partials = [
        None if p is None else x.new_empty(size, dtype=torch.float32)
        for p, size in zip(parameters, plan.partials, strict=True)
    ]
    kernels, tile = _kernels(), plan.tile
    f = functions()[function].formula(x.dtype == torch.float32)
    with _on(x.device):
        kernels.backward_kernel[plan.grid](
            dy, x, dx, alpha, shift, _dense(weight), *partials, *plan.layout, plan.slots,
            f.u, f.v, f.scale, f.a, f.b, f.d, device.ptx, tile.block_m, tile.block_n, tile.unroll,
            num_warps=tile.warps, **device.backward_options,
        )  # fmt: skip
        # Each program of the second launch adds up one line of memory of every partial sum.
        affine = call.affine() is not None
        known = 1 if plan.per_parameter == 1 else None
        kernels.reduce_kernel[(1 + (-(-plan.parameters // device.lanes) if affine else 0),)](
            *partials, *gradients, plan.grid[1], plan.grid[0], plan.per_parameter,
            plan.parameters, known, plan.slots, tile.block_n, 32, device.lanes,
        )  # fmt: skip
    return dx, dalpha, dshift, dweight, dbias


@dataclass(frozen=True)
class Prepared:
    """The kernels for one function and layout; `plan_launch` remembers launches."""

    function: str
    channels_last: bool

    def forward(self, tensors: Tensors) -> Tensor:
        return forward(Call(*tensors, self.function, self.channels_last))

    def backward(self, dy: Tensor, tensors: Tensors) -> Gradients:
        return backward(dy, Call(*tensors, self.function, self.channels_last))


def prepare(call: Call) -> Prepared:
    """The kernels for calls with tensors of these dtypes, shapes and strides."""
    return Prepared(call.function, call.channels_last)


@dataclass(frozen=True)
class Plan:
    """All of a launch but the tensors."""

    grid: tuple[int, int]  # column blocks, programs for each of them
    tile: Tile
    layout: tuple[int | None, ...]  # the kernel's arguments from M to the last constant stride
    parameters: int
    per_parameter: int
    slots: int  # sums that a program leaves of each gradient
    partials: tuple[int, int, int, int]  # sums of all programs: alpha, shift, weight, bias


@lru_cache(maxsize=4096)
def plan_launch(
    launch: Pass,
    function: str,
    covered: range,
    shape: torch.Size,
    strides: tuple[tuple[int, ...], ...],
    itemsize: int,
    device: Machine,
) -> Plan | None:
    """How to launch a pass over tensors of one shape; None where they share no layout.

    Cached, because computing it takes longer than the launch.
    """
    layout = find_layout(covered, shape, strides)
    if layout is None:
        return None
    tile = choose_tile(layout.rows, layout.columns, itemsize, launch, device.lanes)
    blocks = -(-layout.columns // tile.block_n)
    if launch is FORWARD:
        together = launch.resident * device.multiprocessors
        programs = forward_programs(layout.rows, blocks, tile, together)
    else:
        resident = functions()[function].resident or launch.resident
        together = resident * device.multiprocessors
        programs = backward_programs(layout.rows, blocks, tile, itemsize, together)
    slots = tile.block_n
    if layout.per_parameter > 1:  # a power of two, so that few kernels are compiled
        slots = 1 << ((tile.block_n - 1) // layout.per_parameter + 1).bit_length()
    count = blocks * programs
    outers, rows = zip(*layout.strides, strict=True)
    aligned = math.gcd(16, *outers) if any(outers) else 0
    widths = (layout.columns, layout.per_parameter)
    unknown = (None,) * len(rows)
    # As constants where a weight is a column, else as arguments.
    known = layout.per_parameter == 1
    arguments = (0, 0, *(0 for _ in rows)) if known else (*widths, *rows)
    ragged = layout.columns % tile.block_n != 0
    constants = (
        *(widths if known else (None, None)),
        ragged,
        aligned,
        *(rows if known else unknown),
    )
    return Plan(
        grid=(blocks, programs),
        tile=tile,
        layout=(
            layout.rows, layout.span, *(outer // max(1, aligned) for outer in outers),
            *arguments, *constants,
        ),
        parameters=layout.columns // layout.per_parameter,
        per_parameter=layout.per_parameter,
        slots=slots,
        partials=(count, count, count * slots, count * slots),
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


def find_layout(
    covered: range, shape: Sequence[int], strides: Sequence[Sequence[int]]
) -> Layout | None:
    """The layout of tensors of one shape, whose ``covered`` dimensions the parameters have.

    None where there is none: columns apart, more than two strides between rows, or tensors in
    different orders. Sorting the dimensions by stride makes a channels-first view of
    channels-last memory, and the reverse, as good as the thing itself.
    """
    last = range(len(shape) - 1, len(shape))
    order = [d for d in range(len(shape)) if shape[d] > 1 or d in (covered or last)]
    order.sort(key=lambda d: -strides[0][d])
    if not covered:
        if all(_adjacent(shape, of, order) for of in strides):
            # At most eleven widths, so kernels are compiled at most eleven times.
            columns = math.gcd(math.prod(shape), 1024)
            rows = math.prod(shape) // columns
            return Layout(rows, columns, 1, 1, ((0, columns),) * len(strides))
        covered = last
    first = order.index(covered[0])
    if order[first : first + len(covered)] != list(covered):
        return None
    outer, inner = order[:first], order[first:]
    width = math.prod(shape[d] for d in inner)
    if width > WIDEST or not all(_adjacent(shape, of, inner) for of in strides):
        return None
    blocks = _merge(shape, strides, outer)
    if len(blocks) > 2:
        return None
    return Layout(
        rows=math.prod(shape[d] for d in outer),
        columns=width,
        per_parameter=math.prod(shape[d] for d in inner[len(covered) :]),
        span=math.prod(shape[d] for d in blocks[-1]) if blocks else 1,
        strides=tuple(_row_strides(of, blocks, width) for of in strides),
    )


def _adjacent(shape: Sequence[int], strides: Sequence[int], dims: Sequence[int]) -> bool:
    """Whether these dimensions, in this order, are one run of memory without gaps."""
    expected = 1
    for d in reversed(dims):
        if shape[d] > 1 and strides[d] != expected:
            return False
        expected *= shape[d]
    return True


def _merge(
    shape: Sequence[int], strides: Sequence[Sequence[int]], dims: Sequence[int]
) -> list[list[int]]:
    """Dimensions in groups that have a single stride in every tensor."""
    if not dims:
        return []
    groups = [[dims[0]]]
    for before, d in pairwise(dims):
        if all(of[before] == of[d] * shape[d] for of in strides):
            groups[-1].append(d)
        else:
            groups.append([d])
    return groups


def _row_strides(
    strides: Sequence[int], blocks: Sequence[Sequence[int]], width: int
) -> tuple[int, int]:
    outer = strides[blocks[0][-1]] if len(blocks) == 2 else 0
    return outer, strides[blocks[-1][-1]] if blocks else width


def choose_tile(rows: int, columns: int, itemsize: int, launch: Pass, lanes: int) -> Tile:
    """The tile for a shape: a warp reads a whole row of it, 512 bytes on NVIDIA, 1 KB on AMD.

    Narrow blocks because the backward pass wants many programs, and only splitting columns
    adds some without adding partial sums. Of the widths from 64 the one that wastes fewest
    columns, the wider where equal: 768 takes 256, 192 takes 64, 1000 takes 256. Rows too few
    for that (a batch of one in channels-first order) are read by all four warps side by side.
    """
    widest = lanes * 16 // itemsize
    if rows < 4 * launch.unroll and columns >= 4 * widest:
        return Tile(1, 4 * widest, 1)
    candidates = [2**k for k in range(6, widest.bit_length()) if 2**k <= widest]
    block_n = min(candidates, key=lambda width: (-(-columns // width) * width, -width))
    if columns < candidates[0]:
        block_n = 1 << (columns - 1).bit_length()
    return Tile(4 * widest // block_n, block_n, launch.unroll)


def forward_programs(rows: int, blocks: int, tile: Tile, resident: int) -> int:
    """Programs for each column block: up to `STEPS` steps each, if the device is full then."""
    steps = -(-rows // tile.rows)
    share = steps * blocks // resident
    return min(-(-steps // max(1, min(STEPS, share))), 65_535)  # what a grid's second axis takes


def backward_programs(rows: int, blocks: int, tile: Tile, itemsize: int, resident: int) -> int:
    """Programs for each column block, each with its own partial sums.

    No more than are resident at once: as all have the same number of steps, a few that had to
    wait for the first to end would double the time.

    A column costs 16 bytes of partial sums a program (two gradients, written and read), a row
    three values (x, dy, dx): at most one program for every 133 rows of bf16 keeps them under
    2 % of the traffic. A small problem may have a third of those resident in any case: its
    partial sums stay in the L2 cache.
    """
    steps = -(-rows // tile.rows)
    cheap = int(0.02 * 3 * itemsize * rows / 16)
    filling = -(-resident // (3 * blocks))
    return max(1, min(steps, resident // blocks, max(cheap, filling)))


def compiler_options(architecture: int) -> dict[str, int]:
    """Options of NVIDIA's compiler for the backward kernel; 80 stands for sm_80."""
    return {} if architecture >= LIMITED else {"maxnreg": BACKWARD.registers}


def interpreting() -> bool:
    """Whether TRITON_INTERPRET was set when the kernels were (or would now be) defined."""
    import triton

    return bool(triton.knobs.runtime.interpret)


@cache
def machine(device: torch.device) -> Machine:
    """The figures of a device; of the CPU, what suits the interpreter."""
    if device.type == "cpu":
        # Its cost is per operation, whatever the size; two, to have more than one program.
        return Machine(multiprocessors=2, lanes=512, ptx=False, backward_options={})
    count = torch.cuda.get_device_properties(device).multi_processor_count
    if torch.version.hip:
        return Machine(count, lanes=64, ptx=False, backward_options={})
    major, minor = torch.cuda.get_device_capability(device)
    options = compiler_options(10 * major + minor)
    return Machine(count, lanes=32, ptx=True, backward_options=options)


def _covered(call: Call) -> range:
    """The dimensions of x that the parameters have; none without weight and bias."""
    affine, dims = call.affine(), call.x.dim()
    if affine is None:
        return range(0)
    return range(dims - affine.dim(), dims) if call.channels_last else range(1, 2)


def _dense(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.contiguous()


def _on(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensors'."""
    if device.type == "cpu" or device.index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(device)


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def functions() -> Mapping[str, "Function"]:
    """The functions that have a kernel, by name; all are of `dyt.FAMILY`."""
    from dyt._kernels.triton.functions import FUNCTIONS

    unknown = set(FUNCTIONS) - set(FAMILY)
    if unknown:
        raise ImportError(f"dyt.FAMILY lacks {', '.join(sorted(unknown))}, which Triton computes")
    return FUNCTIONS


@cache
def _kernels() -> Any:
    from dyt._kernels.triton import device

    return device
