"""The language model as the harness uses it."""

import math
import random
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from transformers.loss.loss_utils import ForCausalLMLoss, ForMaskedLMLoss

import dyt
from dyt_bench.plugin.task import Task
from dyt_dna import domain
from dyt_dna.bases import UNKNOWN
from dyt_dna.data.datamodule import GenomeData
from dyt_dna.module import LanguageModel, target_losses
from dyt_dna.tasks import build_module

TASK = Task(
    domain="dna",
    model="hyena",
    dataset="chloroplast",
    steps=12,
    batch_size=2,
    learning_rate=2e-3,
    val_every=6,
)
MASKED = replace(TASK, model="caduceus", batch_size=4, training="caduceus-small")
# Lightning uses a name that torch has deprecated.
ignore_lightning = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")
SITES = ["blocks.0.norm1", "blocks.0.norm2", "blocks.1.norm1", "blocks.1.norm2", "norm"]


@pytest.fixture(scope="module")
def data() -> GenomeData:
    return domain.build_data(TASK)


@pytest.fixture(scope="module")
def masked_data() -> GenomeData:
    return domain.build_data(MASKED)


def module_of(data: GenomeData, norm: str = "native", task: Task = TASK) -> LanguageModel:
    torch.manual_seed(0)
    module = domain.build_module(task, data)
    if norm != "native":
        dyt.convert(module, norm, exclude=domain.models["hyena"].exclude)
    return module


def train(module: LanguageModel, data: GenomeData, steps: int) -> list[float]:
    """Losses of training without a Trainer."""
    module.log = lambda *_, **__: None  # there is no trainer to log to
    configured = module.configure_optimizers()
    losses = []
    for index, batch in enumerate(islice(data.train_dataloader(), steps)):
        loss = module.training_step(batch, index)
        configured["optimizer"].zero_grad()
        loss.backward()
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
        losses.append(loss.item())
    return losses


def trainer(folder: Path) -> pl.Trainer:
    return pl.Trainer(
        max_steps=2,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        limit_val_batches=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def test_the_domain_is_imported_without_torch() -> None:
    code = "import sys, dyt_dna; sys.exit('torch' in sys.modules or 'Bio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_norm_is_swapped_and_no_other(data: GenomeData) -> None:
    module = module_of(data, "dyt")
    swapped = [name for name, part in module.named_modules() if isinstance(part, dyt.DynamicTanh)]
    assert swapped == [f"model.{site}" for site in SITES]
    assert not any(isinstance(part, torch.nn.LayerNorm) for part in module.modules())


@pytest.mark.parametrize("norm", ["native", "dyt"])
def test_loss_falls_on_the_genome(data: GenomeData, norm: str) -> None:
    losses = train(module_of(data, norm), data, 8)
    assert all(map(math.isfinite, losses))
    assert sum(losses[-2:]) < sum(losses[:2]) - 0.1


def test_same_seed_same_losses(data: GenomeData) -> None:
    assert train(module_of(data), data, 2) == train(module_of(data), data, 2)


def test_a_small_caduceus_learns(masked_data: GenomeData) -> None:
    losses = train(module_of(masked_data, task=MASKED), masked_data, 5)
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0] - 0.1


def test_loss_is_the_mean_over_known_targets(data: GenomeData) -> None:
    module = module_of(data)
    module.log = lambda *_, **__: None
    inputs, targets = torch.randint(4, (2, 1, 100))
    targets[0, 50:] = UNKNOWN
    coding = torch.zeros(1, 100, dtype=torch.bool)
    loss = module.training_step((inputs, targets, coding), 0)
    chances = module(inputs)[0, :50].log_softmax(-1)
    torch.testing.assert_close(loss, -chances.gather(1, targets[0, :50, None]).mean())
    assert module.training_step((inputs, torch.full_like(targets, UNKNOWN), coding), 0) == 0


@pytest.mark.parametrize("model", ["hyena", "caduceus"])
def test_loss_is_the_one_of_transformers(model: str) -> None:
    """Of masked bases as ForMaskedLM's, of next bases as ForCausalLM's, N being ignored."""
    logits, window = torch.randn(2, 30, 6), torch.randint(5, (2, 31))
    losses = target_losses(logits, window[:, 1:])
    count = (window[:, 1:] != UNKNOWN).sum()
    if model == "hyena":
        labels = window.masked_fill(window == UNKNOWN, -100)
        padded = torch.cat([logits, torch.zeros(2, 1, 6)], dim=1)  # it shifts by itself
        expected = ForCausalLMLoss(padded, labels, vocab_size=6)
    else:
        labels = window[:, 1:].masked_fill(window[:, 1:] == UNKNOWN, -100)
        expected = ForMaskedLMLoss(logits, labels, vocab_size=6)
    torch.testing.assert_close(losses.sum() / count, expected)


def test_filters_have_the_presets_rate_and_decay(data: GenomeData) -> None:
    preset = replace(
        domain.trainings["hyenadna"], options={"filter_rate": 0.5, "filter_weight_decay": 0.3}
    )
    module = build_module(TASK, data, preset)
    groups = module.configure_optimizers()["optimizer"].param_groups
    settings = {p: (g["initial_lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    hyena = module.model.blocks[0].hyena
    assert settings[hyena.filter.mlp[0].weight] == (1e-3, 0.3)
    assert settings[hyena.filter.mlp[0].bias] == (1e-3, 0.3)
    assert settings[hyena.project.weight] == (2e-3, 0.1)


@ignore_lightning
def test_validation_logs_means_over_bases(data: GenomeData, tmp_path: Path) -> None:
    module = module_of(data)
    (logged,) = trainer(tmp_path).validate(module, data, verbose=False)
    batches = zip(*islice(data.val_dataloader(), 2), strict=True)
    inputs, targets, coding = map(torch.cat, batches)
    with torch.no_grad():
        logits = module.cpu()(inputs)
    losses = -logits.log_softmax(-1).gather(2, targets[..., None]).squeeze(2)
    loss = losses.mean().item()
    expected = {
        "val/loss": loss,
        "val/bits_per_base": loss / math.log(2),
        "val/perplexity": math.exp(loss),
        "val/acc": (logits.argmax(-1) == targets).float().mean().item(),
        "val/loss_coding": losses[coding].mean().item(),
        "val/loss_noncoding": losses[~coding].mean().item(),
    }
    assert logged == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("task", [TASK, MASKED, replace(MASKED, model="caduceus-ps")])
def test_evaluation_compares_the_strands(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text(f">a\n{''.join(random.Random(0).choices('ACGT', k=12_000))}\n")
    task = replace(task, dataset="folder", path=path)
    data = domain.build_data(task)
    module = module_of(data, task=task).eval()
    found = domain.evaluate(task, module, data, tmp_path)
    assert found == domain.evaluate(task, module, data, tmp_path)
    if task.model == "hyena":
        assert 0 < found["rc_gap"] < 1
    elif task.model == "caduceus":
        assert 0 < found["rc_gap"] < 1
        assert 0.5 < found["rc_agreement"] < 1 - 1e-4
    else:
        assert found["rc_gap"] < 1e-5
        assert found["rc_agreement"] == pytest.approx(1, abs=1e-5)


@ignore_lightning
def test_genomes_without_annotation_are_trained_on(tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(f">a\n{'ACGGTTNA' * 400}\n")
    data = domain.build_data(replace(TASK, dataset="folder", path=tmp_path))
    module = module_of(data)
    fit = trainer(tmp_path)
    fit.validate(module, data, verbose=False)  # as the harness does, in inference mode
    fit.fit(module, data)
    assert fit.global_step == 2
    assert fit.callback_metrics["val/perplexity"] > 1
    assert "val/loss_coding" not in fit.callback_metrics


def test_units_are_the_bases_of_a_sequence(data: GenomeData) -> None:
    _, targets, _ = next(iter(data.train_dataloader()))
    assert module_of(data).units_per_sample == targets.shape[1]
