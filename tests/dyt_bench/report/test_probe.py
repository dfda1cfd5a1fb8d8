"""The figure of a probe, for models with norms, with point-wise layers, and with neither."""

import pytest
import torch
from torch import nn

import dyt
from dyt_bench.report.probe import plot_probe


@pytest.mark.parametrize("convert", [False, True])
@pytest.mark.parametrize("layers", [(nn.Linear(16, 16), nn.LayerNorm(16)), (nn.Linear(16, 16),)])
def test_every_kind_of_model_is_drawn(layers, convert, tmp_path):
    model = nn.Sequential(*layers)
    if convert and len(layers) > 1:
        dyt.convert(model)
    with dyt.probe(model, every=1) as seen:
        model(torch.randn(4, 16)).sum().backward()
    plot_probe(seen, tmp_path / "probe.png")
    assert (tmp_path / "probe.png").stat().st_size > 10_000
