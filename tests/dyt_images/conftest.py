import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nothing is read from the user's cache, or from the system's packages."""
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr("dyt_images.files.FASHION_MNIST_INSTALLED", tmp_path / "none")
    return tmp_path / "cache"
