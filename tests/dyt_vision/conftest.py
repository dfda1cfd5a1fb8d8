import pytest

from dyt_bench.plugin.task import Task


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Nothing is read from the user's cache, or from the system's packages."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DYT_BENCH_DATA", str(folder))
    monkeypatch.setattr("dyt_images.files.FASHION_MNIST_INSTALLED", folder / "none")


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
