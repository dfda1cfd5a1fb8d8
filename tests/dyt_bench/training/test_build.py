"""Building a run's module: whole, and without weights."""

import torch

from dyt_bench.discovery.resolve import resolve
from dyt_bench.plugin.task import Run, Task, Variant
from dyt_bench.training.build import build, without_weights

TASK = Task(
    domain="llm",
    model="ernie",  # its embeddings are tied
    dataset="kjv",
    steps=2,
    batch_size=4,
    learning_rate=1e-3,
    val_every=2,
)


def test_an_empty_module_differs_by_the_content_of_its_weights_alone():
    parts = resolve(Run(task=TASK, variant=Variant(name="dyt")))
    (_, whole, norms), (_, empty, same_norms) = build(parts), build(parts, empty=True)
    assert norms == same_norms
    shapes = [
        {name: (p.shape, p.dtype, p.requires_grad) for name, p in module.named_parameters()}
        for module in (whole, empty)
    ]
    assert shapes[0] == shapes[1]
    assert all(parameter.is_meta for parameter in empty.parameters())
    buffers = dict(empty.named_buffers())
    for name, buffer in whole.named_buffers():
        assert torch.equal(buffers[name], buffer)


def test_weights_are_made_again_afterwards():
    with without_weights():
        assert torch.nn.Linear(2, 2).weight.is_meta
    assert not torch.nn.Linear(2, 2).weight.is_meta
