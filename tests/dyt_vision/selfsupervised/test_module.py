"""Both models as a module: phases, rates by layer, data, and where a run resumes."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from timm.layers import DropPath

from dyt_bench.plugin.domain import DataError
from dyt_bench.plugin.phases import phases, pretraining_steps
from dyt_bench.plugin.task import Task
from dyt_bench.testing.checked import CheckedDomain
from dyt_vision.selfsupervised import domain
from dyt_vision.selfsupervised.models import ARCHITECTURES

TASK = Task(
    domain="vision-ssl",
    model="mae",
    dataset="digits",
    steps=10,
    batch_size=4,
    learning_rate=1e-3,
    val_every=10,
)


def built(monkeypatch=None, options=None, **changes):
    if options:
        preset = domain.trainings["default"]
        chosen = replace(preset, options={**preset.options, **options})
        monkeypatch.setattr(type(domain), "trainings", {"default": chosen})
    task = replace(TASK, **changes)
    data = domain.build_data(task)
    module = domain.build_module(task, data)
    module.log = lambda *_, **__: None
    return data, module


def test_every_model_can_be_built_and_trains_by_a_preset():
    assert ARCHITECTURES.keys() == domain.models.keys()
    assert {model.training for model in domain.models.values()} <= set(domain.trainings)


@pytest.mark.parametrize(
    ("model", "epochs", "peaks", "lowest"),
    [
        ("mae-base", (800 / 4, 100), (2.4e-3, 2e-3), (0.0, 1e-6)),
        ("mae-large", (800 / 4, 50), (2.4e-3, 4e-3), (0.0, 1e-6)),
        ("dino-base-p16", (400, 100), (3e-3, 2e-3), (2e-6, 1e-6)),
        ("dino-base-p8", (300, 100), (2e-3, 2e-3), (2e-6, 1e-6)),
    ],
)
def test_phases_are_the_papers(model, epochs, peaks, lowest):
    """Rates as the published codes make them of what they name for 256 images."""
    of, preset = domain.models[model], domain.trainings[domain.models[model].training]
    task = replace(
        TASK, model=model, steps=of.steps, learning_rate=of.learning_rate, training=of.training
    )
    steps = pretraining_steps(task, preset)
    found = [steps / 1251, (task.steps - steps) / 1251]
    assert found == pytest.approx(epochs, rel=1e-3)
    for how, peak, least in zip(phases(task, preset), peaks, lowest, strict=True):
        assert how["learning_rate"] == pytest.approx(peak)
        schedule = how["schedule"](torch.optim.SGD([torch.zeros(1)], lr=peak))
        last = schedule.lr_lambdas[0](task.steps) * peak
        assert last == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize("model", ["mae", "dino"])
def test_groups_come_first_and_labels_are_read_later(monkeypatch, model):
    data, module = built(monkeypatch, {"groups": 3, "pretraining_share": 0.4}, model=model)
    batches = list(islice(data.train_dataloader(), 10))
    assert [tuple(images.shape) for images, _ in batches[3:5]] == [(4, 3, 1, 8, 8), (4, 1, 8, 8)]
    images, labels = batches[0]
    torch.manual_seed(0)
    loss = module.training_step((images, labels), 0)
    torch.manual_seed(0)
    torch.testing.assert_close(module.training_step((images, labels * 0), 0), loss)
    loss.backward()
    assert module.model.encoder.head.weight.grad is None


def test_too_few_images_for_a_batch_of_groups_are_a_mistake(monkeypatch):
    with pytest.raises(DataError, match="6 groups of 3 images to pretrain on"):
        built(monkeypatch, {"groups": 3}, train_samples=20, batch_size=8)


def test_lower_layers_are_fine_tuned_more_slowly(monkeypatch):
    _, module = built(monkeypatch, {"layer_decay": 0.5})
    assert not module.own_settings()
    module._enter(pretraining=False)
    encoder = module.model.encoder
    rates = {name: module.own_settings().get(p) for name, p in encoder.named_parameters()}
    assert rates["patch_embed.proj.weight"] == {"lr": pytest.approx(1e-3 * 0.5**5)}
    assert rates["blocks.0.attn.qkv.weight"] == {"lr": pytest.approx(1e-3 * 0.5**4)}
    assert rates["blocks.3.mlp.fc1.bias"] == {"lr": pytest.approx(1e-3 * 0.5)}
    assert rates["norm.weight"] is None
    assert rates["head.weight"] is None


def test_paths_are_dropped_in_fine_tuning_alone(monkeypatch):
    _, module = built(monkeypatch, {"drop_path": 0.3})
    drops = [part for part in module.modules() if isinstance(part, DropPath)]
    assert {part.drop_prob for part in drops} == {0.0}
    module._enter(pretraining=False)
    assert max(part.drop_prob for part in drops) == pytest.approx(0.3)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mae", "dino"])
@pytest.mark.parametrize("share", [0.75, 0.5, 0.25])
def test_a_run_that_is_cut_off_resumes_in_either_phase(monkeypatch, model, share):
    preset = domain.trainings["default"]
    options = {**preset.options, "pretraining_share": share}
    monkeypatch.setattr(type(domain), "trainings", {"default": replace(preset, options=options)})
    checked = CheckedDomain(domain, model=model)
    whole, cut = checked.run(), checked.run_cut_off(2)  # of 4 steps
    assert cut.result.facts["resumed"] == "2"
    assert cut.numbers() == whole.numbers()
    assert cut.result.last == whole.result.last
