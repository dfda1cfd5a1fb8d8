"""Labelled sequences for several tests: a task, and a folder of two classes."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dyt_bench.plugin.task import Task
from dyt_dna import domain
from dyt_dna.data.datamodule import LabelledData


@pytest.fixture
def labelled_task() -> Task:
    return Task(
        domain="dna",
        model="hyena",
        dataset="genomic-benchmarks",
        steps=10,
        batch_size=8,
        learning_rate=2e-3,
        val_every=10,
    )


@pytest.fixture
def sequence() -> Callable[..., str]:
    def random_bases(seed: int, length: int, weights: tuple[int, ...] = (1, 1, 1, 1)) -> str:
        return "".join(random.Random(seed).choices("ACGT", weights, k=length))

    return random_bases


@pytest.fixture
def folder(tmp_path: Path, sequence: Callable[..., str]) -> Path:
    """Two classes that differ in their GC content, a little or much."""
    for use, count in {"train": 40, "test": 10}.items():
        for number, (name, weights) in enumerate(
            {"enhancer": (1, 2, 2, 1), "random": (2, 1, 1, 2)}.items()
        ):
            (tmp_path / use / name).mkdir(parents=True)
            for i in range(count):
                text = sequence(1000 * number + i + 100 * len(use), 60 + i, weights)
                (tmp_path / use / name / f"{i}.txt").write_text(text)
    return tmp_path


@pytest.fixture
def data_of(labelled_task: Task) -> Callable[..., LabelledData]:
    """Build the data of a folder, with any field of the task changed."""

    def build(path: Path | None, **changes: object) -> LabelledData:
        return domain.build_data(replace(labelled_task, path=path, **changes))

    return build
