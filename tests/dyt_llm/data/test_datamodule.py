"""Windows of text: their order, what is held out, and too little text."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import Task
from dyt_llm import domain
from dyt_llm.data.datamodule import VAL_WINDOWS, TextData, Windows

MakeTask = Callable[..., Task]
CONTEXT = 128


def letters(folder: Path, count: int) -> Path:
    """Files a.txt, b.txt, ... that each repeat the letter of their name."""
    for letter in map(chr, range(ord("a"), ord("a") + count)):
        (folder / f"{letter}.txt").write_text(letter * 4000)
    return folder


def seen(windows: Windows) -> set[str]:
    return set(bytes(windows.stream.tolist()).decode()) - {"\n"}


@pytest.fixture(scope="module")
def stdlib(task: MakeTask) -> TextData:
    return domain.build_data(task())


def test_a_tenth_of_the_library_is_held_out(stdlib: TextData) -> None:
    held_out, train = len(stdlib.held_out.stream), len(stdlib.train.stream)
    assert 0.05 < held_out / (held_out + train) < 0.2


def test_batches_are_windows_of_int64(stdlib: TextData) -> None:
    train, val = next(iter(stdlib.train_dataloader())), next(iter(stdlib.val_dataloader()))
    for batch in (train, val):
        assert batch.shape == (4, CONTEXT + 1)
        assert batch.dtype == torch.int64
        assert 0 <= batch.min() <= batch.max() < len(stdlib.codec.token_bytes) == 256


def test_the_same_seed_gives_the_same_batches(stdlib: TextData, task: MakeTask) -> None:
    again, other = domain.build_data(task()), domain.build_data(task(seed=1))
    first = next(iter(stdlib.train_dataloader()))
    assert torch.equal(first, next(iter(again.train_dataloader())))
    assert not torch.equal(first, next(iter(other.train_dataloader())))
    for mine, theirs in zip(stdlib.val_dataloader(), other.val_dataloader(), strict=True):
        assert torch.equal(mine, theirs)


def test_validation_is_spread_over_the_held_out_text(stdlib: TextData) -> None:
    chosen = stdlib.val.indices
    assert len(chosen) == len(set(chosen)) == VAL_WINDOWS
    assert max(chosen) > 0.99 * len(stdlib.held_out)


def test_windows_predict_every_token_once() -> None:
    windows = Windows(torch.arange(3 * CONTEXT + 5, dtype=torch.int16), CONTEXT)
    targets = torch.cat([windows[index][1:] for index in range(len(windows))])
    assert targets.tolist() == list(range(1, 3 * CONTEXT + 1))


def test_whole_files_are_held_out(tmp_path: Path, task: MakeTask) -> None:
    data = domain.build_data(task("folder", path=letters(tmp_path, 12)))
    train, held_out = seen(data.train), seen(data.held_out)
    assert train
    assert held_out
    assert not train & held_out
    assert len(train | held_out) == 12


def test_one_file_is_a_data_set(tmp_path: Path, task: MakeTask) -> None:
    file = letters(tmp_path, 1) / "a.txt"
    data = domain.build_data(task("folder", path=file, batch_size=4))
    assert len(data.train) == 28  # 3,600 bytes
    assert len(data.val) == 3  # 400 bytes


def test_fewer_samples_to_train_on_leave_validation_as_it_is(
    stdlib: TextData, task: MakeTask
) -> None:
    few = domain.build_data(task(train_samples=16))
    assert len(few.train) == 16
    assert len(few.train_stream(10**6)) == 16 * CONTEXT
    assert torch.equal(few.val_windows(), stdlib.val_windows())


def test_too_little_text_is_named(tmp_path: Path, task: MakeTask) -> None:
    with pytest.raises(DataError, match="path"):
        domain.build_data(task("folder"))
    with pytest.raises(DataError, match="holds no file"):
        domain.build_data(task("folder", path=tmp_path))
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(DataError, match="too little text to train on"):
        domain.build_data(task("folder", path=tmp_path))
    (tmp_path / "a.txt").write_text("long " * 240)
    with pytest.raises(DataError, match="too little text to hold out"):
        domain.build_data(task("folder", path=tmp_path))


def test_a_context_longer_than_the_text_is_named(tmp_path: Path, task: MakeTask) -> None:
    path = letters(tmp_path, 12)
    with pytest.raises(DataError, match=r"4096 tokens, the context of llama-7b, got \d"):
        domain.build_data(task("folder", model="llama-7b", path=path, batch_size=64))
