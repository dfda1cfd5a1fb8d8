"""Every function of the table against autograd in double precision, and against its bounds."""

import math

import pytest
import torch
from tests.dyt.truth import SPREADS, by_definition, everywhere, far_out

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


DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str
)
# What decays faster than any power is 1 less a number close to it, or e to a rounded number: its
# slope has the error of 1. So has PyTorch's erf itself, at any z.
ERROR_OF_ONE = ("tanh", "erf", "satursin", "expsign", "exproot")


def slope(f, z):
    """Autograd's derivative of f at z; also where f is locally constant."""
    z = z.clone().requires_grad_()
    y = f(z)
    if not y.requires_grad:
        return torch.zeros_like(z)
    return torch.autograd.grad(y.sum(), z, create_graph=True, materialize_grads=True)[0]


@EVERY
@DTYPES
def test_function_and_slopes_are_right_for_every_number(name, dtype):
    """From the smallest subnormal to infinity, by the formulas and by autograd."""
    entry, z = lookup(name), everywhere(dtype)
    f, df = by_definition(name, z)
    unit = torch.finfo(dtype).eps
    smallest = torch.finfo(dtype).smallest_normal * unit
    one = 1 if name in ERROR_OF_ONE else 0
    for own, exact, scale in (
        (entry.f(z), f, f.abs() + (name == "erf")),
        (entry.df(z), df, df + one),
        (slope(entry.f, z).detach(), df, df + one),
    ):
        assert own.dtype == dtype
        error = (own.double() - exact).abs() / (6 * unit * scale + 2 * smallest)
        assert error.max() <= 1, (error.max().item(), z[error.argmax()].item())


@EVERY
@DTYPES
def test_no_derivative_is_nan_at_a_number(name, dtype):
    entry, z = lookup(name), everywhere(dtype)
    first = slope(entry.f, z)
    assert not first.isnan().any()
    assert not slope(lambda z: slope(entry.f, z), z).isnan().any()
    assert not slope(entry.df, z).isnan().any()


CLIPPED = [name for name in FAMILY if name.endswith("-clip")]


@pytest.mark.parametrize("name", ["tanh", "erf", "satursin", "hardtanh", *CLIPPED])
@DTYPES
def test_slope_is_exactly_0_where_the_function_is_constant(name, dtype):
    entry, z = lookup(name), everywhere(dtype)
    z = z[z.abs().double() >= (math.pi / 2 if name == "satursin" else 30)]
    assert (entry.df(z) == 0).all()
    assert (slope(entry.f, z) == 0).all()


@EVERY
@pytest.mark.parametrize("spread", SPREADS)
def test_gradient_of_alpha_is_right_where_most_inputs_saturate(name, spread):
    """By the table's derivative and by autograd, where any error is multiplied by a large x."""
    entry, (x, dy) = lookup(name), far_out(spread)
    exact = (dy.double() * entry.df(0.7 * x.double()) * x.double()).sum().item()
    z = 0.7 * x
    by_table, by_autograd = ((dy * d * x).sum().item() for d in (entry.df(z), slope(entry.f, z)))
    assert by_table == pytest.approx(exact, rel=1e-5)
    assert by_autograd == pytest.approx(exact, rel=1e-5)


@EVERY
def test_second_derivatives_agree(name):
    entry = lookup(name)
    twice = slope(lambda z: slope(entry.f, z), POINTS)
    torch.testing.assert_close(twice, slope(entry.df, POINTS), rtol=1e-9, atol=1e-12)


@EVERY
@DTYPES
@pytest.mark.parametrize("count", [1, 37])
def test_nan_passes_through_value_and_slopes(name, dtype, count):
    """PyTorch computes many elements and the last few in different instructions."""
    entry, z = lookup(name), torch.full([count], math.nan, dtype=dtype)
    assert entry.f(z).isnan().all()
    assert entry.df(z).isnan().all()
    assert slope(entry.f, z).isnan().all()


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
