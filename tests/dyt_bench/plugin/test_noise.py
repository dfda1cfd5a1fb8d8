"""What a sample draws: by seed, step and place, however a batch is divided."""

from types import SimpleNamespace

import pytest
import torch

from dyt_bench.plugin.noise import drawn, generators, places


def module(step=0, parts=1):
    return SimpleNamespace(
        _trainer=SimpleNamespace(accumulate_grad_batches=parts), global_step=step
    )


def noise(of, index, count, seed=0):
    by = generators(of, seed, index, count)
    return drawn(by, lambda g: torch.randn(3, generator=g), torch.device("cpu"))


@pytest.mark.parametrize(("processes", "parts"), [(1, 4), (2, 1), (2, 2), (4, 1)])
def test_a_divided_batch_draws_what_the_whole_one_does(monkeypatch, processes, parts):
    whole = noise(module(step=5), index=5, count=8)
    size = 8 // processes // parts
    found = []
    for rank in range(processes):
        monkeypatch.setattr("dyt_bench.plugin.noise.place", lambda rank=rank: (rank, processes))
        # a step's batches are numbered one after the other
        found += [noise(module(5, parts), 5 * parts + part, size) for part in range(parts)]
    assert torch.equal(torch.cat(found), whole)


def test_seed_and_step_decide():
    first = noise(module(), 0, 4)
    assert torch.equal(first, noise(module(), 0, 4))
    assert not torch.equal(first, noise(module(), 0, 4, seed=1))
    assert not torch.equal(first, noise(module(step=1), 1, 4))
    assert len({tuple(row) for row in first.tolist()}) == 4


def test_without_a_trainer_the_global_generator_does():
    alone = SimpleNamespace(_trainer=None)
    torch.manual_seed(0)
    first, second = noise(alone, 0, 2), noise(alone, 0, 2)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(noise(alone, 0, 2), first)


def test_places_are_those_of_the_step(monkeypatch):
    monkeypatch.setattr("dyt_bench.plugin.noise.place", lambda: (1, 2))
    assert places(module(parts=2), index=7, count=3) == range(9, 12)
