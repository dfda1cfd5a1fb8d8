"""LLaMA against an independent one: the paper's formulas, with the same weights."""

import math

import pytest
import torch
from torch.nn.functional import linear, silu, softmax

import dyt
from dyt_llm.models import build
from dyt_llm.shapes import SHAPES

VOCABULARY = 40


def rms(x, weight, eps=1e-6):
    """arXiv 1910.07467."""
    return weight * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def rotated(x):
    """Rotary positions (arXiv 2104.09864), pairs of channels i and i + half: (B, H, T, D)."""
    *_, length, width = x.shape
    frequency = 10_000 ** (-torch.arange(0, width, 2).double() / width)
    angle = torch.arange(length).double()[:, None] * frequency
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)


def attention(w, x, shape):
    b, t, _ = x.shape
    heads, groups = shape.heads, shape.kv_heads or shape.heads
    width = w["q_proj.weight"].shape[0] // heads

    def split(name, count):
        return linear(x, w[f"{name}.weight"]).view(b, t, count, width).transpose(1, 2)

    q, k, v = (
        rotated(split("q_proj", heads)),
        rotated(split("k_proj", groups)),
        split("v_proj", groups),
    )
    k, v = (part.repeat_interleave(heads // groups, dim=1) for part in (k, v))
    scores = q @ k.mT / math.sqrt(width)
    future = torch.ones(t, t, dtype=torch.bool).triu(1)
    mixed = softmax(scores.masked_fill(future, -math.inf), dim=-1) @ v
    return linear(mixed.transpose(1, 2).reshape(b, t, -1), w["o_proj.weight"])


def part(w, prefix):
    return {k.removeprefix(prefix): v for k, v in w.items() if k.startswith(prefix)}


def forward(w, ids, shape, norm, scale=1.0):
    """arXiv 2302.13971: pre-norm, rotary attention, SwiGLU."""
    x = scale * w["model.embed_tokens.weight"][ids]
    for index in range(shape.layers):
        layer = part(w, f"model.layers.{index}.")
        x = x + attention(
            part(layer, "self_attn."), norm(part(layer, "input_layernorm."), x), shape
        )
        h = norm(part(layer, "post_attention_layernorm."), x)
        gated = silu(linear(h, layer["mlp.gate_proj.weight"])) * linear(
            h, layer["mlp.up_proj.weight"]
        )
        x = x + linear(gated, layer["mlp.down_proj.weight"])
    return linear(norm(part(w, "model.norm."), x), w["lm_head.weight"])


NORMS = {
    "native": lambda w, x: rms(x, w["weight"]),
    "dyt": lambda w, x: w["weight"] * torch.tanh(w["alpha"] * x),  # no bias
}


@pytest.mark.parametrize("variant", NORMS)
@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_the_papers_formulas_give_the_same(name, variant):
    torch.manual_seed(0)
    model, shape = build(name, VOCABULARY), SHAPES[name]
    if variant == "dyt":
        dyt.convert(model, "dyt", recipe="llama")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ids = torch.randint(VOCABULARY, (2, 31))
    w = {key: value.double() for key, value in model.state_dict().items()}
    scale = w.get("model.embed_tokens.scale", 1.0)
    with torch.no_grad():
        expected = forward(w, ids, shape, NORMS[variant], scale)
        found = model.eval()(ids).logits.double()  # rotary angles are float32 in any case
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * expected.abs().max().item())
