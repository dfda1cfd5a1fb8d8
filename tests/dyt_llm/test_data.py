import json
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.fetch import fetched_folder
from dyt_bench.plugin.task import Task
from dyt_llm import data as data_module
from dyt_llm import domain
from dyt_llm.corpora import GPT2_FILES
from dyt_llm.data import VAL_WINDOWS, TextData, Windows, text_data
from dyt_llm.tokens import trained

MakeTask = Callable[..., Task]
CONTEXT = 128


def letters(folder: Path, count: int) -> Path:
    """Files a.txt, b.txt, ... that each repeat the letter of their name."""
    for letter in map(chr, range(ord("a"), ord("a") + count)):
        (folder / f"{letter}.txt").write_text(letter * 4000)
    return folder


def pairs(folder: Path, count: int) -> list[Path]:
    """Files a.txt, b.txt, ... of numbered pairs of the letter of their name."""
    for file in letters(folder, count).iterdir():
        file.write_text("".join(f"{2 * file.stem} {n}\n" for n in range(1000)))
    return sorted(folder.iterdir())


def seen(windows: Windows) -> set[str]:
    return set(bytes(windows.stream.tolist()).decode()) - {"\n"}


@pytest.fixture(scope="module")
def stdlib(task: MakeTask) -> TextData:
    return domain.build_data(task())


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
    held_out, train = len(stdlib.held_out.stream), len(stdlib.train.stream)
    assert 0.05 < held_out / (held_out + train) < 0.2


def test_batches_are_windows_of_int64(stdlib: TextData) -> None:
    train, val = next(iter(stdlib.train_dataloader())), next(iter(stdlib.val_dataloader()))
    for batch in (train, val):
        assert batch.shape == (8, CONTEXT + 1)
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


def test_the_tokenizer_is_trained_on_the_training_files_only(
    tmp_path: Path, task: MakeTask
) -> None:
    data = text_data(task("stdlib-bpe"), pairs(tmp_path, 12))
    vocabulary = data.codec.tokenizer.get_vocab()
    text = data.codec.decode(data.held_out.stream.tolist())
    held_out = {letter for letter in "abcdefghijkl" if 2 * letter in text}
    assert 0 < len(held_out) < 12
    assert sum(2 * letter in vocabulary for letter in "abcdefghijkl") == 12 - len(held_out)
    assert all(2 * letter not in vocabulary for letter in held_out)


def test_tokens_stand_for_the_bytes_of_the_text(task: MakeTask) -> None:
    files = domain.datasets["stdlib-bpe"].files(None)[:12]
    data = text_data(task("stdlib-bpe"), files)
    token_bytes = data.codec.token_bytes
    assert len(token_bytes) == 1024
    streams = data.train.stream, data.held_out.stream
    newlines = len(files)  # one after each file
    size = sum(file.stat().st_size for file in files) + newlines
    assert sum(int(token_bytes[stream.long()].sum()) for stream in streams) == size
    text = data.codec.decode(data.train.stream.tolist())
    assert files[0].read_text() in text


def test_tokens_are_made_once_and_again_when_a_file_changes(
    tmp_path: Path, task: MakeTask, cache: Path
) -> None:
    def kept() -> set[Path]:
        return set((cache / "derived" / "llm").glob("bpe-*"))

    files = pairs(tmp_path, 12)
    first, before = text_data(task("stdlib-bpe"), files), kept()
    again = text_data(task("stdlib-bpe"), files)
    assert kept() == before
    assert torch.equal(first.train.stream.long(), again.train.stream.long())
    files[0].write_text(files[1].read_text())
    text_data(task("stdlib-bpe"), files)
    assert len(kept()) == len(before) + 1
    assert not list((cache / "derived" / "llm").glob("*.part"))


def test_a_cache_that_cannot_be_written_to_is_named(
    tmp_path: Path, task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match="set DYT_BENCH_DATA"):
        text_data(task("stdlib-bpe"), sorted(letters(tmp_path, 12).glob("*.txt")))


def test_text_that_does_not_fit_is_read_from_the_disk(
    tmp_path: Path, task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = task("folder", path=letters(tmp_path, 12))
    whole = domain.build_data(folder)
    monkeypatch.setattr(data_module, "IN_MEMORY", 0)
    mapped = domain.build_data(folder)
    assert torch.equal(whole.train.stream, mapped.train.stream)
    assert torch.equal(whole.val_windows(), mapped.val_windows())


def rows(folder: Path, count: int = 300) -> None:
    lines = (json.dumps({"text": f"The {n}th document of many, naïve. " * 9}) for n in range(count))
    (folder / "rows.jsonl").write_text("\n".join(lines))


def test_a_corpus_is_read_in_the_tokens_of_its_tokenizer(tmp_path: Path, task: MakeTask) -> None:
    rows(tmp_path)
    trained(["The document of many"], tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    data = domain.build_data(task("corpus", path=tmp_path))
    end = tokenizer.token_to_id("<|endoftext|>")
    streams = [data.train.stream.long(), data.held_out.stream.long()]
    assert [int((stream == end).sum()) for stream in streams] == [297, 3]
    assert data.codec.token_bytes[end] == 0
    assert data.codec.token_bytes[torch.cat(streams)].sum() == sum(
        len((f"The {n}th document of many, naïve. " * 9).encode()) for n in range(300)
    )


def test_a_corpus_without_a_tokenizer_takes_gpt2s(
    tmp_path: Path, task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(tmp_path)
    with pytest.raises(DataError, match="dyt-bench data fetch llm/stdlib-gpt2"):
        domain.datasets["corpus"].files(tmp_path)
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))
    folder = fetched_folder("llm/stdlib-gpt2")
    folder.mkdir(parents=True)
    # GPT-2's two files, for a vocabulary of bytes alone.
    tokenizer = trained([""], tmp_path / "bytes.json").tokenizer
    vocabulary = {**tokenizer.get_vocab(), "<|endoftext|>": 256}
    (folder / GPT2_FILES[0]).write_text(json.dumps(vocabulary))
    (folder / GPT2_FILES[1]).write_text("#version: 0.2\n")
    data = domain.build_data(task("corpus", path=tmp_path))
    assert "naïve" in data.codec.decode(data.train.stream.tolist())
    assert int((data.held_out.stream.long() == 256).sum()) == 3


@pytest.mark.parametrize(
    ("content", "said"), [("{}", "is no tokenizer"), (None, "not a byte-level BPE")]
)
def test_a_tokenizer_that_is_none_is_named(
    content: str | None, said: str, tmp_path: Path, task: MakeTask
) -> None:
    rows(tmp_path)
    file = tmp_path / "tokenizer.json"
    if content is None:
        from tokenizers.models import WordLevel

        Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(file))
    else:
        file.write_text(content)
    with pytest.raises(DataError, match=said):
        domain.build_data(task("corpus", path=tmp_path))


@pytest.mark.parametrize("name", ["stdlib-gpt2", "shakespeare", "openwebtext"])
def test_what_is_not_fetched_is_named(name: str) -> None:
    with pytest.raises(DataError, match=f"dyt-bench data fetch llm/{name}"):
        domain.datasets[name].files(None)


def test_openwebtext_is_the_librarys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import SimpleNamespace

    load = domain.datasets["openwebtext"].fetch.load
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'dyt-llm\[hub\]'"):
        load(tmp_path)

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=unreachable))
    with pytest.raises(DataError, match="no route; is there a network"):
        load(tmp_path)
