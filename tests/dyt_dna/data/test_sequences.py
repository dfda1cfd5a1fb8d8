"""What is read from FASTA and GenBank files."""

import logging
from pathlib import Path

import pytest
import torch

from dyt_bench.plugin.domain import DataError
from dyt_dna import domain
from dyt_dna.bases import BASES
from dyt_dna.data import sequences
from dyt_dna.data.sequences import Stretch, read_sequences


def letters(tokens: torch.Tensor) -> str:
    return "".join(BASES[token] for token in tokens.tolist())


def fasta(path: Path, *texts: str) -> Path:
    path.write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(texts)))
    return path


def test_coding_bases_are_those_of_the_annotation() -> None:
    (genome,) = read_sequences(next(iter(domain.datasets["chloroplast"].files(None))))
    assert len(genome) == 154_478
    assert genome.coding[382:1444].all()  # psbA, complement(383..1444)
    assert not genome.coding[381]
    assert not genome.coding[1444]
    assert genome.coding.float().mean().item() == pytest.approx(0.513, abs=5e-4)


def test_reverse_complement() -> None:
    stretch = Stretch(
        torch.tensor([0, 1, 1, 4, 3]), torch.tensor([True, True, False, False, False])
    )
    other = stretch.reverse_complement()
    assert letters(other.tokens) == "ANGGT"
    assert other.coding.tolist() == [False, False, False, True, True]


def test_letters_are_read_as_bases(tmp_path: Path) -> None:
    (stretch,) = read_sequences(fasta(tmp_path / "a.fna", "ACGTU\nacgtu\nNRYKn"))
    assert letters(stretch.tokens) == "ACGTTACGTTNNNNN"


def test_ambiguous_letters_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read_sequences(fasta(tmp_path / "a.fa", "ACRYn"))
    assert "a.fa: sequence 's0': 2 ambiguous letters (IUPAC) are read as N" in caplog.text


def test_a_letter_that_is_no_nucleotide_is_named_once_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text(">a\nACGT\nJ\n")
    with pytest.raises(DataError, match=r"has 'J' at base 5.*write N") as raised:
        read_sequences(path)
    assert str(raised.value).count(str(path)) == 1


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_letters_of_another_alphabet_are_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(">a\nACGTÄ\n".encode(encoding))
    with pytest.raises(DataError, match=r"a\.fa"):
        read_sequences(path)


def test_large_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))
    path = fasta(tmp_path / "a.fa", "ACGTN" * 5, "TTTT")
    direct = read_sequences(path)
    monkeypatch.setattr(sequences, "_KEEP_FROM", 0)
    first = read_sequences(path)
    monkeypatch.delattr(sequences, "_parse")
    again = read_sequences(path)
    for kept in (first, again):
        assert [s.name for s in kept] == [s.name for s in direct] == ["s0", "s1"]
        assert [letters(s.tokens) for s in kept] == ["ACGTN" * 5, "TTTT"]
        assert not any(s.coding.any() for s in kept)
        assert letters(kept[1].reverse_complement().tokens) == "AAAA"


def test_nothing_is_kept_of_a_bad_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYT_BENCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(sequences, "_KEEP_FROM", 0)
    with pytest.raises(DataError, match="'!' at base 3"):
        read_sequences(fasta(tmp_path / "a.fa", "ACGT", "AC!T"))
    left = [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock"]
    assert [path.name for path in left] == ["derived", "dna"]


def test_a_cache_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, unwritable_cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "_KEEP_FROM", 0)
    path = fasta(tmp_path / "a.fa", "ACGT" * 5_000)
    with pytest.raises(DataError, match=unwritable_cache):
        read_sequences(path)
