"""Rivals that change a whole model: as their papers have them, and the way there and back."""

import copy

import pytest
import torch
from tests.dyt._surgery.models import IDS, batch, new, output, trained
from torch import nn
from torch.nn.functional import gelu, linear, softmax

import dyt
from dyt.rivals import Method, ScalarShift
from dyt.variants import VARIANTS

METHODS = {name: build for name, build in VARIANTS.items() if isinstance(build, Method)}
FITS = {  # name -> a model that its paper covers
    "fixup": "vit",
    "skipinit": "vit",
    "sigma-reparam": "vit",
    "flashnorm": "llama",
    "tapernorm": "llama-tied",
}
LAYERS = ["dyisru", "seednorm", "bhyt"]
EVERY = [*((name, FITS[name]) for name in METHODS), *((name, "llama") for name in LAYERS)]
PAIRS = pytest.mark.parametrize(("name", "model"), EVERY)
HEADS = 2  # of the ViT


def same(one, other):
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_every_method_has_a_model_that_it_fits():
    assert METHODS.keys() == FITS.keys()


@PAIRS
def test_convert_and_revert_give_the_model_back(name, model):
    native = trained(new(model))
    before = output(native, model)
    state = copy.deepcopy(native.state_dict())
    dyt.convert(native, name)
    assert any(dyt.original(m) is not None for m in native.modules())
    dyt.revert(native)
    assert native.state_dict().keys() == state.keys()
    assert all(torch.equal(native.state_dict()[k], state[k]) for k in state)
    assert torch.equal(output(native, model), before)


@PAIRS
def test_save_and_load_give_the_same_model(name, model, tmp_path):
    built = trained(dyt.convert(new(model), name))
    dyt.set_progress(built, 0.3)
    dyt.save(built, tmp_path)
    loaded = dyt.load(tmp_path, new(model))
    assert same(loaded, built)
    assert torch.equal(output(loaded.eval(), model), output(built.eval(), model))


@PAIRS
def test_a_loaded_model_has_no_norms_to_go_back_to(name, model, tmp_path):
    dyt.save(dyt.convert(new(model), name), tmp_path)
    loaded = dyt.load(tmp_path, new(model))
    with pytest.raises(ValueError, match=r"has no values|no layer"):
        dyt.revert(loaded)


@PAIRS
def test_every_parameter_that_takes_part_gets_a_finite_gradient(name, model):
    built = dyt.convert(trained(new(model)), name).train()
    trained(built)
    made = built(**batch(model))
    (made if isinstance(made, torch.Tensor) else made[0]).square().mean().backward()
    gradients = {n: p.grad for n, p in built.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())


@PAIRS
def test_decay_leaves_out_what_the_layers_declare(name, model):
    built = dyt.convert(new(model), name)
    left = {n.rpartition(".")[2] for n in dyt.no_decay(built)}
    assert (
        left
        == {
            "fixup": {"shift", "shift_before", "shift_after", "scale"},
            "skipinit": {"scale"},
            "sigma-reparam": {"gain"},
            "flashnorm": set(),
            "tapernorm": {"weight", "late_weight"},
            "dyisru": {"weight", "beta"},
            "seednorm": {"weight"},  # the paper decays alpha and beta
            "bhyt": {"weight", "lam"},
        }[name]
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_no_other_recipe_and_no_alpha(name):
    for options in ({"alpha_init_value": 0.7}, {"recipe": "paper"}):
        with pytest.raises(ValueError, match="has no alpha: leave out alpha_init_value and recipe"):
            dyt.convert(new(FITS[name]), name, **options)


@pytest.mark.parametrize("name", ["fixup", "skipinit", "sigma-reparam", "flashnorm"])
def test_models_that_the_papers_do_not_cover_are_refused_and_left(name):
    model = new("bert")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=f"recipe '{name}' is for another architecture: Bert"):
        dyt.convert(model, name)
    assert same(model, model)
    assert all(torch.equal(model.state_dict()[k], before[k]) for k in before)


# ---- a ViT written out: tokens -> patches, blocks, mean or class token, head


def vit():
    return new("vit").double()


def image():
    return batch("vit")["x"].double()


def patches(model, x):
    """The tokens before the first block: patch embedding, class token and positions."""
    patch = model.patch_embed.proj
    weight = patch.weight.flatten(1)
    unfolded = x.unfold(2, 16, 16).unfold(3, 16, 16)  # B, C, rows, columns, 16, 16
    tokens = unfolded.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2) @ weight.T + patch.bias
    return torch.cat([model.cls_token.expand(len(x), -1, -1), tokens], 1) + model.pos_embed


def attention(x, qkv, heads=HEADS):
    """Scaled dot products of (B, T, 3 D) queries, keys and values."""
    b, t, width = qkv.shape
    q, k, v = qkv.view(b, t, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4)
    weights = softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, dim=-1)
    return (weights @ v).transpose(1, 2).reshape(b, t, width // 3)


def plain(layer):
    return lambda x: linear(x, layer.weight, layer.bias)


def without_norms(model, x, attend, feed):
    """A pre-norm ViT without norms; ``attend`` and ``feed`` compute the branches of a block."""
    x = patches(model, x)
    for block in model.blocks:
        x = x + attend(block, x)
        x = x + feed(block, x)
    return x


def test_skipinit_is_a_scalar_at_the_end_of_each_branch():
    model = dyt.convert(vit(), "skipinit")
    head = plain(model.head)
    start = head(patches(model, image())[:, 0])
    torch.testing.assert_close(model(image()), start)  # every block is the identity
    trained(model)
    x = without_norms(
        model,
        image(),
        lambda b, x: b.attn.proj.scale * plain(b.attn.proj)(attention(x, plain(b.attn.qkv)(x))),
        lambda b, x: b.mlp.fc2.scale * plain(b.mlp.fc2)(gelu(plain(b.mlp.fc1)(x))),
    )
    torch.testing.assert_close(model(image()), plain(model.head)(x[:, 0]))


def test_fixup_is_scalars_before_linear_layers_and_activations():
    model = dyt.convert(vit(), "fixup")
    assert not model(image()).any()  # the classifier starts at zero
    trained(model)

    def attend(block, x):
        x = x + block.norm1.shift
        inner = attention(x, x @ block.attn.qkv.weight.T)
        return block.attn.proj.scale * (inner @ block.attn.proj.weight.T)

    def feed(block, x):
        x = (x + block.norm2.shift) @ block.mlp.fc1.weight.T + block.mlp.fc1.shift_after
        x = (gelu(x) + block.mlp.fc2.shift_before) @ block.mlp.fc2.weight.T
        return block.mlp.fc2.scale * x

    x = without_norms(model, image(), attend, feed) + model.norm.shift
    torch.testing.assert_close(model(image()), plain(model.head)(x[:, 0]))


@pytest.mark.parametrize("depth", [1, 3])
def test_fixup_scales_by_the_number_of_branches(depth):
    """L^(-1 / (2m - 2)): L = 2 depth branches, of m = 4 weights in attention, 2 in the other."""
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(img_size=8, patch_size=4, embed_dim=128, depth=depth, num_heads=2)
    dyt.convert(model, "fixup")
    for block in model.blocks:
        for layer, scale in ((block.attn.qkv, -1 / 6), (block.mlp.fc1, -1 / 2)):
            out, width = layer.weight.shape
            xavier = (2 / (out + width)) ** 0.5
            expected = (2 * depth) ** scale * xavier
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.02)
        assert not block.attn.proj.weight.any()
        assert not block.mlp.fc2.weight.any()
        assert isinstance(block.norm1, ScalarShift)
    assert not any(p.any() for p in model.head.parameters())


def test_sigma_reparam_divides_every_weight_by_its_largest_singular_value():
    native = trained(vit())
    model = dyt.convert(copy.deepcopy(native), "sigma-reparam")
    x = without_norms(
        native,
        image(),
        lambda b, x: plain(b.attn.proj)(attention(x, plain(b.attn.qkv)(x))),
        lambda b, x: plain(b.mlp.fc2)(gelu(plain(b.mlp.fc1)(x))),
    )
    # gain starts at sigma, so that the model starts as the one without norms
    torch.testing.assert_close(model(image()), plain(native.head)(x[:, 0]))
    with torch.no_grad():
        for name, layer in native.named_modules():
            if hasattr(model.get_submodule(name), "gain"):
                layer.weight.div_(torch.linalg.matrix_norm(layer.weight.flatten(1), 2)).mul_(3)
                model.get_submodule(name).gain.fill_(3)
    x = without_norms(
        native,
        image(),
        lambda b, x: plain(b.attn.proj)(attention(x, plain(b.attn.qkv)(x))),
        lambda b, x: plain(b.mlp.fc2)(gelu(plain(b.mlp.fc1)(x))),
    )
    torch.testing.assert_close(model(image()), plain(native.head)(x[:, 0]))
    linears = [m for m in native.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert sum(hasattr(m, "gain") for m in model.modules()) == len(linears)


@pytest.mark.parametrize("name", ["llama", "llama-tied"])
def test_flashnorm_computes_what_the_model_did(name):
    model = trained(new(name)).double()
    with torch.no_grad():
        before = model(IDS).logits
        dyt.convert(model, "flashnorm")
        # transformers normalizes in float32 whatever the dtype; test_parts.py has float64
        torch.testing.assert_close(model(IDS).logits, before, rtol=1e-3, atol=1e-6)
    assert [site.name for site in dyt.audit(model) if site.replaceable] == ["model.norm"]


def test_tapernorm_keeps_the_final_norm_and_ends_as_linear_maps():
    model = dyt.convert(trained(new("llama")), "tapernorm").train()
    assert dyt.original(model.model.norm) is None
    layer = model.model.layers[0].input_layernorm
    model(IDS)
    dyt.set_progress(model, 1.0)
    x = torch.randn(2, 32)
    torch.testing.assert_close(layer(10 * x), 10 * layer(x))
