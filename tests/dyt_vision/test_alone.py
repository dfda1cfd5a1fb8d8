"""The module and the data module in a Trainer of one's own: checkpoints, optimisers, processes."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from timm.models.vision_transformer import VisionTransformer

import dyt
from dyt_bench.errors import UserError
from dyt_bench.plugin.optim import warmed_up
from dyt_vision.data.datamodule import VisionData
from dyt_vision.module import Classifier


def fit(module, data, folder, **options):
    kept = ModelCheckpoint(folder, monitor="val/acc", mode="max")
    trainer = Trainer(
        max_steps=4,
        val_check_interval=2,
        accelerator="cpu",
        logger=False,
        callbacks=[kept],
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, data)
    return kept.best_model_path


@pytest.fixture
def data():
    return VisionData("digits", batch_size=16)


def test_a_checkpoint_builds_the_model_that_it_names(data, tmp_path):
    module = Classifier("vit-w32", 10, channels=1, pixels=8, learning_rate=1e-2, mixup=0.2)
    path = fit(module, data, tmp_path)
    loaded = Classifier.load_from_checkpoint(path).eval()
    assert loaded.hparams == module.hparams
    assert loaded.hparams["mixup"] == 0.2
    images, _ = next(iter(data.val_dataloader()))
    saved = torch.load(path, weights_only=True)["state_dict"]
    module.load_state_dict(saved)
    assert torch.equal(loaded(images), module.eval()(images))


def test_any_model_and_optimiser(data, tmp_path):
    def vit():
        sizes = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
        model = VisionTransformer(in_chans=1, num_classes=10, **sizes)
        dyt.convert(model)
        return model

    optimizer = partial(torch.optim.SGD, momentum=0.9, weight_decay=0.1)
    module = Classifier(vit(), 10, learning_rate=0.01, optimizer=optimizer, schedule=warmed_up(4))
    path = fit(module, data, tmp_path)
    groups = module.trainer.optimizers[0].param_groups
    exempt, decayed = sorted(groups, key=lambda group: group["weight_decay"])
    assert isinstance(module.trainer.optimizers[0], torch.optim.SGD)
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.1, 0.0)
    assert all(parameter.dim() > 1 for parameter in decayed["params"])
    assert Classifier.load_from_checkpoint(path, model=vit()).learning_rate == 0.01
    with pytest.raises(TypeError, match="model"):
        Classifier.load_from_checkpoint(path)


def test_without_a_schedule_the_rate_stays(data, tmp_path):
    module = Classifier("vit-w32", 10, channels=1, pixels=8, learning_rate=3e-3)
    fit(module, data, tmp_path)
    assert {group["lr"] for group in module.trainer.optimizers[0].param_groups} == {3e-3}


def test_an_unknown_name_is_named():
    with pytest.raises(UserError, match=r"model must be one of vit, .*convnext, .*, got 'vitt'"):
        Classifier("vitt", 10)
    with pytest.raises(UserError, match=r"dataset must be one of digits, .*, got 'digit'"):
        VisionData("digit")


SCRIPT = """
import json, sys
from pathlib import Path
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from dyt_vision.data.datamodule import VisionData
from dyt_vision.module import Classifier

class Seen(Callback):
    labels, steps = [], 0
    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        Seen.labels += batch[1].tolist()
        Seen.steps = trainer.global_step

torch.set_num_threads(1)
seed_everything(0)
devices = int(sys.argv[1])
trainer = Trainer(
    max_steps=6, val_check_interval=6, accelerator="cpu", devices=devices,
    strategy="ddp" if devices > 1 else "auto", logger=False, enable_checkpointing=False,
    callbacks=[Seen()], enable_progress_bar=False, enable_model_summary=False,
)
module = Classifier("vit-w32", 10, channels=1, pixels=8, learning_rate=3e-3)
trainer.fit(module, VisionData("digits", batch_size=16, seed=1))
logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
found = {"labels": Seen.labels, "logged": logged, "steps": Seen.steps}
Path(sys.argv[2], f"{devices}-{trainer.global_rank}.json").write_text(json.dumps(found))
"""


@pytest.mark.slow
def test_processes_divide_each_batch_and_agree_on_the_metrics(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for devices in "12":
        command = [sys.executable, str(script), devices, str(tmp_path)]
        subprocess.run(command, check=True, capture_output=True)
    alone, first, second = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1")
    )
    assert alone["steps"] == first["steps"] == second["steps"] == 6
    for step in range(6):
        half = slice(8 * step, 8 * step + 8)
        whole = alone["labels"][16 * step : 16 * step + 16]
        assert first["labels"][half] + second["labels"][half] == whole
    for name in ("val/loss", "val/acc"):
        assert first["logged"][name] == pytest.approx(alone["logged"][name], rel=1e-4)
        assert second["logged"][name] == first["logged"][name]
