"""Machines that one may not have: what a device holds, moves, computes and costs. No torch.

The time of a step is the sum over its operations of the longest of three: FLOP over the rate of
matrix products, bytes over the bandwidth, and what an operation takes at least (the roofline
model). A CPU's caller waits for each operation, so that there the last is added; and special
functions and random numbers, which a GPU computes while it waits for memory, have rates of their
own. Of the peaks in data sheets, `MATRIX` and `MEMORY` are reckoned with: what training usually
reaches; here, that share is measured.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dyt_bench.errors import UserError, quoted

if TYPE_CHECKING:
    from dyt_bench.scheduling.operations import Operation

HERE = "here"  # this machine, measured
MATRIX = 0.45  # share of the peak rate of matrix products
MEMORY = 0.75  # share of the peak bandwidth
GIB = 2**30


@dataclass(frozen=True)
class Device:
    """One GPU, or a CPU's threads.

    Rates are the makers' peaks without sparsity.
    """

    name: str
    memory: float  # bytes
    bandwidth: float  # bytes a second
    half: float  # operations a second of matrix products in bfloat16 or float16
    single: float  # the same in float32, which PyTorch computes without TF32 by default
    launch: float = 6e-6  # seconds that an operation takes at least
    # Of exponentials and the like, and of random numbers, a second. On GPUs memory decides.
    special: float = math.inf
    drawn: float = math.inf
    reached: float = 1.0  # share of all this that a training step reaches, where it is measured
    waits: bool = False  # whether the caller waits for an operation, as on a CPU
    price: float = 0.0  # dollars an hour, about, as rented on demand
    base: float = 1.0 * GIB  # bytes that a process takes before it computes


def _gpu(name: str, gib: float, gb_s: float, half: float, single: float, price: float) -> Device:
    return Device(name, gib * GIB, gb_s * 1e9, half * 1e12, single * 1e12, price=price)


# Data sheets of NVIDIA and AMD: memory in GiB, GB/s, TFLOP/s; prices of 2026, which change.
DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        _gpu("t4", 15, 320, 65, 8.1, 0.35),
        _gpu("v100", 16, 900, 125, 15.7, 0.6),
        _gpu("l4", 22.5, 300, 121, 30, 0.7),
        _gpu("rtx4090", 24, 1008, 165, 82.6, 0.5),
        _gpu("a100-40", 40, 1555, 312, 19.5, 1.3),
        _gpu("l40s", 45, 864, 362, 91.6, 1.2),
        _gpu("a100", 80, 2039, 312, 19.5, 1.8),
        _gpu("h100", 80, 3350, 989, 67, 3.0),
        _gpu("h200", 141, 4800, 989, 67, 3.8),
        _gpu("b200", 180, 8000, 2250, 75, 5.5),
        _gpu("mi300x", 192, 5300, 1307, 163, 2.5),
    )
}


@dataclass(frozen=True)
class Machine:
    """Devices of one kind."""

    device: Device
    count: int

    @property
    def name(self) -> str:
        return self.device.name if self.count == 1 else f"{self.count} x {self.device.name}"


def parse(text: str) -> tuple[str, int]:
    """``h100x8`` -> the device's name and how many; ``here`` is this machine.

    Raises:
        UserError: no such device, or not a number of them.
    """
    match = re.fullmatch(r"([a-z0-9-]+?)(?:x([1-9][0-9]{0,3}))?", text.lower())
    name = match[1] if match else ""
    if match is None or name not in (*DEVICES, HERE):
        raise UserError(
            f"there is no machine {quoted(text)}: give a device and how many, as in h100x8; "
            f"devices are {', '.join(DEVICES)}, and {HERE} for this machine"
        )
    return name, int(match[2] or 1)


def step_s(operations: "Mapping[Operation, int]", device: Device) -> float:
    """Seconds of a step of these operations, each so often, by the roofline model."""
    measured = device.name == HERE  # what is measured needs no share taken off
    matrix, memory = (1.0, 1.0) if measured else (MATRIX, MEMORY)
    total = 0.0
    for each, count in operations.items():
        rate = (device.half if each.half else device.single) * matrix
        computed = each.flops / rate + each.special / device.special + each.drawn / device.drawn
        busy = max(computed, each.moved / (device.bandwidth * memory))
        if device.waits:
            total += count * (busy + device.launch * each.tensors)
        else:  # the next operation is launched meanwhile
            total += count * max(busy, device.launch)
    return total / device.reached
