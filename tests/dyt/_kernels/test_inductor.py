"""The formulas for Inductor: accuracy at every size of z, its ends, and gradients in a graph."""

import pytest
import torch

import dyt
from dyt._kernels.inductor import FORMULAS
from dyt.functions import lookup

ULPS = {"tanh": 5.0, "erf": 7.0}


def sample():
    """Floats of every exponent, and densely those around the clips."""
    exponents = torch.arange(-126, 127).repeat_interleave(200).float()
    mantissas = 1 + torch.rand(len(exponents), generator=torch.Generator().manual_seed(0))
    dense = torch.linspace(0, 12, 200_001)
    z = torch.cat([mantissas * torch.exp2(exponents), dense])
    return torch.cat([z, -z])


@pytest.fixture(params=sorted(FORMULAS))
def name(request):
    return request.param


def test_every_float_is_within_some_units_in_the_last_place(name):
    z = sample()
    y = FORMULAS[name].f(z)
    truth = lookup(name).f(z.double())
    ulp = torch.exp2(torch.floor(torch.log2(truth.abs().clamp_min(2.0**-126))) - 23)
    assert ((y.double() - truth).abs() / ulp).max() <= ULPS[name]
    assert y.abs().max() == 1


def test_gradients_are_made_of_values_within_a_rounding_of_one(name):
    z = sample()
    again, df = FORMULAS[name].again(z), FORMULAS[name].df(z)
    assert (again.double() - lookup(name).f(z.double())).abs().max() <= 2.0**-22
    assert (df.double() - lookup(name).df(z.double())).abs().max() <= 2.0**-22


def test_the_ends_of_the_numbers(name):
    z = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, -0.0])
    f, again, df = FORMULAS[name]
    for computed in (f(z), again(z)):
        assert computed[:2].tolist() == [1, -1]
        assert computed[2].isnan()
        assert computed[3:].tolist() == [0, 0]
        assert torch.signbit(computed[3:]).tolist() == [False, True]
    assert df(z)[:2].tolist() == [0, 0]
    assert df(z)[2].isnan()
    assert df(z)[3:].tolist() == pytest.approx([lookup(name).df(torch.zeros(())).item()] * 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_compiled_layer_is_the_formula(name, dtype, channels_last):
    torch.manual_seed(0)
    layers = {"tanh": dyt.DynamicTanh, "erf": dyt.DynamicErf}
    layer = layers[name](6, channels_last=channels_last).to(dtype)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = (4 * torch.randn(3, 6, 6)).to(dtype).requires_grad_()
    dy = torch.randn_like(x)
    inputs = [x, *layer.parameters()]
    with dyt.use_backend("eager"):
        expected = layer(x)
        wanted = torch.autograd.grad(expected, inputs, dy)
    y = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    found = torch.autograd.grad(y, inputs, dy)
    loose = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float64: 1e-14}[dtype]
    torch.testing.assert_close(y, expected, rtol=loose, atol=loose)
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, other, rtol=4 * loose, atol=8 * loose)


def test_a_compiled_layer_saves_its_input_and_no_result():
    layer = dyt.DynamicTanh(8)
    saved = []

    def keep(t):
        saved.append(t.shape)
        return t

    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.randn(4, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        compiled(x)
    assert saved.count(x.shape) == 1
