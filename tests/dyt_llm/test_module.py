import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

import dyt
from dyt_bench.cell import Task
from dyt_llm import domain
from dyt_llm.data import TextData, text_data
from dyt_llm.module import LanguageModel

STEPS = 12


def task(dataset: str = "stdlib") -> Task:
    defaults = domain.models["llama"]
    return Task(
        domain="llm",
        model="llama",
        dataset=dataset,
        steps=STEPS,
        batch_size=defaults.batch_size,
        learning_rate=defaults.learning_rate,
        val_every=STEPS,
    )


@pytest.fixture(scope="module")
def data() -> TextData:
    return domain.build_data(task())


@pytest.fixture(scope="module")
def few_files() -> list[Path]:
    return domain.datasets["stdlib"].files(None)[:12]


def build(data: TextData, norm: str = "native") -> LanguageModel:
    torch.manual_seed(0)
    module = domain.build_module(task(), data)
    if norm != "native":
        dyt.convert(module, norm, exclude=domain.models["llama"].exclude)
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


def test_a_sample_is_counted_in_the_tokens_it_predicts(data: TextData) -> None:
    windows = next(iter(data.train_dataloader()))
    assert domain.unit == "token"
    assert build(data).units_per_sample == windows.shape[1] - 1


def test_loss_falls_and_the_seed_decides_it(data: TextData) -> None:
    history = losses(build(data), data, STEPS)
    assert history[0] == pytest.approx(math.log(256), abs=0.2)
    assert history[-1] < history[0] - 1
    assert losses(build(data), data, 3) == history[:3]


@pytest.mark.parametrize("norm", ["dyt", "derf"])
def test_the_swapped_model_trains(data: TextData, norm: str) -> None:
    module = build(data, norm)
    history = losses(module, data, 4)
    assert all(map(math.isfinite, history))
    assert history[-1] < history[0]


@lightning_warnings
def test_validation_repeats_itself_and_leaves_the_generator_alone(few_files: list[Path]) -> None:
    data = text_data(task(), few_files)
    module = build(data)
    state = torch.get_rng_state()
    first, second = validate(module, data), validate(module, data)
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert first["val/loss"] == first["val/loss_token"]
    assert first["val/bits_per_byte"] == pytest.approx(first["val/loss"] / math.log(2))
    assert first["val/perplexity"] == pytest.approx(math.exp(first["val/loss"]))


@lightning_warnings
def test_loss_of_longer_tokens_is_counted_by_the_byte(few_files: list[Path]) -> None:
    data = text_data(task("stdlib-bpe"), few_files)
    module = build(data)
    logged = validate(module, data)
    windows = torch.stack(list(data.val))
    with torch.no_grad():
        likely = module(windows[:, :-1]).log_softmax(dim=-1)
    nats = -likely.gather(2, windows[:, 1:, None]).double()
    size = data.token_bytes[windows[:, 1:]].sum().item()
    assert logged["val/loss"] == pytest.approx(nats.sum().item() / size, rel=1e-4)
    assert logged["val/loss_token"] == pytest.approx(nats.mean().item(), rel=1e-4)
