"""Caduceus: a masked language model over single bases, of Mamba blocks that read both ways.

After Caduceus (arXiv 2403.03234), with transformers' Mamba mixers, whose weights have the names
of published checkpoints, and its RMSNorm. Shapes: B sequences, L positions, D channels of the
model, E = 2 D inside a mixer.
"""

import math
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu, softplus
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import (
    MambaMixer,
    MambaRMSNorm,
    mamba_selective_scan,
)

from dyt_dna.bases import COMPLEMENT, TOKENS, reverse_complement
from dyt_dna.models.scan import selective_scan

STD = 0.02  # of the embedding at the start

Strands = Literal["ph", "ps"]


class BiMamba(nn.Module):
    """``mamba_fwd(x) + flip(mamba_rev(flip(x)))``, with shared projections in and out.

    The shared projections are computed once: the projection out is linear, so it is applied to
    the sum of both directions.
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.mamba_fwd = MambaMixer(config, layer_idx=0)
        self.mamba_rev = MambaMixer(config, layer_idx=0)
        self.mamba_rev.in_proj = self.mamba_fwd.in_proj
        self.mamba_rev.out_proj = self.mamba_fwd.out_proj
        for mixer in (self.mamba_fwd, self.mamba_rev):
            for parameter in (mixer.A_log, mixer.D):  # as Mamba's own code marks them
                parameter._no_weight_decay = True  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        inner, gate = self.mamba_fwd.in_proj(x).chunk(2, dim=-1)
        y = _scan_both(self.mamba_fwd, self.mamba_rev, inner, inner.flip(1))
        mixed: Tensor = self.mamba_fwd.out_proj((y[0] + y[1].flip(1)) * silu(gate))
        return mixed


def _scan_both(forward: MambaMixer, reverse: MambaMixer, *inner: Tensor) -> tuple[Tensor, Tensor]:
    """Convolution and selective scan of each direction's inputs (B, L, E), before the gate."""
    directions = list(zip((forward, reverse), inner, strict=True))
    xs, dts, bs, cs = zip(*(_scan_inputs(*direction) for direction in directions), strict=True)
    a = [-mixer.A_log.float().exp() for mixer, _ in directions]
    if _scans_with_kernel(xs[0]):
        ys = [_kernel_scan(*parts) for parts in zip(xs, dts, a, bs, cs, strict=True)]
    else:
        x, dt, b, c = (torch.stack(parts).movedim(2, 0) for parts in (xs, dts, bs, cs))
        ys = list(selective_scan(x, dt, torch.stack(a), b, c).movedim(0, 2))
    skipped = [y + x * mixer.D for y, x, (mixer, _) in zip(ys, xs, directions, strict=True)]
    return skipped[0], skipped[1]


def _scan_inputs(mixer: MambaMixer, inner: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, L, E) -> x and dt (B, L, E), B and C (B, L, N)."""
    x = silu(mixer.conv1d(inner.mT)[..., : inner.shape[1]].mT)
    sizes = [mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size]
    dt, b, c = mixer.x_proj(x).split(sizes, dim=-1)
    return x, softplus(mixer.dt_proj(dt)), b, c


def _scans_with_kernel(x: Tensor) -> bool:
    return x.is_cuda and find_spec("mamba_ssm") is not None


def _kernel_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """By transformers, which uses mamba-ssm's kernel where it is installed."""
    y: Tensor = mamba_selective_scan(x.mT, dt.mT, a, b.mT, c.mT)
    return y.mT


def _norm(config: MambaConfig) -> nn.Module:
    norm: nn.Module = MambaRMSNorm(config.hidden_size, eps=config.layer_norm_epsilon)  # type: ignore[no-untyped-call]  # transformers'
    return norm


class Block(nn.Module):
    """Pre-norm residual block: ``x + mixer(norm(x))``."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.norm = _norm(config)
        self.mixer = BiMamba(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        mixed: Tensor = x + self.mixer(self.norm(x))
        return mixed


class Caduceus(nn.Module):
    """Tokens -> the logits of each token, from all the others: to be trained on masked ones.

    Both strands of DNA carry the same information. ``strands`` chooses how the model uses that:

    - "ph", post hoc: the network reads one strand, and is trained on either. After training,
      `conjoined` averages its logits for the two.
    - "ps", parameter sharing: the network reads both strands with the same weights and adds their
      logits, in training too. The reverse complement of the input gives exactly the reverse
      complement of the output.

    The paper writes "ps" with twice the channels. The second half holds the other strand, with
    positions and channels reversed; each layer reverses that half, applies the shared layer, and
    reverses back. The halves never mix before the head, so here they are two sequences of one
    batch, each in its own reading direction, reversed once.

    Args:
        width: channels D.
        depth: blocks.
        strands: "ph" or "ps".
    """

    def __init__(self, width: int, depth: int, strands: Strands) -> None:
        super().__init__()
        config = MambaConfig(
            vocab_size=len(TOKENS),
            hidden_size=width,
            num_hidden_layers=depth,
            layer_norm_epsilon=1e-5,
        )
        self.width, self.strands = width, strands
        self.embedding = nn.Embedding(len(TOKENS), width)
        blocks = [Block(config) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = _norm(config)
        nn.init.normal_(self.embedding.weight, std=STD)
        for block in blocks:  # GPT-2's rule: the residual stream keeps its scale with depth
            out = block.mixer.mamba_fwd.out_proj.weight
            nn.init.kaiming_uniform_(out, a=math.sqrt(5))
            with torch.no_grad():
                out /= math.sqrt(depth)

    def features(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """(B, L) int64 -> (B, L, D) of each strand read, at the given strand's positions."""
        if self.strands == "ph":
            hidden: Tensor = self.norm(self.blocks(self.embedding(tokens)))
            return (hidden,)
        both = torch.cat([tokens, reverse_complement(tokens)])
        given, other = self.norm(self.blocks(self.embedding(both))).chunk(2)
        return given, other.flip(1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 in [0, 6) -> logits (B, L, 6)."""
        given, *other = self.features(tokens)
        weight = self.embedding.weight  # tied
        logits: Tensor = linear(given, weight)
        for hidden in other:
            logits = logits + linear(hidden, weight[self._complement()])
        return logits

    def conjoined(self, tokens: Tensor) -> Tensor:
        """As `forward`; for "ph", the mean of the logits for both strands."""
        logits: Tensor = self(tokens)
        if self.strands == "ps":
            return logits
        other: Tensor = self(reverse_complement(tokens)).flip(1)[..., self._complement()]
        return (logits + other) / 2

    def _complement(self) -> Tensor:
        return torch.tensor(COMPLEMENT, device=self.embedding.weight.device)
