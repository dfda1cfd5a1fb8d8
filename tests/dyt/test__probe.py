"""What a probe says, against direct computation; and that it leaves nothing behind."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import dyt
from dyt import alphas
from dyt._probe import POINTS


def hooks(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def mlp(norm=nn.LayerNorm, width=16):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, width), norm(width), nn.Linear(width, width), norm(width))


def test_saturation_counts_inputs_past_95_percent():
    layer = dyt.DynamicTanh(4, alpha_init_value=1.0)
    model = nn.Sequential(layer)
    with dyt.probe(model, every=1) as seen:
        model(torch.tensor([[0.0, 1.8, 1.9, -5.0]]))  # tanh(1.8) = 0.947, tanh(1.9) = 0.956
        model(torch.zeros(1, 4))
    model(torch.full((1, 4), 9.0))  # not watched any more
    assert seen.shares() == {"0": pytest.approx(2 / 8)}


def test_alphas_by_name():
    model = nn.ModuleDict({"a": dyt.DynamicTanh(2), "b": dyt.DynamicErf(2, alpha_init_value=0.25)})
    assert alphas(model) == {"a": 0.5, "b": 0.25}


def test_alpha_against_the_spread_of_all_that_was_seen():
    layer = dyt.DynamicErf(8, alpha_init_value=0.25, shift_init_value=1.0)
    torch.manual_seed(0)
    batches = [3 * torch.randn(4, 8) + 5, torch.randn(4, 8) - 2]
    with dyt.probe(layer, every=1) as seen:
        for batch in batches:
            layer(batch)
    site = seen.sites[""]
    everything = torch.cat(batches)
    assert (site.kind, site.calls, site.measured, site.values) == ("erf", 2, 2, 64)
    assert site.input_std == pytest.approx(everything.std(correction=0).item(), rel=1e-5)
    assert site.alpha == 0.25
    assert site.alpha_times_std == pytest.approx(0.25 * site.input_std)
    share = (torch.erf(0.25 * everything + 1).abs() > 0.95).float().mean().item()
    assert site.saturation == pytest.approx(share)
    assert site.grad_ratio is None
    assert site.curve is None


def test_measures_every_nth_forward_and_a_sample_of_it():
    layer = dyt.DynamicTanh(6)
    with dyt.probe(layer, every=3, sample=100) as seen:
        for _ in range(7):
            layer(torch.randn(50, 6))
    site = seen.sites[""]
    assert (site.calls, site.measured) == (7, 3)
    assert site.values <= 300


def test_the_sample_sees_every_channel():
    layer = dyt.DynamicTanh(64, alpha_init_value=1.0)
    x = torch.zeros(4096, 64)
    x[:, ::4] = 10.0
    with dyt.probe(layer, every=1, sample=1024) as seen:
        layer(x)
        layer(x.t().contiguous().t())  # of any layout
    assert seen.shares()[""] == pytest.approx(1 / 4, abs=0.01)


def test_gradient_ratio_of_a_nearly_linear_layer_is_alpha_times_weight():
    layer = dyt.DynamicTanh(8, alpha_init_value=1e-3)
    nn.init.constant_(layer.weight, -30.0)
    stem = nn.Linear(8, 8)

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = stem, layer

        def forward(self, x):
            x = self.stem(x)
            return 100 * x + self.norm(x)  # the residual's gradient must not count

    model = Residual()
    with dyt.probe(model, every=1) as seen:
        for _ in range(2):
            model(torch.randn(4, 8)).square().sum().backward()
    assert seen.sites["norm"].gradients == 2
    assert seen.sites["norm"].grad_ratio == pytest.approx(0.03, rel=1e-4)


def test_gradient_ratio_of_a_native_norm():
    torch.manual_seed(0)
    norm, x, upstream = nn.LayerNorm(8), torch.randn(4, 8, requires_grad=True), torch.randn(4, 8)
    with dyt.probe(norm, every=1) as seen:
        norm(x).backward(upstream)
    ratio = x.grad.norm() / upstream.norm()
    assert seen.sites[""].grad_ratio == pytest.approx(ratio.item(), rel=1e-5)


def test_what_the_model_computes_is_unchanged():
    x = torch.randn(4, 16)
    model = dyt.convert(mlp())

    def gradients():
        model.zero_grad()
        out = model(x)
        out.square().sum().backward()
        return [out, *(p.grad.clone() for p in model.parameters())]

    plain, state = gradients(), torch.get_rng_state()
    with dyt.probe(model, every=1):
        watched = gradients()
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_curve_of_a_native_norm():
    norm = nn.LayerNorm(32)
    nn.init.uniform_(norm.weight)
    x = 3 * torch.randn(2, 5, 32) + 1
    with dyt.probe(norm, every=1) as seen:
        norm(x)
    curve = seen.sites[""].curve
    assert seen.sites[""].kind == "layer"
    assert torch.equal(curve.input, x.flatten())
    assert torch.equal(curve.output, norm(x).detach().flatten())
    with dyt.probe(norm, every=1) as seen:
        norm(torch.randn(1000, 32))
    assert 0.9 * POINTS < len(seen.sites[""].curve.input) <= POINTS


def test_hooks_are_gone_even_after_an_error():
    model = dyt.convert(mlp())
    with dyt.probe(model):
        assert hooks(model) > 0
    assert hooks(model) == 0
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), dyt.probe(model):
        model(torch.randn(4, 3))
    assert hooks(model) == 0
    with pytest.raises(ValueError, match="every must be at least 1, got 0"), dyt.probe(model, 0):
        pass


def test_a_backward_pass_after_the_probe_is_not_seen():
    model = dyt.convert(mlp())
    with dyt.probe(model, every=1) as seen:
        loss = model(torch.randn(4, 16)).sum()
    loss.backward()
    assert seen.sites["1"].gradients == 0


def test_keeps_no_activation_alive():
    model = mlp()
    activations = []
    model[0].register_forward_hook(lambda *a: activations.append(weakref.ref(a[2])))
    model[1].register_forward_hook(lambda *a: activations.append(weakref.ref(a[2])))
    gc.disable()  # not even in a cycle
    try:
        with dyt.probe(model, every=1) as seen:
            model(torch.randn(4, 16)).sum().backward()
            model(torch.randn(4, 16))
            assert len(activations) == 4
            assert [activation() for activation in activations] == [None] * 4
    finally:
        gc.enable()
    assert seen.sites["1"].measured == 2


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients_then_with(context):
    model = dyt.convert(mlp())
    with dyt.probe(model, every=1) as seen:
        with context():
            model.eval()(torch.randn(4, 16))
        model.train()(torch.randn(4, 16)).sum().backward()
    site = seen.sites["1"]
    assert (site.measured, site.gradients) == (2, 1)


def test_under_autocast():
    model = dyt.convert(mlp())
    with dyt.probe(model, every=1) as seen, torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(4, 16)).float().sum().backward()
    site = seen.sites["3"]
    assert site.gradients == 1
    assert 0 < site.grad_ratio < 1


def test_shared_layer_counts_each_use_and_is_one_site():
    layer = dyt.DynamicTanh(4)
    model = nn.Sequential(layer, nn.Linear(4, 4), layer)
    with dyt.probe(model, every=1) as seen:
        model(torch.randn(2, 4)).sum().backward()
    assert list(seen.sites) == ["0"]
    assert (seen.sites["0"].calls, seen.sites["0"].gradients) == (2, 1)  # x asks for no gradient


def test_probes_nest():
    model = dyt.convert(mlp())
    with dyt.probe(model, every=1) as outer:
        with dyt.probe(model, every=2) as inner:
            for _ in range(2):
                model(torch.randn(4, 16)).sum().backward()
        assert hooks(model) > 0
    assert (outer.sites["1"].measured, inner.sites["1"].measured) == (2, 1)
    assert outer.sites["1"].gradients == 2
    assert inner.sites["1"].gradients == 1
    assert hooks(model) == 0


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_forwards_count_once(reentrant):
    model = dyt.convert(mlp())
    x = torch.randn(4, 16, requires_grad=True)
    model(x).square().sum().backward()
    expected, x.grad = x.grad, None
    with dyt.probe(model, every=2) as seen:
        for _ in range(3):
            x.grad = None
            checkpoint(model, x, use_reentrant=reentrant).square().sum().backward()
    assert torch.equal(x.grad, expected)
    site = seen.sites["1"]
    assert (site.calls, site.measured, site.gradients) == (3, 2, 2)


def test_compiled_code_runs_unseen():
    model = dyt.convert(mlp())
    x = torch.randn(4, 16)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    expected = compiled(x)
    torch.testing.assert_close(expected, model(x))
    with dyt.probe(model, every=1) as seen:
        assert torch.equal(compiled(x), expected)
    assert torch.equal(compiled(x), expected)
    assert seen.sites == {}
    assert seen.unseen == ("1", "3")
    assert "not seen: 1, 3" in seen.table()


def test_arguments_by_name_and_other_replacements():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = nn.Linear(4, 4), nn.RMSNorm(4)

        def forward(self, x):
            return self.norm(x=self.stem(x)) if self.by_name else self.norm(self.stem(x))

        by_name = False

    model = Named()
    with dyt.probe(model, every=1) as seen:
        model(torch.randn(2, 4)).sum().backward()
    assert seen.sites["norm"].kind == "rms"
    model = dyt.convert(Named(), "identity")
    with dyt.probe(model, every=1) as seen:
        model(torch.randn(2, 4)).sum().backward()
    assert seen.sites["norm"].grad_ratio == 1
    assert seen.sites["norm"].curve is None
    model = dyt.convert(Named())
    model.by_name = True
    with dyt.probe(model, every=1) as seen:
        model(torch.randn(2, 4)).sum().backward()
    assert seen.sites["norm"].gradients == 1


def test_sites_come_in_the_order_they_run():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = dyt.DynamicTanh(4), dyt.DynamicTanh(4)

        def forward(self, x):
            return self.last(self.first(x))

    model = Backwards()
    with dyt.probe(model) as seen:
        model(torch.randn(2, 4))
    assert list(seen.sites) == ["first", "last"]


def test_the_table_has_a_line_for_each_site():
    for model in (mlp(), dyt.convert(mlp()), nn.Linear(16, 16)):
        with dyt.probe(model, every=1) as seen:
            model(torch.randn(4, 16)).sum().backward()
        assert len(str(seen).splitlines()) == 1 + len(seen.sites)
