"""A task on the clips, of any field changed."""

from collections.abc import Callable
from typing import Any

import pytest

from dyt_bench.cell import Task


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
