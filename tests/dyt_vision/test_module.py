"""Classification: the swap, learning, and the options of the papers' presets."""

import subprocess
import sys

import pytest
import torch
from torch.nn.functional import cross_entropy

import dyt
from dyt_bench.plugin.domain import TrainingPreset
from dyt_vision import domain
from dyt_vision.tasks import build_module


def test_importing_the_domain_is_cheap():
    script = "import sys, dyt_vision; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("model", "norms"), [("vit", 9), ("convnext", 10)])
def test_every_norm_is_swapped_and_the_model_still_computes(task, model, norms):
    module = domain.build_module(task(model=model), domain.build_data(task()))
    dyt.convert(module, exclude=domain.models[model].exclude)
    swapped = [m for m in module.modules() if isinstance(m, dyt.DynamicTanh)]
    assert len(swapped) == norms
    assert module(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_loss_falls_on_the_digits(task):
    torch.manual_seed(0)
    data = domain.build_data(task())
    module = domain.build_module(task(), data)
    module.log = lambda *a, **k: None
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for batch in list(data.train_dataloader())[:30]:
        loss = module.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_preset_mixes_images_and_smooths_labels(task):
    data = domain.build_data(task())
    images, labels = next(iter(data.train_dataloader()))

    def loss(**options):
        torch.manual_seed(0)
        preset = TrainingPreset(summary="a test's", options=options)
        module = build_module(task(), data, preset)
        module.log = lambda *a, **k: None
        return module, module.training_step((images, labels), 0)

    plain, value = loss()
    assert torch.equal(value, cross_entropy(plain(images), labels))
    smooth, value = loss(label_smoothing=0.1)
    assert torch.equal(value, cross_entropy(smooth(images), labels, label_smoothing=0.1))
    mixed, value = loss(mixup=0.8, cutmix=1.0, label_smoothing=0.1)
    assert mixed.mix is not None
    assert value.requires_grad
    assert not torch.equal(value, cross_entropy(mixed(images), labels, label_smoothing=0.1))
