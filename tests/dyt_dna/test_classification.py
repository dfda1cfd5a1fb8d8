"""Labelled sequences, the head, and what GC content alone tells."""

import gzip
import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import Task
from dyt_dna import domain, labelled
from dyt_dna.bases import UNKNOWN, reverse_complement
from dyt_dna.catalog import SPECIES
from dyt_dna.labelled import LabelledData, gc_baseline

TASK = Task(
    domain="dna",
    model="hyena",
    dataset="genomic-benchmarks",
    steps=10,
    batch_size=8,
    learning_rate=2e-3,
    val_every=10,
)


def sequence(seed: int, length: int, weights: tuple[int, ...] = (1, 1, 1, 1)) -> str:
    return "".join(random.Random(seed).choices("ACGT", weights, k=length))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
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


def data_of(folder: Path, **changes) -> LabelledData:
    return domain.build_data(replace(TASK, path=folder, **changes))


def test_folder_is_read_as_it_lies(folder: Path) -> None:
    data = data_of(folder)
    assert data.names == ["enhancer", "random"]
    assert (len(data.train), len(data.val)) == (80, 20)
    assert data.length == 99
    tokens, label = data.val[10]
    assert label == 1
    text = (folder / "test" / "random" / "0.txt").read_text()
    assert "".join("ACGTN"[t] for t in tokens) == text + "N" * (99 - len(text))


def test_many_files_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = data_of(folder)
    monkeypatch.setenv("DYT_BENCH_DATA", str(folder / "cache"))
    monkeypatch.setattr(labelled, "_KEEP_ABOVE", 0)
    data_of(folder)
    monkeypatch.delattr(labelled, "_parse")
    again = data_of(folder)
    for split in ("train", "val"):
        for ours, theirs in zip(getattr(direct, split), getattr(again, split), strict=True):
            assert all(map(torch.equal, ours, theirs))


def test_long_sequences_are_cut_and_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "train" / "random" / "long.txt").write_text(sequence(0, 3000))
    assert data_of(folder).length == 1024
    assert "1 sequences are cut after 1024 bases" in caplog.text


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("train/random/bad.txt", "ACGT\nAC-T", "bad.txt has '-' at base 7, which is no nucl"),
        ("test/random/bad.txt", " \n", "bad.txt is empty"),
        ("test/new/bad.txt", "ACGT", "class 'new' is in test, but not in train"),
        ("dev/random/bad.txt", "ACGT", "bad.txt: expected train/CLASS/SEQUENCE.txt"),
    ],
)
def test_bad_files_are_named(folder: Path, file: str, text: str, message: str) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)
    with pytest.raises(DataError, match=message):
        data_of(folder)


def test_padding_does_not_change_the_class(folder: Path) -> None:
    data = data_of(folder)
    module = domain.build_module(TASK, data).eval()
    tokens = torch.randint(4, (2, 50))
    padded = torch.cat([tokens, torch.full((2, 20), UNKNOWN)], dim=1)
    torch.testing.assert_close(module(padded), module(tokens))  # Hyena reads from the left


def test_ps_puts_both_strands_in_one_class(folder: Path, tmp_path: Path) -> None:
    task = replace(TASK, path=folder, model="caduceus-ps", training="caduceus-small")
    data = domain.build_data(task)
    module = domain.build_module(task, data).eval()
    tokens = torch.randint(4, (2, 50))
    torch.testing.assert_close(module(tokens), module(reverse_complement(tokens)))
    assert domain.evaluate(task, module, data, tmp_path)["rc_agreement"] == 1


def test_a_classifier_learns_and_gc_content_alone_tells(folder: Path, tmp_path: Path) -> None:
    data = data_of(folder)
    loss, accuracy = gc_baseline(data)
    assert domain.reference_score(TASK, data) == loss
    assert 0 < loss < 0.4
    assert accuracy > 0.8
    torch.manual_seed(0)
    module = domain.build_module(TASK, data)
    module.log = lambda *_, **__: None
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for batch in islice(data.train_dataloader(), 10):
        losses.append(module.training_step(batch, 0))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    found = domain.evaluate(TASK, module.eval(), data, tmp_path)
    assert found["acc_gc"] == accuracy
    assert set(found) == {"rc_agreement", "acc_conjoined", "acc_gc"}


def test_species_are_told_apart_on_what_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path))
    monkeypatch.setattr("dyt_dna.catalog._RAGOUT", "nowhere")
    for number, file in enumerate(SPECIES.values()):
        path = tmp_path / "dna/bacteria" / file
        path.parent.mkdir(parents=True)
        with gzip.open(path, "wt") as text:
            text.write(f">s\n{sequence(number, 20_000, (1, number + 1, number + 1, 1))}\n")
    data = data_of(None, dataset="species", model="caduceus")
    assert data.length == 256
    assert sorted({int(label) for _, label in data.val}) == [0, 1, 2, 3]
    assert domain.reference_score(TASK, data) < 1
