"""The language model as the harness uses it."""

import math
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

import dyt
from dyt_bench.cell import Task
from dyt_dna import domain
from dyt_dna.data import GenomeData
from dyt_dna.models import BASES
from dyt_dna.module import LanguageModel

TASK = Task(
    domain="dna",
    model="hyena",
    dataset="chloroplast",
    steps=12,
    batch_size=2,
    learning_rate=2e-3,
    val_every=6,
)
# Lightning asks torch in a way that torch has deprecated.
ignore_lightning = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")
SITES = ["blocks.0.norm1", "blocks.0.norm2", "blocks.1.norm1", "blocks.1.norm2", "norm"]


@pytest.fixture(scope="module")
def data() -> GenomeData:
    return domain.build_data(TASK)


def module_of(data: GenomeData, norm: str = "native") -> LanguageModel:
    torch.manual_seed(0)
    module = domain.build_module(TASK, data)
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
    losses = train(module_of(data, norm), data, 12)
    assert all(map(math.isfinite, losses))
    assert sum(losses[-3:]) < sum(losses[:3]) - 0.1


def test_same_seed_same_losses(data: GenomeData) -> None:
    assert train(module_of(data), data, 2) == train(module_of(data), data, 2)


def test_unknown_bases_are_no_targets(data: GenomeData) -> None:
    module = module_of(data)
    module.log = lambda *_, **__: None
    tokens = torch.randint(4, (1, 101))
    tokens[0, 51:] = BASES.index("N")
    coding = torch.zeros(1, 101, dtype=torch.bool)
    known = module.training_step((tokens[:, :51], coding[:, :51]), 0)
    torch.testing.assert_close(module.training_step((tokens, coding), 0), known)
    assert module.training_step((torch.full_like(tokens, BASES.index("N")), coding), 0) == 0


@ignore_lightning
def test_validation_logs_means_over_bases(data: GenomeData, tmp_path: Path) -> None:
    module = module_of(data)
    (logged,) = trainer(tmp_path).validate(module, data, verbose=False)
    tokens, coding = map(torch.cat, zip(*islice(data.val_dataloader(), 2), strict=True))
    with torch.no_grad():
        logits = module.cpu()(tokens[:, :-1])
    losses = -logits.log_softmax(-1).gather(2, tokens[:, 1:, None]).squeeze(2)
    loss, coding = losses.mean().item(), coding[:, 1:]
    expected = {
        "val/loss": loss,
        "val/bits_per_base": loss / math.log(2),
        "val/perplexity": math.exp(loss),
        "val/acc": (logits.argmax(-1) == tokens[:, 1:]).float().mean().item(),
        "val/loss_coding": losses[coding].mean().item(),
        "val/loss_noncoding": losses[~coding].mean().item(),
    }
    assert logged == pytest.approx(expected, rel=1e-5)


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
    tokens, _ = next(iter(data.train_dataloader()))
    assert LanguageModel.units_per_sample == tokens[:, 1:].shape[1]
