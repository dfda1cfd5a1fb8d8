"""HyenaDNA: a causal language model over single bases, without attention.

No library has it, so it is written here, after Hyena Hierarchy (arXiv 2302.10866) and
HyenaDNA (arXiv 2306.15794), with the sizes, the initial values and the filter of the released
`hyenadna-tiny-1k`. Shapes: B sequences, L positions, D channels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, pad

from dyt_dna.bases import BASES

FILTER_STD = 0.02  # of the filters' weights at the start


def causal_convolution(signal: Tensor, kernel: Tensor) -> Tensor:
    """``y[b, d, t] = sum over s <= t of kernel[d, s] * signal[b, d, t - s]``, by FFT.

    Multiplying spectra gives a circular convolution, where the end of the signal would wrap
    around to its beginning. Padding with zeros to 2L prevents that.

    Shapes: (B, D, L) and (D, L) -> (B, D, L). Computed in float32 at least, as the FFT has no half
    precision on every device; returned in the signal's dtype.
    """
    length, single = signal.shape[-1], torch.promote_types(signal.dtype, torch.float32)
    spectrum = torch.fft.rfft(signal.to(single), 2 * length)
    spectrum = spectrum * torch.fft.rfft(kernel.to(single), 2 * length)
    convolved: Tensor = torch.fft.irfft(spectrum, 2 * length)[..., :length]
    return convolved.to(signal.dtype)


class Sine(nn.Module):
    """``sin(frequency * x)`` with one learnable frequency per feature, which lets a small MLP of
    smooth inputs produce a detailed filter."""

    def __init__(self, features: int, frequency: float) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.full((features,), frequency))

    def forward(self, x: Tensor) -> Tensor:
        return (self.frequency * x).sin()


class ImplicitFilter(nn.Module):
    """A filter as long as the input: an MLP of the position, times an exponential decay.

    ``h[d, t] = mlp(features(t))[d] * exp(-rate[d] * t / (length + 1))``. The decay gives each
    channel a reach of its own from the start, between a third of ``length`` and more than all of
    it. A filter for fewer positions is the beginning of the filter for more.

    Args:
        width: channels D.
        length: the length trained at, the unit of time.
    """

    hidden = 64
    bands = 2  # Fourier features: sine and cosine with almost no turn, and with one, over length
    fast, slow, target = 0.3, 1.5, 0.01  # channels decay to target after these shares of length

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.length = length
        sine = Sine(self.hidden, frequency=10.0)  # shared, as released
        self.mlp = nn.Sequential(
            nn.Linear(1 + 2 * self.bands, self.hidden),
            sine,
            nn.Linear(self.hidden, self.hidden),
            sine,
            nn.Linear(self.hidden, self.hidden),
            sine,
            nn.Linear(self.hidden, width, bias=False),
        )
        rates = torch.linspace(1 / self.slow, 1 / self.fast, width) * -math.log(self.target)
        self.register_buffer("rates", rates, persistent=False)
        self.rates: Tensor

    def forward(self, length: int) -> Tensor:
        """-> (D, length)."""
        # The released filters know two positions more than a sequence has: time runs from 0 to 1
        # over all of them, and the features turn over as many.
        known = self.length + 2
        place = torch.arange(length, device=self.rates.device).unsqueeze(1)
        turns = torch.linspace(1e-4, self.bands - 1, self.bands, device=place.device)
        time, angle = place / (known - 1), 2 * math.pi * turns * place / known
        shape: Tensor = self.mlp(torch.cat([time, angle.cos(), -angle.sin()], dim=1))
        decay = torch.exp(-self.rates * time)
        return (shape * decay).T


class HyenaOperator(nn.Module):
    """The order-2 Hyena operator, in place of attention.

    Three projections of the input, each smoothed over three positions: ``gate``, ``key`` and
    ``value``. Then ``gate * (h conv (key * value) + skip * key * value)`` and a projection out:
    what attention does with a matrix of L x L, at the price of an FFT.
    """

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 3 * width)
        self.short = nn.Conv1d(3 * width, 3 * width, kernel_size=3, groups=3 * width)
        self.filter = ImplicitFilter(width, length)
        self.skip = nn.Parameter(torch.randn(width))
        self.skip._no_weight_decay = True  # type: ignore[attr-defined]  # a bias, as released
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        streams = self.project(x).mT  # (B, 3D, L)
        streams = self.short(pad(streams, (2, 0)))  # zeros on the left only: causal
        gate, key, value = streams.chunk(3, dim=1)
        value = key * value  # (B, D, L)
        reached = causal_convolution(value, self.filter(x.shape[1]))
        value = reached + self.skip.unsqueeze(1) * value
        mixed: Tensor = self.out((gate * value).mT)
        return mixed


class Block(nn.Module):
    """Pre-norm residual block: ``x + hyena(norm1(x))``, then ``x + mlp(norm2(x))``."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.hyena = HyenaOperator(width, length)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        x = x + self.hyena(self.norm1(x))
        x = x + self.contract(gelu(self.expand(self.norm2(x)), approximate="tanh"))
        return x


class HyenaDNA(nn.Module):
    """Tokens -> the logits of each next token. Position t sees tokens 0 to t and no other.

    There is no position embedding, as the filters depend on distances. So a sequence may have any
    length, also beyond that trained at.

    Args:
        width: channels D.
        depth: blocks.
        length: the length trained at; it sets the time scale of the filters.
        dropout: share of the embedding's channels dropped in training.
        std: of all weights at the start, except the filters'; the default is that released.
    """

    def __init__(
        self, width: int, depth: int, length: int, dropout: float = 0.0, std: float = 0.02
    ) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(len(BASES), width)
        self.dropout = nn.Dropout(dropout)
        blocks = [Block(width, length) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        # GPT-2's rule, for the filters' MLPs too, as released. The two branches of each block
        # start smaller, so that the residual stream's variance does not grow with depth.
        _initialize(self, std)
        for block in blocks:
            _initialize(block.hyena.filter, FILTER_STD)
            for end in (block.hyena.out, block.contract):
                nn.init.normal_(end.weight, std=std / math.sqrt(2 * depth))

    def features(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """(B, L) int64 -> (B, L, D) of the one strand read."""
        hidden: Tensor = self.norm(self.blocks(self.dropout(self.embedding(tokens))))
        return (hidden,)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 in [0, 5) -> (B, L, 5)."""
        (hidden,) = self.features(tokens)
        return linear(hidden, self.embedding.weight)  # tied


def _initialize(parent: nn.Module, std: float) -> None:
    for module in parent.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
