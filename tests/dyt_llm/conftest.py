"""A cache for the tests, and tasks of a model's defaults."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dyt_bench.plugin.task import Task
from dyt_llm import domain


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: what a first one makes, the others find."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def cache(cache_folder: Path) -> Iterator[Path]:
    """The cache of data sets while these tests run: none reads or fills the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DYT_BENCH_DATA", str(cache_folder))
        yield cache_folder


@pytest.fixture(scope="session")
def task() -> Callable[..., Task]:
    """A task of a model's defaults, but for what is given."""

    def build(dataset: str = "stdlib", *, model: str = "llama", **given: object) -> Task:
        defaults = domain.models[model]
        settings = {
            "steps": 12,
            "batch_size": defaults.batch_size,
            "learning_rate": defaults.learning_rate,
            "val_every": 12,
            "training": defaults.training,
        }
        return Task(domain="llm", model=model, dataset=dataset, **(settings | given))

    return build
