"""`nox -s calibration`: the benchmark of ways to start a model."""

import importlib
import json
from dataclasses import asdict, replace

import pytest
import torch
from benchmarks.calibration.report import write
from benchmarks.calibration.starts import PartialCalibration, step
from benchmarks.calibration.train import Row, TrainingWatch
from click.testing import CliRunner
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn

import dyt

pytestmark = pytest.mark.slow

command = importlib.import_module("benchmarks.calibration.__main__")


class Data(LightningDataModule):
    def train_dataloader(self):
        return [torch.randint(20, (4, 6), generator=torch.Generator().manual_seed(0))]


class Tiny(LightningModule):
    """Two norms with weight and bias, and one without, behind an embedding that is far too small;
    the head is tied to it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(20, 16)
        nn.init.normal_(self.embed.weight, 0.01, 0.02)
        self.first, self.last = nn.LayerNorm(16), nn.LayerNorm(16)
        self.bare = nn.LayerNorm(16, elementwise_affine=False)
        self.mix = nn.Linear(16, 16)
        self.drop = nn.Dropout(0.5)

    def training_step(self, tokens, index):
        x = self.embed(tokens)
        x = x + self.drop(self.mix(self.first(x)))
        x = x + self.mix(self.bare(x))
        loss = nn.functional.linear(self.last(x), self.embed.weight).square().mean()
        self.log("train/loss", loss)
        return loss


def row(model="dna/hyena", start="native", seed=0, value=1.3):
    return Row(
        model=model, start=start, seed=seed, steps=160, learning_rate=2e-3, value=value,
        metrics={}, loss=[1.5, 1.3], gradient=[2.0, 0.5],
        saturation=None if start == "native" else 0.25, seconds=1.0, code="c",
    )  # fmt: skip


def test_by_default_the_partial_calibration_is_that_of_calibrate():
    ours, theirs = (dyt.convert(Tiny(), "dyt").train() for _ in range(2))
    PartialCalibration()(ours, Data())
    dyt.calibrate(theirs, Data().train_dataloader(), goal="start", run=step)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)
    assert ours.training
    assert ours.drop.training


@pytest.mark.parametrize(
    ("option", "seen"),
    [
        ({"embedding": False}, lambda m: m.embed.scale.unique().tolist() == [1]),
        ({"signs": False}, lambda m: bool((m.embed.scale > 1).all())),
        ({"alpha": False}, lambda m: m.bare.alpha.item() == 0.5),
        ({"weight": False}, lambda m: m.first.weight.unique().tolist() == [1]),
        ({"offset": "none"}, lambda m: not m.first.bias.any()),
        ({"offset": "channel"}, lambda m: m.first.bias.unique().numel() == 16),
        ({"target": 1.0}, lambda m: 0.9 < m.first.alpha.item() < 1.1),
    ],
)
def test_an_option_leaves_out_what_it_says(option, seen):
    usual, other = (dyt.convert(Tiny(), "dyt") for _ in range(2))
    PartialCalibration()(usual, Data())
    PartialCalibration(**option)(other, Data())
    assert seen(other)
    assert not seen(usual)


def test_alpha_can_have_a_rate_of_its_own():
    module = dyt.convert(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "dyt")
    module(torch.randn(2, 4)).sum().backward()
    watch = TrainingWatch(alpha_rate=0.1)
    watch.on_before_optimizer_step(None, module, None)
    with torch.no_grad():  # the optimiser
        for parameter in module.parameters():
            parameter.add_(1)
    watch.on_train_batch_end(None, module, {"loss": torch.tensor(2.0)}, None, 0)
    assert module[1].alpha.item() == pytest.approx(0.6)
    assert module[1].weight.tolist() == [2, 2, 2, 2]
    assert watch.losses == [2]
    assert watch.gradients[0] > 0


def test_a_run_is_kept_and_not_repeated(tmp_path, monkeypatch):
    def invoke():
        options = ["--models", "vit", "--starts", "calibrated", "--steps", "2", "--json"]
        done = CliRunner().invoke(command.main, options, catch_exceptions=False)
        return json.loads(done.stdout)

    monkeypatch.chdir(tmp_path)
    (made,) = invoke()
    assert made["model"] == "vision/vit"
    assert 0 <= made["value"] <= 1
    assert len(made["loss"]) == len(made["gradient"]) == 2
    assert not (tmp_path / "results").exists()
    monkeypatch.setattr(command, "run", None)
    assert invoke() == [made]


def test_a_run_whose_line_was_cut_off_is_run_again(tmp_path):
    whole = json.dumps(asdict(row()))
    (tmp_path / "rows.jsonl").write_text(f"{whole}\n{whole[:40]}")
    assert command.read(tmp_path / "rows.jsonl") == {command.key(row()): row()}
    assert command.read(tmp_path / "none.jsonl") == {}


def test_the_page_says_what_was_found(tmp_path):
    means = {"native": 1.3, "plain": 1.5, "calibrated": 1.3, "no-offset": 1}
    rows = [
        row(start=start, seed=seed, value=mean + seed / 1000)
        for start, mean in means.items()
        for seed in range(3)
    ]
    rows.append(row(start="target-1", value=None))
    trained = [
        {"model": "llm/llama", "seed": str(s), "swap": "none", "val/loss": 2.0 + s, "after": 1.0}
        for s in (0, 1)
    ]
    (tmp_path / "pretrained.json").write_text(json.dumps(trained))
    write(rows, tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| 1.3010 ± 0.0010 (3) | 1.5010 ± 0.0010 (3) |" in page
    assert "| worse (n=3) | equivalent (n=3) |" in page
    assert "diverged (1 of 1)" in page
    assert "| calibrated: saturated |" in page
    assert "| llm/llama | none | 2.5000 ± 0.7071 (2) |" in page
    assert json.loads((tmp_path / "calibration.json").read_text())[0]["loss"] == [1.5, 1.3]
    assert (tmp_path / "calibration.png").stat().st_size > 10_000
    write([replace(one, start="native") for one in rows[:1]], tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "hyeno"], "'hyeno' is none of vit, llama, hyena-w64"),
        (["--starts", "native,best"], "'best' is none of native, plain, calibrated"),
    ],
)
def test_bad_input_is_named(options, message):
    done = CliRunner().invoke(command.main, options)
    assert done.exit_code == 2
    assert message in done.output
