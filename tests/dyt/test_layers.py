"""The layers as modules: parameters, checkpoints, copies."""

import copy
import pickle

import pytest
import torch
from torch import nn

import dyt


class PublishedDynamicTanh(nn.Module):
    """Parameters as the released implementation of arXiv 2503.10622 names and shapes them."""

    def __init__(self, width):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1) * 0.5)
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return torch.tanh(self.alpha * x) * self.weight + self.bias


def test_published_checkpoint_loads_and_computes_the_same():
    torch.manual_seed(0)
    published = PublishedDynamicTanh(6)
    for parameter in published.parameters():
        nn.init.normal_(parameter)
    ours = dyt.DynamicTanh(6)
    ours.load_state_dict(published.state_dict(), strict=True)
    x = torch.randn(3, 6)
    torch.testing.assert_close(ours(x), published(x))


def test_parameters_at_the_start():
    layer = dyt.DynamicErf((2, 3), alpha_init_value=0.8, shift_init_value=0.1)
    state = {name: value.tolist() for name, value in layer.state_dict().items()}
    assert state == {
        "alpha": pytest.approx([0.8]),
        "shift": pytest.approx([0.1]),
        "weight": [[1.0] * 3] * 2,
        "bias": [[0.0] * 3] * 2,
    }


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"alpha", "weight", "bias"}),
        ({"bias": False}, {"alpha", "weight"}),
        ({"elementwise_affine": False}, {"alpha"}),
    ],
)
def test_affine_options_decide_the_parameters(options, names):
    layer = dyt.DynamicTanh(4, **options)
    assert {name for name, _ in layer.named_parameters()} == names
    assert layer(torch.zeros(2, 4)).shape == (2, 4)


def test_meta_device_and_dtype():
    layer = dyt.DynamicTanh(4, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.bfloat16)}


def test_copies_and_pickles_compute_the_same():
    layer = dyt.DynamicErf(4)
    x = torch.randn(2, 4)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(x), layer(x), rtol=0, atol=0)


def test_repr_tells_what_it_is():
    assert "(4,), function='tanh', alpha_init_value=0.5" in repr(dyt.DynamicTanh(4))


@pytest.mark.parametrize(("shape", "last"), [(0, True), ((), True), ((2, 3), False)])
def test_bad_shapes_are_refused(shape, last):
    with pytest.raises(ValueError, match="normalized_shape must be"):
        dyt.DynamicTanh(shape, channels_last=last)


@pytest.mark.parametrize("make", [dyt.DynamicTanh, dyt.DynamicErf, dyt.PointwiseNorm])
@pytest.mark.parametrize("published", [True, False])
def test_the_published_order_of_arguments_is_refused_by_name(make, published):
    with pytest.raises(TypeError, match=r"take channels_last .* second and alpha_init_value third"):
        make(768, published)
    with pytest.raises(TypeError, match="alpha is no bool"):
        make(768, alpha_init_value=published)
