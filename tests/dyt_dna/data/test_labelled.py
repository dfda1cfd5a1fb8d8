"""Labelled sequences: how folders and species are read, kept, cut and refused."""

from collections.abc import Callable
from math import log
from pathlib import Path

import pytest
import torch

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.notices import collected
from dyt_bench.plugin.task import Task
from dyt_dna import domain
from dyt_dna.data import labelled
from dyt_dna.data.datamodule import LabelledData
from dyt_dna.data.files import BEGINNINGS, SPECIES

Build = Callable[..., LabelledData]


def test_folder_is_read_as_it_lies(folder: Path, data_of: Build) -> None:
    data = data_of(folder)
    assert data.labelled.names == ["enhancer", "random"]
    assert (len(data.train), len(data.val)) == (80, 20)
    assert data.length == 99
    tokens, label = data.val[10]
    assert label == 1
    text = (folder / "test" / "random" / "0.txt").read_text()
    assert "".join("ACGTN"[t] for t in tokens) == text + "N" * (99 - len(text))


def test_many_files_are_read_once(
    folder: Path, data_of: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = data_of(folder)
    monkeypatch.setenv("DYT_BENCH_DATA", str(folder / "cache"))
    monkeypatch.setattr(labelled, "_KEEP_FROM", 0)
    data_of(folder)
    monkeypatch.delattr(labelled, "_parse")
    again = data_of(folder)
    for split in ("train", "val"):
        for ours, theirs in zip(getattr(direct, split), getattr(again, split), strict=True):
            assert all(map(torch.equal, ours, theirs))


def test_long_sequences_are_cut_and_counted(
    folder: Path,
    data_of: Build,
    sequence: Callable[..., str],
) -> None:
    (folder / "train" / "random" / "long.txt").write_text(sequence(0, 3000))
    with collected() as notices:
        assert data_of(folder).length == 1024
    assert "1 sequences are cut after 1024 bases, what the model reads" in notices.sentences()


def test_a_sequence_on_both_sides_is_refused(folder: Path, data_of: Build) -> None:
    copied = next((folder / "train" / "random").iterdir())
    (folder / "test" / "random" / "copy.txt").write_text(copied.read_text().lower())
    with pytest.raises(DataError, match=r"1 of \d+ held-out sequences are among those to train on"):
        data_of(folder)


def test_all_bad_sequences_are_named_at_once_or_left_out(folder: Path, data_of: Build) -> None:
    whole = len(data_of(folder).labelled.train)
    for number in range(3):
        (folder / "train" / "random" / f"bad{number}.txt").write_text("AC-T")
    said = r"3 of \d+ files cannot be read; .*(\n  .*bad\d.txt has .*){3}"
    with pytest.raises(DataError, match=said):
        data_of(folder)
    with collected() as notices:
        assert len(data_of(folder, skip_bad_files=True).labelled.train) == whole
    assert "3 of" in notices.sentences()[0]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("train/random/bad.txt", "ACGT\nAC-T", "bad.txt has '-' at base 7, which is no nucl"),
        ("test/random/bad.txt", " \n", "bad.txt is empty"),
        ("test/new/bad.txt", "ACGT", "class 'new' is in test, but not in train"),
        ("dev/random/bad.txt", "ACGT", "bad.txt: expected train/CLASS/SEQUENCE.txt"),
    ],
)
def test_bad_files_are_named(
    folder: Path, data_of: Build, file: str, text: str, message: str
) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)
    with pytest.raises(DataError, match=message):
        data_of(folder)


def test_a_cache_that_cannot_be_written_is_one_sentence(
    folder: Path, data_of: Build, unwritable_cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "_KEEP_FROM", 0)
    for number in range(20):
        (folder / "train" / "random" / f"long{number}.txt").write_text("ACGT" * 500)
    with pytest.raises(DataError, match=unwritable_cache):
        data_of(folder)


def test_species_are_pieces_of_four_genomes_apart_from_those_held_out(data_of: Build) -> None:
    data = data_of(None, dataset="species", model="hyena-w64")
    assert data.labelled.names == list(SPECIES) == list(BEGINNINGS)
    assert data.length == 128
    for side, count in ((data.labelled.train, 1600), (data.labelled.val, 160)):
        assert side.classes.bincount().tolist() == [count] * 4
        assert set(side.lengths.tolist()) == {128}
    train = {data.labelled.train[n].numpy().tobytes() for n in range(len(data.labelled.train))}
    assert not any(
        data.labelled.val[n].numpy().tobytes() in train for n in range(len(data.labelled.val))
    )


def test_references_of_the_species_look_at_more_and_more(
    data_of: Build, labelled_task: Task
) -> None:
    data = data_of(None, dataset="species", model="hyena-w64")
    found = domain.references(labelled_task, data)
    assert [each.role for each in found] == ["blind", "modest", "strong"]
    assert found[0].score == pytest.approx(log(4))
    assert [each.score for each in found[1:]] == pytest.approx([0.68, 0.35], abs=0.02)
