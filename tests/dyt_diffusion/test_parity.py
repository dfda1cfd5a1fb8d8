"""DiT against an independent one: the published model's formulas, with the same weights."""

import math

import pytest
import torch
from torch.nn.functional import gelu, layer_norm, linear, silu, softmax

import dyt
from dyt_diffusion.models import ARCHITECTURES

HEADS, PATCH, CHANNELS, SIZE = 4, 2, 4, 8
FREQUENCIES = 256


def timestep_features(t):
    """(B,) -> (B, 256): cosines, then sines, of frequencies 10000^(-i / 128), in float32."""
    half = FREQUENCIES // 2
    angles = t[:, None].float() * torch.exp(-math.log(10_000) * torch.arange(half).float() / half)
    return torch.cat([angles.cos(), angles.sin()], dim=1).double()


def positions(side, width):
    """(side^2, width): half of the channels tell the column, half the row."""
    omega = 10_000 ** (-torch.arange(width // 4).double() / (width / 4))
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")

    def waves(place):
        angles = place.flatten()[:, None].double() * omega
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    return torch.cat([waves(column), waves(row)], dim=1)


def norm(x):
    """LayerNorm without weight and bias."""
    return layer_norm(x, x.shape[-1:], eps=1e-6)


def modulated(x, shift, scale, norm):
    return norm(x) * (1 + scale[:, None]) + shift[:, None]


def attention(w, x):
    b, t, width = x.shape
    q, k, v = (
        linear(x, w[f"to_{name}.weight"], w[f"to_{name}.bias"])
        .view(b, t, HEADS, width // HEADS)
        .transpose(1, 2)
        for name in "qkv"
    )
    weights = softmax(q @ k.mT / math.sqrt(width // HEADS), dim=-1)
    mixed = (weights @ v).transpose(1, 2).reshape(b, t, width)
    return linear(mixed, w["to_out.0.weight"], w["to_out.0.bias"])


def part(w, prefix):
    return {k.removeprefix(prefix): v for k, v in w.items() if k.startswith(prefix)}


def forward(w, images, t, labels, layers, norm):
    """The published forward; ``w`` has our names, the formulas are the paper's."""

    def dense(name, x):
        return linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    kernel = w["pos_embed.proj.weight"]
    x = images.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # B, C, rows, columns, p, p
    x = x.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    x = linear(x, kernel.flatten(1), w["pos_embed.proj.bias"]) + positions(SIZE // PATCH, 64)
    emb = "transformer_blocks.0.norm1.emb"
    c = dense(f"{emb}.timestep_embedder.linear_1", timestep_features(t))
    c = dense(f"{emb}.timestep_embedder.linear_2", silu(c))
    c = c + w[f"{emb}.class_embedder.embedding_table.weight"][labels]
    for index in range(layers):
        block = f"transformer_blocks.{index}"
        six = dense(f"{block}.norm1.linear", silu(c)).chunk(6, dim=1)
        shift1, scale1, gate1, shift2, scale2, gate2 = six
        mixed = attention(
            part(w, f"{block}.attn1."), modulated(x, shift1, scale1, norm(w, index, 1))
        )
        x = x + gate1[:, None] * mixed
        inner = dense(f"{block}.ff.net.0.proj", modulated(x, shift2, scale2, norm(w, index, 2)))
        x = x + gate2[:, None] * dense(f"{block}.ff.net.2", gelu(inner, approximate="tanh"))
    shift, scale = dense("proj_out_1", silu(c)).chunk(2, dim=1)
    x = dense("proj_out_2", modulated(x, shift, scale, norm(w, None, 0)))
    side = SIZE // PATCH
    x = x.view(-1, side, side, PATCH, PATCH, 2 * CHANNELS)
    return torch.einsum("nhwpqc->nchpwq", x).reshape(-1, 2 * CHANNELS, SIZE, SIZE)


def native(w, index, place):
    return norm


def tanh(w, index, place):
    """DyT without weight and bias, as in the published recipe."""
    names = {0: "norm_out", 1: f"transformer_blocks.{index}.norm1.norm"}
    name = names.get(place, f"transformer_blocks.{index}.norm3")
    return lambda x: torch.tanh(w[f"{name}.alpha"] * x)


@pytest.mark.parametrize("variant", ["native", "dyt"])
def test_the_published_formulas_give_the_same(variant):
    torch.manual_seed(0)
    model = ARCHITECTURES["dit"].build(CHANNELS, SIZE, 10)
    if variant == "dyt":
        dyt.convert(model, "dyt", recipe="dit")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model = model.double().eval()
    images = torch.randn(3, CHANNELS, SIZE, SIZE, dtype=torch.float64)
    t, labels = torch.tensor([0, 417, 999]), torch.tensor([1, 9, 10])
    w = dict(model.state_dict())
    norms = native if variant == "native" else tanh
    with torch.no_grad():
        expected = forward(w, images, t, labels, layers=4, norm=norms)
        found = model(images, t, labels).sample
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * expected.abs().max().item())
