"""Accuracies of simple methods, on sequences whose answer is known."""

import torch

from dyt_bench.plugin.task import Task
from dyt_dna.finetuning import domain
from dyt_dna.finetuning.reference import kmer_accuracy, majority


def test_two_classes_of_gc_content(folder):
    task = Task(
        domain="dna-finetuning",
        model="hyena-w64",
        dataset="genomic-benchmarks",
        path=folder,
        steps=4,
        batch_size=4,
        learning_rate=1e-3,
        val_every=4,
    )
    data = domain.build_data(task)
    assert majority(data) == 0.5
    assert kmer_accuracy(data, 2) > 0.9
    found = domain.references(task, data)
    assert [each.role for each in found] == ["blind", "modest", "strong"]
    data.labelled.train.classes[1:].fill_(1)
    assert majority(data) == float((data.labelled.val.classes == 1).float().mean())
    assert torch.bincount(data.labelled.train.classes).tolist() == [1, 79]
