"""What a call of the Triton kernels costs before the GPU hears of it, beside Liger's DyT.

A stub takes the place of the GPU's driver: kernels are compiled for sm_90 and looked up as always,
and the last call, which would hand them to the driver, does nothing. So all that is timed is
Python's: autograd, planning, Triton's own lookup. Tensors are a CPU's and small, as their memory
is never read.
"""

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dyt import _ops
from dyt._kernels import guard
from dyt._kernels.call import Call
from dyt._kernels.triton import launcher
from dyt_bench.training.clock import interleave, quartiles

H100 = launcher.Machine(multiprocessors=132, lanes=32, ptx=True, backward_options={})
OURS, LIGER = "DyT", "Liger DyT"
CALLS = 200  # in a round


class Stub:
    """A driver of a GPU that takes every launch and does nothing."""

    def __init__(self) -> None:
        self.utils = SimpleNamespace(
            load_binary=lambda *_: (object(), object(), 0, 0, 1024),
            get_device_properties=lambda _: {"max_shared_mem": 227 << 10},
        )

    def launcher_cls(self, *_: object) -> Callable[..., None]:
        return lambda *_: None

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _: int) -> int:
        return 0

    def get_benchmarker(self) -> Callable[..., list[float]]:
        return lambda *_, **__: [1.0, 1.0, 1.0]  # an autotuner takes its first candidate

    def get_empty_cache_for_benchmark(self) -> None:
        return None

    def clear_cache(self, _: None) -> None:
        return None


@contextmanager
def stubbed() -> Iterator[None]:
    """Within, Triton launches on a `Stub`, and a CPU's tensors count as an H100's."""
    import triton

    properties = SimpleNamespace(multi_processor_count=H100.multiprocessors)
    with (
        patch.object(triton.runtime.driver, "_active", Stub()),
        patch.object(launcher, "machine", lambda _: H100),
        patch.object(torch.cuda, "get_device_properties", lambda _: properties),
    ):
        yield


def ours(x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor) -> Callable[[], Tensor]:
    """A call by the route that a layer finds for tensors that it has met before."""
    call = Call(x, alpha, None, weight, bias, "tanh", True)
    facts = tuple(map(guard.facts, call.tensors()))
    route = _ops.Route("tanh", True, "triton", facts, launcher.prepare(call))
    return lambda: _ops.fused(call.tensors(), route)


def ligers(x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor) -> Callable[[], Tensor] | None:
    """A call of Liger's function; None where it is not installed."""
    if importlib.util.find_spec("liger_kernel") is None:
        return None
    from liger_kernel.ops import dyt as theirs  # type: ignore[import-not-found]  # optional

    theirs.infer_device = lambda: "cuda"
    return lambda: theirs.LigerDyTFunction.apply(x, alpha, weight, bias)


def measure(rows: int, width: int, rounds: int) -> list[dict[str, object]]:
    """Microseconds of a call for each of the two and each pass, median and quartiles of rounds."""
    with stubbed():
        parameters = [torch.ones(1), torch.ones(width), torch.ones(width)]
        tensors = [t.to(torch.bfloat16) for t in (torch.ones(rows, width), *parameters)]
        for t in tensors:
            t.requires_grad_()
        dy = torch.ones_like(tensors[0])
        found = {OURS: ours(*tensors), LIGER: ligers(*tensors)}
        made: list[dict[str, object]] = []
        for name, work in (("forward", forward), ("forward and backward", both)):
            calls = {k: _timed(work, call, dy) for k, call in found.items() if call is not None}
            interleave(calls, rounds=3)  # compiles, and tunes
            for layer, seconds in interleave(calls, rounds=rounds).items():
                low, middle, high = (1e6 * s / CALLS for s in quartiles(seconds))
                made.append(
                    {"layer": layer, "pass": name, "us": middle, "us_q1": low, "us_q3": high}
                )
    return made


def forward(call: Callable[[], Tensor], _: Tensor) -> None:
    with torch.no_grad():
        call()


def both(call: Callable[[], Tensor], dy: Tensor) -> None:
    call().backward(dy)  # type: ignore[no-untyped-call]


def _timed(
    work: Callable[[Callable[[], Tensor], Tensor], None], call: Callable[[], Tensor], dy: Tensor
) -> Callable[[], float]:
    def once() -> float:
        start = time.perf_counter()
        for _ in range(CALLS):
            work(call, dy)
        return time.perf_counter() - start

    return once


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--rows", type=click.IntRange(1), default=8, show_default=True)
@click.option("--width", type=click.IntRange(1), default=64, show_default=True)
@click.option("--rounds", type=click.IntRange(3), default=30, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(rows: int, width: int, rounds: int, as_json: bool) -> None:
    torch.set_num_threads(1)
    found = measure(rows, width, rounds)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("layer", "pass", "us a call", "quartiles"):
        table.add_column(column)
    for row in found:
        quarters = f"{row['us_q1']:.1f} to {row['us_q3']:.1f}"
        table.add_row(str(row["layer"]), str(row["pass"]), f"{row['us']:.1f}", quarters)
    Console().print(table)


if __name__ == "__main__":
    main()
