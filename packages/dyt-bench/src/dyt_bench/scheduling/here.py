"""This machine as a device, measured. Needs torch."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median

import torch
from torch import nn

from dyt_bench.scheduling.machines import Device, step_s
from dyt_bench.scheduling.operations import Operation, nbytes
from dyt_bench.scheduling.work import Count

ROUNDS, ROUND_S = 5, 0.15  # of each rate's measurement


def measured_here() -> Device:
    """This machine's CPU as a device: what one thread reaches at the sizes of small models.

    All rates are measured in turns, so that a slow moment of the machine moves them alike.
    """
    import psutil

    torch.manual_seed(0)
    a, b = torch.randn(1024, 128), torch.randn(128, 128)
    x, y = torch.randn(2**20), torch.empty(2**20)
    part, drawn = x[: 2**17], y[: 2**17]  # a block's activations
    pass_through, step = _tiny_model(), _small_step()
    seconds = _in_turns(
        {
            "multiply": lambda: a @ b,
            "copy": lambda: y.copy_(x),
            "gelu": lambda: nn.functional.gelu(part),  # what most of them use
            "draw": lambda: drawn.bernoulli_(0.5),
            "launch": pass_through,
            "step": step,
        }
    )
    single = 2 * a.shape[0] * a.shape[1] * b.shape[1] / seconds["multiply"]
    device = Device(
        "here",
        memory=float(psutil.virtual_memory().total),
        bandwidth=2 * nbytes(x) / seconds["copy"],
        half=single / 2,  # most CPUs emulate it
        single=single,
        launch=seconds["launch"] / sum(_counted(pass_through).values()),
        special=part.numel() / seconds["gelu"],
        drawn=drawn.numel() / seconds["draw"],
        waits=True,
        base=float(psutil.Process().memory_info().rss),
    )
    # Single operations, repeated, find their memory in a cache and mapped; those of a step do not.
    return replace(device, reached=step_s(_counted(step), device) / seconds["step"])


def _tiny_model() -> Callable[[], None]:
    """Forward and backward of a model whose operations do next to nothing."""
    layers = [nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()) for _ in range(16)]
    model = nn.Sequential(*layers)

    def call() -> None:
        model(torch.ones(1, 8)).sum().backward()

    return call


def _small_step() -> Callable[[], None]:
    """A training step of a small transformer."""
    layer = nn.TransformerEncoderLayer(64, 4, 256, 0.0, "gelu", batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    optimizer, x = torch.optim.AdamW(model.parameters(), fused=True), torch.randn(16, 64, 64)

    def call() -> None:
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return call


def _counted(call: Callable[[], None]) -> Mapping[Operation, int]:
    """What a call computes, once its gradients and the optimiser's state are there."""
    call()
    count = Count()
    with count:
        call()
    return count.operations


def _in_turns(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median time of each call, in s."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            call()  # the one before has filled the caches
            until = time.perf_counter() + ROUND_S
            while time.perf_counter() < until:
                start = time.perf_counter()
                call()
                found[name].append(time.perf_counter() - start)
    return {name: median(seconds) for name, seconds in found.items()}
