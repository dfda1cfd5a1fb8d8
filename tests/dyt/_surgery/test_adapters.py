"""PEFT adapters on a converted base."""

import copy

import pytest
import torch
from tests.dyt._surgery.models import IDS, new, output, trained

import dyt

peft = pytest.importorskip("peft")

# PEFT asks transformers by a name that its next version drops.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")


@pytest.fixture
def base():
    return trained(dyt.convert(new("llama"), "dyt"))


def adapted(base):
    """The base with low-rank adapters that do something."""
    torch.manual_seed(1)
    options = {"r": 2, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
    return peft.get_peft_model(base, peft.LoraConfig(**options))


def test_an_adapter_comes_back_on_the_base_that_dyt_loads(base, tmp_path):
    before = output(base, "llama")
    dyt.save(base, tmp_path / "base")
    model = adapted(copy.deepcopy(base))
    model.save_pretrained(tmp_path / "adapter")
    expected = model(IDS).logits
    assert not torch.equal(expected, before)
    loaded = dyt.load(tmp_path / "base")
    assert torch.equal(output(loaded, "llama"), before)
    again = peft.PeftModel.from_pretrained(loaded, tmp_path / "adapter").eval()
    assert torch.equal(again(IDS).logits, expected)


def test_alpha_and_weight_train_beside_an_adapter(base):
    """`modules_to_save` takes DyT's layers, which PEFT leaves frozen otherwise."""
    names = sorted(
        {
            name.rpartition(".")[2]
            for name, m in base.named_modules()
            if isinstance(m, dyt.DynamicTanh)
        }
    )
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=names)
    model = peft.get_peft_model(base, config)
    trained_now = {name for name, p in model.named_parameters() if p.requires_grad}
    assert any(name.endswith("alpha") for name in trained_now)
    model(IDS).logits.square().mean().backward()
    alphas = [
        p.grad for name, p in model.named_parameters() if name.endswith("alpha") and p.requires_grad
    ]
    assert alphas
    assert all(grad is not None and grad.isfinite().all() for grad in alphas)


def test_a_merged_adapter_is_saved_like_any_converted_model(base, tmp_path):
    merged = adapted(base).merge_and_unload()
    expected = output(merged, "llama")
    dyt.save(merged, tmp_path)
    assert torch.equal(output(dyt.load(tmp_path), "llama"), expected)
