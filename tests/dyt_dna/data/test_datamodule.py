"""What is trained on, what is held out, and what files are refused."""

import gzip
import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from dyt_bench.plugin.data import order_of
from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.task import Task
from dyt_dna import domain
from dyt_dna.bases import BASES, MASK, UNKNOWN
from dyt_dna.data.datamodule import GenomeData
from dyt_dna.data.sequences import Stretch
from dyt_dna.shapes import SHAPES

WINDOW = 1025  # bases: those the model reads, and the last one's successor

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
    held_out = [len(stretch) for stretch in chloroplast.split.val]
    trained = [len(stretch) for stretch in chloroplast.split.train]
    assert held_out == [20_481, 4_097]
    assert trained == [52_000, 43_519, 34_381]
    assert sum(held_out) + sum(trained) == 154_478
    assert len(chloroplast.train) == 1_984
    assert len(chloroplast.val) == 24


def test_no_held_out_word_of_32_is_trained_on_in_either_strand(chloroplast: GenomeData) -> None:
    forward = chloroplast.split.train
    trained = words([*forward, *(s.reverse_complement() for s in forward)], 32)
    assert not trained & words(chloroplast.split.val, 32)
    # The strands hold both directions, so the other strand of what is held out is absent too.
    assert not trained & words([s.reverse_complement() for s in chloroplast.split.val], 32)


def test_each_held_out_base_is_predicted_once(chloroplast: GenomeData) -> None:
    predicted = "".join(letters(targets) for _, targets, _ in chloroplast.val)
    assert predicted == "".join(letters(stretch.tokens[1:]) for stretch in chloroplast.split.val)


def test_windows_do_not_leave_their_sequence(tmp_path: Path) -> None:
    data = folder(fasta(tmp_path / "two.fa", "A" * 4_000, "C" * 3_000))
    for inputs, targets, _ in [*data.train, *data.val]:
        assert len(inputs) == len(targets) == WINDOW - 1
        assert len(torch.cat([inputs, targets]).unique()) == 1


@pytest.mark.parametrize("model", ["hyena", "caduceus"])
def test_batches_are_decided_by_the_seed(model: str) -> None:
    def batches(seed: int) -> torch.Tensor:
        data = domain.build_data(replace(TASK, seed=seed, model=model))
        next(iter(data.train_dataloader()))  # as calibration does, before training
        return torch.stack([torch.stack(batch[:2]) for batch in islice(data.train_dataloader(), 9)])

    first, again, other = batches(0), batches(0), batches(1)
    assert first.shape == (9, 2, 2, SHAPES[model].length)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_folder_holds_out_the_last_tenth_of_each_sequence(tmp_path: Path) -> None:
    long, short = bases(20_000, seed=1), bases(3_000, seed=2)
    (tmp_path / "sub").mkdir()
    fasta(tmp_path / "a.fa", long, "ACGT")  # the second is too short and left out
    with gzip.open(tmp_path / "sub" / "b.fasta.gz", "wt") as file:
        file.write(f">b\n{short}\n")
    data = folder(tmp_path)
    assert [letters(s.tokens) for s in data.split.val] == [long[18_000:], short[-WINDOW:]]
    assert [letters(s.tokens) for s in data.split.train] == [long[:18_000], short[:-WINDOW]]
    assert not data.annotated


def test_folder_reads_the_annotation_of_genbank() -> None:
    (genome,) = domain.datasets["chloroplast"].files(None)
    data = folder(genome)
    assert [len(stretch) for stretch in data.split.val] == [15_447]
    assert data.annotated


def test_large_genomes_are_validated_on_a_spread_of_windows(tmp_path: Path) -> None:
    data = folder(fasta(tmp_path / "a.fa", bases(2_000_000)))
    assert 64 <= len(data.val) <= 128


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.fa", ">a\nACGT\n", "no sequence of 2050 bases or more"),
        (
            "a.fa",
            ">a\nMKTLLVAGG\n",
            r"a.fa: sequence 'a' has 'L' at base 4, which is no nucleotide",
        ),
        ("a.fa", "ACGT\n", "holds no sequence"),
        ("a.gb", ">a\nACGT\n", "holds no sequence"),
        ("a.fa", f">a\n{'ACGT' * 1_000}{'N' * 1_100}\n", "has no A, C, G or T"),
        ("a.fa.gz", "no gzip", "[Nn]ot a gzipped file"),
        ("a.txt.gz", "ACGT", r"holds no file that fits, and 1 \.gz"),
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


def test_the_other_strand_is_trained_on_too(tmp_path: Path) -> None:
    text = bases(4_000)
    data = folder(fasta(tmp_path / "a.fa", text))
    (trained,) = data.split.train
    shown = {letters(inputs) for inputs, _, _ in data.train}
    assert letters(trained.tokens[:1024]) in shown
    assert letters(trained.reverse_complement().tokens[:1024]) in shown


def test_masked_bases(chloroplast: GenomeData) -> None:
    data = domain.build_data(replace(TASK, model="caduceus", training="caduceus"))
    inputs, targets, _ = map(torch.cat, zip(*(data.train[i] for i in range(300)), strict=True))
    wanted = targets != UNKNOWN
    assert wanted.float().mean() == pytest.approx(0.15, abs=0.01)
    share = (inputs[wanted] == MASK).float().mean()
    assert share == pytest.approx(0.8, abs=0.02)  # and of any base one in four is the same
    assert (inputs[wanted] == targets[wanted]).float().mean() == pytest.approx(0.125, abs=0.02)
    assert not (inputs[~wanted] == MASK).any()


def test_masks_are_the_same_when_training_goes_on_in_the_middle() -> None:
    data = domain.build_data(replace(TASK, model="caduceus", training="caduceus"))
    *_, expected = islice(data.train_dataloader(), 5)
    loader = data.train_dataloader()
    order_of(loader).seek(0, 4)
    assert torch.equal(next(iter(loader))[0], expected[0])
    first_of_next_epoch = data.batches()
    first_of_next_epoch.seek(1, 0)
    epoch, index = next(iter(first_of_next_epoch))[0]
    assert epoch == 1
    assert not torch.equal(data.train[epoch, index][1], data.train[0, index][1])


def test_validation_hides_the_same_bases_each_time_and_all_of_them() -> None:
    data = domain.build_data(replace(TASK, model="caduceus", training="caduceus"))
    first, again = (list(data.val_dataloader()) for _ in range(2))
    for (inputs, targets, _), (same, _, _) in zip(first, again, strict=True):
        assert torch.equal(inputs, same)
        assert (inputs[targets != UNKNOWN] == MASK).all()


def test_unknown_bases_are_never_masked(tmp_path: Path) -> None:
    path = fasta(tmp_path / "a.fa", "ACNNNNNN" * 500)
    data = domain.build_data(replace(TASK, model="caduceus", dataset="folder", path=path))
    for inputs, targets, _ in data.train:
        assert (inputs[targets == UNKNOWN] != MASK).all()
        assert ((inputs == UNKNOWN).sum() / 256) >= 0.74


def test_a_budget_of_data_is_the_same_for_every_seed() -> None:
    def chosen(seed: int) -> list[int]:
        data = domain.build_data(replace(TASK, train_samples=10, seed=seed))
        assert len(data.train) == 10
        return [int(inputs.sum()) for inputs, _, _ in data.train]

    assert chosen(0) == chosen(1)


def test_a_model_that_reads_more_than_there_is_says_so() -> None:
    with pytest.raises(DataError, match="no held-out part is as long as a window"):
        domain.build_data(replace(TASK, model="hyena-small-32k"))


def test_bed_file_splits_as_it_says(tmp_path: Path) -> None:
    one, two = bases(9_000, seed=1), bases(9_000, seed=2)
    (tmp_path / "hg38.fa").write_text(f">chr1 first\n{one}\n>chr2\n{two}\n")
    lines = [
        "chr1\t0\t4000\ttrain",
        "chr1\t4000\t6000\ttrain",
        "chr1\t5000\t7000\tvalid",  # overlaps what is trained on: cut out of it
        "chr2\t100\t3000\ttest",
        "chr2\t3000\t9000\ttrain",
    ]
    (tmp_path / "sequences.bed").write_text("".join(f"{line}\n" for line in lines))
    data = domain.build_data(replace(TASK, dataset="hg38", path=tmp_path))
    assert [letters(s.tokens) for s in data.split.train] == [one[:5000], two[3000:]]
    assert [letters(s.tokens) for s in data.split.val] == [one[5000:7000]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr9\t0\t10\ttrain", "no sequence is called 'chr9'"),
        ("chr1\t0\t99999\ttrain", "is no part of 'chr1', which has 5000 bases"),
        ("chr1\t0\t10\tdev", "column 4 must be train, valid or test, got 'dev'"),
        ("chr1 0 10 train", "expected sequence, start, end"),
        (f"chr1\t0\t{'9' * 5000}\ttrain", "expected sequence, start, end"),
        (f"{'c' * 10**5}\t0\t10\ttrain", "no sequence is called 'ccc"),
    ],
)
def test_bad_bed_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.fa").write_text(f">chr1\n{bases(5_000)}\n")
    (tmp_path / "s.bed").write_text(f"chr1\t0\t3000\ttrain\n{line}\n")
    with pytest.raises(DataError, match=f"s.bed:2: .*{message}"):
        domain.build_data(replace(TASK, dataset="hg38", path=tmp_path))
