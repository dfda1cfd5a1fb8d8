"""HyenaDNA and Caduceus against independent ones: the published formulas, the same weights."""

import math
from functools import partial

import pytest
import torch
from torch.nn.functional import gelu, layer_norm, linear, silu, softplus

import dyt
from dyt_bench.plugin.optim import decaying
from dyt_dna.bases import BASES, COMPLEMENT, TOKENS
from dyt_dna.models.caduceus import Caduceus
from dyt_dna.models.hyena import HyenaDNA

WIDTH, DEPTH, LENGTH = 8, 2, 24


def part(w, prefix):
    return {k.removeprefix(prefix): v for k, v in w.items() if k.startswith(prefix)}


def ready(model, variant):
    torch.manual_seed(1)
    if variant == "dyt":
        dyt.convert(model, "dyt", recipe="dna")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def tanh(w, x):
    return w["weight"] * torch.tanh(w["alpha"] * x) + w.get("bias", 0.0)


# ---- HyenaDNA: arXiv 2302.10866 and 2306.15794, and the released code


def hyena_filter(w, length):
    """(length, D): z(t) through the MLP with sines, times exp(-t |delta|).

    The released filter knows LENGTH + 2 positions: t runs from 0 to 1 over them, and the angles
    make their turns over LENGTH + 2.
    """
    reach = LENGTH + 2
    place = torch.arange(length).double()[:, None]
    t = place / (reach - 1)
    bands = torch.linspace(1e-4, 1, 2).double()
    z = torch.exp(-1j * bands * (2 * math.pi * place / reach))
    h = torch.cat([t, z.real, z.imag], dim=1)
    for index in (0, 2, 4):
        h = torch.sin(
            w["mlp.1.frequency"] * linear(h, w[f"mlp.{index}.weight"], w[f"mlp.{index}.bias"])
        )
    h = linear(h, w["mlp.6.weight"])
    delta = torch.linspace(math.log(1e-2) / 1.5, math.log(1e-2) / 0.3, WIDTH).double()
    return h * torch.exp(-t * delta.abs())


def hyena_operator(w, u):
    """Order 2: three streams, smoothed over three positions; x0 * conv(x1 * v)."""
    _, length, width = u.shape
    streams = linear(u, w["project.weight"], w["project.bias"])
    smoothed = torch.zeros_like(streams)
    for back in range(3):
        shifted = torch.zeros_like(streams)
        shifted[:, back:] = streams[:, : length - back]
        smoothed = smoothed + shifted * w["short.weight"][:, 0, 2 - back]
    x0, x1, v = (smoothed + w["short.bias"]).split(width, dim=-1)
    k = hyena_filter(part(w, "filter."), length)
    v = v * x1
    y = torch.stack([sum(k[t - s] * v[:, s] for s in range(t + 1)) for t in range(length)], dim=1)
    return linear(x0 * (y + w["skip"] * v), w["out.weight"], w["out.bias"])


def hyena(w, tokens, norm):
    x = w["embedding.weight"][tokens]
    for index in range(DEPTH):
        block = part(w, f"blocks.{index}.")
        x = x + hyena_operator(part(block, "hyena."), norm(part(block, "norm1."), x))
        h = linear(norm(part(block, "norm2."), x), block["expand.weight"], block["expand.bias"])
        h = gelu(h, approximate="tanh")
        x = x + linear(h, block["contract.weight"], block["contract.bias"])
    return linear(norm(part(w, "norm."), x), w["embedding.weight"])


@pytest.mark.parametrize("variant", ["native", "dyt"])
def test_hyenadna_is_the_released_model(variant):
    model = ready(HyenaDNA(width=WIDTH, depth=DEPTH, length=LENGTH), variant)
    norms = {
        "native": lambda w, x: layer_norm(x, (WIDTH,), w["weight"], w["bias"]),
        "dyt": tanh,
    }
    tokens = torch.randint(len(BASES), (2, LENGTH))
    w = {key: value.double() for key, value in model.state_dict().items()}
    with torch.no_grad():
        expected = hyena(w, tokens, norms[variant])
        found = model(tokens).double()  # its FFT is float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


# ---- Caduceus: arXiv 2403.03234, on Mamba, arXiv 2312.00752


def mamba(w, u):
    """One direction, step by step: (B, L, D) -> (B, L, D)."""
    x, z = linear(u, w["in_proj.weight"]).chunk(2, dim=-1)
    taps = w["conv1d.weight"][:, 0]
    count = taps.shape[1]
    padded = torch.cat([x.new_zeros(len(x), count - 1, x.shape[2]), x], dim=1)
    length = x.shape[1]
    x = sum(padded[:, i : i + length] * taps[:, i] for i in range(count)) + w["conv1d.bias"]
    x = silu(x)
    states = w["A_log"].shape[1]
    rank = w["x_proj.weight"].shape[0] - 2 * states
    dt, b, c = linear(x, w["x_proj.weight"]).split([rank, states, states], dim=-1)
    dt = softplus(linear(dt, w["dt_proj.weight"], w["dt_proj.bias"]))
    a = -torch.exp(w["A_log"])
    h, ys = x.new_zeros(len(x), x.shape[2], states), []
    for t in range(length):
        decay = torch.exp(dt[:, t, :, None] * a)
        h = decay * h + (dt[:, t] * x[:, t])[..., None] * b[:, t, None]
        ys.append((h * c[:, t, None]).sum(-1))
    y = torch.stack(ys, dim=1) + w["D"] * x
    return linear(y * silu(z), w["out_proj.weight"])


def both_ways(w, x):
    return mamba(part(w, "mamba_fwd."), x) + mamba(part(w, "mamba_rev."), x.flip(1)).flip(1)


def caduceus_ph(w, x, norm):
    for index in range(DEPTH):
        block = part(w, f"blocks.{index}.")
        x = x + both_ways(part(block, "mixer."), norm(part(block, "norm."), x))
    return norm(part(w, "norm."), x)


def caduceus_ps(w, tokens, norm):
    """As published, with 2 D channels: the second half is the other strand, reversed both ways.

    A layer f becomes [f(first), R f(R second)], where R reverses positions and channels.
    """

    def reverse(x):
        return x.flip(-1, -2)

    def halves(f, x):
        first, second = x.chunk(2, dim=-1)
        return torch.cat([f(first), reverse(f(reverse(second)))], dim=-1)

    table = w["embedding.weight"]
    other = torch.tensor(COMPLEMENT)[tokens].flip(-1)
    x = torch.cat([table[tokens], reverse(table[other])], dim=-1)
    for index in range(DEPTH):
        block = part(w, f"blocks.{index}.")
        normed = halves(partial(norm, part(block, "norm.")), x)
        x = x + halves(partial(both_ways, part(block, "mixer.")), normed)
    first, second = halves(partial(norm, part(w, "norm.")), x).chunk(2, dim=-1)
    complement = table[torch.tensor(COMPLEMENT)]
    return linear(first, table) + linear(second.flip(-1), complement)


@pytest.mark.parametrize("variant", ["native", "dyt"])
@pytest.mark.parametrize("strands", ["ph", "ps"])
def test_caduceus_is_the_published_model(strands, variant):
    model = ready(Caduceus(width=WIDTH, depth=DEPTH, strands=strands), variant).double()
    norms = {
        "native": lambda w, x: w["weight"] * x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt(),
        "dyt": tanh,
    }
    tokens = torch.randint(len(TOKENS), (2, LENGTH))
    w = dict(model.state_dict())
    with torch.no_grad():
        if strands == "ps":
            expected = caduceus_ps(w, tokens, norms[variant])
        else:
            hidden = caduceus_ph(w, w["embedding.weight"][tokens], norms[variant])
            expected = linear(hidden, w["embedding.weight"])
        found = model(tokens)
    # transformers normalizes, and the scan takes A, in float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_what_the_released_codes_mark_does_not_decay():
    """The operator's skip, a bias there, and Mamba's A and D."""
    hyena = HyenaDNA(width=WIDTH, depth=1, length=LENGTH)
    caduceus = Caduceus(width=WIDTH, depth=1, strands="ph")
    for model, names in ((hyena, {"skip"}), (caduceus, {"A_log", "D"})):
        chosen = decaying(model, "not norms")
        marked = {n.rpartition(".")[2]: p for n, p in model.named_parameters()}
        assert not any(marked[name] in chosen for name in names)
        assert model.embedding.weight not in chosen
    assert caduceus.blocks[0].norm.weight in chosen  # no norm of PyTorch's own
