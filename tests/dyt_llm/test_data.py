import sysconfig
from pathlib import Path

import pytest
import torch

from dyt_bench.cell import Task
from dyt_bench.domain import DataError
from dyt_llm import domain
from dyt_llm.data import CONTEXT, VAL_WINDOWS, TextData, Windows, split, text_data, train_bpe


def task(dataset: str = "folder", path: Path | None = None, seed: int = 0, batch: int = 8) -> Task:
    return Task(
        domain="llm",
        model="llama",
        dataset=dataset,
        path=path,
        seed=seed,
        steps=1,
        batch_size=batch,
        learning_rate=1e-3,
        val_every=1,
    )


def letters(folder: Path, count: int) -> Path:
    """Files a.txt, b.txt, ... that each repeat the letter of their name."""
    for letter in map(chr, range(ord("a"), ord("a") + count)):
        (folder / f"{letter}.txt").write_text(letter * 4000)
    return folder


def seen(windows: Windows) -> set[str]:
    return set(bytes(windows.tokens.tolist()).decode()) - {"\n"}


@pytest.fixture(scope="module")
def stdlib() -> TextData:
    return domain.build_data(task("stdlib"))


def test_the_library_is_the_public_one_and_of_the_promised_size() -> None:
    root = Path(sysconfig.get_path("stdlib"))
    files = domain.datasets["stdlib"].files(None)
    assert 3e6 < sum(file.stat().st_size for file in files) < 8e6
    tops = {file.relative_to(root).parts[0] for file in files}
    assert {"typing.py", "asyncio", "json"} <= tops
    assert not tops & {"test", "idlelib", "lib2to3", "site-packages", "sitecustomize.py"}
    assert files == sorted(set(files))


def test_a_python_without_sources_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match="holds no"):
        domain.datasets["stdlib"].files(None)


def test_a_tenth_of_the_library_is_held_out(stdlib: TextData) -> None:
    held_out = stdlib.val.dataset.tokens
    share = len(held_out) / (len(held_out) + len(stdlib.train.tokens))
    assert 0.05 < share < 0.2


def test_batches_are_windows_of_int64(stdlib: TextData) -> None:
    train, val = next(iter(stdlib.train_dataloader())), next(iter(stdlib.val_dataloader()))
    for batch in (train, val):
        assert batch.shape == (8, CONTEXT + 1)
        assert batch.dtype == torch.int64
        assert 0 <= batch.min() <= batch.max() < len(stdlib.token_bytes) == 256


def test_the_same_seed_gives_the_same_batches(stdlib: TextData) -> None:
    again, other = domain.build_data(task("stdlib")), domain.build_data(task("stdlib", seed=1))
    first = next(iter(stdlib.train_dataloader()))
    assert torch.equal(first, next(iter(again.train_dataloader())))
    assert not torch.equal(first, next(iter(other.train_dataloader())))
    for mine, theirs in zip(stdlib.val_dataloader(), other.val_dataloader(), strict=True):
        assert torch.equal(mine, theirs)


def test_validation_is_spread_over_the_held_out_text(stdlib: TextData) -> None:
    chosen = stdlib.val.indices
    assert len(chosen) == len(set(chosen)) == VAL_WINDOWS
    assert max(chosen) > 0.99 * len(stdlib.val.dataset)


def test_windows_predict_every_token_once() -> None:
    tokens = torch.arange(3 * CONTEXT + 5, dtype=torch.int16)
    windows = Windows(tokens)
    targets = torch.cat([windows[index][1:] for index in range(len(windows))])
    assert targets.tolist() == list(range(1, 3 * CONTEXT + 1))


def test_whole_files_are_held_out(tmp_path: Path) -> None:
    data = domain.build_data(task(path=letters(tmp_path, 12)))
    train, held_out = seen(data.train), seen(data.val.dataset)
    assert train
    assert held_out
    assert not train & held_out
    assert len(train | held_out) == 12


def test_a_new_file_moves_no_other() -> None:
    texts = [(f"{index}.py", b"%d" % index) for index in range(100)]
    train, val = split(texts)
    fewer_train, fewer_val = split(texts[:60])
    assert set(fewer_train) < set(train)
    assert set(fewer_val) < set(val)


def test_five_files_are_enough_to_hold_one_out(tmp_path: Path) -> None:
    data = domain.build_data(task(path=letters(tmp_path, 5)))
    assert len(seen(data.val.dataset)) >= 1
    assert not seen(data.train) & seen(data.val.dataset)


@pytest.mark.parametrize(
    "texts",
    [[("a.txt", b"0123456789" * 10)], [("README.md", b"0123456789" * 10)] * 7],
    ids=["few files", "one name"],
)
def test_where_names_cannot_tell_files_apart_their_ends_are_held_out(
    texts: list[tuple[str, bytes]],
) -> None:
    train, val = split(texts)
    assert [*map(len, train)] == [90] * len(texts)
    assert [a + b for a, b in zip(train, val, strict=True)] == [text for _, text in texts]


def test_one_file_is_a_data_set(tmp_path: Path) -> None:
    file = letters(tmp_path, 1) / "a.txt"
    data = domain.build_data(task(path=file, batch=4))
    assert len(data.train) == 28  # 3,600 bytes
    assert len(data.val) == 3  # 400 bytes


def test_too_little_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="path"):
        domain.build_data(task())
    with pytest.raises(DataError, match="holds no file"):
        domain.build_data(task(path=tmp_path))
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(DataError, match="too little text to train on"):
        domain.build_data(task(path=tmp_path))
    (tmp_path / "a.txt").write_text("long " * 240)
    with pytest.raises(DataError, match="too little text to hold out"):
        domain.build_data(task(path=tmp_path))


def test_the_tokenizer_is_trained_on_the_training_files_only(tmp_path: Path) -> None:
    # Of a.txt ... l.txt the split above holds some out: their letters must not have merged.
    files = sorted(letters(tmp_path, 12).iterdir())
    train, val = split([(file.name, file.read_bytes()) for file in files])
    vocabulary = train_bpe(train).get_vocab()
    assert train[0][:2].decode() in vocabulary
    assert all(text[:2].decode() not in vocabulary for text in val)


def test_tokens_stand_for_the_bytes_of_the_text() -> None:
    files = domain.datasets["stdlib-bpe"].files(None)[:12]
    data = text_data(task("stdlib-bpe"), files)
    train, _ = split([(file.name, file.read_bytes()) for file in files])
    assert len(data.token_bytes) == 1024
    assert data.train.tokens.dtype == torch.int16
    newlines = len(train)  # one after each file
    assert data.token_bytes[data.train.tokens.long()].sum() == sum(map(len, train)) + newlines
    assert torch.equal(data.train.tokens, text_data(task("stdlib-bpe"), files).train.tokens)
