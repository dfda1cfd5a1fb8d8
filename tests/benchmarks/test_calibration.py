"""`nox -s calibration`: the benchmark of how to start."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn

import dyt

FOLDER = Path(__file__).parents[2] / "benchmarks/calibration"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Makes the scripts importable, as they are to one another; forgets them afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for path in FOLDER.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)


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


def row(model="dna/hyena", variant="native", seed=0, value=1.3):
    from train import Row

    return Row(
        model=model, variant=variant, seed=seed, steps=160, learning_rate=2e-3, value=value,
        metrics={}, loss=[1.5, 1.3], gradient=[2.0, 0.5],
        saturation=None if variant == "native" else 0.25, seconds=1.0, code="c",
    )  # fmt: skip


def test_the_benchmarks_start_is_that_of_calibrate():
    from variants import Start, step

    ours, theirs = (dyt.convert(Tiny(), "dyt").train() for _ in range(2))
    Start()(ours, Data())
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
    from variants import Start

    usual, other = (dyt.convert(Tiny(), "dyt") for _ in range(2))
    Start()(usual, Data())
    Start(**option)(other, Data())
    assert seen(other)
    assert not seen(usual)


def test_alpha_can_have_a_rate_of_its_own():
    from train import Watch

    module = dyt.convert(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "dyt")
    module(torch.randn(2, 4)).sum().backward()
    watch = Watch(steps=1, alpha_rate=0.1)
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
    import bench_calibration

    def invoke():
        options = ["--models", "convnext", "--variants", "calibrated", "--steps", "2", "--json"]
        done = CliRunner().invoke(bench_calibration.main, options, catch_exceptions=False)
        return json.loads(done.stdout)

    monkeypatch.chdir(tmp_path)
    (made,) = invoke()
    assert made["model"] == "vision/convnext"
    assert 0 <= made["value"] <= 1
    assert len(made["loss"]) == len(made["gradient"]) == 2
    assert not (tmp_path / "results").exists()
    monkeypatch.setattr(bench_calibration, "run", None)
    assert invoke() == [made]


def test_a_line_cut_off_is_run_again(tmp_path):
    from bench_calibration import key, read

    whole = json.dumps(asdict(row()))
    (tmp_path / "rows.jsonl").write_text(f"{whole}\n{whole[:40]}")
    assert read(tmp_path / "rows.jsonl") == {key(row()): row()}
    assert read(tmp_path / "none.jsonl") == {}


def test_the_page_says_what_was_found(tmp_path):
    from report import write

    means = {"native": 1.3, "plain": 1.5, "calibrated": 1.3, "no-offset": 1}
    rows = [
        row(variant=variant, seed=seed, value=mean + seed / 1000)
        for variant, mean in means.items()
        for seed in range(3)
    ]
    rows.append(row(variant="target-1", value=None))
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
    write([replace(one, variant="native") for one in rows[:1]], tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "hyeno"], "'hyeno' is none of vit, convnext, dit"),
        (["--variants", "native,best"], "'best' is none of native, plain, calibrated"),
    ],
)
def test_bad_input_is_named(options, message):
    from bench_calibration import main

    done = CliRunner().invoke(main, options)
    assert done.exit_code == 2
    assert message in done.output
