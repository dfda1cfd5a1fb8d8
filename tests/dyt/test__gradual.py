"""A gradual swap: exact at both ends, its gate, gradients and state, and what is left of it."""

import copy
import math

import pytest
import torch
from tests.dyt._surgery.models import IDS, new
from torch import nn

import dyt

NAMES = ["llama", "gemma", "bert", "gpt2", "vit"]
SPAN = dyt.recipes.GRADUAL.gradual


def batch(name):
    torch.manual_seed(1)
    return torch.randn(2, 3, 32, 32) if name == "vit" else IDS


def output(model, name):
    found = model(batch(name))
    return found if isinstance(found, torch.Tensor) else found.logits


def swapped(name):
    """The native model, and the same in a gradual swap."""
    torch.manual_seed(0)
    native = new(name)
    with torch.no_grad():
        for parameter in native.parameters():  # norms too are trained
            parameter.add_(0.05 * torch.randn_like(parameter))
    return native, dyt.convert(copy.deepcopy(native), "dyt", recipe="gradual")


def sites(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, dyt.Gradual)}


def half_cosine(share, begin, end):
    return math.cos(math.pi / 2 * min(1, max(0, (share - begin) / (end - begin)))) ** 2


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_as_the_native_model_with_its_gradients(name):
    native, model = swapped(name)
    assert torch.equal(output(model, name), output(native, name))
    for each in (native, model):
        output(each, name).square().mean().backward()
    places = sites(model)
    for name, parameter in native.named_parameters():
        place, _, own = name.rpartition(".")
        found = model.get_parameter(f"{place}.norm.{own}" if place in places else name)
        assert torch.equal(found.grad, parameter.grad), name
    layers = [p.grad for site in places.values() for p in site.layer.parameters()]
    assert layers
    assert all(gradient is None for gradient in layers)


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_as_a_plain_swap_with_its_values(name):
    native, model = swapped(name)
    dyt.calibrate(model, [batch(name)])
    assert torch.equal(output(model, name), output(native, name))  # calibrating changes no norm
    dyt.set_progress(model, 1.0)
    before = output(model, name)
    model = dyt.settle(model)
    plain = dyt.convert(native, "dyt")
    assert plain.state_dict().keys() == model.state_dict().keys()
    plain.load_state_dict(model.state_dict())
    for each in (model, plain):
        assert torch.equal(output(each, name), before)
    assert not sites(model)
    assert dyt.settle(model) is model


def test_sites_take_turns_feed_forward_first_and_the_final_one_last():
    _, model = swapped("llama")
    found = sorted(sites(model).items(), key=lambda each: each[1].begin)
    assert [name.rpartition(".")[2] for name, _ in found] == [
        "post_attention_layernorm",
        "post_attention_layernorm",
        "input_layernorm",
        "input_layernorm",
        "norm",
    ]
    bounds = [(site.begin, site.end) for _, site in found]
    width = (SPAN[1] - SPAN[0]) / 5
    for turn, (begin, end) in enumerate(bounds):
        assert begin == pytest.approx(SPAN[0] + turn * width)
        assert end == pytest.approx(begin + width)


def test_the_gate_falls_as_half_a_cosine():
    site = dyt.Gradual(nn.LayerNorm(4), dyt.DynamicTanh(4), 0.2, 0.6).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    for step in range(11):
        dyt.set_progress(site, step / 10)
        gate = half_cosine(step / 10, 0.2, 0.6)
        assert site.gate.item() == pytest.approx(gate, abs=1e-12)
        expected = gate * site.norm(x) + (1 - gate) * site.layer(x)
        torch.testing.assert_close(site(x), expected)
        assert site.computes == ("norm" if step <= 2 else "layer" if step >= 6 else "both")


def test_both_train_while_the_gate_is_open():
    site = dyt.Gradual(nn.LayerNorm(4), dyt.DynamicTanh(4), 0.0, 1.0)
    dyt.set_progress(site, 0.5)
    x = torch.randn(3, 4)
    site(x).sum().backward()
    torch.testing.assert_close(site.norm.bias.grad, torch.full((4,), 1.5))
    torch.testing.assert_close(site.layer.bias.grad, torch.full((4,), 1.5))


def test_an_optimizer_starts_a_layers_state_at_its_turn_and_lets_a_norm_rest():
    """With moments of zeros from before, Adam's first step of a layer would be thrice the rate."""
    torch.manual_seed(0)
    site = dyt.Gradual(nn.LayerNorm(4), dyt.DynamicTanh(4), 0.2, 0.6)
    optimizer = torch.optim.AdamW(site.parameters(), 0.01, weight_decay=0.1)
    start = site.layer.weight.detach().clone()

    def train(share):
        dyt.set_progress(site, share)
        site(torch.randn(8, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(20):
        train(0.1)
    assert torch.equal(site.layer.weight, start)
    assert site.layer.weight not in optimizer.state
    train(0.3)
    moved = (site.layer.weight - start * (1 - 0.01 * 0.1)).abs()
    assert moved.max().item() == pytest.approx(0.01, rel=1e-3)
    assert optimizer.state[site.layer.weight]["step"] == 1
    train(0.6)
    resting = site.norm.weight.detach().clone()
    train(0.7)
    assert torch.equal(site.norm.weight, resting)


@pytest.mark.parametrize("share", [0.0, 0.35, 0.42, 1.0])
def test_a_state_dict_says_how_far_each_site_is(share):
    _, model = swapped("bert")
    dyt.set_progress(model, share)
    _, fresh = swapped("bert")
    fresh.load_state_dict(model.state_dict())
    assert [s.computes for s in sites(fresh).values()] == [
        s.computes for s in sites(model).values()
    ]
    assert torch.equal(output(fresh, "bert"), output(model, "bert"))


def test_a_layer_is_fitted_to_what_its_norm_gets_in_the_native_model():
    native, model = swapped("bert")
    inputs = {}
    handles = [
        module.register_forward_pre_hook(
            lambda m, args, name=name: inputs.__setitem__(name, args[0])
        )
        for name, module in native.named_modules()
        if isinstance(module, nn.LayerNorm)
    ]
    output(native, "bert")
    found = dyt.calibrate(model, [IDS])
    assert {fit.name for fit in found.fits} == {f"{name}.layer" for name in inputs}
    for fit in found.fits:
        x = inputs[fit.name.removesuffix(".layer")]
        assert fit.input_rms == pytest.approx(x.square().mean().sqrt().item(), rel=1e-5)
    for handle in handles:
        handle.remove()


def test_revert_returns_the_norms_as_they_were_trained():
    native, model = swapped("gpt2")
    site = next(iter(sites(model).values()))
    with torch.no_grad():
        site.norm.weight.add_(1)
    trained = output(model, "gpt2")
    dyt.set_progress(model, 1.0)
    again = dyt.revert(dyt.settle(model))
    assert torch.equal(output(again, "gpt2"), trained)
    assert again.state_dict().keys() == native.state_dict().keys()


def test_a_half_changed_model_is_neither_saved_nor_settled_nor_converted(tmp_path):
    _, model = swapped("bert")
    for refused in (lambda: dyt.save(model, tmp_path), lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(ValueError, match=r"still holds its norm .* dyt\.settle\(model\)"):
            refused()
    dyt.set_progress(model, 0.5)
    with pytest.raises(ValueError, match="2 of 6 sites still compute their norm"):
        dyt.settle(model)
    with pytest.raises(ValueError, match="it is converted already"):
        dyt.convert(model)
    assert not dyt.audit(model)
    assert not list(tmp_path.iterdir())


def test_what_is_left_is_saved_as_any_converted_model(tmp_path):
    _, model = swapped("bert")
    dyt.set_progress(model, 1.0)
    dyt.save(dyt.settle(model), tmp_path)
    assert "Gradual" not in (tmp_path / "config.json").read_text()
    assert torch.equal(output(dyt.load(tmp_path), "bert"), output(model, "bert"))


def test_a_norm_with_an_activation_keeps_it():
    from timm.layers import LayerNormAct2d

    torch.manual_seed(0)
    norm, x = LayerNormAct2d(4), torch.randn(2, 4, 3, 3)
    model = dyt.convert(nn.Sequential(copy.deepcopy(norm)), "dyt", recipe="gradual")
    assert torch.equal(model(x), norm(x))
    dyt.calibrate(model, [x])
    dyt.set_progress(model, 1.0)
    model = dyt.settle(model)
    assert next(name for name, _ in model[0].named_children()) == "norm"
    assert model(x).min() >= 0


def test_pytorchs_encoder_calls_it_in_eval_mode():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        native = layer(x)
        model = dyt.convert(layer, "dyt", recipe="gradual")
        torch.testing.assert_close(model(x), native)
        dyt.set_progress(model, 1.0)
        assert not torch.allclose(model(x), native, atol=0.01)


def test_dtypes_are_the_norms():
    _, model = swapped("llama")
    model = model.bfloat16()
    for share in (0.0, 0.2, 1.0):
        dyt.set_progress(model, share)
        assert output(model, "llama").dtype == torch.bfloat16


@pytest.mark.parametrize(("begin", "end"), [(0.5, 0.5), (-0.1, 0.5), (0.2, 1.1)])
def test_shares_in_another_order_are_refused(begin, end):
    with pytest.raises(ValueError, match="0 <= begin < end <= 1"):
        dyt.Gradual(nn.LayerNorm(4), dyt.DynamicTanh(4), begin, end)
