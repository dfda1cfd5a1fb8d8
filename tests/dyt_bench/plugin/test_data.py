"""The order of training batches: a function of seed and epoch, wherever one starts."""

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import TensorDataset

from dyt_bench.errors import DataError
from dyt_bench.plugin.data import SeededDataModule, ShuffledBatches, take_split, weight


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


def as_process(monkeypatch, rank, count):
    monkeypatch.setattr("dyt_bench.plugin.data.place", lambda: (rank, count))


@pytest.mark.parametrize("micro", [None, 1, 2])
def test_processes_have_equal_parts_of_each_batch(monkeypatch, micro):
    whole = list(SeededDataModule(range(30), range(7), batch_size=8, seed=3).train_dataloader())
    parts = []
    for rank in range(2):
        as_process(monkeypatch, rank, 2)
        data = SeededDataModule(range(30), range(7), batch_size=8, seed=3)
        data.micro_batch = micro
        size = micro or 4
        loaded = [batch.tolist() for batch in data.train_dataloader()]
        assert {len(batch) for batch in loaded} == {size}
        assert data.parts() == (1 if micro is None else 4 // size)
        samples = [sample for batch in loaded for sample in batch]
        parts.append([samples[at : at + 4] for at in range(0, len(samples), 4)])
    assert [one + other for one, other in zip(*parts, strict=True)] == [b.tolist() for b in whole]


def test_validation_batches_are_dealt_and_each_sample_once(monkeypatch):
    whole = [
        b.tolist() for b in SeededDataModule(range(8), range(23), batch_size=4).val_dataloader()
    ]
    dealt = {}
    for rank in range(3):
        as_process(monkeypatch, rank, 3)
        loader = SeededDataModule(range(9), range(23), batch_size=4).val_dataloader()
        dealt |= {3 * index + rank: batch.tolist() for index, batch in enumerate(loader)}
    assert [dealt[index] for index in range(len(whole))] == whole


def test_every_process_has_a_validation_batch(monkeypatch):
    for rank in range(3):
        as_process(monkeypatch, rank, 3)
        assert len(SeededDataModule(range(9), range(5), batch_size=9).val_dataloader()) >= 1
    with pytest.raises(DataError, match="2 validation samples are too few for 3 processes"):
        SeededDataModule(range(9), range(2), batch_size=9).val_dataloader()


def test_parts_that_are_not_equal_are_refused(monkeypatch):
    as_process(monkeypatch, 0, 2)
    data = SeededDataModule(range(9), range(9), batch_size=9)
    with pytest.raises(DataError, match=r"9 cannot be divided among 2 processes: .* multiple of 2"):
        data.train_dataloader()
    data.batch_size, data.micro_batch = 8, 3
    with pytest.raises(DataError, match="in micro-batches of 3: expected a multiple of 6"):
        data.train_dataloader()


def test_a_trainer_leaves_the_order_alone_and_names_the_epoch():
    loader = SeededDataModule(range(11), range(4), batch_size=3, seed=5).train_dataloader()
    assert isinstance(loader.sampler, torch.utils.data.DistributedSampler)
    first = [batch.tolist() for batch in loader]
    loader.sampler.set_epoch(0)
    assert [batch.tolist() for batch in loader] == first


def test_a_weight_is_whole_after_lightnings_mean_over_processes(monkeypatch):
    assert weight(5) == 5
    as_process(monkeypatch, 1, 2)
    assert (weight(2) + weight(3)) // 2 == 5
