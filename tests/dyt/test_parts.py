"""What recipes put in the place of linear layers, against the formulas written out in float64."""

import pytest
import torch
from torch import nn

from dyt.parts import FixupLinear, FlashLinear, ScaledLinear, SigmaConv2d, SigmaLinear


def linear(bias=True):
    torch.manual_seed(0)
    return nn.Linear(5, 7, bias=bias).double()


def x():
    torch.manual_seed(1)
    return torch.randn(3, 5, dtype=torch.float64)


def convolution():
    torch.manual_seed(0)
    return nn.Conv2d(2, 4, 3, stride=2, padding=1).double()


def test_a_scaled_layer_times_its_scalar():
    old = linear()
    new = ScaledLinear(old, 0.5)
    torch.testing.assert_close(new(x()), 0.5 * (x() @ old.weight.T + old.bias))
    assert new.weight is old.weight
    assert not ScaledLinear(old)(x()).any()  # SkipInit: every block starts as the identity


def test_a_fixup_layer_shifts_and_scales():
    torch.manual_seed(0)
    new = FixupLinear(linear(), 0.5, before=True, after=True, scaled=True)
    with torch.no_grad():
        new.shift_before.fill_(0.3)
        new.shift_after.fill_(-0.2)
        new.scale.fill_(2)
    torch.testing.assert_close(new(x()), 2 * ((x() + 0.3) @ new.weight.T) - 0.2)
    assert new.bias is None


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_a_fixup_weight_is_xaviers_times_the_factor(factor):
    old = linear()
    torch.manual_seed(3)
    drawn = nn.init.xavier_uniform_(torch.empty(7, 5, dtype=torch.float64))
    torch.manual_seed(3)
    assert torch.equal(FixupLinear(old, factor).weight, factor * drawn)


@pytest.mark.parametrize("bias", [True, False])
def test_a_flash_layer_is_the_norm_and_the_linear_layer(bias):
    norm = nn.RMSNorm(5, eps=1e-5).double()
    nn.init.normal_(norm.weight)
    old = linear(bias)
    new = FlashLinear(old, 1e-5, norm.weight)
    torch.testing.assert_close(new(x()), old(norm(x())), rtol=1e-12, atol=1e-12)


def test_sigma_is_the_largest_singular_value():
    old = linear()
    new = SigmaLinear(old)
    sigma = torch.linalg.matrix_norm(old.weight, 2)
    torch.testing.assert_close(new.gain[0], sigma)
    torch.testing.assert_close(new(x()), old(x()))
    with torch.no_grad():
        new.gain.fill_(1.0)
    torch.testing.assert_close(new(x()), x() @ (old.weight / sigma).T + old.bias)


def test_the_power_method_follows_the_weight_in_training_alone():
    new = SigmaLinear(linear())
    with torch.no_grad():
        new.weight.copy_(torch.randn(7, 5, dtype=torch.float64))
    before = new.u.clone()
    new.eval()(x())
    assert torch.equal(new.u, before)
    new.train()
    for _ in range(300):
        new(x())
    right = torch.linalg.svd(new.weight.detach()).Vh[0]
    assert abs(torch.dot(new.u, right).item()) == pytest.approx(1, abs=1e-9)
    with torch.no_grad():
        new.gain.fill_(1.0)
    new.eval()
    expected = new.weight / torch.linalg.matrix_norm(new.weight, 2)
    torch.testing.assert_close(new(x()) - new.bias, x() @ expected.T)


def test_a_convolution_s_weight_counts_as_a_matrix():
    old = convolution()
    new = SigmaConv2d(old)
    images = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(new(images), old(images))
    torch.testing.assert_close(new.gain[0], torch.linalg.matrix_norm(old.weight.flatten(1), 2))
    assert new.weight is old.weight


def test_a_weight_of_zeros_has_no_largest_singular_value_and_starts_anew():
    old = nn.Linear(100, 100)
    nn.init.zeros_(old.weight)
    new = SigmaLinear(old)
    assert new.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not old.weight.any()
    assert new(torch.randn(2, 100)).isfinite().all()


BUILDS = {
    "scaled": lambda: ScaledLinear(linear(), 0.7),
    "fixup": lambda: FixupLinear(linear(), 0.7, before=True, after=True, scaled=True),
    "flash": lambda: FlashLinear(linear(), 1e-5, torch.rand(5)),
    "sigma": lambda: SigmaLinear(linear()).eval(),
}


@pytest.mark.parametrize("name", BUILDS)
def test_derivatives(name):
    """sigma's u and v are constants of the formula; at the singular vectors that is exact."""
    layer = BUILDS[name]()
    names, values = zip(*layer.named_parameters(), strict=True)

    def f(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), x)

    assert torch.autograd.gradcheck(f, (x().requires_grad_(), *values))


def test_derivatives_of_a_convolution():
    layer = SigmaConv2d(convolution()).eval()
    images = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (images,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_dtype_is_the_old_layers(dtype):
    for build in (
        ScaledLinear,
        SigmaLinear,
        lambda old: FixupLinear(old, 0.5, scaled=True),
        lambda old: FlashLinear(old, 1e-6, torch.ones(5)),
    ):
        new = build(nn.Linear(5, 7, dtype=dtype))
        assert {p.dtype for p in new.parameters()} == {dtype}
        assert new(x().to(dtype)).dtype == dtype


def test_frozen_weights_stay_frozen():
    for build in (ScaledLinear, SigmaLinear, lambda old: FixupLinear(old, 0.5, scaled=True)):
        new = build(linear().requires_grad_(False))
        assert not any(p.requires_grad for p in new.parameters())
