"""Layers with statistics and DyISRU, against their papers' formulas written out in float64."""

import math

import pytest
import torch
from torch import nn

import dyt
from dyt.norms import BHyT, SeeDNorm, TaperNorm

EPS = 1e-6
WIDTH = 6


def noisy(layer, dtype=torch.float64):
    """The layer in ``dtype`` with every parameter changed."""
    torch.manual_seed(0)
    layer = layer.to(dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def rows():
    torch.manual_seed(1)
    return 3 * torch.randn(4, WIDTH, dtype=torch.float64) + 0.5


def rms(row):
    return math.sqrt(sum(v * v for v in row) / len(row) + EPS)


def seednorm(layer, row):
    """arXiv 2510.22777, equation of SeeDNorm, a number at a time."""
    a, b, g = (p.tolist() for p in (layer.alpha, layer.beta, layer.weight))
    product = math.tanh(sum(x * y for x, y in zip(row, b, strict=True)))
    return [(product * a[i] + g[i]) * x / rms(row) for i, x in enumerate(row)]


def bhyt(layer, row):
    """arXiv 2601.09719: gamma tanh(lam x / (kappa s)), the mean taken as zero."""
    lam, g = layer.lam.item(), layer.weight.tolist()
    return [g[i] * math.tanh(lam * x / (10 * rms(row))) for i, x in enumerate(row)]


def tapernorm(layer, row):
    """arXiv 2602.10408: the norm and the linear map, mixed by the gate."""
    g, c = layer.gate.item(), layer.scale.item()
    early, late = layer.weight.tolist(), layer.late_weight.tolist()
    return [g * x / rms(row) * early[i] + (1 - g) * c * x * late[i] for i, x in enumerate(row)]


def dyisru(layer, row):
    """arXiv 2503.21708: sqrt(C) x / sqrt(beta + x^2)."""
    beta, w, b = layer.beta.item(), layer.weight.tolist(), layer.bias.tolist()
    return [
        w[i] * math.sqrt(len(row)) * x / math.sqrt(beta + x * x) + b[i] for i, x in enumerate(row)
    ]


def half_tapered():
    layer = noisy(TaperNorm(WIDTH, EPS)).eval()
    layer.gate.fill_(0.3)
    layer.scale.fill_(0.7)
    return layer


LAYERS = {
    "seednorm": (lambda: noisy(SeeDNorm(WIDTH, EPS)), seednorm),
    "bhyt": (lambda: noisy(BHyT(WIDTH, EPS)), bhyt),
    "tapernorm": (half_tapered, tapernorm),
    "dyisru": (lambda: noisy(dyt.DynamicISRU(WIDTH, beta_init_value=2.0)), dyisru),
}
EVERY = pytest.mark.parametrize("name", LAYERS)


@EVERY
def test_the_papers_formula(name):
    build, formula = LAYERS[name]
    layer, x = build(), rows()
    expected = torch.tensor([formula(layer, row) for row in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@EVERY
def test_derivatives(name):
    layer, x = LAYERS[name][0](), rows().requires_grad_()
    names, values = zip(*layer.named_parameters(), strict=True)

    def f(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), x)

    assert torch.autograd.gradcheck(f, (x, *values))


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_computes_in_single(name, dtype):
    layer, x = LAYERS[name][0](), rows()
    expected = layer(x)
    found = layer.to(dtype)(x.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=3e-2, atol=3e-2)


@EVERY
def test_channels_first_is_the_transpose(name):
    layer, x = LAYERS[name][0](), rows().view(2, 2, WIDTH)
    expected = layer(x).movedim(-1, 1)
    layer.channels_last = False
    torch.testing.assert_close(layer(x.movedim(-1, 1)), expected)


@pytest.mark.parametrize("cls", [SeeDNorm, TaperNorm])
def test_starts_as_the_rms_norm(cls):
    x = rows().float()
    norm = nn.RMSNorm(WIDTH, eps=EPS)
    torch.testing.assert_close(cls(WIDTH, EPS)(x), norm(x))


@pytest.mark.parametrize("cls", [SeeDNorm, BHyT, TaperNorm])
def test_a_shape_of_two_axes_is_averaged_over_both(cls):
    torch.manual_seed(0)
    x = torch.randn(5, 2, 3)
    flat, both = cls(6, EPS), cls((2, 3), EPS)
    torch.testing.assert_close(both(x).flatten(1), flat(x.flatten(1)))


@pytest.mark.parametrize("cls", [SeeDNorm, dyt.DynamicISRU])
def test_layers_that_need_a_width_say_so(cls):
    with pytest.raises(ValueError, match="normalized_shape"):
        cls(())


def test_dyisru_is_rmsnorm_where_beta_is_the_sum_of_the_other_squares():
    x = rows()[0]
    layer = dyt.DynamicISRU(WIDTH).double()
    for i in range(WIDTH):
        with torch.no_grad():
            layer.beta.fill_(x.square().sum() - x[i] ** 2)
        expected = x[i] / x.square().mean().sqrt()
        torch.testing.assert_close(layer(x)[i], expected)


def test_without_a_weight_the_gain_is_one():
    x = rows().float()
    plain = nn.RMSNorm(WIDTH, eps=EPS, elementwise_affine=False)
    for cls in (SeeDNorm, TaperNorm):
        torch.testing.assert_close(cls(WIDTH, EPS, elementwise_affine=False)(x), plain(x))
    bounded = BHyT(WIDTH, EPS, elementwise_affine=False)(x)
    torch.testing.assert_close(bounded, torch.tanh(plain(x) / 10))
    isru = dyt.DynamicISRU(WIDTH, elementwise_affine=False)(x)
    torch.testing.assert_close(isru, x * math.sqrt(WIDTH) / (WIDTH + x.square()).sqrt())


@pytest.mark.parametrize("warmup", [0.0, 0.6, 1.0])
def test_a_taper_that_does_not_follow_its_warmup_is_refused(warmup):
    with pytest.raises(ValueError, match="0 < warmup < end <= 1"):
        TaperNorm(8, warmup=warmup, end=0.5)


class TestTaper:
    def test_the_gate_follows_half_a_cosine(self):
        layer = TaperNorm(4, warmup=0.2, end=0.6)
        layer(torch.randn(3, 4))
        gates = []
        for step in range(11):
            dyt.set_progress(layer, step / 10)
            gates.append(layer.gate.item())
        fall = [(1 + math.cos(math.pi * done)) / 2 for done in (0.25, 0.5, 0.75, 1.0)]
        assert gates == pytest.approx([1, 1, 1, *fall, 0, 0, 0, 0], abs=1e-6)

    def test_the_scale_is_the_least_squares_fit_of_the_norm(self):
        torch.manual_seed(0)
        layer = noisy(TaperNorm(WIDTH, EPS))
        x = rows()
        layer(x)
        dyt.set_progress(layer, 0.2)
        with torch.no_grad():
            normed = x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * layer.weight
            plain = x * layer.weight
            best = torch.linalg.lstsq(plain.flatten()[:, None], normed.flatten()).solution
        assert layer.scale.item() == pytest.approx(best.item(), rel=1e-12)
        assert torch.equal(layer.late_weight, layer.weight)

    def test_moving_averages_of_the_warmup_alone(self):
        layer = TaperNorm(WIDTH, EPS).double()
        batches = [rows() * factor for factor in (1.0, 4.0, 0.5)]
        for x in batches:
            layer(x)
        numerator = denominator = 0.0
        for x in batches:
            energy = x.square().sum(-1)
            inverse = (x.square().mean(-1) + EPS).rsqrt()
            numerator = 0.99 * numerator + 0.01 * (energy * inverse).mean().item()
            denominator = 0.99 * denominator + 0.01 * energy.mean().item()
        dyt.set_progress(layer, 0.11)
        assert layer.scale.item() == pytest.approx(numerator / denominator, rel=1e-12)
        layer(100 * rows())  # the gate is closing: no more averages
        dyt.set_progress(layer, 0.3)
        assert layer.scale.item() == pytest.approx(numerator / denominator, rel=1e-12)

    def test_evaluation_and_no_input_leave_it_a_norm_that_works(self):
        layer = TaperNorm(4).eval()
        layer(torch.randn(3, 4))
        assert layer.denominator == 0
        dyt.set_progress(layer, 1.0)
        assert layer(torch.randn(3, 4)).isfinite().all()

    def test_it_resumes_from_its_state(self):
        torch.manual_seed(0)
        first, x = TaperNorm(4), torch.randn(3, 4)
        first(x)
        dyt.set_progress(first, 0.3)
        second = TaperNorm(4)
        second.load_state_dict(first.state_dict())
        assert torch.equal(second.eval()(x), first.eval()(x))

    @pytest.mark.parametrize("share", [-0.1, 1.1])
    def test_a_share_outside_0_and_1_is_refused(self, share):
        with pytest.raises(ValueError, match="share must be from 0 to 1"):
            dyt.set_progress(nn.Identity(), share)
