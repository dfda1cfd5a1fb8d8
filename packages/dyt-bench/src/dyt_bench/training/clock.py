"""Clocks, memory and quantiles, the same on every device."""

import random
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work; returns at once on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def now(device: torch.device) -> float:
    """Seconds on a monotonic clock, once the device is idle."""
    synchronize(device)
    return time.perf_counter()


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory so far, MiB: the allocator's on a GPU, this process's elsewhere.

    A loader's worker processes are not in it. They hold data, the same with every variant; a run's
    limit of memory counts them (`dyt_bench.executors.group`).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB here


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def interleave(timed: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Time every call once a round, in an order that changes from round to round (fixed seed).

    A slow phase of the machine then slows all calls alike, and what one call leaves in caches and
    in the allocator affects all others equally.

    Args:
        timed: name -> a call that runs once and returns its seconds.
        rounds: measurements of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    order, names = random.Random(0), list(timed)
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            seconds[name].append(timed[name]())
    return seconds
