"""wav2vec 2.0 against an independent one: the published model's formulas, the same weights."""

import math

import pytest
import torch
from torch.nn.functional import gelu, layer_norm, linear, softmax
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

import dyt
from dyt_speech import models

STRIDES = (5, 2, 2, 2, 2, 2, 2)
KERNELS = (10, 3, 3, 3, 3, 2, 2)
HEADS = 4


def part(w, prefix):
    return {k.removeprefix(prefix): v for k, v in w.items() if k.startswith(prefix)}


def dense(w, name, x):
    return linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def convolution(x, kernel, stride):
    """(B, C, L) and (O, C, K) -> (B, O, (L - K) // stride + 1)."""
    windows = x.unfold(2, kernel.shape[2], stride)
    return torch.einsum("bclk,ock->bol", windows, kernel)


def extractor(w, audio):
    """Seven convolutions without bias; group norm, a group a channel, after the first alone."""
    x = audio[:, None]
    for index, (kernel, stride) in enumerate(zip(KERNELS, STRIDES, strict=True)):
        layer = part(w, f"feature_extractor.conv_layers.{index}.")
        assert layer["conv.weight"].shape[2] == kernel
        assert "conv.bias" not in layer
        x = convolution(x, layer["conv.weight"], stride)
        if index == 0:
            centered = x - x.mean(2, keepdim=True)
            x = centered / (centered.square().mean(2, keepdim=True) + 1e-5).sqrt()
            x = x * layer["layer_norm.weight"][:, None] + layer["layer_norm.bias"][:, None]
        else:
            assert "layer_norm.weight" not in layer
        x = gelu(x)
    return x.mT


def attention(w, x):
    b, t, width = x.shape
    q, k, v = (
        dense(w, f"{name}_proj", x).view(b, t, HEADS, width // HEADS).transpose(1, 2)
        for name in "qkv"
    )
    weights = softmax(q @ k.mT / math.sqrt(width // HEADS), dim=-1)
    return dense(w, "out_proj", (weights @ v).transpose(1, 2).reshape(b, t, width))


def positions(w, x):
    """A grouped convolution over 128 frames, its weight normalized along the last axis."""
    g, v = (w[f"conv.parametrizations.weight.original{i}"] for i in (0, 1))
    kernel = g * v / v.square().sum((0, 1), keepdim=True).sqrt()
    size, groups = kernel.shape[2], x.shape[2] // kernel.shape[1]
    padded = torch.nn.functional.pad(x.mT, (size // 2, size // 2))
    outputs = [
        convolution(*pair, 1)
        for pair in zip(padded.chunk(groups, dim=1), kernel.chunk(groups), strict=True)
    ]
    y = torch.cat(outputs, dim=1) + w["conv.bias"][:, None]
    return gelu(y[..., : x.shape[1]]).mT  # an even kernel gives a frame more


def encoder(w, x, norm, *, first):
    """Post-norm layers after a norm, or (``first``) pre-norm layers and a norm after them."""
    x = x + positions(part(w, "pos_conv_embed."), x)
    last = part(w, "layer_norm.")
    x = x if first else norm(last, x)
    layers = len({name.split(".")[1] for name in w if name.startswith("layers.")})
    for index in range(layers):
        layer = part(w, f"layers.{index}.")
        one, two = part(layer, "layer_norm."), part(layer, "final_layer_norm.")

        def feed(x, layer=layer):
            inner = gelu(dense(layer, "feed_forward.intermediate_dense", x))
            return dense(layer, "feed_forward.output_dense", inner)

        heads = part(layer, "attention.")
        if first:
            x = x + attention(heads, norm(one, x))
            x = x + feed(norm(two, x))
        else:
            x = norm(one, x + attention(heads, x))
            x = norm(two, x + feed(x))
    return norm(last, x) if first else x


def contrastive(w, context, targets):
    """Cosine similarities of each frame's projection with the quantized targets."""
    c, q = dense(w, "project_hid", context), dense(w, "project_q", targets)
    return torch.einsum("btd,bsd->bts", c, q) / (
        c.norm(dim=-1)[:, :, None] * q.norm(dim=-1)[:, None]
    )


def quantized(w, features):
    """In evaluation: of each codebook the entry with the largest logit."""
    logits = dense(w, "quantizer.weight_proj", features)
    groups, entries = 2, logits.shape[-1] // 2
    chosen = logits.unflatten(-1, (groups, entries)).argmax(-1)
    table = w["quantizer.codevectors"].view(groups, entries, -1)
    return torch.cat([table[g][chosen[..., g]] for g in range(groups)], dim=-1)


NORMS = {
    "native": lambda w, x: layer_norm(x, x.shape[-1:], w["weight"], w["bias"], 1e-5),
    "dyt": lambda w, x: w["weight"] * torch.tanh(w["alpha"] * x) + w["bias"],
}


def small(large):
    """The published layout, base's or large's, at a size of tests."""
    if not large:
        return models.build("wav2vec2")
    published = models.CONFIGS["wav2vec2-large"].to_dict()
    layout = ("conv_bias", "feat_extract_norm", "do_stable_layer_norm")
    config = models.CONFIGS["wav2vec2"].to_dict() | {key: published[key] for key in layout}
    return Wav2Vec2ForPreTraining(Wav2Vec2Config(**config))


@pytest.mark.parametrize("variant", NORMS)
@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_the_published_formulas_give_the_same(large, variant):
    torch.manual_seed(0)
    model = small(large)
    if variant == "dyt":
        dyt.convert(model, "dyt", recipe="wav2vec2")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model = model.double().eval()
    audio, norm = torch.randn(2, 4000, dtype=torch.float64), NORMS[variant]
    w = dict(model.state_dict())
    with torch.no_grad():
        found = model(audio, mask_time_indices=None)
        features = norm(
            part(w, "wav2vec2.feature_projection.layer_norm."),
            extractor(part(w, "wav2vec2."), audio),
        )
        x = dense(w, "wav2vec2.feature_projection.projection", features)
        x = encoder(part(w, "wav2vec2.encoder."), x, norm, first=large)
        expected = contrastive(w, x, quantized(w, features))
    c, q = found.projected_states, found.projected_quantized_states
    similar = torch.nn.functional.cosine_similarity(c[:, :, None], q[:, None], dim=-1)
    torch.testing.assert_close(similar, expected, rtol=0, atol=1e-10)
