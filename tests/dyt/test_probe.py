"""Saturation against counting by hand."""

import pytest
import torch
from torch import nn

import dyt
from dyt.probe import alphas, watch_saturation


def test_saturation_counts_inputs_past_95_percent():
    layer = dyt.DynamicTanh(4, alpha_init_value=1.0)
    model = nn.Sequential(layer)
    with watch_saturation(model) as seen:
        model(torch.tensor([[0.0, 1.8, 1.9, -5.0]]))  # tanh(1.8) = 0.947, tanh(1.9) = 0.956
        model(torch.zeros(1, 4))
    model(torch.full((1, 4), 9.0))  # not watched any more
    assert seen.shares() == {"0": pytest.approx(2 / 8)}


def test_alphas_by_name():
    model = nn.ModuleDict({"a": dyt.DynamicTanh(2), "b": dyt.DynamicErf(2, alpha_init_value=0.25)})
    assert alphas(model) == {"a": 0.5, "b": 0.25}
