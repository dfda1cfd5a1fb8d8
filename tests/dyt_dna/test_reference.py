"""The reference score of a language model: a Markov chain."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dyt_bench.plugin.task import Task
from dyt_dna import domain
from dyt_dna.bases import BASES, UNKNOWN
from dyt_dna.data.labelled import Sequences
from dyt_dna.kmers import kmers
from dyt_dna.reference import MODEST, ORDER, markov_loss

TASK = Task(
    domain="dna",
    model="hyena",
    dataset="chloroplast",
    steps=10,
    batch_size=2,
    learning_rate=2e-3,
    val_every=10,
)


@pytest.mark.parametrize(("order", "loss"), [(0, 1.3297), (2, 1.3157), (4, 1.3085), (8, 1.3092)])
def test_markov_loss_of_the_readme(order: int, loss: float) -> None:
    assert markov_loss(domain.build_data(TASK), order) == pytest.approx(loss, abs=5e-5)


def test_the_score_is_taken_on_what_the_model_is_validated_on() -> None:
    causal = domain.build_data(TASK)
    masked = domain.build_data(replace(TASK, model="caduceus"))
    assert [(each.role, each.score) for each in domain.references(TASK, causal)] == [
        ("blind", markov_loss(causal, 0)),
        ("modest", markov_loss(causal, MODEST)),
        ("strong", markov_loss(causal, ORDER)),
    ]
    (blind,) = domain.references(replace(TASK, model="caduceus"), masked)
    assert blind.score != markov_loss(causal, 0)
    assert blind.score == pytest.approx(markov_loss(causal, 0), abs=0.02)


def test_words_are_counted_on_both_strands_without_unknown_bases() -> None:
    sequences = Sequences.join([torch.tensor([0, 0, 1, UNKNOWN, 3])], [0])  # AACNT; GTT
    shares = kmers(sequences, 2, length=5)[0]
    found = {f"{BASES[n // 4]}{BASES[n % 4]}": share for n, share in enumerate(shares) if share}
    assert found == {"AA": 0.25, "AC": 0.25, "GT": 0.25, "TT": 0.25}
    assert kmers(Sequences.join([torch.tensor([0])], [0]), 2, length=5).sum() == 0


def test_markov_loss_of_a_certain_sequence(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">a\n" + "ACGT" * 25_000)
    data = domain.build_data(replace(TASK, dataset="folder", path=tmp_path))
    assert markov_loss(data, 0) == pytest.approx(1.3863, abs=1e-4)  # ln 4: each base as often
    assert markov_loss(data, 1) < 0.01  # each base determines the next, on both strands
    with pytest.raises(ValueError, match="order must be 0 to 30 for 4 tokens, got -1"):
        markov_loss(data, -1)


def test_words_with_an_unknown_base_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">a\n" + "ACGTN" * 20_000)
    data = domain.build_data(replace(TASK, dataset="folder", path=tmp_path))
    assert markov_loss(data, 1) < 0.01
