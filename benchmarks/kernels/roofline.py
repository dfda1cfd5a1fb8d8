"""Predict how close the Triton kernels come to copying memory, on GPUs from their data sheets.

A kernel takes as long as the slowest of three things that overlap: moving its bytes, issuing
its instructions, and passing its exponentials and reciprocals through the special function
unit. The limit is a copy of the same bytes under the same assumptions. Instruction counts are
read from the machine code by `static`.

This is a model with three assumed efficiencies, not a measurement. It agrees within 10 % with the
one published time it was compared with, Liger-Kernel's forward pass on a B200. That kernel's
published backward pass (172.5 us) takes several launches and is outside the model.
"""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from dyt._kernels.triton import launcher

if TYPE_CHECKING:
    from benchmarks.kernels.static import Figures


@dataclass(frozen=True)
class GPU:
    """Peak rates of a device, from its data sheet; the clock is a sustained one."""

    name: str
    target: str
    bandwidth: float  # bytes a second
    multiprocessors: int
    clock: float  # Hz

    @property
    def issue_rate(self) -> float:
        """Instructions a second: four schedulers, each for 32 threads, a multiprocessor."""
        return self.multiprocessors * 4 * 32 * self.clock

    @property
    def special_rate(self) -> float:
        """Special functions a second: four units of four lanes a multiprocessor."""
        return self.multiprocessors * 4 * 4 * self.clock


@dataclass(frozen=True)
class Efficiency:
    """Assumed shares of the peaks that a kernel reaches when it waits for nothing else."""

    memory: float = 0.92
    issue: float = 0.75
    special: float = 0.90


@dataclass(frozen=True)
class Work:
    """The work of one pass for each element of x, and once for each parameter (column)."""

    bytes_per_element: float
    instructions: float
    special: float
    bytes_per_column: float = 8.0  # fp32 weight and bias


H100 = GPU("H100 SXM", "sm_90", 3.35e12, 132, 1.755e9)
B200 = GPU("B200", "sm_100", 8.0e12, 148, 1.85e9)
LAUNCH = 2.5e-6  # seconds of a launch that are none of the three
LIGER_FORWARD = Work(bytes_per_element=4, instructions=28.7, special=2)
LIGER_PUBLISHED = 43.0e-6  # seconds on a B200, 8192 x 4096, bf16


def seconds(
    work: Work, gpu: GPU, rows: int, columns: int, launches: int = 1, at: Efficiency | None = None
) -> float:
    """The predicted time of one pass over [rows, columns]."""
    at = at or Efficiency()
    elements = rows * columns
    traffic = elements * work.bytes_per_element + columns * work.bytes_per_column
    return launches * LAUNCH + max(
        traffic / (gpu.bandwidth * at.memory),
        elements * work.instructions / (gpu.issue_rate * at.issue),
        elements * work.special / (gpu.special_rate * at.special),
    )


def share(work: Work, gpu: GPU, rows: int, columns: int, at: Efficiency | None = None) -> float:
    """Time of a copy of x, y (and dy) alone, over the predicted one; launches left out."""
    copy = Work(work.bytes_per_element, 0, 0, bytes_per_column=0)
    ideal = seconds(copy, gpu, rows, columns, launches=0, at=at)
    return ideal / seconds(work, gpu, rows, columns, launches=0, at=at)


def work(direction: str, gpu: GPU, rows: int, columns: int, own: "Figures") -> Work:
    """A pass of ours in bf16, with the figures of its machine code for that GPU."""
    if direction == "forward":
        return Work(4, own.per_element, own.special)
    tile = launcher.choose_tile(rows, columns, 2, launcher.BACKWARD, lanes=32)
    blocks = -(-columns // tile.block_n)
    resident = launcher.BACKWARD.resident * gpu.multiprocessors
    programs = launcher.backward_programs(rows, blocks, tile, 2, resident)
    # Of a column: its weight, and of two gradients partial sums written and read, and the result.
    return Work(6, own.per_element, own.special, bytes_per_column=4 + 16 * programs + 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--columns", type=int, default=4096)
    options = parser.parse_args()
    from benchmarks.kernels import static  # imports Triton

    size = (options.rows, options.columns)
    table = Table(title=f"predicted, bf16, {size[0]} x {size[1]}", box=None, title_justify="left")
    for column in ("kernel", "GPU", "us", "share of the limit"):
        table.add_column(column, justify="left" if column in ("kernel", "GPU") else "right")
    for direction in ("forward", "backward"):
        for gpu in (H100, B200):
            case = static.Case(direction, gpu.target, rows=size[0], columns=size[1])
            own = work(direction, gpu, *size, static.figures(case))
            launches = 1 if direction == "forward" else 2
            time = seconds(own, gpu, *size, launches=launches)
            table.add_row(direction, gpu.name, f"{time * 1e6:.1f}", f"{share(own, gpu, *size):.1%}")
    time = seconds(LIGER_FORWARD, B200, *size)
    table.add_row(
        "Liger's forward", "B200", f"{time * 1e6:.1f}", f"{share(LIGER_FORWARD, B200, *size):.1%}"
    )
    Console().print(table)
    print("published for Liger's forward on a B200 at 8192 x 4096: 43.0 us")


if __name__ == "__main__":
    main()
