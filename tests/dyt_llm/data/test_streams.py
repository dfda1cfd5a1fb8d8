"""Streams of tokens: tokenizers, derived files, and text read from the disk."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.fetch import fetched_folder
from dyt_bench.plugin.notices import collected
from dyt_bench.plugin.task import Task
from dyt_llm import domain
from dyt_llm.data import streams
from dyt_llm.data.files import GPT2_FILES
from dyt_llm.data.tokens import saved, trained
from dyt_llm.tasks import build_data

MakeTask = Callable[..., Task]


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


def test_the_tokenizer_is_trained_on_the_training_files_only(
    tmp_path: Path, task: MakeTask
) -> None:
    data = build_data(task("stdlib-bpe"), pairs(tmp_path, 12))
    vocabulary = data.codec.tokenizer.get_vocab()
    text = data.codec.decode(data.held_out.stream.tolist())
    held_out = {letter for letter in "abcdefghijkl" if 2 * letter in text}
    assert 0 < len(held_out) < 12
    assert sum(2 * letter in vocabulary for letter in "abcdefghijkl") == 12 - len(held_out)
    assert all(2 * letter not in vocabulary for letter in held_out)


def test_tokens_stand_for_the_bytes_of_the_text(task: MakeTask) -> None:
    files = domain.datasets["stdlib-bpe"].files(None)[:12]
    data = build_data(task("stdlib-bpe"), files)
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
        return {path for path in (cache / "derived" / "llm").glob("bpe-*") if path.is_dir()}

    files = pairs(tmp_path, 12)
    first, before = build_data(task("stdlib-bpe"), files), kept()
    again = build_data(task("stdlib-bpe"), files)
    assert kept() == before
    assert torch.equal(first.train.stream.long(), again.train.stream.long())
    files[0].write_text(files[1].read_text())
    build_data(task("stdlib-bpe"), files)
    assert len(kept()) == len(before) + 1
    assert not list((cache / "derived" / "llm").glob("*.partial"))


def test_tokens_belong_to_the_content_not_to_the_time_or_the_folder(
    tmp_path: Path, task: MakeTask, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    files = pairs(tmp_path / "one", 12)
    before = files[0].stat()
    first = build_data(task("stdlib-bpe"), files)
    copies = [tmp_path / "two" / file.name for file in files]
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    os.utime(files[0], (1, 1))
    with monkeypatch.context() as patched:
        patched.delattr("dyt_llm.data.streams.documents")  # neither is read again
        for same in (files, copies):
            data = build_data(task("stdlib-bpe"), same)
            assert torch.equal(first.train.stream.long(), data.train.stream.long())
    text = files[0].read_text()
    files[0].write_text(text[::-1])
    os.utime(files[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    streams = [build_data(task("stdlib-bpe"), f).train.stream.long() for f in (files, copies)]
    assert not torch.equal(*streams)


@pytest.mark.parametrize("dataset", ["stdlib-bpe", "folder"])
def test_a_cache_that_cannot_be_written_is_one_sentence(
    tmp_path: Path,
    task: MakeTask,
    unwritable_cache: str,
    monkeypatch: pytest.MonkeyPatch,
    dataset: str,
) -> None:
    monkeypatch.setattr(streams, "IN_MEMORY", 0)
    with pytest.raises(DataError, match=unwritable_cache):
        build_data(task(dataset), sorted(letters(tmp_path, 12).glob("*.txt")))


def test_text_that_does_not_fit_is_read_from_the_disk(
    tmp_path: Path, task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = task("folder", path=letters(tmp_path, 12))
    whole = domain.build_data(folder)
    monkeypatch.setattr(streams, "IN_MEMORY", 0)
    mapped = domain.build_data(folder)
    assert torch.equal(whole.train.stream, mapped.train.stream)
    assert torch.equal(whole.val_windows(), mapped.val_windows())


def sentencepiece(file: Path, *, byte_fallback: bool = True) -> Tokenizer:
    """A tokenizer as LLaMA's: pieces with a low block for a space, and a token for each byte."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    vocabulary |= {f"<0x{number:02X}>": 3 + number for number in range(256)}
    letters = sorted(set("The document of many, naïve. 0123456789th".replace(" ", "\u2581")))
    merges = [("t", "h"), ("th", "e"), ("\u2581", "the"), ("o", "f"), ("\u2581", "of")]
    pieces = [*letters, "\u2581", *("".join(pair) for pair in merges)]
    vocabulary |= {p: 259 + n for n, p in enumerate(dict.fromkeys(pieces))}
    model = models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=byte_fallback)
    tokenizer = Tokenizer(model)
    parts = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    tokenizer.normalizer = normalizers.Sequence(parts)
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(file))
    return tokenizer


def test_a_corpus_in_the_tokens_of_llama_s_kind_loses_no_byte(
    tmp_path: Path, task: MakeTask
) -> None:
    texts = [f"The {n}th document of many, naïve — 日本. " * 9 for n in range(300)]
    lines = (json.dumps({"text": text}, ensure_ascii=False) for text in texts)
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    sentencepiece(tmp_path / "tokenizer.json")
    with collected() as notices:
        data = domain.build_data(task("corpus", path=tmp_path))
    assert notices.sentences() == []
    stream = torch.cat([data.train.stream.long(), data.held_out.stream.long()])
    assert int((stream == 2).sum()) == 300  # the end of each
    assert not (stream == 0).any()
    spaces = 300  # before each document
    size = sum(len(text.encode()) for text in texts) + spaces
    assert int(data.codec.token_bytes[stream].sum()) == size
    first = data.train.stream.long().tolist()
    assert data.codec.decode(first[: first.index(2)]) in texts


def test_a_tokenizer_that_leaves_letters_out_is_refused(tmp_path: Path, task: MakeTask) -> None:
    rows(tmp_path)
    sentencepiece(tmp_path / "tokenizer.json", byte_fallback=False)
    with pytest.raises(DataError, match=r"not a byte-level BPE, .* nor one of SentencePiece with"):
        domain.build_data(task("corpus", path=tmp_path))


def test_bytes_that_a_tokenizer_changes_are_counted(tmp_path: Path, task: MakeTask) -> None:
    rows(tmp_path)
    trained(["The document of many"], tmp_path / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.normalizer = normalizers.NFD()  # an i with two dots becomes one byte longer
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with collected() as notices:
        domain.build_data(task("corpus", path=tmp_path))
    (said,) = notices.sentences()
    assert said.startswith("bytes that the tokenizer adds to the text or leaves out of it: 2,700")


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


def test_a_token_s_number_reserves_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    trained(["a text"], file)
    content = json.loads(file.read_text())
    last = max(content["model"]["vocab"], key=content["model"]["vocab"].__getitem__)
    content["model"]["vocab"][last] = 2**32 - 1
    file.write_text(json.dumps(content))
    with pytest.raises(
        DataError, match="numbered up to 4,294,967,295: expected less than 2,097,152"
    ):
        saved(file)


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
