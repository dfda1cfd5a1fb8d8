import pytest

from dyt_bench.plugin.task import Task


@pytest.fixture(scope="session")
def task():
    def make(**changes):
        fields = {
            "domain": "vision",
            "model": "convnext",
            "dataset": "digits",
            "steps": 10,
            "batch_size": 16,
            "learning_rate": 2e-3,
            "val_every": 5,
        }
        return Task(**fields | changes)

    return make
