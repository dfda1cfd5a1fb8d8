"""A domain that trains in milliseconds; some of its models do what no plugin should."""

import os
from pathlib import Path

from dyt_bench.plugin.domain import Dataset, Domain, Metric, Model, TrainingPreset

HERE = Path(__file__).parent
FAULTS = ("raise", "segfault", "exit", "vanish", "killed", "import", "hang", "memory", "fill")


class Tiny(Domain):
    name = "tiny"
    summary = "a line through noise"
    unit = "point"
    metric = Metric(name="val/loss", mode="min", title="loss (MSE)", margin=0.01)
    preload = ("dyt_tiny.module",)
    models = {
        name: Model(
            summary="two layers",
            library="dyt-tiny",
            native_norm="LayerNorm",
            steps=12,
            batch_size=8,
            learning_rate=1e-2,
        )
        for name in ("line", "slow", *FAULTS)
    }
    datasets = {
        "noise": Dataset(
            summary="44 points", source="made here", licence="none", files=lambda path: []
        )
    }
    trainings = {
        "default": TrainingPreset(summary="AdamW, cosine"),
        "ema": TrainingPreset(summary="with everything", ema_decay=0.9, clip_norm=1.0),
    }

    def build_data(self, task):
        from dyt_tiny.module import Noise

        return Noise(task)

    def build_module(self, task, data):
        from dyt_tiny.module import Line

        return Line(task, self.training(task))


def install(folder: Path) -> dict[str, str]:
    """The environment of a process that finds this plugin; ``folder`` takes its metadata."""
    metadata = folder / "dyt_tiny-1.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: dyt-tiny\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[dyt_bench.domains]\ntiny = dyt_tiny:domain\n")
    return {**os.environ, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{folder}"}


domain = Tiny()
