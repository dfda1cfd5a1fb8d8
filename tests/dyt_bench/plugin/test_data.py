"""The order of training batches: a function of seed and epoch, wherever one starts."""

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import TensorDataset

from dyt_bench.errors import DataError
from dyt_bench.plugin.data import SeededDataModule, ShuffledBatches, take_split


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


@pytest.mark.parametrize("count", [2, 7, 300, 1000])
def test_tuning_and_test_share_no_sample_and_leave_none_out(count):
    parts = {}
    for split in ("tuning", "test"):
        data = SeededDataModule(range(8), range(count), batch_size=4, seed=0)
        take_split(data, split)
        parts[split] = list(data.val)
    assert sorted(parts["tuning"] + parts["test"]) == list(range(count))
    assert len(parts["tuning"]) == pytest.approx(count / 3, abs=max(1, count / 100))
    whole = SeededDataModule(range(8), range(count), batch_size=4, seed=0)
    take_split(whole, "")
    assert list(whole.val) == list(range(count))


def test_what_cannot_be_divided_is_said():
    data = SeededDataModule(range(8), range(1), batch_size=4, seed=0)
    with pytest.raises(DataError, match="1 validation samples cannot be divided"):
        take_split(data, "test")
    with pytest.raises(DataError, match="SeededDataModule, got a LightningDataModule"):
        take_split(LightningDataModule(), "tuning")


def test_a_batch_is_found_by_its_step_alone():
    batches = ShuffledBatches(samples=11, batch_size=3, seed=5)
    in_order = [batch for _ in range(3) for batch in batches]
    fresh = ShuffledBatches(samples=11, batch_size=3, seed=5)
    for step in (8, 0, 4):
        assert fresh.indices(step).tolist() == in_order[step]
