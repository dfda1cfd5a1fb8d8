"""What is trained on, what is held out, and what files are refused."""

import gzip
import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from dyt_bench.cell import Task
from dyt_bench.domain import DataError
from dyt_dna import domain
from dyt_dna.data import WINDOW, GenomeData, Stretch, markov_loss, read_sequences
from dyt_dna.models import BASES

TASK = Task(
    domain="dna",
    model="hyena",
    dataset="chloroplast",
    steps=10,
    batch_size=2,
    learning_rate=2e-3,
    val_every=10,
)


@pytest.fixture(scope="module")
def chloroplast() -> GenomeData:
    return domain.build_data(TASK)


def folder(path: Path) -> GenomeData:
    return domain.build_data(replace(TASK, dataset="folder", path=path))


def letters(tokens: torch.Tensor) -> str:
    return "".join(BASES[token] for token in tokens.tolist())


def words(stretches: list[Stretch], size: int) -> set[str]:
    texts = [letters(stretch.tokens) for stretch in stretches]
    return {text[i : i + size] for text in texts for i in range(len(text) - size + 1)}


def bases(count: int, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices("ACGT", k=count))


def fasta(path: Path, *sequences: str) -> Path:
    path.write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(sequences)))
    return path


def test_chloroplast_is_split_into_known_parts(chloroplast: GenomeData) -> None:
    held_out = [len(stretch) for stretch in chloroplast.held_out]
    trained = [len(stretch) for stretch in chloroplast.strands]
    assert held_out == [20_481, 4_097]
    assert trained == 2 * [52_000, 43_519, 34_381]
    assert sum(held_out) + sum(trained) // 2 == 154_478
    assert len(chloroplast.train) == 1_984
    assert len(chloroplast.val) == 24


def test_no_held_out_word_of_32_is_trained_on_in_either_strand(chloroplast: GenomeData) -> None:
    trained = words(chloroplast.strands, 32)
    assert not trained & words(chloroplast.held_out, 32)
    # The strands hold both directions, so the other strand of what is held out is absent too.
    assert not trained & words([s.reverse_complement() for s in chloroplast.held_out], 32)


def test_each_held_out_base_is_predicted_once(chloroplast: GenomeData) -> None:
    predicted = "".join(letters(tokens[1:]) for tokens, _ in chloroplast.val)
    assert predicted == "".join(letters(stretch.tokens[1:]) for stretch in chloroplast.held_out)


def test_windows_do_not_leave_their_sequence(tmp_path: Path) -> None:
    data = folder(fasta(tmp_path / "two.fa", "A" * 4_000, "C" * 3_000))
    for tokens, _ in [*data.train, *data.val]:
        assert len(tokens) == WINDOW
        assert len(tokens.unique()) == 1


def test_batches_are_decided_by_the_seed(chloroplast: GenomeData) -> None:
    def batches(seed: int) -> torch.Tensor:
        data = domain.build_data(replace(TASK, seed=seed))
        return torch.stack([tokens for tokens, _ in islice(data.train_dataloader(), 20)])

    first, again, other = batches(0), batches(0), batches(1)
    assert first.shape == (20, 2, WINDOW)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


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


@pytest.mark.parametrize(("order", "loss"), [(0, 1.3297), (2, 1.3157), (4, 1.3086), (8, 1.3093)])
def test_markov_loss_of_the_readme(chloroplast: GenomeData, order: int, loss: float) -> None:
    assert markov_loss(chloroplast, order) == pytest.approx(loss, abs=5e-5)


def test_markov_loss_of_a_certain_sequence(tmp_path: Path) -> None:
    data = folder(fasta(tmp_path / "a.fa", "ACGT" * 25_000))
    assert markov_loss(data, 0) == pytest.approx(1.3863, abs=1e-4)  # ln 4: each base as often
    assert markov_loss(data, 1) < 0.01  # each base tells the next, on both strands
    with pytest.raises(ValueError, match="between 0 and 10"):
        markov_loss(data, -1)


def test_folder_holds_out_the_last_tenth_of_each_sequence(tmp_path: Path) -> None:
    long, short = bases(20_000, seed=1), bases(3_000, seed=2)
    (tmp_path / "sub").mkdir()
    fasta(tmp_path / "a.fa", long, "ACGT")  # the second is too short and left out
    with gzip.open(tmp_path / "sub" / "b.fasta.gz", "wt") as file:
        file.write(f">b\n{short}\n")
    data = folder(tmp_path)
    assert [letters(s.tokens) for s in data.held_out] == [long[18_000:], short[-WINDOW:]]
    assert [letters(s.tokens) for s in data.strands[:2]] == [long[:18_000], short[:-WINDOW]]
    assert not data.annotated


def test_folder_reads_the_annotation_of_genbank() -> None:
    (genome,) = domain.datasets["chloroplast"].files(None)
    data = folder(genome)
    assert [len(stretch) for stretch in data.held_out] == [15_447]
    assert data.annotated


def test_large_genomes_are_validated_on_a_spread_of_windows(tmp_path: Path) -> None:
    data = folder(fasta(tmp_path / "a.fa", bases(2_000_000)))
    assert 64 <= len(data.val) <= 128


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.fa", ">a\nACGT\n", "no sequence of 2050 bases or more"),
        ("a.fa", ">a\nMKTLLVAGG\n", "'L' at base 4, which is no nucleotide"),
        ("a.fa", "ACGT\n", "holds no sequence"),
        ("a.gb", ">a\nACGT\n", "holds no sequence"),
        ("a.fa", f">a\n{'ACGT' * 1_000}{'N' * 1_100}\n", "has no A, C, G or T"),
        ("a.fa.gz", "no gzip", "[Nn]ot a gzipped file"),
        ("a.txt.gz", "ACGT", "by its name"),
        ("a.txt", "ACGT", "holds no file that fits"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message) as error:
        folder(tmp_path)
    if "fits" not in message and "no A" not in message:
        assert str(tmp_path) in str(error.value)


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    path = fasta(tmp_path / "a.fa", bases(2 * WINDOW))
    with pytest.raises(DataError, match="2 windows of 1025 bases"):
        domain.build_data(replace(TASK, dataset="folder", path=path, batch_size=4))
