"""Measure what a probe costs: training steps of a small transformer with and without one.

Three kinds of step are interleaved, one at a time, so that a slow moment of the machine is short
beside a round: plain, with hooks that skip the forward (as all but one of ``every`` do), and with
hooks that measure it. Figures are ratios to the plain step of the same round; the cost of a probe
is their mean, weighted by how often they occur. A/A is the plain step against itself: the noise of
this machine. Time is the CPU time of the process, on one thread, so that other processes matter
through the caches alone; ``--wall`` takes wall-clock time.
"""

import inspect
import time
from collections.abc import Callable

import click
import torch
from torch import Tensor, nn

import dyt
from dyt_bench.training.clock import interleave, quartiles

EVERY = inspect.signature(dyt.probe).parameters["every"].default
NEVER = 10**9


def stepper(
    width: int, depth: int, tokens: int, native: bool
) -> tuple[nn.Module, Tensor, Callable[[], None]]:
    """A pre-norm encoder and a call that trains it for one step."""
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(
        width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True
    )
    model: nn.Module = nn.TransformerEncoder(block, depth, enable_nested_tensor=False)
    if not native:
        model = dyt.convert(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x = torch.randn(4, tokens, width)

    def step() -> None:
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return model, x, step


@click.command()
@click.option("--rounds", default=40, show_default=True)
@click.option("--width", default=128, show_default=True)
@click.option("--depth", default=4, show_default=True)
@click.option("--tokens", default=64, show_default=True)
@click.option("--every", default=EVERY, show_default=True)
@click.option("--native", is_flag=True, help="Watch the native norms instead of DyT.")
@click.option("--wall", is_flag=True, help="Take wall-clock time, on an idle machine.")
def main(
    rounds: int, width: int, depth: int, tokens: int, every: int, native: bool, wall: bool
) -> None:
    """Print the median and the quartiles of the ratios."""
    torch.set_num_threads(1)
    clock = time.perf_counter if wall else time.process_time
    model, x, step = stepper(width, depth, tokens, native)

    def plain() -> float:
        start = clock()
        step()
        return clock() - start

    def skipped() -> float:
        with dyt.probe(model, NEVER):
            with torch.no_grad():
                model(x)  # the first forward is measured
            return plain()

    def measured() -> float:
        with dyt.probe(model, 1):
            return plain()

    steps = {"plain": plain, "A/A": plain, "skipped": skipped, "measured": measured}
    interleave(steps, rounds=3)  # warm up
    seconds = interleave(steps, rounds=rounds)
    ratios = {
        name: [ours / plain for ours, plain in zip(seconds[name], seconds["plain"], strict=True)]
        for name in ("A/A", "skipped", "measured")
    }
    print(f"plain step {quartiles(seconds['plain'])[1] * 1e3:.2f} ms, {rounds} rounds")
    for name, some in ratios.items():
        low, middle, high = quartiles(some)
        print(f"{name:<10} {middle:.4f}  [{low:.4f}, {high:.4f}]")
    one, others = quartiles(ratios["measured"])[1], quartiles(ratios["skipped"])[1]
    print(f"probe, every={every}: {(one + (every - 1) * others) / every:.4f}")


if __name__ == "__main__":
    main()
