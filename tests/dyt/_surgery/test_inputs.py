"""The rows that calibration looks at."""

import torch

from dyt._surgery.inputs import sample


def test_a_sample_has_one_row_of_each_part():
    rows = torch.arange(1003)[:, None]
    chosen = sample(rows, 100).flatten()
    assert len(chosen) == 100
    ends = torch.arange(101) * 1003 // 100
    assert bool(((chosen >= ends[:-1]) & (chosen < ends[1:])).all())
    assert torch.equal(sample(rows, 100).flatten(), chosen)


def test_a_sample_is_not_one_position_of_every_sequence():
    positions = torch.arange(64).repeat(50)  # 50 sequences of 64: equal distances would be 64
    assert len(sample(positions, 50).unique()) > 20


def test_few_rows_are_taken_whole():
    rows = torch.randn(7, 3)
    assert sample(rows, 7) is rows


def test_the_global_generator_is_not_used():
    state = torch.get_rng_state()
    sample(torch.randn(100, 2, generator=torch.Generator()), 10)
    assert torch.equal(torch.get_rng_state(), state)
