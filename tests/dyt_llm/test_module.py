"""The LightningModule: losses per byte and token, learning, and repeatability."""

import math
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

import dyt
from dyt_bench.plugin.task import Task
from dyt_llm import domain
from dyt_llm.data.datamodule import TextData
from dyt_llm.module import LanguageModel
from dyt_llm.tasks import build_data

MakeTask = Callable[..., Task]
Build = Callable[..., LanguageModel]
STEPS = 12


@pytest.fixture(scope="module")
def data(task: MakeTask) -> TextData:
    return domain.build_data(task())


@pytest.fixture(scope="module")
def few_files() -> list[Path]:
    return domain.datasets["stdlib"].files(None)[:12]


@pytest.fixture(scope="module")
def build(task: MakeTask, data: TextData) -> Callable[..., LanguageModel]:
    """A module of ``data``, or other data, as training starts with it."""

    def module(norm: str = "native", data: TextData = data, **given: object) -> LanguageModel:
        torch.manual_seed(0)
        built = domain.build_module(task(**given), data)
        if norm != "native":
            dyt.convert(built, norm)
        return built

    return module


def losses(module: LanguageModel, data: TextData, steps: int) -> list[float]:
    """The loss of each of a few training steps."""
    module.log = lambda *_, **__: None  # there is no trainer to log to
    configured = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    history = []
    for _, batch in zip(range(steps), data.train_dataloader(), strict=False):
        loss = module.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        history.append(loss.item())
    return history


def validate(module: LanguageModel, data: TextData) -> dict[str, float]:
    """What a validation pass logs."""
    # A loader without a generator draws a number from the global one as it starts.
    loader = DataLoader(data.val, batch_size=8, generator=torch.Generator())
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    (logged,) = trainer.validate(module, loader, verbose=False)
    return dict(logged)


lightning_warnings = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec:FutureWarning",  # Lightning 2.6 with torch 2.14
    "ignore:.*does not have many workers",
)


def test_the_domain_is_read_without_torch() -> None:
    code = "import sys, dyt_llm; dyt_llm.domain.datasets['stdlib'].files(None); "
    code += "sys.exit(bool({'torch', 'lightning', 'transformers', 'tokenizers'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_sample_is_counted_in_the_tokens_it_predicts(data: TextData, build: Build) -> None:
    windows = next(iter(data.train_dataloader()))
    assert domain.unit == "token"
    assert build().units_per_sample == windows.shape[1] - 1


def test_loss_falls_and_the_seed_decides_it(data: TextData, build: Build) -> None:
    history = losses(build(), data, STEPS)
    # A blind guess, and half a nat for logits that start with a variance of one.
    assert history[0] == pytest.approx(math.log(256) + 0.5, abs=0.2)
    assert history[-1] < history[0] - 1
    assert losses(build(), data, 3) == history[:3]


@pytest.mark.parametrize("model", ["mistral", "ernie", "gpt2"])
def test_every_family_trains_swapped(data: TextData, build: Build, model: str) -> None:
    history = losses(build("dyt", model=model), data, 4)
    assert all(map(math.isfinite, history))
    assert history[-1] < history[0]


@pytest.mark.parametrize("model", ["llama", "mistral", "ernie", "gpt2"])
def test_the_loss_is_the_librarys(data: TextData, build: Build, model: str) -> None:
    module = build(model=model)
    batch = data.val_windows()[:4, :100]
    with torch.no_grad():
        theirs = module.model(input_ids=batch, labels=batch).loss
        module.log = lambda *_, **__: None
        ours = module.training_step(batch, 0)
        by_token = module.token_nats(batch).mean()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(by_token, theirs)


def test_micro_batches_change_neither_loss_nor_gradient(data: TextData, build: Build) -> None:
    batch = data.val_windows()[:5]
    whole, parts = build(), build()
    parts.micro_batch = 2
    for module in (whole, parts):
        module.log = lambda *_, **__: None
        module.training_step(batch, 0).backward()
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_recomputed_layers_change_neither_loss_nor_gradient(data: TextData) -> None:
    batch, found = data.val_windows()[:3], []
    for recompute in (False, True):
        torch.manual_seed(0)
        module = LanguageModel("llama", recompute_layers=recompute)
        module.log = lambda *_, **__: None
        loss = module.training_step(batch, 0)
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in module.parameters())])
    assert all(map(torch.equal, *found))


def test_a_copy_with_recomputed_layers_has_its_own() -> None:
    module = LanguageModel("llama", recompute_layers=True)
    copied = deepcopy(module)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
        tokens = torch.arange(8).view(1, 8)
        assert not copied(tokens).any()
        assert module(tokens).any()


def test_the_papers_presets_are_what_the_papers_say() -> None:
    for name in ("llama-7b", "llama-70b", "gpt2-124m"):
        model = domain.models[name]
        preset = domain.trainings[model.training]
        assert round(preset.warmup * model.steps) == 2000
        assert (preset.betas, preset.weight_decay, preset.clip_norm) == ((0.9, 0.95), 0.1, 1.0)
        assert (preset.schedule, preset.final_rate) == ("cosine", 0.1)
        assert preset.precision == "bf16-mixed"
    tokens = domain.models["llama-7b"].steps * domain.models["llama-7b"].batch_size * 4096
    assert tokens == pytest.approx(200e9, rel=1e-4)


@lightning_warnings
def test_validation_repeats_itself_and_leaves_the_generator_alone(
    few_files: list[Path], build: Build, task: MakeTask
) -> None:
    data = build_data(task(), few_files)
    module = build(data=data)
    state = torch.get_rng_state()
    first, second = validate(module, data), validate(module, data)
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert first["val/loss"] == first["val/loss_token"]
    assert first["val/bits_per_byte"] == pytest.approx(first["val/loss"] / math.log(2))
    assert first["val/perplexity"] == pytest.approx(math.exp(first["val/loss"]))


@lightning_warnings
def test_loss_of_longer_tokens_is_counted_by_the_byte(
    few_files: list[Path], build: Build, task: MakeTask
) -> None:
    data = build_data(task("stdlib-bpe"), few_files)
    module = build(data=data)
    logged = validate(module, data)
    windows = data.val_windows()
    with torch.no_grad():
        likely = module(windows[:, :-1]).log_softmax(dim=-1)
    nats = -likely.gather(2, windows[:, 1:, None]).double()
    size = data.codec.token_bytes[windows[:, 1:]].sum().item()
    assert logged["val/loss"] == pytest.approx(nats.sum().item() / size, rel=1e-4)
    assert logged["val/loss_token"] == pytest.approx(nats.mean().item(), rel=1e-4)
