"""Scales of int8: by hand, and the error that they allow."""

import copy

import pytest
import torch
from torch import nn

import dyt

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def bench():
    pytest.importorskip("torchao")
    return pytest.importorskip("benchmarks.int8.__main__")


def made(bench):
    torch.manual_seed(0)
    native = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 8)).eval()
    own = dyt.convert(copy.deepcopy(native), "dyt").eval()
    with torch.no_grad():
        own[0].weight.uniform_(0.5, 2.0)
    batches = [torch.randn(2, 5, 16) for _ in range(3)]
    return native, own, batches, bench.forms(native, own, batches)


def test_scales_map_the_largest_value_seen_to_127(bench):
    native, _, batches, forms = made(bench)
    with torch.no_grad():
        largest = max(float(native[0](batch).abs().max()) for batch in batches)
    scale = forms["native int8, scales from data"][1].weight.act_quant_scale
    assert scale.flatten().tolist() == pytest.approx([largest / 127])
    known = forms["dyt int8, known scale"][1].weight.act_quant_scale
    assert known.flatten().tolist() == pytest.approx([1 / 127])


def test_the_known_scale_errs_by_half_a_level_of_each_factor_at_most(bench):
    _, _, batches, forms = made(bench)
    folded = forms["dyt folded"]
    with torch.no_grad():
        difference = (forms["dyt int8, known scale"](batches[0]) - folded(batches[0])).abs()
    weight = folded[1].weight.detach()
    levels = weight.abs().amax(1) / 127.5  # of a row's weights
    # Half a level of each of 16 inputs times its weight, and of each weight times an input of 1.
    bound = weight.abs().sum(1) / 254 + 16 * levels / 2 + 16 * levels / 508
    assert (difference <= bound * 1.001).all()
    assert difference.max() > 0


def test_int8_weights_take_a_quarter(bench):
    *_, forms = made(bench)
    floats, whole = (
        bench.kilobytes(forms["dyt folded"]),
        bench.kilobytes(forms["dyt int8, known scale"]),
    )
    assert floats - whole == pytest.approx((3 * 16 * 8 - 4 * 8) / 1000)  # a scale a row
