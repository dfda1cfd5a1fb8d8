"""Compare int8 with scales from data, for norms, and with a known scale, for folded DyT layers.

Times are those of the process on one thread, interleaved, of models compiled by Inductor.
"""

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click
import torch
from benchmarks.pretrained.__main__ import SUITE, train
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor, nn
from torchao.quantization import Int8StaticActivationInt8WeightConfig, PerRow, PerTensor, quantize_

import dyt
from dyt_bench.discovery.domains import discover
from dyt_bench.discovery.resolve import resolve
from dyt_bench.plugin.atomic import write_json
from dyt_bench.plugin.task import Run
from dyt_bench.suite.expand import Selection, load_suite
from dyt_bench.training.build import build, with_logging_off
from dyt_bench.training.clock import interleave, quartiles

TRAINED, WIDE = "vit", "vit-width-384"
LEVELS = 127  # of int8 on each side of 0
BATCHES = 4  # that scales are taken from
NATIVE = "native"


@dataclass(frozen=True)
class Row:
    """One model in one form."""

    model: str
    form: str
    seed: int
    accuracy: float | None  # on the validation set; None for a model that is not trained
    moved: float | None  # RMS of the logits' change, in units of their standard deviation
    kilobytes: float  # of parameters
    ms: float  # of a batch, median
    ratio: float  # to the native model: median of the rounds' ratios
    low: float  # its quartiles
    high: float


def forms(native: nn.Module, own: nn.Module, batches: list[Tensor]) -> dict[str, nn.Module]:
    """The native and the DyT model as they are, folded, and in int8."""
    folded = copy.deepcopy(own)
    into = [name for names in dyt.fold(folded, batches[0]).folded.values() for name in names]
    seen = scales(folded, into, batches)
    known = {name: torch.full_like(scale, 1 / LEVELS) for name, scale in seen.items()}
    return {
        NATIVE: native,
        "dyt": own,
        "dyt folded": folded,
        "native int8, scales from data": in_int8(native, scales(native, into, batches)),
        "dyt int8, scales from data": in_int8(folded, seen),
        "dyt int8, known scale": in_int8(folded, known),
    }


def scales(model: nn.Module, names: list[str], batches: list[Tensor]) -> dict[str, Tensor]:
    """A scale for each linear layer, which maps the largest value that it reads to 127."""
    found: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            scale = args[0].abs().amax().reshape([1] * args[0].dim()) / LEVELS
            found[name] = scale.maximum(found.get(name, scale))

        return hook

    hooks = [model.get_submodule(n).register_forward_pre_hook(note(n)) for n in names]
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for hook in hooks:
        hook.remove()
    return found


def in_int8(model: nn.Module, of: Mapping[str, Tensor]) -> nn.Module:
    """A copy whose linear layers with a scale compute in int8."""
    made = copy.deepcopy(model)
    for name, scale in of.items():
        config = Int8StaticActivationInt8WeightConfig(
            act_quant_scale=scale,
            granularity=[PerTensor(), PerRow()],
            set_inductor_config=False,
        )
        quantize_(made.get_submodule(name), config)
    return made


def kilobytes(model: nn.Module) -> float:
    total = 0
    for weight in model.parameters():
        names = [name for name in ("qdata", "scale") if hasattr(weight, name)]
        parts = [getattr(weight, name) for name in names] or [weight]
        total += sum(part.numel() * part.element_size() for part in parts)
    return total / 1000


def times(made: Mapping[str, nn.Module], batch: Tensor, rounds: int) -> dict[str, list[float]]:
    """Seconds of each compiled form, in interleaved rounds."""

    def timed(model: nn.Module) -> Callable[[], float]:
        run = torch.compile(model, fullgraph=True)

        def once() -> float:
            with torch.no_grad():
                start = time.process_time()
                run(batch)
                return time.process_time() - start

        return once

    torch.compiler.reset()
    calls = {name: timed(model) for name, model in made.items()}
    calls["A/A"] = calls[NATIVE]
    interleave(calls, rounds=3)
    return interleave(calls, rounds=rounds)


def rows(
    name: str,
    seed: int,
    made: Mapping[str, nn.Module],
    batch: Tensor,
    rounds: int,
    scored: Mapping[str, tuple[float, float]],
) -> Iterator[Row]:
    seconds = times(made, batch, rounds)
    for form, own in seconds.items():
        ratios = [a / b for a, b in zip(own, seconds[NATIVE], strict=True)]
        low, middle, high = quartiles(ratios)
        accuracy, moved = scored.get(form, (None, None))
        size = kilobytes(made.get(form, made[NATIVE]))
        ms = 1e3 * quartiles(own)[1]
        yield Row(name, form, seed, accuracy, moved, size, ms, middle, low, high)


def trained(run: Run, steps: int) -> Iterator[tuple[nn.Module, Any]]:
    """The task's model with its norms and with DyT, trained from the same weights; and its data."""
    domain = discover().domain(run.task.domain)
    preset = domain.training(run.task)
    for layer in (None, "dyt"):
        data, module, _ = build(resolve(run, domain))
        with_logging_off(module)
        data.prepare_data()
        data.setup("fit")
        if layer is not None:
            dyt.convert(module, layer, exclude=domain.models[run.task.model].exclude)
        torch.manual_seed(run.task.seed)
        train(module, data, preset, steps, run.task.learning_rate)
        yield module.eval().model, data  # type: ignore[misc]  # the network alone


def score(made: Mapping[str, nn.Module], data: Any) -> dict[str, tuple[float, float]]:
    """Accuracy of each form, and how far its logits are from those of the model it was made of."""
    logits: dict[str, list[Tensor]] = {form: [] for form in made}
    labels = []
    with torch.no_grad():
        for images, own in data.val_dataloader():
            labels.append(own)
            for form, model in made.items():
                logits[form].append(model(images))
    truth, found = torch.cat(labels), {form: torch.cat(each) for form, each in logits.items()}
    scored = {}
    for form, values in found.items():
        start = found[form.partition(" ")[0]]
        moved = float((values - start).square().mean().sqrt() / start.std())
        scored[form] = (float((values.argmax(-1) == truth).float().mean()), moved)
    return scored


def wide() -> tuple[nn.Module, nn.Module, Tensor]:
    """A ViT of width 384 without training, the same with DyT, and a batch."""
    import timm

    torch.manual_seed(0)
    options: dict[str, Any] = {"img_size": 64, "patch_size": 8, "depth": 4, "num_classes": 10}
    native = timm.create_model("vit_small_patch16_224", **options).eval()
    own: nn.Module = dyt.convert(copy.deepcopy(native), "dyt")
    return native, own, torch.randn(8, 3, 64, 64)


def table(found: list[Row]) -> Table:
    made = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("model", "form"):
        made.add_column(column, no_wrap=True)
    for column in ("seed", "accuracy", "logits moved", "kB", "ms", "x native", "[quartiles]"):
        made.add_column(escape(column), justify="right", no_wrap=True)
    for row in found:
        known = row.accuracy is not None and row.moved is not None
        made.add_row(
            row.model, row.form, str(row.seed),
            f"{row.accuracy:.4f}" if known else "", f"{row.moved:.4f}" if known else "",
            f"{row.kilobytes:,.0f}", f"{row.ms:.2f}", f"{row.ratio:.3f}",
            escape(f"[{row.low:.3f}, {row.high:.3f}]"),
        )  # fmt: skip
    return made


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option("--steps", type=click.IntRange(1), default=600, show_default=True, help="Training.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--rounds", type=click.IntRange(5), default=40, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print rows, for programs.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the rows.")
def main(steps: int, seeds: int, rounds: int, as_json: bool, out: Path | None) -> None:
    torch.set_num_threads(1)
    found: list[Row] = []
    suite = load_suite(SUITE, discover(), Selection((), seeds, steps))
    for run in (run for run in suite.runs if run.task.domain == "vision"):
        (native, data), (own, _) = trained(run, steps)
        batches = [images for images, _ in islice(data.train_dataloader(), BATCHES)]
        made = forms(native, own, batches)
        found += rows(TRAINED, run.task.seed, made, batches[0], rounds, score(made, data))
    native, own, batch = wide()
    found += rows(WIDE, 0, forms(native, own, [batch]), batch, rounds, {})
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "int8.json", [asdict(row) for row in found])
    if as_json:
        print(json.dumps([asdict(row) for row in found], indent=1))
        return
    Console(width=None if Console().is_terminal else 130).print(table(found))


if __name__ == "__main__":
    main()
