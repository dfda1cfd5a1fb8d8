"""The classifier of sequences: padding, strands, learning, and GC content alone."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from dyt_bench.plugin.task import Task
from dyt_dna import domain
from dyt_dna.bases import UNKNOWN, reverse_complement
from dyt_dna.data.datamodule import LabelledData
from dyt_dna.reference import gc_content

Build = Callable[..., LabelledData]


def test_padding_does_not_change_the_class(
    folder: Path, labelled_task: Task, data_of: Build
) -> None:
    data = data_of(folder)
    module = domain.build_module(labelled_task, data).eval()
    tokens = torch.randint(4, (2, 50))
    padded = torch.cat([tokens, torch.full((2, 20), UNKNOWN)], dim=1)
    torch.testing.assert_close(module(padded), module(tokens))  # Hyena reads from the left


def test_ps_puts_both_strands_in_one_class(
    folder: Path, labelled_task: Task, tmp_path: Path
) -> None:
    task = replace(labelled_task, path=folder, model="caduceus-ps", training="caduceus-small")
    data = domain.build_data(task)
    module = domain.build_module(task, data).eval()
    tokens = torch.randint(4, (2, 50))
    torch.testing.assert_close(module(tokens), module(reverse_complement(tokens)))
    assert domain.evaluate(task, module, data, tmp_path)["rc_agreement"] == 1


def test_a_classifier_learns_and_gc_content_alone_predicts(
    folder: Path, labelled_task: Task, data_of: Build, tmp_path: Path
) -> None:
    data = data_of(folder)
    loss, accuracy = gc_content(data)
    assert 0 < loss < 0.4
    assert accuracy > 0.8
    torch.manual_seed(0)
    module = domain.build_module(labelled_task, data)
    module.log = lambda *_, **__: None
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for batch in islice(data.train_dataloader(), 10):
        losses.append(module.training_step(batch, 0))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    found = domain.evaluate(labelled_task, module.eval(), data, tmp_path)
    assert found["acc_gc"] == accuracy
    assert set(found) == {"rc_agreement", "acc_conjoined", "acc_gc"}
