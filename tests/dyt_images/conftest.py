import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Nothing is read from the user's cache, or from the system's packages."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DYT_BENCH_DATA", str(folder))
    monkeypatch.setattr("dyt_images.files.FASHION_MNIST_INSTALLED", folder / "none")
    return folder
