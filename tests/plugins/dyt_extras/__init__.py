"""One of each that a package may add beside domains; see `dyt_bench.plugin.extensions`."""

import statistics
import sysconfig
from pathlib import Path

from dyt_bench.executors.command import CommandExecutor
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.extensions import AddedDataset, AddedMetric, Plot, Section


def reference():
    folder = Path(sysconfig.get_path("stdlib")) / "pydoc_data"
    if not folder.is_dir():
        raise DataError(f"this Python came without {folder}: use one that has its help() topics")
    return folder


PYTHON_REFERENCE = AddedDataset(
    domain="llm",
    reads_as="folder",
    summary="0.7 MB of English: the Python language reference, as help() shows it",
    source="the running interpreter's standard library, pydoc_data",
    licence="PSF-2.0",
    path=reference,
)


def gap(trained):
    """Validation minus training loss, the latter as the mean of the last tenth of its rows."""
    training = [row["train/loss"] for row in trained.rows if "train/loss" in row]
    validation = [row["val/loss"] for row in trained.rows if "val/loss" in row]
    return validation[-1] - statistics.fmean(training[-max(1, len(training) // 10) :])


GENERALIZATION_GAP = AddedMetric(title="generalization gap (loss)", mode="min", compute=gap)


def seeds(collected):
    """How far seeds lie apart: what a single seed's difference is to be held against."""
    losses = {}
    for run in collected.runs:
        if "val/loss" in run.result.last:
            group = f"{run.group.domain}/{run.group.model}"
            losses.setdefault((group, run.variant), []).append(run.result.last["val/loss"])
    rows = ["| model | variant | seeds | least loss | most |", "|---|---|---|---|---|"]
    rows += [
        f"| {group} | {variant} | {len(some)} | {min(some):.4f} | {max(some):.4f} |"
        for (group, variant), some in losses.items()
    ]

    def draw(axes, looks):
        for height, ((_, variant), some) in enumerate(losses.items()):
            look = looks[variant]
            axes.plot(some, [height] * len(some), look.marker, color=look.colour)
        axes.set_yticks(range(len(losses)), [variant for _, variant in losses])
        axes.set_xlabel("validation loss")

    return Section("Spread over seeds", "\n".join(rows), [Plot("loss of every seed", draw)])


class Niced(CommandExecutor):
    """Runs give way to whatever else the machine has to do."""

    prefix = ("nice", "-n", "5")
