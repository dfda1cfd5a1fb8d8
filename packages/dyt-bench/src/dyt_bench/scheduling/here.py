"""This machine as a device, measured. Needs torch."""

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from torch import nn

from dyt_bench.scheduling.machines import Device, step_s
from dyt_bench.scheduling.operations import nbytes
from dyt_bench.scheduling.work import Count


def measured_here() -> Device:
    """This machine's CPU as a device: what one thread reaches at the sizes of small models."""
    import psutil

    torch.manual_seed(0)
    a, b = torch.randn(1024, 128), torch.randn(128, 128)
    single = 2 * 1024 * 128**2 / _typical(lambda: a @ b)
    x, y = torch.randn(2**20), torch.empty(2**20)
    bandwidth = 2 * nbytes(x) / _typical(lambda: y.copy_(x))
    part = x[: 2**17]  # a block's activations; gelu is what most of them use
    special = part.numel() / _typical(lambda: nn.functional.gelu(part))
    drawn = part.numel() / _typical(lambda: y[: 2**17].bernoulli_(0.5))
    layers = [nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()) for _ in range(16)]
    small = nn.Sequential(*layers)

    def pass_through() -> None:
        small(torch.ones(1, 8)).sum().backward()

    with Count() as count:
        pass_through()
    launch = _typical(pass_through) / sum(count.operations.values())
    device = Device(
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
    return replace(device, reached=_reached(device))


def _reached(device: Device) -> float:
    """The share of the device's rates that a small transformer's training step reaches.

    Single operations, repeated, find their memory in a cache and mapped; those of a step do not.
    """
    layer = nn.TransformerEncoderLayer(64, 4, 256, 0.0, "gelu", batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    optimizer, x = torch.optim.AdamW(model.parameters(), fused=True), torch.randn(16, 64, 64)

    def step() -> None:
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # makes the optimiser's state
    with Count() as count:
        step()
    forecast = step_s(count.operations, device)
    return forecast / _typical(step)


def _typical(call: Callable[[], object], seconds: float = 0.3) -> float:
    """The median time of a call, in s."""
    call()
    found: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return median(found)
