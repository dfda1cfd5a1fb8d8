"""Time the layers against the norms they replace, and against copying the same bytes.

All arms of a size take turns in one process, so that a slow moment of the machine slows them
alike; every figure is a ratio to `Tensor.clone`, the least any layer can do: read once, write
once. The row A/A is that copy against itself: differences of its size mean nothing.
"""

import argparse
import json
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import dyt
from dyt_bench.measure import interleave, now, quartiles

SIZES = ((256, 192), (4096, 768), (8192, 4096))  # rows of tokens, features
LAYERS: dict[str, Callable[..., nn.Module]] = {
    "DynamicTanh": dyt.DynamicTanh,
    "DynamicErf": dyt.DynamicErf,
    "nn.LayerNorm": nn.LayerNorm,
    "nn.RMSNorm": nn.RMSNorm,
}
COPY, AA = "clone", "A/A"


def arms(
    rows: int, features: int, device: torch.device, dtype: torch.dtype, backward: bool
) -> dict[str, Callable[[], float]]:
    """Name -> a call that runs the layer once on its own input and returns its seconds."""
    x = torch.randn(rows, features, device=device, dtype=dtype, requires_grad=backward)
    gradient = torch.randn_like(x)

    def timed(run: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], float]:
        def once() -> float:
            x.grad = None
            start = now(device)
            y = run(x)
            if backward:
                y.backward(gradient)
            return now(device) - start

        return once

    copy = timed(torch.clone)
    made = {
        name: timed(layer(features, device=device, dtype=dtype)) for name, layer in LAYERS.items()
    }
    return {COPY: copy, AA: copy, **made}


def measure(rounds: int, device: torch.device, dtype: torch.dtype) -> list[dict[str, object]]:
    """One row for each size, pass and arm: milliseconds and the ratio to the copy."""
    results: list[dict[str, object]] = []
    for rows, features in SIZES:
        for backward in (False, True):
            candidates = arms(rows, features, device, dtype, backward)
            interleave(candidates, rounds=3)  # warm up
            seconds = interleave(candidates, rounds=rounds)
            for name, own in seconds.items():
                ratios = [a / b for a, b in zip(own, seconds[COPY], strict=True)]
                low, middle, high = quartiles(ratios)
                results.append(
                    {
                        "size": f"{rows}x{features}",
                        "pass": "forward+backward" if backward else "forward",
                        "layer": name,
                        "ms": quartiles(own)[1] * 1e3,
                        "ratio": middle,
                        "ratio_q1": low,
                        "ratio_q3": high,
                    }
                )
    return results


def table(results: list[dict[str, object]], title: str) -> Table:
    """The rows as a terminal table."""
    made = Table(title=title, box=None, title_justify="left", padding=(0, 1, 0, 0))
    for column in ("size", "pass", "layer"):
        made.add_column(column, no_wrap=True)
    for column in ("ms", "x clone [quartiles]"):
        made.add_column(column, justify="right", no_wrap=True)
    for row in results:
        made.add_row(
            str(row["size"]),
            str(row["pass"]),
            str(row["layer"]),
            f"{row['ms']:.3f}",
            f"{row['ratio']:.2f} [{row['ratio_q1']:.2f}, {row['ratio_q3']:.2f}]",
            end_section=row["layer"] == list(LAYERS)[-1],
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25, help="measurements of each arm")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--json", action="store_true", help="print rows, for programs")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    device = accelerator or torch.device("cpu")
    results = measure(options.rounds, device, getattr(torch, options.dtype))
    if options.json:
        print(json.dumps(results, indent=1))
        return
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    Console().print(table(results, f"{device.type}{threads}, {options.dtype}, medians"))


if __name__ == "__main__":
    main()
