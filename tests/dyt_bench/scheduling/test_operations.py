"""What single operations compute and move, by hand."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

import dyt
from dyt_bench.scheduling import here
from dyt_bench.scheduling.operations import Operation
from dyt_bench.scheduling.work import Count


def counted(call):
    with FakeTensorMode(), Count() as count:
        call()
    return count.operations


def only(call):
    (found,) = counted(call)
    return found


def test_a_product_of_matrices():
    found = counted(lambda: torch.empty(3, 5) @ torch.empty(5, 7))
    assert found == {Operation(2.0 * 3 * 5 * 7, 4.0 * (15 + 35 + 21)): 1}


def test_half_precision_is_counted_apart():
    half = torch.bfloat16
    found = counted(lambda: torch.empty(4, 4, dtype=half) @ torch.empty(4, 4, dtype=half))
    assert found == {Operation(128.0, 2.0 * 48, half=True): 1}


def test_views_move_nothing():
    assert not counted(lambda: torch.empty(4, 4).view(16)[2:].view(7, 2).t())


@pytest.mark.parametrize(
    "call",
    [
        functional.gelu,
        functional.silu,
        functional.softplus,
        torch.tanh,
        torch.exp,
        torch.exp_,
        torch.Tensor.tanh_,
        lambda x: torch.softmax(x, -1),
        lambda x: torch.log_softmax(x, -1),
    ],
)
def test_special_functions_are_evaluated_for_each_element(call):
    assert only(lambda: call(torch.empty(3, 5))).special == 15


@pytest.mark.parametrize("call", [torch.relu, torch.neg, lambda x: x + 1, lambda x: x.sum()])
def test_other_functions_are_none(call):
    found = only(lambda: call(torch.empty(3, 5)))
    assert (found.special, found.drawn) == (0, 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.rand(3, 5),
        lambda: torch.randn(3, 5),
        lambda: torch.empty(3, 5).bernoulli_(0.5),
        lambda: torch.empty(3, 5).uniform_(),
        lambda: torch.randperm(15),
    ],
)
def test_random_numbers_are_counted(call):
    assert sum(each.drawn * n for each, n in counted(call).items()) == 15


def test_attention_exponentiates_its_scores():
    query, key = torch.empty(2, 3, 10, 8), torch.empty(2, 3, 20, 8)
    with FakeTensorMode(allow_non_fake_inputs=True), Count() as count:
        functional.scaled_dot_product_attention(query, key, key)
    (found,) = (each for each in count.operations if each.flops)
    assert found.special == 2 * 3 * 10 * 20
    assert found.flops == 4 * 8 * found.special


def test_optimisers_go_through_tensors_one_after_another():
    weights = [nn.Parameter(torch.zeros(4)) for _ in range(7)]
    for weight in weights:
        weight.grad = torch.ones(4)
    optimizer = torch.optim.AdamW(weights, fused=True)
    optimizer.step()
    with Count() as count:
        optimizer.step()
    assert max(each.tensors for each in count.operations) == 7


def test_a_fused_norm_is_one_operation():
    found = counted(lambda: functional.rms_norm(torch.empty(16, 8), (8,), torch.empty(8)))
    assert {each.tensors for each in found} == {1}


def test_the_layers_operators_are_counted():
    def step():
        layer = nn.Sequential(dyt.DynamicTanh(8))
        layer(torch.empty(4, 8)).sum().backward()

    found = counted(step)
    assert sum(found.values()) >= 2
    assert sum(each.special * n for each, n in found.items()) >= 32


def test_this_machine_is_measured(monkeypatch):
    monkeypatch.setattr(here, "ROUNDS", 1)
    device = here.measured_here()
    assert device.waits
    assert device.drawn > 1e6
    assert device.single > 1e9
    assert device.bandwidth > 1e8
    assert device.special > 1e6
    assert 1e-7 < device.launch < 1e-2
    assert 0.01 < device.reached < 10
