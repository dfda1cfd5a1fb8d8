import pytest

from dyt_bench.plugin.task import Task


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Nothing is read from the user's cache, or from the system's packages."""
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr("dyt_images.files.FASHION_MNIST_INSTALLED", tmp_path / "none")


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
