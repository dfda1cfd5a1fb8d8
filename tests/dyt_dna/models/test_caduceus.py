"""Caduceus: both directions, both strands, and the paper's layers with twice the channels."""

import pytest
import torch
from torch import Tensor, nn

import dyt
from dyt_dna.bases import COMPLEMENT, TOKENS, reverse_complement
from dyt_dna.models import caduceus
from dyt_dna.models.caduceus import BiMamba, Caduceus

COMPLEMENTS = list(COMPLEMENT)


def model(strands: str, norm: str = "native") -> Caduceus:
    torch.manual_seed(0)
    built = Caduceus(width=16, depth=2, strands=strands)
    if norm != "native":
        dyt.convert(built, norm, recipe="paper")
        with torch.no_grad():  # or every channel of a layer would still be alike
            for parameter in built.parameters():
                parameter += 0.1 * torch.rand_like(parameter)
    return built


def tokens(length: int = 70) -> Tensor:
    return torch.randint(len(TOKENS), (2, length), generator=torch.Generator().manual_seed(1))


def test_mixer_is_two_of_transformers_mixers_with_one_projection_in_and_out() -> None:
    mixer = model("ph").blocks[0].mixer
    assert isinstance(mixer, BiMamba)
    x = torch.randn(2, 70, 16, requires_grad=True)
    expected = mixer.mamba_fwd(x) + mixer.mamba_rev(x.flip(1)).flip(1)
    given = mixer(x)
    torch.testing.assert_close(given, expected)
    torch.testing.assert_close(
        torch.autograd.grad(given.square().sum(), [x, *mixer.parameters()]),
        torch.autograd.grad(expected.square().sum(), [x, *mixer.parameters()]),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("norm", ["native", "dyt"])
def test_ps_is_equivariant_to_the_reverse_complement(norm: str) -> None:
    network = model("ps", norm).eval()
    with torch.no_grad():
        given, other = network(tokens()), network(reverse_complement(tokens()))
    assert (given - other.flip(1)[..., COMPLEMENTS]).abs().max() < 1e-5
    assert given.std() > 1e-3


@pytest.mark.parametrize("norm", ["native", "dyt"])
def test_ph_is_equivariant_once_conjoined_and_not_before(norm: str) -> None:
    network = model("ph", norm).eval()

    def difference(call) -> float:
        there = call(reverse_complement(tokens())).flip(1)[..., COMPLEMENTS]
        return (call(tokens()) - there).abs().max().item()

    with torch.no_grad():
        assert difference(network.conjoined) < 1e-5
        assert difference(network) > 1e-4


def with_twice_the_channels(network: Caduceus, sequence: Tensor) -> Tensor:
    """The paper's parameter sharing, as it writes it: the second half of the channels holds the
    other strand, in reverse order of positions and of channels."""

    def shared(layer: nn.Module, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        return torch.cat([layer(first), layer(second.flip(1, 2)).flip(1, 2)], dim=-1)

    embed, weight = network.embedding, network.embedding.weight
    x = torch.cat([embed(sequence), embed(reverse_complement(sequence)).flip(1, 2)], dim=-1)
    for block in network.blocks:
        x = x + shared(block.mixer, shared(block.norm, x))
    first, second = shared(network.norm, x).chunk(2, dim=-1)
    return first @ weight.T + second.flip(2) @ weight[COMPLEMENTS].T


def test_ps_is_the_papers_with_twice_the_channels() -> None:
    network = model("ps", "dyt")
    torch.testing.assert_close(network(tokens()), with_twice_the_channels(network, tokens()))


@pytest.mark.parametrize("strands", ["ph", "ps"])
def test_every_position_is_read_from_both_sides(strands: str) -> None:
    network, before = model(strands), tokens()
    for changed in (0, 35, 69):
        after = before.clone()
        after[:, changed] = (after[:, changed] + 1) % len(TOKENS)
        with torch.no_grad():
            assert ((network(before) - network(after)).abs().amax(dim=(0, 2)) > 0).all()


@pytest.mark.parametrize("strands", ["ph", "ps"])
def test_every_norm_is_found_and_swapped(strands: str) -> None:
    network = model(strands)
    sites = dyt.audit(network)
    assert [(site.name, site.kind) for site in sites] == [
        ("blocks.0.norm", "rms"),
        ("blocks.1.norm", "rms"),
        ("norm", "rms"),
    ]
    dyt.convert(network, "dyt", recipe="dna")
    assert isinstance(network.blocks[1].norm, dyt.DynamicTanh)
    assert not dyt.select(network)


def test_on_a_gpu_the_kernel_of_mamba_ssm_scans_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, x = model("ph"), torch.randn(1, 20, 16)
    expected = network.blocks[0].mixer(x)
    monkeypatch.setattr(caduceus, "_scans_with_kernel", lambda x: True)
    torch.testing.assert_close(network.blocks[0].mixer(x), expected)
