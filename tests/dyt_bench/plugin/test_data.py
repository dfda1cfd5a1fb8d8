"""The order of training batches: a function of seed and epoch, wherever one starts."""

import torch
from torch.utils.data import TensorDataset

from dyt_bench.plugin.data import SeededDataModule, ShuffledBatches


def test_every_pass_is_an_epoch_in_another_order():
    batches = ShuffledBatches(samples=11, batch_size=3, seed=5)
    first, second = list(batches), list(batches)
    assert first != second
    for epoch in (first, second):
        assert [len(batch) for batch in epoch] == [3, 3, 3]
        assert len({index for batch in epoch for index in batch}) == 9
    assert list(ShuffledBatches(samples=11, batch_size=3, seed=6)) != first


def test_any_batch_of_any_epoch_can_be_started_at():
    epochs = ShuffledBatches(samples=11, batch_size=3, seed=5)
    whole = [list(epochs) for _ in range(4)]
    epochs.seek(2, 1)
    assert list(epochs) == whole[2][1:]
    assert list(epochs) == whole[3]


def test_a_pass_leaves_the_global_generator_alone():
    points = TensorDataset(torch.arange(10))
    data = SeededDataModule(points, points, batch_size=4, seed=0)
    before = torch.get_rng_state()
    for loader in (data.train_dataloader(), data.val_dataloader()):
        assert len(list(loader)) == len(loader)
    assert torch.equal(before, torch.get_rng_state())
