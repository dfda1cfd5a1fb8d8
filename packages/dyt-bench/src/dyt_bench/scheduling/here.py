"""This machine as a device, measured. Needs torch."""

import math
import time
from collections.abc import Callable

import torch
from torch import nn

from dyt_bench.scheduling.machines import Device
from dyt_bench.scheduling.operations import nbytes
from dyt_bench.scheduling.work import Count


def measured_here() -> Device:
    """This machine's CPU as a device: what one thread reaches at the sizes of small models."""
    import psutil

    torch.manual_seed(0)
    a, b = torch.randn(1024, 128), torch.randn(128, 128)
    single = 2 * 1024 * 128**2 / _best(lambda: a @ b)
    x, y = torch.randn(2**20), torch.empty(2**20)
    bandwidth = 2 * nbytes(x) / _best(lambda: y.copy_(x))
    part = x[: 2**17]  # a block's activations; gelu is what most of them use
    special = part.numel() / _best(lambda: nn.functional.gelu(part))
    drawn = part.numel() / _best(lambda: y[: 2**17].bernoulli_(0.5))
    layers = [nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()) for _ in range(16)]
    small = nn.Sequential(*layers)

    def pass_through() -> None:
        small(torch.ones(1, 8)).sum().backward()

    with Count() as count:
        pass_through()
    launch = _best(pass_through) / sum(count.operations.values())
    return Device(
        "here",
        memory=float(psutil.virtual_memory().total),
        bandwidth=bandwidth,
        half=single / 2,  # most CPUs emulate it
        single=single,
        launch=launch,
        special=special,
        drawn=drawn,
        waits=True,
        base=float(psutil.Process().memory_info().rss),
    )


def _best(call: Callable[[], object], seconds: float = 0.3) -> float:
    """The least time of a call, in s."""
    call()
    least, until = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - start)
    return least
