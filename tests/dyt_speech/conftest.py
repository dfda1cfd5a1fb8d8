"""A task on the clips, of any field changed, and recordings to make."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from dyt_bench.plugin.task import Task


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    """An empty cache of data sets: no test reads or fills the user's."""
    folder = tmp_path_factory.mktemp("data")
    monkeypatch.setenv("DYT_BENCH_DATA", str(folder))
    return folder


@pytest.fixture
def task() -> Callable[..., Task]:
    def make(**changes: Any) -> Task:
        fields = {
            "domain": "speech",
            "model": "wav2vec2",
            "dataset": "clips",
            "steps": 20,
            "batch_size": 4,
            "learning_rate": 4e-3,
            "val_every": 10,
        }
        return Task(**fields | changes)

    return make


@pytest.fixture
def tone() -> Callable[..., Path]:
    def make(path, *, seconds=2.0, rate=16_000, channels=1, hertz=440.0):
        time = torch.arange(round(seconds * rate)) / rate
        wave = (0.5 * torch.sin(2 * torch.pi * hertz * time)).unsqueeze(1).repeat(1, channels)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave.numpy(), rate)
        return path

    return make
