"""Every function of the table against autograd in double precision, and against its bounds."""

import math

import pytest
import torch

from dyt import functions as family
from dyt.functions import FAMILY, PointwiseFunction, lookup, register_function

EVERY = pytest.mark.parametrize("name", list(FAMILY))
# Away from 0 and +-1, where some are not differentiable.
POINTS = torch.cat([torch.linspace(-9.03, -0.013, 400), torch.linspace(0.013, 9.03, 400)]).double()


@EVERY
def test_derivative_is_that_of_the_function(name):
    entry = lookup(name)
    z = POINTS.clone().requires_grad_()
    (expected,) = torch.autograd.grad(entry.f(z).sum(), z)
    torch.testing.assert_close(entry.df(POINTS), expected, rtol=1e-9, atol=1e-12)


@EVERY
def test_function_is_odd_and_bounded(name):
    entry = lookup(name)
    wide = torch.cat([POINTS, 1e4 * POINTS])
    torch.testing.assert_close(entry.f(-wide), -entry.f(wide))
    assert entry.f(wide).abs().max() <= entry.bound
    assert entry.f(torch.zeros(1)).item() == 0


@EVERY
def test_nan_passes_through(name):
    assert lookup(name).f(torch.tensor([math.nan])).isnan().all()


def test_unknown_function_is_named():
    with pytest.raises(ValueError, match=r"one of tanh, erf.*; got 'tahn'"):
        lookup("tahn")


def test_a_registered_function_makes_a_layer(monkeypatch):
    from dyt import PointwiseNorm

    monkeypatch.setattr(family, "_family", dict(FAMILY))
    monkeypatch.setattr(family, "FAMILY", family._family)
    half = PointwiseFunction("half", lambda z: z / 2, lambda z: z * 0 + 0.5, math.inf, "here")
    assert register_function(half) is half
    assert register_function(half) is half
    x = torch.randn(3, 8)
    torch.testing.assert_close(PointwiseNorm(8, function="half", alpha_init_value=0.5)(x), x / 4)
    with pytest.raises(ValueError, match="has a function 'half' already"):
        register_function(PointwiseFunction("half", torch.tanh, torch.tanh, 1.0, "there"))


@pytest.mark.parametrize("name", FAMILY)
def test_autograd_of_the_formula_is_finite_at_the_edges(name):
    """0, the smallest numbers, where a clipped function turns, and as large as a square allows."""
    tiny = torch.finfo(torch.float32).tiny
    z = torch.tensor([0.0, tiny, -tiny, 1e-13, 1.0, -1.0, 1e18, -1e18], requires_grad=True)
    (slope,) = torch.autograd.grad(FAMILY[name].f(z).sum(), z)
    assert slope.isfinite().all()
    assert (slope >= 0).all()
