"""A complete plug-in as contract version 1 had them: old modules, classes, fields and groups."""

import os
from pathlib import Path

from dyt_bench.domain import Dataset, Domain, Metric, Model, Training
from dyt_bench.points import AddedDataset, AddedMetric, Collected, NormClass, Section
from dyt_bench.sources import files_below

HERE = Path(__file__).parent
ENTRY_POINTS = """\
[dyt_bench.domains]
veteran = dyt_version1:domain

[dyt_bench.norms]
clip = dyt_version1.clip:Clip

[dyt_bench.datasets]
more-noise = dyt_version1:more_noise

[dyt_bench.metrics]
steps = dyt_version1:steps

[dyt_bench.sections]
veterans = dyt_version1:veterans
"""


class Veteran(Domain):
    api_version = 1
    name = "veteran"
    summary = "a line through noise"
    unit = "point"
    metric = Metric(
        name="val/loss", mode="min", title="loss (MSE)", margin=0.01, baseline="the mean"
    )
    preload = ("dyt_version1.module",)
    models = {
        "line": Model(
            summary="two layers",
            library="dyt-version1",
            native_norm="LayerNorm",
            steps=100,
            batch_size=8,
            learning_rate=1e-2,
            baseline_steps=80,
        )
    }
    datasets = {
        "noise": Dataset(
            summary="64 points", source="made here", licence="none", files=lambda path: []
        ),
        "folder": Dataset(
            summary="the same",
            source="yours",
            licence="yours",
            files=lambda path: files_below(path, {".seed"}, "POINTS.seed"),
            takes_path=True,
        ),
    }
    trainings = {
        "default": Training(summary="AdamW, cosine"),
        "ema": Training(summary="with everything", ema_decay=0.9, clip_norm=1.0),
    }

    def build_data(self, task):
        from dyt_version1.module import Noise

        return Noise(task)

    def build_module(self, task, data):
        from dyt_version1.module import line

        return line(task, self.training(task))

    def baseline(self, task, data):
        targets = data.val.tensors[1]
        return float((targets - targets.mean()).square().mean())


domain = Veteran()
more_noise = AddedDataset(
    domain="veteran",
    reads_as="folder",
    summary="more of it",
    source="made here",
    licence="none",
    path=lambda: HERE,
)
steps = AddedMetric(title="steps", mode="min", compute=lambda trained: float(len(trained.rows)))


def veterans(collected: Collected) -> Section:
    told = [f"- {run.norm} of {run.subject.question}" for run in collected.runs]
    told += [f"- {each.norm}: {each.native:.3g}, {each.arm:.3g}" for each in collected.standings]
    return Section("Veterans", "\n".join(told))


def layer() -> NormClass:
    from dyt_version1.clip import Clip

    return Clip


def install(folder: Path) -> dict[str, str]:
    """The environment of a process that finds this plug-in; ``folder`` takes its metadata."""
    metadata = folder / "dyt_version1-1.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: dyt-version1\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    return {**os.environ, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{folder}"}
