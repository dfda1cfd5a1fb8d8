"""A small task of the domain, to be varied."""

import pytest

from dyt_bench.cell import Task


@pytest.fixture
def task():
    def build(**changes):
        fields = {
            "domain": "diffusion",
            "model": "dit",
            "dataset": "digits",
            "steps": 20,
            "batch_size": 16,
            "learning_rate": 4e-3,
            "val_every": 10,
        }
        return Task(**fields | changes)

    return build
