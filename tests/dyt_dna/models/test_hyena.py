"""The parts of HyenaDNA against what they claim to compute."""

import pytest
import torch

from dyt_dna.bases import BASES
from dyt_dna.models import filter_parameters
from dyt_dna.models.hyena import HyenaDNA, HyenaOperator, ImplicitFilter, causal_convolution


@pytest.fixture
def model() -> HyenaDNA:
    torch.manual_seed(0)
    return HyenaDNA(width=16, depth=2, length=48).eval()


def tokens(length: int) -> torch.Tensor:
    return torch.randint(len(BASES), (2, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_convolution_is_the_causal_sum(length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(2, 3, length, generator=generator)
    kernel = torch.randn(3, length, generator=generator)
    direct = torch.zeros_like(signal)
    for t in range(length):
        for s in range(t + 1):
            direct[..., t] += kernel[:, s] * signal[..., t - s]
    torch.testing.assert_close(causal_convolution(signal, kernel), direct, rtol=1e-4, atol=1e-5)


def test_convolution_keeps_the_dtype() -> None:
    signal = torch.randn(1, 2, 8, dtype=torch.bfloat16)
    assert causal_convolution(signal, torch.randn(2, 8)).dtype == torch.bfloat16


def test_filter_for_fewer_positions_is_the_beginning() -> None:
    filters = ImplicitFilter(width=8, length=32)
    torch.testing.assert_close(filters(20), filters(100)[:, :20])


def test_filter_decays_at_its_channels_rates() -> None:
    filters = ImplicitFilter(width=2, length=99)  # its last position of 101 is time 1
    with torch.no_grad():
        for parameter in filters.mlp.parameters():
            parameter.zero_()
        torch.nn.init.ones_(filters.mlp[-1].weight)
        filters.mlp[-2].frequency.fill_(torch.pi / 2)
        filters.mlp[-3].bias.fill_(1)  # sin(pi / 2) = 1: an MLP that says 64 everywhere
        slow, fast = filters(151) / 64
    assert slow[[0, 150]].tolist() == pytest.approx([1, 0.01], rel=1e-3)
    assert fast[[0, 30]].tolist() == pytest.approx([1, 0.01], rel=1e-3)


@pytest.mark.parametrize("changed", [0, 17, 39])
def test_no_logit_depends_on_a_later_token(model: HyenaDNA, changed: int) -> None:
    before = tokens(40)
    after = before.clone()
    after[:, changed] = (after[:, changed] + 1) % len(BASES)
    with torch.no_grad():
        difference = (model(before) - model(after)).abs().amax(dim=(0, 2))
    assert (difference[:changed] < 1e-5).all()
    assert difference[changed] > 1e-3


def test_the_last_logits_depend_on_the_first_token(model: HyenaDNA) -> None:
    embedded = model.embedding(tokens(48)).detach().requires_grad_()
    model.blocks(embedded)[:, -1].sum().backward()
    assert embedded.grad is not None
    assert embedded.grad[:, 0].abs().min() > 0  # 47 back; the short filters reach 4


@pytest.mark.parametrize("length", [1, 31, 48, 150])
def test_any_length_and_a_prefix_has_the_prefix_of_the_logits(model: HyenaDNA, length: int) -> None:
    sequence = tokens(150)
    with torch.no_grad():
        prefix, whole = model(sequence[:, :length]), model(sequence)
    assert prefix.shape == (2, length, len(BASES))
    torch.testing.assert_close(prefix, whole[:, :length], rtol=1e-4, atol=1e-5)


def test_operator_is_the_direct_sum_over_all_earlier_positions() -> None:
    torch.manual_seed(0)
    operator, x = HyenaOperator(width=4, length=20), torch.randn(2, 20, 4)
    projected = operator.project(x)
    padded = torch.cat([torch.zeros(2, 2, 12), projected], dim=1)
    taps = operator.short.weight[:, 0]
    short = sum(padded[:, tap : tap + 20] * taps[:, tap] for tap in range(3)) + operator.short.bias
    gate, key, value = short.chunk(3, dim=2)
    value, kernel = key * value, operator.filter(20).T
    mixed = operator.skip * value
    for t in range(20):
        for s in range(t + 1):
            mixed[:, t] = mixed[:, t] + kernel[t - s] * value[:, s]
    expected = operator.out(gate * mixed)
    torch.testing.assert_close(operator(x), expected, rtol=1e-4, atol=1e-5)


def test_filters_are_what_is_trained_by_rules_of_its_own() -> None:
    model = HyenaDNA(width=8, depth=2, length=16)
    own = set(filter_parameters(model))
    named = [name for name, parameter in model.named_parameters() if parameter in own]
    assert named
    assert all(".filter.mlp." in name for name in named)
    assert sum(".filter." in name for name, _ in model.named_parameters()) == len(named)
